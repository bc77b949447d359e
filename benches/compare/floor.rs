//! What no correct wrapper can beat: replays a unit's outputs by cargo's own hash of it, with no
//! check of anything.
//!
//! For `benches/compare/run` only: any change of a source gives wrong results. A unit is named by
//! its crate name, `-C metadata`, `-C extra-filename` and `--emit`; compilations without them
//! (probes of build scripts) always run. `FLOOR_DIR` holds one directory for each unit, with its
//! outputs and its messages.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

/// A unit that can be recorded: where its outputs go and what they are called.
struct Unit {
    kept: PathBuf,
    out_dir: PathBuf,
    stem: String,
}

fn main() {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, args) = words.split_first().expect("usage: floor RUSTC ARGUMENTS");
    let Some(unit) = unit(args) else {
        let error = Command::new(program).args(args).exec();
        panic!("{error}");
    };
    if !replay(&unit) {
        exit(record(&unit, program, args));
    }
}

fn unit(args: &[OsString]) -> Option<Unit> {
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    let after = |name: &str| {
        let at = args.iter().position(|arg| *arg == name)?;
        args.get(at + 1).copied()
    };
    let codegen = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name));
    let (name, metadata) = (after("--crate-name")?, codegen("metadata=")?);
    let extra = codegen("extra-filename=").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (name, metadata, extra, codegen("--emit=")).hash(&mut hasher);
    args.contains(&"--test").hash(&mut hasher);
    let kept = PathBuf::from(std::env::var_os("FLOOR_DIR")?);
    Some(Unit {
        kept: kept.join(format!("{name}-{:016x}", hasher.finish())),
        out_dir: PathBuf::from(after("--out-dir")?),
        stem: format!("{name}{extra}"),
    })
}

fn replay(unit: &Unit) -> bool {
    let Ok(messages) = fs::read(unit.kept.join(".messages")) else {
        return false;
    };
    for entry in fs::read_dir(&unit.kept).expect("the unit was recorded").flatten() {
        if entry.file_name() != ".messages" {
            fs::copy(entry.path(), unit.out_dir.join(entry.file_name())).expect("copy");
        }
    }
    std::io::stderr().write_all(&messages).expect("write messages");
    true
}

fn record(unit: &Unit, program: &OsString, args: &[OsString]) -> i32 {
    let mut compiler = Command::new(program)
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the compiler starts");
    let mut messages = Vec::new();
    let mut stream = BufReader::new(compiler.stderr.take().expect("it is piped"));
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).expect("read messages") > 0 {
        std::io::stderr().write_all(&line).expect("write messages");
        messages.append(&mut line);
    }
    let status = compiler.wait().expect("the compiler ends");
    if status.success() {
        keep(unit, &messages);
    }
    status.code().unwrap_or(1)
}

fn keep(unit: &Unit, messages: &[u8]) {
    fs::create_dir_all(&unit.kept).expect("create");
    for entry in fs::read_dir(&unit.out_dir).expect("list").flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let bare = name.strip_prefix("lib").unwrap_or(&name);
        if Path::new(bare).file_stem().is_some_and(|stem| stem == unit.stem.as_str()) {
            fs::copy(entry.path(), unit.kept.join(&*name)).expect("copy");
        }
    }
    // Last, because it is what makes the unit a recorded one.
    fs::write(unit.kept.join(".messages"), messages).expect("write");
}
