//! Which compiler and standard library a result belongs to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use walkdir::WalkDir;

use crate::harness::{
    Case, Mode, Toolchain, bin_manifest, compare, compare_twice, macro_manifest, manifest, quote,
    write_script,
};

const SHOUTS: &str = "fn main() {\n    let none: Option<u8> = std::hint::black_box(None);\n    \
                      std::panic::catch_unwind(|| none.unwrap()).unwrap_err();\n}\n";

/// What an `unwrap` of `None` prints, and the same in another standard library.
const MESSAGE: &[u8] = b"called `Option::unwrap()` on a `None` value";
const OTHER: &[u8] = b"CALLED `Option::unwrap()` on a `None` value";

/// A sysroot of links to the real standard library.
///
/// Nothing may ever be written through these links: files are replaced in `dir` only.
fn own_sysroot(dir: &Path) -> Toolchain {
    let real = Toolchain::current();
    for entry in WalkDir::new(real.lib_dir().join("rustlib"))
        .into_iter()
        .flatten()
    {
        let relative = entry
            .path()
            .strip_prefix(real.sysroot())
            .expect("it is below the sysroot");
        let own = dir.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&own).expect("the directory should be creatable");
        } else {
            symlink(entry.path(), &own).expect("the link should be creatable");
        }
    }
    Toolchain::at(dir)
}

/// [`own_sysroot`] with a copy of the compiler: it finds its sysroot from where its library lies.
fn own_toolchain(dir: &Path) -> Toolchain {
    let (real, own) = (Toolchain::current(), own_sysroot(dir));
    fs::create_dir(dir.join("bin")).expect("the directory should be creatable");
    fs::copy(real.bin("rustc"), own.bin("rustc")).expect("the compiler should be copyable");
    symlink(real.bin("cargo"), own.bin("cargo")).expect("the link should be creatable");
    for entry in fs::read_dir(real.lib_dir())
        .expect("it should be readable")
        .flatten()
    {
        if entry.path().is_file() {
            let copy = own.lib_dir().join(entry.file_name());
            fs::copy(entry.path(), copy).expect("the library should be copyable");
        }
    }
    own
}

/// Replaces a text in the core library for this machine of a toolchain that [`own_toolchain`] made.
fn patch_core(case: &Case, toolchain: &Toolchain, from: &[u8], to: &[u8]) {
    use std::env::consts::ARCH;

    let env = if cfg!(target_env = "musl") {
        "-musl"
    } else {
        "-gnu"
    };
    let library = WalkDir::new(toolchain.sysroot())
        .into_iter()
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Other targets may be installed beside it.
            let is_other = path.components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                part.contains("-linux-") && !(part.starts_with(ARCH) && part.ends_with(env))
            });
            name.starts_with("libcore-") && name.ends_with(".rlib") && !is_other
        })
        .expect("a toolchain has a core library");
    let dir = library.parent().expect("the library is in a directory");
    let dir = dir.canonicalize().expect("the directory should exist");
    assert!(
        dir.starts_with(case.root()),
        "{} is not ours to change",
        dir.display()
    );
    let bytes = fs::read(&library).expect("the library should be readable");
    let place = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("the text should be in the library");
    let (before, rest) = bytes.split_at(place);
    let after = rest.split_at(from.len()).1;
    let bytes = [before, to, after].concat();
    let fresh = library.with_extension("fresh");
    fs::write(&fresh, bytes).expect("the library should be writable");
    // Same size and time: only the content tells.
    let modified = library
        .metadata()
        .and_then(|metadata| metadata.modified())
        .expect("the library has a time");
    fs::File::options()
        .write(true)
        .open(&fresh)
        .and_then(|file| file.set_modified(modified))
        .expect("the time should be settable");
    fs::rename(fresh, library).expect("the library should be replaceable");
}

fn program() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/main.rs", SHOUTS);
    case
}

#[test]
fn a_standard_library_is_replaced_in_place() {
    let mut case = program();
    let toolchain = own_toolchain(&case.root().join("toolchain"));
    case.use_toolchain(toolchain.clone());
    compare_twice(&case, &["build"]);
    patch_core(&case, &toolchain, MESSAGE, OTHER);
    compare(&case, &["build"]).ok().compiles(&["app"]);
    patch_core(&case, &toolchain, OTHER, MESSAGE);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_link_to_the_toolchain_is_pointed_elsewhere() {
    let mut case = program();
    let other = own_toolchain(&case.root().join("other"));
    patch_core(&case, &other, MESSAGE, OTHER);
    let link = case.root().join("current");
    symlink(Toolchain::current().sysroot(), &link).expect("the link should be creatable");
    case.use_toolchain(Toolchain::at(&link));
    compare(&case, &["build"]).ok();
    fs::remove_file(&link).expect("the link should be removable");
    symlink(other.sysroot(), &link).expect("the link should be creatable");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

/// The same without the counting script, which is one more thing to look behind.
#[test]
fn a_link_to_the_compiler_itself_is_pointed_elsewhere() {
    let mut case = program();
    let other = own_toolchain(&case.root().join("other"));
    patch_core(&case, &other, MESSAGE, OTHER);
    let link = case.root().join("current");
    case.env("RUSTC", link.join("bin/rustc"));
    for sysroot in [Toolchain::current().sysroot(), other.sysroot()] {
        let _ = fs::remove_file(&link);
        symlink(sysroot, &link).expect("the link should be creatable");
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn another_sysroot_is_another_result() {
    let mut case = program();
    let other = own_sysroot(&case.root().join("other"));
    patch_core(&case, &other, MESSAGE, OTHER);
    for (sysroot, compiled) in [
        (Toolchain::current().sysroot(), &["app"][..]),
        (other.sysroot(), &["app"]),
        (Toolchain::current().sysroot(), &[]),
    ] {
        case.env("RUSTFLAGS", format!("--sysroot={}", sysroot.display()));
        compare(&case, &["build"]).ok().compiles(compiled);
    }
}

#[test]
fn another_release_channel_is_another_result() {
    let Some(nightly) = Toolchain::nightly() else {
        eprintln!("skipped: no nightly toolchain is installed");
        return;
    };
    let mut case = program();
    compare(&case, &["build"]).ok();
    case.use_toolchain(nightly);
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.use_toolchain(Toolchain::current().clone());
    compare(&case, &["build"]).ok().compiles(&[]);
}

/// The specification of the host with another vendor.
fn specification(vendor: &str) -> String {
    let output = std::process::Command::new(Toolchain::current().bin("rustc"))
        .env_remove("LD_LIBRARY_PATH")
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["-Zunstable-options", "--print=target-spec-json"])
        .output()
        .expect("rustc should run");
    let mut json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("a target specification is JSON");
    let object = json.as_object_mut().expect("it is an object");
    object.insert("vendor".into(), vendor.into());
    object.remove("is-builtin");
    json.to_string()
}

#[test]
fn a_target_specification_changes() {
    for by_name in [false, true] {
        let mut case = Case::new();
        case.env("RUSTC_BOOTSTRAP", "1");
        case.env("RUST_TARGET_PATH", case.path("targets"));
        fs::create_dir(case.path("out")).expect("the directory should be creatable");
        // A missing module is an error that needs no standard library.
        case.write(
            "lib.rs",
            "#![feature(no_core)]\n#![no_core]\n#[cfg(target_vendor = \"acme\")]\nmod missing;\n",
        );
        let target = if by_name {
            "--target=special"
        } else {
            "--target=targets/special.json"
        };
        let args = [
            "--crate-name=a",
            "--crate-type=lib",
            "--emit=dep-info,metadata",
            "-Zunstable-options",
            "--out-dir=out",
            target,
            "lib.rs",
        ];
        for vendor in ["unknown", "acme", "unknown", "acme"] {
            case.write("targets/special.json", specification(vendor));
            let bare = case.rustc(Mode::Bare, &args);
            let cached = case.rustc(Mode::Cached, &args);
            assert_eq!(cached.status, bare.status, "{vendor}\n{cached:?}");
            assert_eq!(cached.stderr, bare.stderr);
            assert_eq!(bare.status.success(), vendor == "unknown", "{bare:?}");
        }
    }
}

/// A script in the compiler's place decides by variables and links, too.
#[test]
fn a_script_that_starts_the_compiler_reads_a_variable_or_a_link() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", "")).write(
        "src/main.rs",
        "fn main() { println!(\"{}\", if cfg!(two) { 2 } else { 1 }); }",
    );
    let link = case.root().join("link");
    case.put_before_compiler(|counting| {
        let link = quote(&link);
        format!("exec {counting} $MY_FLAGS $(readlink {link}) \"$@\"\n")
    });
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.env("MY_FLAGS", "--cfg=two");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.unset("MY_FLAGS");
    compare(&case, &["build"]).ok().compiles(&[]);
    symlink("--cfg=two", &link).expect("the link should be creatable");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    fs::remove_file(&link).expect("the link should be removable");
    symlink("--cfg=three", &link).expect("the link should be creatable");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

/// A program that becomes `rustc.real` beside itself.
const LAUNCHER: &str = "use std::os::unix::process::CommandExt;\n\
    fn main() {\n    let own = std::env::current_exe().unwrap();\n    \
    let mut real = std::process::Command::new(own.with_file_name(\"rustc.real\"));\n    \
    real.args(std::env::args_os().skip(1));\n    \
    if let Some(flag) = std::env::var_os(\"LAUNCHER_FLAG\") { real.arg(flag); }\n    \
    panic!(\"{}\", real.exec());\n}\n";

/// What is called `rustc` in the toolchain, and what is called so by cargo.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Launcher {
    Program,
    Script,
    /// A script in a directory of its own, which says where the sysroot is.
    ScriptElsewhere,
}

/// A toolchain whose compiler is started by another program, and where that is.
fn launched_toolchain(case: &Case, launcher: Launcher) -> std::path::PathBuf {
    let toolchain = own_toolchain(&case.root().join("launched"));
    let rustc = toolchain.bin("rustc");
    if launcher == Launcher::ScriptElsewhere {
        let script = case.root().join("elsewhere/bin/rustc");
        fs::create_dir_all(script.parent().expect("it has a parent")).expect("it is creatable");
        let sysroot = quote(toolchain.sysroot());
        let real = quote(&rustc);
        let body = format!("exec {real} --sysroot {sysroot} ${{LAUNCHER_FLAG-}} \"$@\"\n");
        write_script(&script, &body);
        return script;
    }
    let real = toolchain.bin("rustc.real");
    fs::rename(&rustc, &real).expect("the compiler should be movable");
    if launcher == Launcher::Script {
        let real = quote(&real);
        write_script(&rustc, &format!("exec {real} ${{LAUNCHER_FLAG-}} \"$@\"\n"));
        return rustc;
    }
    let source = case.root().join("launcher.rs");
    fs::write(&source, LAUNCHER).expect("the source should be writable");
    let status = std::process::Command::new(Toolchain::current().bin("rustc"))
        .env_remove("LD_LIBRARY_PATH")
        .arg(source)
        .arg("-o")
        .arg(&rustc)
        .status()
        .expect("rustc should start");
    assert!(status.success());
    rustc
}

#[test]
fn what_a_compiler_behind_another_program_loads_are_macros() {
    for launcher in [
        Launcher::Program,
        Launcher::Script,
        Launcher::ScriptElsewhere,
    ] {
        let mut case = Case::new();
        let rustc = launched_toolchain(&case, launcher);
        let log = case.root().join("cachewrap.log");
        case.env("RUSTC", rustc)
            .env("CACHEWRAP_LOG", format!("info:{}", log.display()));
        case.write(
            "Cargo.toml",
            bin_manifest("app", &["mac"]),
        )
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write(
            "mac/src/lib.rs",
            "use proc_macro::*;\n#[proc_macro]\npub fn flavour(_: TokenStream) -> TokenStream {\n    \
             let value = std::env::var(\"MY_FLAVOUR\").unwrap_or_default();\n    \
             TokenTree::from(Literal::string(&value)).into()\n}\n",
        )
        .write(
            "build.rs",
            "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             std::fs::write(out + \"/made.rs\", \"const MADE: u8 = 7;\").unwrap(); }\n",
        )
        .write(
            "src/main.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
             fn main() { println!(\"{} {} {}\", MADE, mac::flavour!(), cfg!(two)); }\n",
        );
        let is_hit = |case: &Case| {
            let _ = fs::remove_file(&log);
            compare(case, &["build"]).ok();
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.contains("hit: app (bin)")
        };
        assert!(!is_hit(&case), "{launcher:?}");
        assert!(is_hit(&case), "{launcher:?}");
        case.env("MY_FLAVOUR", "sweet");
        assert!(!is_hit(&case), "{launcher:?}");
        case.env("LAUNCHER_FLAG", "--cfg=two");
        assert!(!is_hit(&case), "{launcher:?}");
        case.unset("LAUNCHER_FLAG");
        case.copy_project("copy");
        assert!(is_hit(&case), "{launcher:?}: the second checkout");
    }
}

/// Distributions install the compiler into a prefix with everything else: tools, headers, directories of other packages.
#[test]
fn what_else_lies_in_the_prefix_of_the_compiler_counts() {
    let mut case = Case::new();
    let prefix = case.root().join("usr");
    let toolchain = own_toolchain(&prefix);
    case.use_toolchain(toolchain)
        .env("CACHEWRAP_BUILD_SCRIPTS", "all")
        .env("PREFIX", &prefix);
    write_script(&prefix.join("bin/tool"), "echo \"$MY_FLAVOUR\"");
    let look = "let prefix = std::path::PathBuf::from(std::env::var_os(\"PREFIX\").unwrap());\n\
                let tool = std::process::Command::new(prefix.join(\"bin/tool\")).output().unwrap();\n\
                let tool = String::from_utf8(tool.stdout).unwrap();\n\
                let is_there = |name: &str| prefix.join(name).exists();\n\
                let text = format!(\"{} {} {}\", tool.trim(), is_there(\"include/x.h\"), is_there(\"lib/x\"));\n";
    case.write("Cargo.toml", bin_manifest("app", &["mac"]))
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write(
            "mac/src/lib.rs",
            format!(
                "use proc_macro::*;\n#[proc_macro]\npub fn look(_: TokenStream) -> TokenStream {{\n\
                 {look}TokenTree::from(Literal::string(&text)).into()\n}}\n"
            ),
        )
        .write(
            "build.rs",
            format!("fn main() {{\n{look}println!(\"cargo::rustc-env=SEEN={{text}}\");\n}}\n"),
        )
        .write(
            "src/main.rs",
            "fn main() { println!(\"{} {}\", env!(\"SEEN\"), mac::look!()); }\n",
        );
    let is = |case: &Case, text: &str| {
        compare(case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), format!("{text} {text}"));
        compare(case, &["build"]).ok().compiles(&[]);
    };
    case.env("MY_FLAVOUR", "plain");
    is(&case, "plain false false");
    case.env("MY_FLAVOUR", "sweet");
    is(&case, "sweet false false");
    fs::create_dir(prefix.join("lib/x")).expect("the directory should be creatable");
    is(&case, "sweet false true");
    fs::create_dir(prefix.join("include")).expect("the directory should be creatable");
    fs::write(prefix.join("include/x.h"), "").expect("the header should be writable");
    is(&case, "sweet true true");
}

/// Debian has the compiler's libraries where all others are.
#[test]
fn the_libraries_of_the_compiler_lie_among_others() {
    let mut case = Case::new();
    let toolchain = own_toolchain(&case.root().join("usr"));
    let dir = toolchain
        .lib_dir()
        .join(format!("{}-linux-gnu", std::env::consts::ARCH));
    fs::create_dir(&dir).expect("the directory should be creatable");
    let mut driver = None;
    for entry in fs::read_dir(toolchain.lib_dir())
        .expect("it should be readable")
        .flatten()
        .filter(|entry| entry.path().is_file())
    {
        let moved = dir.join(entry.file_name());
        fs::rename(entry.path(), &moved).expect("the library should be movable");
        let name = entry.file_name();
        let is_driver = name.to_string_lossy().starts_with("librustc_driver");
        driver = driver.or(is_driver.then_some(moved));
    }
    let driver = driver.expect("a compiler has a library");
    let log = case.root().join("outcomes");
    case.use_toolchain(toolchain)
        .use_compiler_itself()
        .env("LD_LIBRARY_PATH", &dir)
        .env("CACHEWRAP_LOG", format!("info:{}", log.display()));
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/main.rs", "fn main() {}");
    let is_hit = || {
        let _ = fs::remove_file(&log);
        compare(&case, &["build"]).ok();
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.contains("hit: app (bin)")
    };
    assert!(!is_hit());
    assert!(is_hit());
    fs::write(dir.join("libother.so"), "x").expect("the library should be writable");
    assert!(is_hit(), "another library");
    let mut bytes = fs::read(&driver).expect("the library should be readable");
    bytes.push(0);
    let fresh = dir.join("fresh");
    fs::write(&fresh, bytes).expect("the library should be writable");
    fs::rename(&fresh, &driver).expect("the library should be replaceable");
    assert!(!is_hit(), "the compiler's own");
}
