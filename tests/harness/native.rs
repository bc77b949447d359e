//! Native code for the cases, made with the system's C compiler.

use std::fs;
use std::path::Path;
use std::process::Command;

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} should start: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Compiles C source to an object file.
pub(crate) fn object(path: &Path, source: &str) {
    let c = path.with_extension("c");
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).expect("the object's directory should be creatable");
    }
    fs::write(&c, source).expect("C source should be writable");
    run(Command::new("cc")
        .args(["-c", "-fPIC", "-o"])
        .arg(path)
        .arg(&c));
}

/// Makes a static archive with one member.
pub(crate) fn archive(path: &Path, source: &str) {
    let member = path.with_extension("o");
    object(&member, source);
    // Replaced in place, as `make` does it.
    run(Command::new("ar").arg("crs").arg(path).arg(&member));
}
