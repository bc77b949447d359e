//! What the linker takes in: archives in all their forms, scripts, object files, and the linker.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{
    Case, Outcome, archive, compare, lib_manifest, manifest, object, write_script,
};

const MAIN: &str = "extern \"C\" { fn native() -> i32; }\n\
                    fn main() { println!(\"{}\", unsafe { native() }); }";

fn native(value: i32) -> String {
    format!("int native(void) {{ return {value}; }}\n")
}

/// A program whose build script prints the given lines; `NATIVE` stands for a directory that holds
/// `libnative.a`.
fn program(lines: &[&str]) -> (Case, PathBuf) {
    let case = Case::new();
    let dir = case.root().join("native");
    archive(&dir.join("libnative.a"), &native(1));
    write_build_script(&case, "build.rs", lines);
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/main.rs", MAIN);
    (case, dir)
}

fn write_build_script(case: &Case, name: &str, lines: &[&str]) {
    let dir = case.root().join("native");
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            let line = line.replace("NATIVE", &dir.display().to_string());
            format!("println!({:?});\n", format!("cargo::{line}"))
        })
        .collect();
    case.write(name, format!("fn main() {{\n{}}}\n", lines.concat()));
}

/// Builds, changes the archive in place, builds again, and goes back.
#[track_caller]
fn follows_the_archive(case: &Case, archive_path: &Path) {
    builds_and_prints(case, "1");
    compare(case, &["build"]).ok().compiles(&[]);
    archive(archive_path, &native(2));
    builds_and_prints(case, "2");
    archive(archive_path, &native(1));
    builds_and_prints(case, "1").compiles(&[]);
}

/// The comparison, and that the case shows what it is meant to show.
#[track_caller]
fn builds_and_prints(case: &Case, text: &str) -> Outcome {
    let build = compare(case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), text);
    build
}

#[test]
fn a_static_archive_changes_in_place() {
    let (case, dir) = program(&[
        "rustc-link-search=native=NATIVE",
        "rustc-link-lib=static=native",
    ]);
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn a_whole_archive_changes_in_place() {
    let (case, dir) = program(&[
        "rustc-link-search=native=NATIVE",
        "rustc-link-lib=static:+whole-archive=native",
    ]);
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn an_archive_is_found_through_an_attribute_and_a_search_path() {
    let (case, dir) = program(&["rustc-link-search=NATIVE"]);
    case.write(
        "src/main.rs",
        MAIN.replace(
            "extern",
            "#[link(name = \"native\", kind = \"static\")] extern",
        ),
    );
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn an_archive_is_renamed_on_the_command_line() {
    let (case, dir) = program(&[
        "rustc-link-search=NATIVE",
        "rustc-link-lib=static=alias:native",
    ]);
    case.write(
        "src/main.rs",
        MAIN.replace("extern", "#[link(name = \"alias\")] extern"),
    );
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn an_archive_without_a_kind_is_found_by_the_linker() {
    let (case, dir) = program(&["rustc-link-search=NATIVE", "rustc-link-lib=native"]);
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn an_archive_given_as_a_link_argument() {
    let (case, dir) = program(&["rustc-link-arg=NATIVE/libnative.a"]);
    follows_the_archive(&case, &dir.join("libnative.a"));
}

#[test]
fn a_better_archive_appears_earlier_in_the_search_path() {
    let (case, dir) = program(&[
        "rustc-link-search=NATIVE/first",
        "rustc-link-search=NATIVE",
        "rustc-link-lib=static=native",
    ]);
    fs::create_dir_all(dir.join("first")).expect("the directory should be creatable");
    builds_and_prints(&case, "1");
    archive(&dir.join("first/libnative.a"), &native(3));
    builds_and_prints(&case, "3").compiles(&["app"]);
}

#[test]
fn an_archive_two_crates_down() {
    for kind in ["static", "static:-bundle", "static:+whole-archive"] {
        let (case, dir) = program(&[]);
        case.remove("build.rs")
            .write(
                "Cargo.toml",
                manifest("app", "[dependencies]\nmiddle = { path = \"middle\" }"),
            )
            .write(
                "src/main.rs",
                "fn main() { println!(\"{}\", middle::value()); }",
            )
            .write("middle/Cargo.toml", lib_manifest("middle", &["bottom"]))
            .write(
                "middle/src/lib.rs",
                "pub fn value() -> i32 { bottom::value() }",
            )
            .write("bottom/Cargo.toml", lib_manifest("bottom", &[]))
            .write(
                "bottom/src/lib.rs",
                "extern \"C\" { fn native() -> i32; }\n\
                 pub fn value() -> i32 { unsafe { native() } }",
            );
        write_build_script(
            &case,
            "bottom/build.rs",
            &[
                "rustc-link-search=NATIVE",
                &format!("rustc-link-lib={kind}=native"),
            ],
        );
        follows_the_archive(&case, &dir.join("libnative.a"));
    }
}

#[test]
fn a_staticlib_embeds_an_archive() {
    let (case, dir) = program(&["rustc-link-search=NATIVE", "rustc-link-lib=static=native"]);
    case.write(
        "Cargo.toml",
        manifest("app", "[lib]\ncrate-type = [\"staticlib\"]"),
    )
    .write(
        "src/lib.rs",
        "extern \"C\" { fn native() -> i32; }\n\
             #[no_mangle] pub extern \"C\" fn outer() -> i32 { unsafe { native() } }",
    )
    .remove("src/main.rs");
    let content = || fs::read(case.target().join("debug/libapp.a")).expect("the archive exists");
    compare(&case, &["build"]).ok();
    let one = content();
    archive(&dir.join("libnative.a"), &native(2));
    compare(&case, &["build"]).ok().compiles(&["app"]);
    assert_ne!(one, content());
    archive(&dir.join("libnative.a"), &native(1));
    compare(&case, &["build"]).ok();
}

#[test]
fn a_linker_script_changes() {
    let (case, dir) = program(&["rustc-link-arg-bins=NATIVE/extra.ld"]);
    let script = dir.join("extra.ld");
    let write = |value: u32| {
        fs::write(&script, format!("PROVIDE(marker = {value});\n")).expect("it should be writable");
    };
    case.write(
        "src/main.rs",
        "extern \"C\" { static marker: u8; }\n\
         fn main() { println!(\"{}\", (&raw const marker) as usize & 0xfff); }",
    );
    // A position-independent program would move the symbol about.
    write_build_script(
        &case,
        "build.rs",
        &[
            "rustc-link-arg-bins=NATIVE/extra.ld",
            "rustc-link-arg-bins=-no-pie",
        ],
    );
    let mut case = case;
    case.env("RUSTFLAGS", "-Crelocation-model=static");
    write(0x123);
    builds_and_prints(&case, "291");
    write(0x456);
    builds_and_prints(&case, "1110").compiles(&["app"]);
    write(0x123);
    builds_and_prints(&case, "291").compiles(&[]);
}

#[test]
fn a_version_script_changes() {
    let (case, dir) = program(&["rustc-link-arg-cdylib=-Wl,--version-script=NATIVE/extra.ver"]);
    let script = dir.join("extra.ver");
    let write = |version: &str| {
        fs::write(&script, format!("{version} {{ }};\n")).expect("it should be writable");
    };
    case.write(
        "Cargo.toml",
        manifest("app", "[lib]\ncrate-type = [\"cdylib\"]"),
    )
    .write("src/lib.rs", "#[no_mangle] pub extern \"C\" fn f() {}")
    .remove("src/main.rs");
    let has = |version: &str| {
        let library = fs::read(case.target().join("debug/libapp.so")).expect("the library exists");
        library
            .windows(version.len())
            .any(|window| window == version.as_bytes())
    };
    write("APPLES_1");
    compare(&case, &["build"]).ok();
    assert!(has("APPLES_1"));
    write("PEARS_2");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    assert!(has("PEARS_2") && !has("APPLES_1"));
}

#[test]
fn an_object_file_in_a_link_argument_changes() {
    let (case, dir) = program(&["rustc-link-arg-bins=NATIVE/extra.o"]);
    object(&dir.join("extra.o"), &native(1));
    builds_and_prints(&case, "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    object(&dir.join("extra.o"), &native(2));
    builds_and_prints(&case, "2").compiles(&["app"]);
    object(&dir.join("extra.o"), &native(1));
    builds_and_prints(&case, "1");
}

#[test]
fn the_body_of_a_linker_wrapper_changes() {
    let (mut case, dir) = program(&[]);
    case.remove("build.rs");
    let linker = dir.join("cc-wrapper");
    archive(&dir.join("libother.a"), &native(2));
    let write = |library: &str| {
        let library = dir.join(library);
        write_script(&linker, &format!("exec cc \"$@\" {}\n", library.display()));
    };
    case.env("RUSTFLAGS", format!("-Clinker={}", linker.display()));
    write("libnative.a");
    builds_and_prints(&case, "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    write("libother.a");
    builds_and_prints(&case, "2").compiles(&["app"]);
    write("libnative.a");
    builds_and_prints(&case, "1").compiles(&[]);
}

#[test]
fn a_linker_wrapper_follows_a_link() {
    let (mut case, dir) = program(&[]);
    case.remove("build.rs");
    let linker = dir.join("cc-wrapper");
    archive(&dir.join("libother.a"), &native(2));
    let current = dir.join("current");
    write_script(
        &linker,
        &format!(
            "exec cc \"$@\" {dir}/$(readlink {current})\n",
            dir = dir.display(),
            current = current.display()
        ),
    );
    case.env("RUSTFLAGS", format!("-Clinker={}", linker.display()));
    let point = |library: &str| {
        let _ = fs::remove_file(&current);
        std::os::unix::fs::symlink(library, &current).expect("the link should be creatable");
    };
    point("libnative.a");
    builds_and_prints(&case, "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    point("libother.a");
    builds_and_prints(&case, "2").compiles(&["app"]);
}

#[test]
fn the_linker_behind_cc_is_replaced() {
    let (mut case, dir) = program(&[]);
    case.remove("build.rs");
    // `cc` looks for `ld` in the directories given by -B first.
    let ld = dir.join("ld");
    archive(&dir.join("libother.a"), &native(2));
    let write = |library: &str| {
        let library = dir.join(library);
        write_script(
            &ld,
            &format!("exec /usr/bin/ld \"$@\" {}\n", library.display()),
        );
    };
    let flags = format!(
        "-Clinker-features=-lld -Clink-self-contained=-linker -Zunstable-options -Clink-arg=-B{}",
        dir.display()
    );
    case.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
    write("libnative.a");
    builds_and_prints(&case, "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    write("libother.a");
    builds_and_prints(&case, "2").compiles(&["app"]);
}

#[test]
fn a_linker_found_through_the_search_path_changes_place() {
    let (mut case, dir) = program(&[]);
    case.remove("build.rs");
    let path = std::env::var("PATH").expect("PATH should be set");
    archive(&dir.join("libother.a"), &native(2));
    for (place, library) in [("near", "libother.a"), ("far", "libnative.a")] {
        let bin = dir.join(place);
        fs::create_dir_all(&bin).expect("the directory should be creatable");
        let library = dir.join(library);
        write_script(
            &bin.join("my-cc"),
            &format!("exec cc \"$@\" {}\n", library.display()),
        );
    }
    let (near, far) = (dir.join("near"), dir.join("far"));
    case.env("RUSTFLAGS", "-Clinker=my-cc");
    case.env("PATH", format!("{}:{path}", far.display()));
    builds_and_prints(&case, "1");
    case.env(
        "PATH",
        format!("{}:{}:{path}", near.display(), far.display()),
    );
    builds_and_prints(&case, "2").compiles(&["app"]);
    case.env("PATH", format!("{}:{path}", far.display()));
    builds_and_prints(&case, "1").compiles(&[]);
}
