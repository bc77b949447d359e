//! Names in whole files, programs of the compilers at hand among them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("cache"), false);
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A program in C, or nothing where there is no compiler.
    fn c(&self, source: &str, flags: &[&str]) -> Option<PathBuf> {
        let source = self.write("program.c", source);
        let program = self.path("program");
        let mut cc = Command::new("cc");
        cc.args(flags).arg("-o").arg(&program).arg(source);
        cc.status()
            .is_ok_and(|status| status.success())
            .then_some(program)
    }

    fn rust(&self, source: &str, flags: &[&str]) -> PathBuf {
        self.write("program.rs", source);
        let program = self.path("program");
        let mut rustc = Command::new("rustc");
        // The same program each time: where its parts lie decides what looks like an address.
        rustc.current_dir(self.dir.path()).arg("program.rs");
        rustc.args(flags).arg("-o").arg(&program);
        assert!(rustc.status().unwrap().success());
        program
    }

    /// Which of some variables a file names, as one of a package does.
    fn named(&self, path: &Path, names: &[&str]) -> Vec<String> {
        let env: Environment = names.iter().map(|name| (*name, "1")).collect();
        let blob = BlobRef::of(&std::fs::read(path).unwrap());
        let code = [Code { blob, path }];
        let variables = variables(&self.store, &env, &code, &|_| false).unwrap();
        let names = variables.into_iter().map(|variable| variable.name);
        names.map(|name| String::from_utf8(name).unwrap()).collect()
    }
}

#[test]
fn names_inside_other_text_are_found_and_remembered() {
    let scene = Scene::new();
    let path = scene.write("code", b"\xcb\0.helloMY_VARIABLEworld.");
    let names = ["MY_VARIABLE", "OTHER", "CARGO_MAKEFLAGS"];
    assert_eq!(scene.named(&path, &names), ["MY_VARIABLE"]);
    // The second time the file is not needed any more.
    let code = Code {
        blob: BlobRef::of(b"\xcb\0.helloMY_VARIABLEworld."),
        path: Path::new("/nowhere"),
    };
    let names: [&[u8]; 2] = [b"OTHER", b"MY_VARIABLE"];
    let again = super::named(&scene.store, &[code], &names).unwrap();
    assert_eq!(again, [false, true]);
}

#[test]
fn code_that_shows_no_names_may_know_them_all() {
    let scene = Scene::new();
    let path = scene.write("tool.pyz", b"#!/usr/bin/env python3\nPK\x03\x04\x14\0\0\0");
    assert_eq!(scene.named(&path, &["A", "B", "_"]), ["A", "B"]);
}

#[test]
fn programs_in_rust_know_what_their_code_refers_to() {
    let source = r#"
        const TABLE: [&str; 2] = ["INSIDE_A", "IN"];
        fn main() {
            println!("a CIRCLE USERS {:?}", std::env::var("MY_X"));
            for name in TABLE { println!("{:?}", std::env::var_os(name)); }
            println!("{:?}", std::env::vars().any(|(name, _)| name == "COMPARED_NAME"));
            let word = std::env::args().next().unwrap();
            println!("{:?} {:?}", std::env::var(format!("{word}_FLAVOUR")),
                std::env::var(format!("TASTE_{word}")));
        }"#;
    let names = [
        "MY_X",
        "INSIDE_A",
        "IN",
        "COMPARED_NAME",
        "A_FLAVOUR",
        "TASTE_B",
        "CI",
        "USER",
        "RUST_BACKTRACE",
        "RUST_MIN_STACK",
        "PATH",
        "HOME",
    ];
    for flags in [&[][..], &["-O"], &["-O", "-Clto", "-Cstrip=symbols"]] {
        let scene = Scene::new();
        let program = scene.rust(source, flags);
        let mut expected = names[..6].to_vec();
        expected.sort_unstable();
        let mut found = scene.named(&program, &names);
        if flags.contains(&"-Cstrip=symbols") {
            // Without symbols, bytes that look like an address of a text may do so by chance.
            found.retain(|name| !matches!(name.as_str(), "CI" | "USER"));
        }
        assert_eq!(found, expected, "{flags:?}");
    }
}

#[test]
fn what_the_standard_library_names_counts_if_the_program_names_it_too() {
    let names = ["RUST_BACKTRACE", "RUST_MIN_STACK", "PATH", "TERM", "TMPDIR"];
    let source = r#"fn main() {
        std::thread::spawn(|| ()).join().unwrap();
        std::process::Command::new("true").env("A", "b").status().unwrap();
        NAMES
    }"#;
    for flags in [&[][..], &["-O"]] {
        let scene = Scene::new();
        let program = scene.rust(&source.replace("NAMES", ""), flags);
        assert!(scene.named(&program, &names).is_empty(), "{flags:?}");
        let reads = "for n in [\"PATH\", \"RUST_BACKTRACE\", \"RUST_MIN_STACK\", \"TERM\"] {
            println!(\"{:?}\", std::env::var_os(n)); }
            println!(\"{:?}\", std::env::temp_dir());";
        let scene = Scene::new();
        let program = scene.rust(&source.replace("NAMES", reads), flags);
        let expected = ["PATH", "RUST_BACKTRACE", "RUST_MIN_STACK", "TERM", "TMPDIR"];
        assert_eq!(scene.named(&program, &names), expected, "{flags:?}");
    }
}

#[test]
fn crates_that_only_look_programs_up_may_name_the_search_path() {
    let source = r#"
        static TABLE: [&str; 3] = ["PATH", "NUM_JOBS", "OTHER_X"];
        fn main() {
            for name in TABLE.iter().skip(std::env::args().count()) {
                println!("{:?}", std::env::var_os(name));
            }
            std::fs::create_dir(std::env::temp_dir()).ok();
        }"#;
    let names = ["PATH", "NUM_JOBS", "TMPDIR", "OTHER_X"];
    for (crate_name, expected) in [
        ("cc", &["OTHER_X"][..]),
        ("mine", &["NUM_JOBS", "OTHER_X", "PATH", "TMPDIR"]),
    ] {
        let scene = Scene::new();
        let program = scene.rust(source, &["--crate-name", crate_name]);
        assert_eq!(scene.named(&program, &names), expected, "{crate_name}");
    }
}

#[test]
fn programs_in_c_may_have_texts_of_any_form() {
    let source = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        extern char **environ;
        static const char texts[] = "MY_COLOURMY_FLAVOURCItaste";
        struct text { const char *start; int length; } name = { texts + 9, 10 };
        int main(void) {
            puts("of USERS and CIRCLE");
            puts(getenv("MY_ENDED") ? "" : "UNHOSTED");
            for (char **e = environ; *e; e++) {
                if (!memcmp(*e, name.start, name.length)) puts(*e);
                if (!strncmp(*e, "MY_COMPARED=", 12)) puts(*e);
                if (!memcmp(*e, "MY_INLINED=", 11)) puts(*e);
            }
            return 0;
        }"#;
    let names = [
        "MY_FLAVOUR",
        "MY_ENDED",
        "MY_COMPARED",
        "MY_INLINED",
        "USER",
        "CI",
        "HOST",
        "LANG",
    ];
    for flags in [
        &["-O0"][..],
        &["-O2"],
        &["-O2", "-static"],
        &["-O2", "-no-pie"],
    ] {
        let scene = Scene::new();
        let Some(program) = scene.c(source, flags) else {
            eprintln!("skipped: no C compiler for {flags:?}");
            continue;
        };
        let found = scene.named(&program, &names);
        let mut expected = names[..4].to_vec();
        expected.sort_unstable();
        // Linked in, the C library is part of the program, with all that it names.
        let by_chance = |name: &&String| matches!(&***name, "CI" | "LANG");
        let is_static = flags.contains(&"-static");
        let found: Vec<_> = found
            .iter()
            .filter(|name| !is_static || !by_chance(name))
            .collect();
        assert_eq!(found, expected, "{flags:?}");
    }
}

#[test]
fn short_names_stand_in_tables_of_numbers_by_chance() {
    let scene = Scene::new();
    let source = r#"
        #include <stdlib.h>
        const unsigned char numbers[] = { 0x83, 'C', 'I', 0xf1, 0x8f, 0xc0, 'T', 'Z', 0x10, 0 };
        const char known[][4] = { "AR", "LD" };
        int main(int c, char **v) { return numbers[c] + (getenv(known[c & 1]) != 0); }"#;
    let Some(program) = scene.c(source, &["-O0"]) else {
        eprintln!("skipped: no C compiler");
        return;
    };
    let named = scene.named(&program, &["CI", "TZ", "AR", "LD"]);
    assert_eq!(named, ["AR", "LD"]);
}

#[test]
fn the_c_library_names_what_is_asked_of_it() {
    let source = |call: &str| {
        format!("#include <locale.h>\n#include <time.h>\nint main(void) {{ {call}; return 0; }}")
    };
    let names = ["HOME", "LANG", "LC_ALL", "TZ"];
    for (call, expected) in [
        ("", &[][..]),
        // The locale in force is recorded instead.
        ("setlocale(LC_ALL, \"\")", &[]),
        ("tzset()", &["TZ"]),
    ] {
        let scene = Scene::new();
        let Some(program) = scene.c(&source(call), &[]) else {
            eprintln!("skipped: no C compiler");
            return;
        };
        assert_eq!(scene.named(&program, &names), expected, "{call}");
    }
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if libc.exists() {
        assert!(Scene::new().named(libc, &names).is_empty());
    }
}

#[test]
fn tools_of_the_system_name_what_every_tool_does() {
    let scene = Scene::new();
    let path = Path::new("/bin/sh");
    let named = scene.named(path, &["PATH", "PWD", "TERM", "SHELL"]);
    assert!(named.is_empty(), "{named:?}");
    let script = scene.write("tool", "#!/bin/sh\necho $PWD $TERM");
    assert_eq!(scene.named(&script, &["PWD", "TERM"]), ["TERM"]);
    let script = scene.write("tool.py", "print(os.environ['PWD'])");
    assert_eq!(scene.named(&script, &["PWD", "TERM"]), ["PWD"]);
}

#[test]
fn what_is_behind_a_program_may_be_its_script() {
    let scene = Scene::new();
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.extend(b"\nprint(process.env.PLAIN_X)\n");
    let plain = scene.write("plain", &program);
    let x = ["PL", "AIN_X"].concat();
    let y = ["PL", "AIN_Y"].concat();
    assert_eq!(scene.named(&plain, &[&x, &y]), [&*x]);
    program.extend(b"PK\x03\x04\x14\0");
    let packed = scene.write("packed", &program);
    assert_eq!(scene.named(&packed, &[&x, &y]), [x, y]);
}

#[test]
fn symbols_are_not_names_that_a_program_knows() {
    #[inline(never)]
    fn onlyasymbol() -> usize {
        std::hint::black_box(1)
    }
    assert_eq!(onlyasymbol(), 1);
    let own = std::env::current_exe().unwrap();
    // Made here, so that nothing but the function above is called that.
    let symbol = ["ONLYA", "SYMBOL"].concat().to_lowercase();
    assert!(Scene::new().named(&own, &[&symbol]).is_empty());
}
