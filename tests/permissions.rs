//! Who asks what may be done with a file or a directory, or whether it is a link, is told something
//! else when that changes, though its content stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use walkdir::WalkDir;

use crate::fail_open::obey_permissions;
use crate::harness::{Case, archive, compare, compare_twice, follows, manifest, write_script};
use crate::proc_macros::project;

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it should be ours");
}

/// What a macro does to show what a shell's script prints.
fn shell(script: &str) -> String {
    format!(
        "let out = std::process::Command::new(\"/bin/sh\").args([\"-c\", {script:?}]).output().unwrap();\
         format!(\"{{}} {{}}\", out.status.success(), String::from_utf8(out.stdout).unwrap())"
    )
}

#[test]
fn a_macro_looks_at_the_permissions_of_a_file() {
    let mode = "std::fs::metadata(\"looked-at\").unwrap().permissions().mode()";
    for (asked, old, new) in [
        (format!("format!(\"{{:o}}\", {mode})"), 0o644, 0o640),
        (format!("({mode} & 0o111 != 0).to_string()"), 0o644, 0o744),
        (
            mode.replace("mode()", "readonly().to_string()"),
            0o644,
            0o444,
        ),
        (
            format!("(std::fs::read(\"looked-at\").unwrap().len() as u32 + {mode}).to_string()"),
            0o644,
            0o664,
        ),
        (
            "std::fs::symlink_metadata(\"looked-at\").unwrap().permissions().mode().to_string()"
                .to_owned(),
            0o644,
            0o600,
        ),
        (
            "std::fs::read_dir(\".\").unwrap().map(Result::unwrap).find(|e| e.file_name() == \"looked-at\")\
             .unwrap().metadata().unwrap().permissions().mode().to_string()"
                .to_owned(),
            0o644,
            0o666,
        ),
        (
            "std::fs::File::open(\"looked-at\").unwrap().metadata().unwrap().permissions().mode().to_string()"
                .to_owned(),
            0o644,
            0o755,
        ),
    ] {
        let case = project(
            "direct",
            &format!("use std::os::unix::fs::PermissionsExt as _; {asked}"),
        );
        case.write("looked-at", "the same");
        let path = case.path("looked-at");
        follows(&case, || set(&path, old), || set(&path, new));
    }
}

/// The compiler looks at these too, before or after the macro.
#[test]
fn a_macro_looks_at_the_permissions_of_its_crates_sources() {
    for source in ["src/main.rs", "src/other.rs", "src/text.txt"] {
        for profile in ["", "strip = true"] {
            let body = format!(
                "use std::os::unix::fs::PermissionsExt as _;\
                 std::fs::metadata({source:?}).unwrap().permissions().mode().to_string()"
            );
            let case = project("direct", &body);
            let manifest = fs::read_to_string(case.path("Cargo.toml"));
            let manifest = manifest.expect("it should be readable");
            let profile = format!("[profile.dev.build-override]\n{profile}\n");
            case.write("Cargo.toml", manifest + &profile)
                .write("src/other.rs", "")
                .write("src/text.txt", "the same");
            case.edit(
                "src/main.rs",
                "fn main() {",
                "mod other; const _: &str = include_str!(\"text.txt\");\nfn main() {",
            );
            let path = case.path(source);
            follows(&case, || set(&path, 0o644), || set(&path, 0o664));
        }
    }
}

#[test]
fn a_program_that_a_macro_runs_looks_at_the_permissions_of_a_file() {
    for script in [
        "test -x there/looked-at",
        "[ -x there/looked-at ] && echo yes",
        "find there/looked-at -perm -100",
        "find there -executable -type f",
        "stat -c %a there/looked-at",
        "ls -l there/looked-at | cut -c 1-10",
        "cat there/looked-at; stat -c %A there/looked-at",
        "./there/looked-at",
        "perl -e 'print((-x \"there/looked-at\") ? 1 : 0)'",
    ] {
        let case = project("direct", &shell(script));
        case.write("there/looked-at", "#!/bin/sh\necho it ran\n");
        let path = case.path("there/looked-at");
        follows(&case, || set(&path, 0o644), || set(&path, 0o755));
    }
}

#[test]
fn a_program_that_a_macro_runs_asks_what_it_may_do_with_a_file() {
    for (script, mode) in [
        ("[ -w looked-at ]", 0o444),
        ("test -r looked-at", 0o244),
        ("cat looked-at", 0o244),
    ] {
        let mut case = project("direct", &shell(script));
        obey_permissions(&mut case);
        case.write("looked-at", "the same");
        let path = case.path("looked-at");
        follows(&case, || set(&path, 0o644), || set(&path, mode));
    }
}

/// A program that says what a linker that is a script chose.
fn linked_by(script: &str) -> Case {
    let mut case = Case::new();
    let said = case.root().join("said");
    for value in [0, 1, 644, 664] {
        let source = format!("int said(void) {{ return {value}; }}\n");
        archive(&said.join(format!("{value}.a")), &source);
    }
    let linker = case.root().join("cc.sh");
    let link = format!("exec cc \"$@\" '{}'/$said.a", said.display());
    write_script(&linker, &format!("said=0; {script}\n{link}\n"));
    case.env("RUSTFLAGS", format!("-Clinker={}", linker.display()));
    case.write("Cargo.toml", manifest("app", "")).write(
        "src/main.rs",
        "extern \"C\" { fn said() -> i32; }\nfn main() { println!(\"{}\", unsafe { said() }); }",
    );
    case
}

#[test]
fn a_linker_that_is_a_script_looks_at_permissions() {
    for (script, is_dir) in [
        ("[ -x PATH ] && said=1", false),
        ("said=$(stat -c %a PATH)", false),
        ("said=$(stat -c %a PATH)", true),
        (
            "[ -n \"$(find PATH -maxdepth 0 -perm -020)\" ] && said=1",
            true,
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory should be creatable");
        let path = dir.path().join("flag");
        if is_dir {
            fs::create_dir(&path).expect("it should be creatable");
        } else {
            fs::write(&path, "").expect("it should be writable");
        }
        let case = linked_by(&script.replace("PATH", &path.display().to_string()));
        let new = if script.contains("-x") { 0o755 } else { 0o664 };
        follows(&case, || set(&path, 0o644), || set(&path, new));
    }
}

#[test]
fn a_linker_that_is_a_script_asks_what_it_may_read() {
    let dir = tempfile::tempdir().expect("a directory should be creatable");
    let path = dir.path().join("flag");
    fs::write(&path, "").expect("it should be writable");
    let mut case = linked_by(&format!("[ -r '{}' ] && said=1", path.display()));
    obey_permissions(&mut case);
    follows(&case, || set(&path, 0o644), || set(&path, 0o244));
}

#[test]
fn a_linker_that_may_not_be_executed_any_more() {
    let case = linked_by("said=1");
    let linker = case.root().join("cc.sh");
    compare(&case, &["build"]).ok();
    set(&linker, 0o644);
    // The message names a temporary directory.
    case.wipe().cargo(&["build"]).fails();
    set(&linker, 0o755);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_wrapper_of_the_compiler_looks_at_permissions() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", ""))
        .write("flag", "")
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", cfg!(executable)); }",
        );
    let (wrapper, flag) = (case.root().join("wrap.sh"), case.path("flag"));
    write_script(
        &wrapper,
        &format!(
            "if [ -x '{}' ]; then exec \"$@\" --cfg executable; fi\nexec \"$@\"\n",
            flag.display()
        ),
    );
    case.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
    follows(&case, || set(&flag, 0o644), || set(&flag, 0o755));
}

#[test]
fn the_permissions_of_a_directory_are_looked_at() {
    let by_macro = "use std::os::unix::fs::PermissionsExt as _;\
        std::fs::metadata(\"there\").unwrap().permissions().mode().to_string()";
    for body in [
        by_macro.to_owned(),
        shell("stat -c %a there"),
        shell("ls -ld there | cut -c 1-10"),
        shell("find there -maxdepth 0 -perm -020"),
        shell("cd there && stat -c %a ."),
        shell("ls -la there | cut -c 1-10"),
    ] {
        let case = project("direct", &body);
        case.write("there/file", "the same");
        let path = case.path("there");
        follows(&case, || set(&path, 0o755), || set(&path, 0o775));
    }
}

#[test]
fn a_macro_is_told_that_a_file_is_no_link() {
    for body in [
        "std::path::Path::new(\"current\").is_symlink().to_string()",
        "std::fs::symlink_metadata(\"current\").unwrap().is_file().to_string()",
        "std::fs::read_link(\"current\").is_ok().to_string()",
        "std::fs::canonicalize(\"current\").unwrap().file_name().unwrap().to_str().unwrap().to_owned()",
        "std::fs::canonicalize(std::env::current_dir().unwrap().join(\"current\"))\
         .unwrap().file_name().unwrap().to_str().unwrap().to_owned()",
        "std::fs::read_to_string(\"current\").unwrap() + &std::path::Path::new(\"current\").is_symlink().to_string()",
        &shell("[ -L current ]"),
        &shell("readlink current"),
        &shell("realpath current | sed 's,.*/,,'"),
        &shell("find current -type l"),
        &shell("ls -F current"),
    ] {
        let case = project("direct", body);
        case.write("a.txt", "the same");
        let path = case.path("current");
        let file = || {
            let _ = fs::remove_file(&path);
            fs::write(&path, "the same").expect("it should be writable");
        };
        let link = || {
            let _ = fs::remove_file(&path);
            symlink("a.txt", &path).expect("the link should be creatable");
        };
        follows(&case, file, link);
        case.forget();
        follows(&case, link, file);
    }
}

#[test]
fn a_macro_is_told_that_a_directory_is_no_link() {
    for body in [
        "std::path::Path::new(\"current\").is_symlink().to_string()",
        "std::fs::canonicalize(\"current/file\").unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()",
        &shell("cd current && basename $(pwd -P)"),
    ] {
        let case = project("direct", body);
        case.write("other/file", "the same");
        let path = case.path("current");
        let dir = || {
            let _ = fs::remove_file(&path);
            case.write("current/file", "the same");
        };
        let link = || {
            fs::remove_dir_all(&path).expect("it should be removable");
            symlink("other", &path).expect("the link should be creatable");
        };
        follows(&case, dir, link);
    }
}

/// Lets the group write whatever its owner may, as with `umask 002`.
fn let_group_write(dir: &Path) {
    for entry in WalkDir::new(dir).into_iter().flatten() {
        let mode = entry.metadata().expect("it should be there").permissions();
        if !entry.path_is_symlink() {
            set(entry.path(), mode.mode() | ((mode.mode() & 0o200) >> 3));
        }
    }
}

#[test]
fn who_does_not_look_at_permissions_shares_with_other_umasks() {
    for body in [
        "String::new()",
        "std::fs::read_to_string(\"note.txt\").unwrap()",
        "std::fs::read_dir(\"there\").unwrap().count().to_string()",
        &shell("cat note.txt"),
    ] {
        let mut case = project("direct", body);
        case.write("note.txt", "the same")
            .write("there/file", "")
            .write("src/included.txt", "included")
            .write("src/below/mod.rs", "mod more;")
            .write("src/below/more.rs", "");
        case.edit(
            "src/main.rs",
            "fn main() {",
            "mod below; const _: &str = include_str!(\"included.txt\");\nmod late { mod deep; }\nfn main() {",
        );
        case.write("src/late/deep.rs", "");
        compare_twice(&case, &["build"]);
        case.copy_project("elsewhere");
        let_group_write(&case.path(""));
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}
