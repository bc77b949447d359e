//! Procedural macros run arbitrary code: what they read without telling rustc is an input all the
//! same, whether a crate uses them directly or through a library that re-exports them.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::{
    Case, bin_manifest, compare, compare_twice, lib_manifest, macro_manifest, manifest,
    write_script,
};

/// How the program gets at the macro.
const ROUTES: [&str; 2] = ["direct", "reexported"];

/// `app` prints what the macro `text!()` of the crate `mac` expands to.
pub(crate) fn project(route: &str, body: &str) -> Case {
    let case = Case::new();
    let user = if route == "direct" { "mac" } else { "facade" };
    case.write("Cargo.toml", bin_manifest("app", &[user]))
        .write(
            "src/main.rs",
            format!("fn main() {{ println!(\"{{:?}}\", {user}::text!()); }}"),
        )
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write(
            "mac/src/lib.rs",
            format!(
                "use proc_macro::{{Literal, TokenStream, TokenTree}};\n\
                 #[proc_macro]\npub fn text(_: TokenStream) -> TokenStream {{\n\
                 let text: String = {{ {body} }};\n\
                 TokenTree::from(Literal::string(&text)).into()\n}}\n"
            ),
        );
    if route != "direct" {
        case.write("facade/Cargo.toml", lib_manifest("facade", &["mac"]))
            .write("facade/src/lib.rs", "pub use mac::text;");
    }
    case
}

#[test]
fn a_macro_reads_a_file() {
    for route in ROUTES {
        let case = project(
            route,
            "std::fs::read_to_string(\"note.txt\").unwrap_or_default()",
        );
        case.write("note.txt", "one");
        compare_twice(&case, &["build"]);
        case.write("note.txt", "two");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.remove("note.txt");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.write("note.txt", "one");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn a_file_that_a_macro_looked_for_appears() {
    let case = project(
        "direct",
        "format!(\"{}\", std::path::Path::new(\"marker\").exists())",
    );
    compare(&case, &["build"]).ok();
    case.write("marker", "");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.remove("marker");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_macro_lists_a_directory() {
    for route in ROUTES {
        let case = project(
            route,
            "let mut names: Vec<_> = std::fs::read_dir(\"notes\").unwrap()\
             .map(|e| e.unwrap().file_name().into_string().unwrap()).collect();\
             names.sort(); names.join(\",\")",
        );
        case.write("notes/a", "");
        compare(&case, &["build"]).ok();
        case.write("notes/b", "");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.rename("notes/b", "notes/c");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.remove("notes/c");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn a_macro_walks_nested_directories() {
    let case = project(
        "direct",
        "fn walk(d: &std::path::Path) -> usize { std::fs::read_dir(d).unwrap().map(|e| {\
         let p = e.unwrap().path(); if p.is_dir() { walk(&p) } else { 1 } }).sum() }\
         walk(\"notes\".as_ref()).to_string()",
    );
    case.write("notes/deep/deeper/a", "");
    compare(&case, &["build"]).ok();
    case.write("notes/deep/deeper/b", "");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.remove("notes/deep/deeper/b");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_macro_reads_a_variable_whose_name_it_puts_together() {
    for route in ROUTES {
        let case = project(
            route,
            "let name = [\"CARGO\", \"PKG\", \"DESCRIPTION\"].join(\"_\");\
             std::env::var(name).unwrap_or_default()",
        );
        case.edit(
            "Cargo.toml",
            "[package]",
            "[package]\ndescription = \"one\"",
        );
        compare(&case, &["build"]).ok();
        case.edit("Cargo.toml", "\"one\"", "\"two\"");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.edit("Cargo.toml", "\"two\"", "\"one\"");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn a_macro_reads_what_the_kernel_tells_of_its_process() {
    let environment = "let all = std::fs::read(\"/proc/self/environ\").unwrap();\
                       let all = String::from_utf8_lossy(&all).into_owned();\
                       let name = [\"MACRO\", \"MOOD=\"].join(\"_\");\
                       all.split('\\0').find(|v| v.starts_with(&name)).unwrap_or_default().into()";
    let mut case = project("direct", environment);
    for mood in ["good", "bad", "good"] {
        case.env("MACRO_MOOD", mood);
        compare(&case, &["build"]).ok();
    }
    let file = "std::fs::read_to_string(\"/proc/self/cwd/note.txt\").unwrap()";
    let case = project("direct", file);
    for note in ["one", "two", "one"] {
        case.write("note.txt", note);
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn a_macro_asks_over_the_network() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let port = server.local_addr().expect("it is bound").port();
    let answer = Arc::new(Mutex::new("one"));
    let said = Arc::clone(&answer);
    std::thread::spawn(move || {
        for mut peer in server.incoming().flatten() {
            let text = *said.lock().expect("nobody panics with it");
            peer.write_all(text.as_bytes()).expect("the macro reads");
        }
    });
    let body = format!(
        "let mut text = String::new();\
         let mut peer = std::net::TcpStream::connect((\"127.0.0.1\", {port})).unwrap();\
         std::io::Read::read_to_string(&mut peer, &mut text).unwrap(); text"
    );
    for route in ROUTES {
        *answer.lock().expect("nobody panics with it") = "one";
        let mut case = project(route, &body);
        compare(&case, &["build"]).ok();
        *answer.lock().expect("nobody panics with it") = "two";
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.use_compiler_itself();
        compare(&case, &["build"]).ok();
        *answer.lock().expect("nobody panics with it") = "three";
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn a_macro_asks_over_the_network_without_a_connection() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port should be free");
    let port = server.local_addr().expect("it is bound").port();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((_, peer)) = server.recv_from(&mut [0; 9]) {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            let _ = server.send_to(&[if n < 2 { b'a' } else { b'b' }], peer);
        }
    });
    let body = format!(
        "let socket = std::net::UdpSocket::bind(\"127.0.0.1:0\").unwrap();\
         socket.send_to(b\"x\", (\"127.0.0.1\", {port})).unwrap();\
         let mut answer = [0; 9]; let n = socket.recv(&mut answer).unwrap();\
         String::from_utf8_lossy(&answer[..n]).into_owned()"
    );
    let case = project("direct", &body);
    compare(&case, &["build"]).ok();
    compare(&case, &["build"]).ok().compiles(&["app"]);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[test]
fn a_macro_asks_for_the_name_of_the_machine() {
    let case = project(
        "direct",
        "std::fs::read_to_string(\"/proc/sys/kernel/hostname\").unwrap()",
    );
    compare(&case, &["build"]).ok();
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_macro_reads_the_environment() {
    for route in ROUTES {
        let mut case = project(route, "format!(\"{:?}\", std::env::var(\"MACRO_MOOD\"))");
        for (value, compiles) in [
            (None, true),
            (Some("glad"), true),
            (Some("sad"), true),
            (Some(""), true),
            (None, false),
            (Some("glad"), false),
        ] {
            match value {
                Some(value) => case.env("MACRO_MOOD", value),
                None => case.unset("MACRO_MOOD"),
            };
            let build = compare(&case, &["build"]).ok();
            assert_eq!(
                build.compiled.contains(&"app".to_owned()),
                compiles,
                "{route} {value:?}"
            );
        }
    }
}

#[test]
fn a_variable_that_no_macro_names_changes_nothing() {
    let mut case = project("direct", "String::from(\"constant\")");
    compare(&case, &["build"]).ok();
    case.env("SOMETHING_ELSE", "entirely");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn the_code_of_a_macro_changes() {
    for route in ROUTES {
        let case = project(route, "String::from(\"one\")");
        compare(&case, &["build"]).ok();
        case.edit("mac/src/lib.rs", "one", "two");
        let build = compare(&case, &["build"]).ok();
        assert!(build.compiled.contains(&"mac".to_owned()));
        assert!(build.compiled.contains(&"app".to_owned()));
        case.edit("mac/src/lib.rs", "two", "one");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn a_dependency_of_a_macro_changes() {
    let case = project("direct", "helper::text()");
    case.write(
        "mac/Cargo.toml",
        lib_manifest("mac", &["helper"]) + "[lib]\nproc-macro = true\n",
    )
    .write("helper/Cargo.toml", lib_manifest("helper", &[]))
    .write(
        "helper/src/lib.rs",
        "pub fn text() -> String { String::from(\"one\") }",
    );
    compare(&case, &["build"]).ok();
    case.edit("helper/src/lib.rs", "one", "two");
    compare(&case, &["build"])
        .ok()
        .compiles(&["app", "helper", "mac"]);
    case.edit("helper/src/lib.rs", "two", "one");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_macro_reads_what_the_build_script_declared() {
    let case = project(
        "direct",
        "std::fs::read_to_string(std::env::var(\"OUT_DIR\").unwrap() + \"/schema\").unwrap()",
    );
    case.write("schema.txt", "one").write(
        "build.rs",
        "fn main() { println!(\"cargo::rerun-if-changed=schema.txt\");\n\
         let out = std::env::var(\"OUT_DIR\").unwrap();\n\
         std::fs::copy(\"schema.txt\", out + \"/schema\").unwrap(); }",
    );
    compare_twice(&case, &["build"]);
    case.write("schema.txt", "two");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.write("schema.txt", "one");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_macro_runs_a_program() {
    let case = project(
        "direct",
        "String::from_utf8(std::process::Command::new(\"./tool.sh\").output().unwrap().stdout).unwrap()",
    );
    case.write("tool.sh", "#!/bin/sh\ncat data.txt\n")
        .write("data.txt", "one");
    make_executable(&case, "tool.sh");
    compare_twice(&case, &["build"]);
    case.write("data.txt", "two");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.write("tool.sh", "#!/bin/sh\necho changed\n");
    make_executable(&case, "tool.sh");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_macro_asks_for_the_current_directory_in_two_checkouts() {
    let mut case = project(
        "direct",
        "std::env::current_dir().unwrap().display().to_string()",
    );
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere");
    compare(&case, &["build"]).ok();
}

#[test]
fn a_macro_computes_something_from_the_current_directory() {
    for route in ROUTES {
        let mut case = project(
            route,
            "std::env::current_dir().unwrap().as_os_str().len().to_string()",
        );
        compare_twice(&case, &["build"]);
        case.copy_project("a/longer/place");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.use_compiler_itself();
        compare(&case, &["build"]).ok();
        case.copy_project("yet/another/place");
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn a_macro_reads_the_manifest_directory_in_two_checkouts() {
    let mut case = project(
        "direct",
        "std::fs::read_to_string(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap() + \"/note.txt\").unwrap()",
    );
    case.write("note.txt", "first checkout");
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere");
    case.write("note.txt", "second checkout");
    compare(&case, &["build"]).ok();
}

#[test]
fn a_macro_that_panics_does_so_every_time() {
    let case = project(
        "direct",
        "std::fs::read_to_string(\"must-exist\").expect(\"the file\")",
    );
    for _ in 0..2 {
        compare(&case, &["build"]).fails();
    }
    case.write("must-exist", "here");
    compare(&case, &["build"]).ok();
    case.remove("must-exist");
    compare(&case, &["build"]).fails();
}

#[test]
fn a_macro_in_a_test_crate_of_the_same_package() {
    let case = project("direct", "std::fs::read_to_string(\"note.txt\").unwrap()");
    case.write("note.txt", "one")
        .write(
            "Cargo.toml",
            manifest("app", "[dev-dependencies]\nmac = { path = \"mac\" }"),
        )
        .write("src/main.rs", "fn main() {}")
        .write(
            "tests/reads.rs",
            "#[test]\nfn reads() { assert_eq!(mac::text!(), \"one\"); }",
        );
    let args = ["test", "--no-run", "--test", "reads"];
    compare_twice(&case, &args);
    case.write("note.txt", "two");
    compare(&case, &args).ok().compiles(&["reads[test]"]);
}

fn make_executable(case: &Case, name: &str) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(case.path(name), fs::Permissions::from_mode(0o755))
        .expect("the script should become executable");
}

#[test]
fn a_macro_resolves_a_link_that_is_pointed_elsewhere() {
    for body in [
        "std::fs::read_to_string(std::fs::canonicalize(\"current\").unwrap()).unwrap()",
        "std::fs::read_link(\"current\").unwrap().display().to_string()",
        "std::fs::symlink_metadata(\"current\").unwrap().len().to_string()",
    ] {
        let case = project("direct", body);
        case.write("a.txt", "one").write("second.txt", "two");
        symlink("a.txt", case.path("current")).expect("the link should be creatable");
        compare(&case, &["build"]).ok();
        case.remove("current");
        symlink("second.txt", case.path("current")).expect("the link should be creatable");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.remove("current");
        symlink("a.txt", case.path("current")).expect("the link should be creatable");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn what_a_macro_resolves_goes() {
    for body in [
        "std::fs::canonicalize(\"there\").is_ok().to_string()",
        "std::fs::canonicalize(\"there/below\").is_ok().to_string()",
        "std::fs::canonicalize(\"link\").is_ok().to_string()",
        "std::fs::read_link(\"there\").map_err(|e| e.kind()).unwrap_err().to_string()",
    ] {
        let case = project("direct", body);
        case.write("there/below", "one");
        symlink("there", case.path("link")).expect("the link should be creatable");
        compare_twice(&case, &["build"]);
        std::fs::remove_dir_all(case.path("there")).expect("it should be removable");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.write("there/below", "another");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn a_program_that_a_macro_runs_changes_into_a_linked_directory() {
    for script in ["cd current && cat note.txt", "grep -rh '' current/"] {
        let case = project(
            "direct",
            &format!(
                "let out = std::process::Command::new(\"sh\").args([\"-c\", {script:?}])\
                 .output().unwrap(); String::from_utf8(out.stdout).unwrap()"
            ),
        );
        case.write("first/note.txt", "one")
            .write("second/note.txt", "two");
        symlink("first", case.path("current")).expect("the link should be creatable");
        compare(&case, &["build"]).ok();
        case.remove("current");
        symlink("second", case.path("current")).expect("the link should be creatable");
        compare(&case, &["build"]).ok().compiles(&["app"]);
    }
}

#[test]
fn a_macro_asks_only_for_the_size_of_a_file() {
    let case = project(
        "direct",
        "std::fs::metadata(\"note.txt\").unwrap().len().to_string()",
    );
    case.write("note.txt", "one");
    compare(&case, &["build"]).ok();
    case.write("note.txt", "longer");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn what_a_macro_leaves_behind_is_there_after_every_build() {
    let effects = [
        ("std::fs::create_dir(\"made\").unwrap();", "made", false),
        (
            "std::os::unix::fs::symlink(\"nowhere\", \"made\").unwrap();",
            "made",
            false,
        ),
        ("let _ = std::fs::remove_file(\"spent\");", "spent", true),
    ];
    let routes = ROUTES.into_iter();
    for (route, (body, left, gone)) in routes.flat_map(|r| effects.map(|effect| (r, effect))) {
        let mut case = project(route, &format!("{body} String::new()"));
        // Which is watched less closely than the counting one.
        case.use_compiler_itself();
        for _ in 0..2 {
            case.wipe();
            if gone {
                case.write(left, "");
            }
            case.cargo(&["build"]).ok();
            let found = fs::symlink_metadata(case.path(left)).ok();
            assert_eq!(found.is_none(), gone, "{body}");
            match found {
                Some(found) if found.is_dir() => {
                    fs::remove_dir(case.path(left)).expect("the directory should be removable");
                }
                Some(_) => {
                    case.remove(left);
                }
                None => {}
            }
        }
    }
}

#[test]
fn a_macro_looks_into_a_directory_that_is_also_a_library_search_path() {
    let dir = "let dir = std::env::current_dir().unwrap().join(\"native\");";
    for body in [
        "dir.join(\"more\").exists().to_string()",
        "std::fs::read_dir(dir).unwrap().count().to_string()",
    ] {
        let case = project("direct", &format!("{dir} {body}"));
        case.write("native/one", "").write(
            "build.rs",
            "fn main() {\n\
             let dir = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap();\n\
             println!(\"cargo:rustc-link-search=native={dir}/native\");\n\
             println!(\"cargo:rerun-if-changed=build.rs\");\n}",
        );
        compare(&case, &["build"]).ok();
        case.write("native/more", "");
        compare(&case, &["build"]).ok().compiles(&["app"]);
    }
}

#[test]
fn a_program_that_a_macro_tried_to_run_appears() {
    for absolute in [false, true] {
        for route in ROUTES {
            let mut case = project(route, "String::new()");
            let tool = case.root().join("tools/my-tool");
            fs::create_dir(case.root().join("tools")).unwrap();
            let named = if absolute {
                tool.to_str().unwrap()
            } else {
                "my-tool"
            };
            case.edit(
                "mac/src/lib.rs",
                "String::new()",
                &format!(
                    "match std::process::Command::new({named:?}).output() {{\
                     Ok(o) => String::from_utf8(o.stdout).unwrap(), Err(_) => \"none\".into() }}"
                ),
            );
            let path = std::env::var("PATH").unwrap();
            case.env(
                "PATH",
                format!("{}:{path}", case.root().join("tools").display()),
            );
            compare_twice(&case, &["build"]);
            write_script(&tool, "echo found\n");
            compare(&case, &["build"]).ok().compiles(&["app"]);
            fs::remove_file(&tool).unwrap();
            compare(&case, &["build"]).ok().compiles(&[]);
        }
    }
}

#[test]
fn a_macro_computes_from_the_directory_that_it_resolved() {
    for body in [
        "std::fs::canonicalize(\".\").unwrap().as_os_str().len().to_string()",
        "std::fs::canonicalize(\"mac/src/lib.rs\").unwrap().as_os_str().len().to_string()",
        "std::fs::canonicalize(\"mac\").unwrap().ancestors().count().to_string()",
    ] {
        let mut case = project("direct", body);
        compare_twice(&case, &["build"]);
        case.copy_project("another/longer/name");
        compare(&case, &["build"]).ok().compiles(&["app"]);
    }
    // The counting compiler is a script, and what is loaded into a compiler is not loaded into what a script starts.
    let mut case = project(
        "direct",
        "std::fs::canonicalize(\".\").unwrap().as_os_str().len().to_string()",
    );
    case.use_compiler_itself();
    compare(&case, &["build"]).ok();
    case.copy_project("another/longer/name");
    compare(&case, &["build"]).ok();
    // The compiler resolves its own source's path, which binds nothing.
    let mut case = project("direct", "\"text\".to_owned()");
    compare(&case, &["build"]).ok();
    case.copy_project("another/longer/name");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_macro_reads_by_the_number_of_an_open_directory() {
    for route in ROUTES {
        let case = project(
            route,
            "use std::os::fd::AsRawFd as _; let dir = std::fs::File::open(\"notes\").unwrap();\
             std::fs::read_to_string(format!(\"/proc/self/fd/{}/note\", dir.as_raw_fd())).unwrap()",
        );
        case.write("notes/note", "one");
        compare_twice(&case, &["build"]);
        case.write("notes/note", "two");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        case.write("notes/note", "one");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

/// A macro that asks for the variable that its caller names, as `dotenvy_macro` does: as the
/// environment has it, else as `.env` does, where other variables may be filled in.
const ASKS: &str = r#"use proc_macro::{Literal, TokenStream, TokenTree};
fn ask(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) { return Some(value); }
    let file = std::fs::read_to_string(".env").ok()?;
    let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}=")))?;
    Some(match line.strip_prefix("$") {
        Some(other) => std::env::var(other).unwrap_or_default(),
        None => line.to_owned(),
    })
}
#[proc_macro] pub fn get(name: TokenStream) -> TokenStream {
    let name = name.to_string();
    let text = ask(name.trim_matches('"')).unwrap_or_default();
    TokenTree::from(Literal::string(&text)).into()
}
"#;

#[test]
fn a_macro_asks_for_the_variable_that_its_caller_names() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["mac"]))
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write("mac/src/lib.rs", ASKS)
        .write(
            "src/main.rs",
            "fn main() { println!(\"{} {}\", mac::get!(\"CALLED_KEY\"), mac::get!(CALLED_NAME));\n\
             let _ = std::env::var(\"RUN_TIME_KEY\"); }",
        );
    compare(&case, &["build"]).ok();
    for (name, value) in [
        ("CALLED_KEY", "one"),
        ("CALLED_KEY", "two"),
        ("CALLED_NAME", "three"),
    ] {
        case.env(name, value);
        compare(&case, &["build"]).ok().compiles(&["app"]);
        compare(&case, &["build"]).ok().compiles(&[]);
    }
    // What the program asks for when it runs tells the macro nothing.
    case.env("RUN_TIME_KEY", "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.write(".env", "CALLED_KEY=x\n");
    case.unset("CALLED_KEY");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_file_that_a_macro_reads_names_a_variable() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["mac"]))
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write("mac/src/lib.rs", ASKS)
        .write(".env", "CALLED_KEY=$FILLED_IN\n")
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", mac::get!(\"CALLED_KEY\")); }",
        );
    compare(&case, &["build"]).ok();
    for value in ["one", "two"] {
        case.env("FILLED_IN", value);
        compare(&case, &["build"]).ok().compiles(&["app"]);
    }
}

#[test]
fn what_shells_and_terminals_set_counts_if_a_macro_asks_for_it() {
    for name in ["TERM", "COLUMNS", "RUST_MIN_STACK"] {
        let body = format!("std::env::var(\"{name}\").unwrap_or_default()");
        let mut case = project("direct", &body);
        // Enough for the stacks of a compiler.
        for value in ["100000000", "200000000"] {
            case.env(name, value);
            compare(&case, &["build"]).ok();
        }
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}
