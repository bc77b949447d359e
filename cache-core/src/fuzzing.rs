//! What the fuzz targets in `fuzz/` call: each decoder, with what must hold of it.
//!
//! Compiled by `cargo fuzz` alone. Checksums would keep a fuzzer from ever reaching what
//! they protect, so payloads are put into frames that are whole.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a fuzz target reports"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use crate::ahead;
use crate::cargo::toolchain;
use crate::formats::codec::{self, HEADER, Kind};
use crate::formats::digest::Digest;
use crate::formats::manifest::{self, InputManifest};
use crate::inputs::names;
use crate::kinds::rustc::capture::Places;
use crate::kinds::rustc::dep_info::{self, DepInfo};
use crate::kinds::rustc::invocation::Invocation;
use crate::kinds::rustc::messages::{self, Restorer};
use crate::outputs::result::{self, CompileResult};
use crate::roots::{Escaping, Root, Roots};
use crate::store::memo::Memo;
use crate::store::{builds, stats};

fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    codec::seal(kind, [&[0; HEADER], payload].concat())
}

fn roots() -> Roots {
    let mut roots = Roots::default();
    roots.add(Root::Workspace, "/w");
    roots.add(Root::Target, "/w/target dir");
    roots.add(Root::CargoHome, "/home/c#");
    roots.add(Root::Sysroot, "/s\\t");
    roots
}

fn invocation() -> Invocation {
    let words = "rustc --crate-name x --emit=metadata=/m/x.rmeta,link --out-dir /out/dir x.rs";
    let argv: Vec<OsString> = words.split(' ').map(OsString::from).collect();
    Invocation::parse(&argv, None, |_| None).expect("it should be understood")
}

/// Bytes as they may lie in any file of the store.
pub fn any_file(bytes: &[u8]) {
    let results = CompileResult::decode(bytes).is_ok();
    let manifests = InputManifest::decode(bytes).is_ok();
    let counts = codec::decode::<BTreeMap<String, u64>>(stats::KIND, bytes).is_ok();
    assert!(codec::is_whole(bytes) || !(results || manifests || counts));
    let _ = Memo::is_sound(bytes);
    let _ = builds::is_sound(bytes);
}

/// A result, and that no output of it leaves its place.
pub fn compile_result(payload: &[u8]) {
    let Ok(result) = CompileResult::decode(&frame(result::KIND, payload)) else {
        return;
    };
    let again = result.encode().expect("what was decoded can be encoded");
    assert_eq!(CompileResult::decode(&again).as_ref(), Ok(&result));
    let (invocation, out_dir) = (invocation(), Path::new("/out/dir"));
    let places = Places {
        invocation: &invocation,
        cwd: Path::new("/w"),
        out_dir,
    };
    for output in &result.outputs {
        if let Some(path) = places.path(&output.role) {
            let plain = path
                .file_name()
                .is_some_and(|name| out_dir.join(name) == path);
            assert!(plain || path == Path::new("/m/x.rmeta"), "{path:?}");
        }
    }
    let _ = result.stderr.fill(&roots());
}

/// A manifest; its numbers refer to each other.
pub fn input_manifest(payload: &[u8]) {
    let Ok(mut manifest) = InputManifest::decode(&frame(manifest::KIND, payload)) else {
        return;
    };
    for set in manifest.sets() {
        let _ = manifest.inputs_of(set).count();
    }
    let again = manifest.encode().expect("what was decoded can be encoded");
    assert_eq!(InputManifest::decode(&again).as_ref(), Ok(&manifest));
    let result = crate::entry::ResultKey(Digest::of(b"new"));
    manifest.add(Vec::new(), result);
    assert_eq!(manifest.sets().first().map(|set| set.result), Some(result));
}

/// Counters, names, toolchains and entries of records.
pub fn tables(payload: &[u8]) {
    let _ = codec::decode::<BTreeMap<String, u64>>(stats::KIND, &frame(stats::KIND, payload));
    let _ =
        codec::decode::<names::memo::Known>(names::memo::KIND, &frame(names::memo::KIND, payload));
    let _ = codec::decode::<toolchain::memo::Memoised>(
        toolchain::memo::KIND,
        &frame(toolchain::memo::KIND, payload),
    );
    let _ = builds::is_sound(builds::line(&String::from_utf8_lossy(payload)).as_bytes());
}

/// A seed, unpacked.
pub fn seed(payload: &[u8]) {
    let _ = ahead::check_seed(payload, &roots());
}

/// An entry of a record, which has a line of its own and is given back as it was.
pub fn record(entry: &[u8]) {
    let line = builds::line(&String::from_utf8_lossy(entry));
    for unit in builds::units_of(line.as_bytes()) {
        let json = serde_json::to_string(&unit).expect("what was read can be written");
        assert_eq!(
            builds::units_of(builds::line(&json).as_bytes()),
            [unit.clone()]
        );
        if let Some(call) = &unit.call {
            let _ = (call.fill(&roots()), call.package());
            let again = call.with_roots(&roots());
            assert!(again.is_none_or(|again| again.fill(&roots()).is_some()));
        }
        let _ = unit.outcome.to_string();
    }
}

/// Dep-info: parsing, and that what is stored of it comes back as it was.
pub fn dep_info(text: &[u8]) {
    let _ = DepInfo::parse(text);
    let roots = roots();
    let template = dep_info::template(text, &roots);
    assert_eq!(template.fill(&roots).as_deref(), Some(text));
}

/// A line of messages: whether it announces a file, putting paths back, storing it.
pub fn message(line: &[u8]) {
    let _ = messages::artifact(line);
    let roots = roots();
    let names = [("./target", "/w/target dir".into()), (".", "/w".into())];
    for json in [false, true] {
        let _ = Restorer::new(&names, json).restore(line);
        assert_eq!(Restorer::new(&[], json).restore(line), line);
    }
    for escaping in [Escaping::Raw, Escaping::Json] {
        let template = roots.template(line, escaping);
        assert_eq!(template.fill(&roots).as_deref(), Some(line));
    }
}

/// Command lines; words are separated by line feeds, and `@file`s read as one more.
pub fn command_line(text: &[u8]) {
    let words = text.split(|&b| b == b'\n');
    let argv: Vec<OsString> = words.map(|w| OsString::from_vec(w.to_vec())).collect();
    let read = |_: &Path| Some(b"--cfg\na\n@b\n".to_vec());
    if let Ok(invocation) = Invocation::parse(&argv, None, read) {
        let _ = invocation.unit();
        let _ = invocation.output_dir(Path::new("/w"));
        let _ = (invocation.links(), invocation.searches_crates());
        assert_eq!(
            invocation.programs.len() + invocation.given.len(),
            argv.len()
        );
    }
}
