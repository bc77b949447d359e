//! Trees are stored and come back as they were.

use std::path::{Path, PathBuf};

use super::capture::is_below;
use super::*;
use crate::formats::digest::Digest;
use crate::outcome::{MissReason, NotStored};
use crate::outputs::restore::RestoreError;
use crate::outputs::result::CompileResult;
use crate::store::Store;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("cache"), false);
        Self { dir, store }
    }

    /// An empty `OUT_DIR` in a target directory of this name, and its roots.
    fn target(&self, name: &str) -> (PathBuf, Roots) {
        let target = self.dir.path().join(name);
        let out = target.join("build/out");
        std::fs::create_dir_all(&out).unwrap();
        let mut roots = Roots::default();
        roots.add(Root::Target, &target);
        (out, roots)
    }

    fn captured(&self, out: &Path, roots: &Roots) -> (CompileResult, Vec<Root>) {
        let captured = capture(out, roots, &self.store).unwrap();
        let result = CompileResult {
            unit: "x".into(),
            toolchain: Digest::of(b""),
            outputs: captured.outputs,
            included: Vec::new(),
            stdout: Template::default(),
            stderr: Template::default(),
            status: 0,
            duration_us: 0,
            created: 0,
        };
        (result, captured.contained)
    }
}

#[test]
fn short_roots_and_ways_far_up_bind() {
    let mut roots = Roots::default();
    roots.add(Root::Workspace, "/app");
    roots.add(Root::Target, "/long/enough/target");
    let bound = |text: &str| open_roots(text.as_bytes(), &roots).1;
    assert_eq!(bound("GET /app/route"), [Root::Workspace]);
    assert!(bound("/long/enough/target/x").is_empty());
    assert!(bound("../../../x").is_empty());
    assert_eq!(bound("../../../../src/x"), Root::ALL);
    let below =
        |link: &str, target: &str| is_below(Path::new(link), Path::new(target), Path::new("/out"));
    assert!(below("/out/a/link", "../b") && below("/out/link", "a/../b"));
    assert!(!below("/out/a/link", "../../b") && !below("/out/link", "../b"));
}

#[test]
fn text_is_moved_and_binaries_bind() {
    let place = Place::new();
    let (out, roots) = place.target("one");
    std::fs::create_dir(out.join("d")).unwrap();
    std::fs::write(out.join("d/x.pc"), format!("prefix={}\n", out.display())).unwrap();
    std::os::unix::fs::symlink(out.join("d"), out.join("link")).unwrap();
    let (result, contained) = place.captured(&out, &roots);
    assert!(contained.is_empty());
    let (there, other_roots) = place.target("two");
    restore(&place.store, &result, &other_roots, &there).unwrap();
    let text = std::fs::read_to_string(there.join("link/x.pc")).unwrap();
    assert_eq!(text, format!("prefix={}\n", there.display()));
    assert_eq!(
        std::fs::read_link(there.join("link")).unwrap(),
        there.join("d")
    );

    for (name, content) in [
        ("binary", format!("\0{}\0", out.display())),
        ("word", format!("-L{}", out.display())),
    ]
    .map(|(name, content)| (name, content.into_bytes()))
    .into_iter()
    .chain([("packed.gz", b"\x1f\x8b".to_vec())])
    {
        std::fs::write(out.join(name), content).unwrap();
        let (_, contained) = place.captured(&out, &roots);
        assert!(contained.contains(&Root::Target), "{name}");
        std::fs::remove_file(out.join(name)).unwrap();
    }
}

#[test]
fn text_is_not_moved_to_a_place_that_would_need_quoting() {
    let place = Place::new();
    let (out, roots) = place.target("one");
    std::fs::write(out.join("x"), format!("dir={}", out.display())).unwrap();
    let (result, _) = place.captured(&out, &roots);
    let (there, other_roots) = place.target("two words");
    let outcome = restore(&place.store, &result, &other_roots, &there);
    let Err(RestoreError::Miss(MissReason::Changed(change))) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(change.kind, "place");
    assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
    // And where it comes from such a place, it stays there.
    std::fs::write(there.join("x"), format!("dir={}", there.display())).unwrap();
    let (_, contained) = place.captured(&there, &other_roots);
    assert_eq!(contained, [Root::Target]);
}

#[test]
fn a_damaged_or_missing_blob_leaves_the_place_as_it_was() {
    let place = Place::new();
    let (out, roots) = place.target("one");
    std::fs::write(out.join("a"), "first").unwrap();
    std::fs::write(out.join("b"), "second").unwrap();
    let (result, _) = place.captured(&out, &roots);
    let blob = result.blobs().last().unwrap();
    std::fs::remove_file(place.store.layout().blob(blob.digest)).unwrap();
    let (there, roots) = place.target("two");
    let outcome = restore(&place.store, &result, &roots, &there);
    assert!(matches!(
        outcome,
        Err(RestoreError::Miss(MissReason::Evicted(_)))
    ));
    assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
    assert_eq!(
        std::fs::read_dir(there.parent().unwrap()).unwrap().count(),
        1
    );
}

#[test]
fn what_is_no_file_is_not_kept() {
    let place = Place::new();
    let (out, roots) = place.target("one");
    let _listener = std::os::unix::net::UnixListener::bind(out.join("socket")).unwrap();
    let captured = capture(&out, &roots, &place.store);
    assert!(captured.is_err_and(|refusal| refusal.why == NotStored::UnknownOutput));
}
