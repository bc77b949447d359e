//! Runs in other checkouts and target directories.

use std::fs;
use std::path::Path;

use super::{builds, counted, is_cached, project, runs_in, script};
use crate::harness::{Case, Mode, manifest};

#[test]
fn another_checkout_and_another_target_directory_run_nothing() {
    let mut case = project(
        "leave(&fs::read_to_string(\"word\").unwrap());\
         println!(\"cargo:rerun-if-changed=word\");\
         println!(\"cargo:rustc-link-search=native={}\", out.display());\
         println!(\"cargo:dir={}\", out.display());\
         fs::write(out.join(\"thing.pc\"), format!(\"prefix={}\\nlibs=-L${{prefix}}\\n\", out.display())).unwrap();",
    );
    case.write("word", "one");
    builds(&case, &["app"]);
    // The comparison sees the paths in the text and in what the script said.
    case.copy_project("somewhere/else");
    builds(&case, &[]);
    let outside = case.root().join("outside");
    case.env("CARGO_TARGET_DIR", outside);
    builds(&case, &[]);
    case.write("word", "two");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "two");
}

#[test]
fn a_path_in_a_binary_binds_the_result_to_its_place() {
    let mut case = project(
        "leave(\"x\"); let path = out.to_str().unwrap();\
         fs::write(out.join(\"binary\"), format!(\"\\0{path}\\0\")).unwrap();",
    );
    builds(&case, &["app"]);
    builds(&case, &[]);
    let first = case.path("");
    case.copy_project("other");
    builds(&case, &["app"]);
    builds(&case, &[]);
    case.enter(first);
    builds(&case, &[]);
}

#[test]
fn a_path_inside_a_word_binds_the_result_to_its_place() {
    let mut case = project("leave(\"x\"); println!(\"cargo:rustc-flags=-L{}\", out.display());");
    builds(&case, &["app"]);
    case.copy_project("other");
    builds(&case, &["app"]);
    builds(&case, &[]);
}

#[test]
fn a_compressed_file_may_hide_a_path() {
    let mut case =
        project("leave(\"x\"); fs::write(out.join(\"x.gz\"), b\"\\x1f\\x8b whatever\").unwrap();");
    builds(&case, &["app"]);
    builds(&case, &[]);
    case.copy_project("other");
    builds(&case, &["app"]);
}

/// Asks whether cargo builds where the variable says, as `autocfg` does.
const PROBES: &str = "pub fn is_told() -> bool {\
     let told = std::env::var(\"CARGO_TARGET_DIR\");\
     told.is_ok_and(|told| std::env::var(\"OUT_DIR\").unwrap().contains(&told)) }";

#[test]
fn the_target_directory_by_its_variable() {
    let mut case = project("leave(&format!(\"{}\", probe::is_told()));");
    let files = [
        ("Cargo.toml", &*manifest("probe", "")),
        ("src/lib.rs", PROBES),
    ];
    let dependency = unpacked(&mut case, "probe", &files);
    case.write(
        "Cargo.toml",
        manifest("app", &format!("[build-dependencies]\n{dependency}")),
    );
    builds(&case, &["app"]);
    let [one, two] = ["one", "two"].map(|name| case.root().join(name));
    case.env("CARGO_TARGET_DIR", &one);
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "true");
    // The comparison sees the same in any directory that the variable names.
    case.env("CARGO_TARGET_DIR", &two);
    builds(&case, &[]);
    // Where cargo is told otherwise, the variable is only text.
    let three = case.root().join("three");
    for (told, target) in [
        (&*one, &two),
        (&one, &one),
        (&two, &one),
        (Path::new("relative"), &one),
        (Path::new("relative"), &three.join("relative")),
        (Path::new("relative"), &three),
    ] {
        case.env("CARGO_TARGET_DIR", told);
        let target = target.to_str().expect("it should be text");
        let _ = fs::remove_dir_all(target);
        case.cargo(&["build", "--target-dir", target]).ok();
        let text = walkdir::WalkDir::new(target).into_iter().flatten();
        let mut texts = text.filter(|entry| entry.path().ends_with("out/text"));
        let text = texts.next().expect("the script should leave a text");
        let text = fs::read_to_string(text.path()).expect("it should be readable");
        let told = told.to_str().expect("it should be text");
        assert_eq!(text, target.contains(told).to_string(), "{told} {target}");
    }
}

/// What a script finds above the target directory is that of its own checkout.
fn looks_above_the_target_directory(case: &mut Case) {
    let root = case.root().to_owned();
    for dir in ["one", "two"] {
        let dir = root.join(dir);
        std::fs::create_dir_all(&dir).expect("the directory should be creatable");
        let name = dir.file_name().expect("it has a name").as_encoded_bytes();
        std::fs::write(dir.join("beside"), name).expect("the file should be writable");
    }
    for dir in ["one", "two"] {
        case.copy_project(&format!("{dir}/project"));
        builds(case, &["app"]);
        assert_eq!(case.printed("debug/app"), dir);
    }
}

const READS_ABOVE: &str = "let above = out.ancestors().nth(5).unwrap();\
     leave(&fs::read_to_string(above.join(\"../beside\")).unwrap());";

#[test]
fn what_lies_above_the_target_directory_is_that_of_the_checkout() {
    looks_above_the_target_directory(&mut project(READS_ABOVE));
}

#[test]
fn what_lies_below_a_directory_of_the_search_path_is_no_program() {
    let mut case = project(READS_ABOVE);
    let path = std::env::var("PATH").expect("there should be a search path");
    let path = format!("{path}:{}", case.root().display());
    looks_above_the_target_directory(case.env("PATH", path));
}

/// A relative path between two directories is another one where they lie otherwise.
#[test]
fn a_relative_link_or_path_to_the_sources() {
    for body in [
        "std::os::unix::fs::symlink(up.join(\"data.txt\"), out.join(\"text\")).unwrap();",
        "fs::write(out.join(\"text\"), up.join(\"data.txt\").to_str().unwrap()).unwrap();",
    ] {
        let mut case = project(&format!(
            "let package = PathBuf::from(env::var_os(\"CARGO_MANIFEST_DIR\").unwrap());\
             let (to, from): (Vec<_>, Vec<_>) = (package.components().collect(), out.components().collect());\
             let same = to.iter().zip(&from).take_while(|(a, b)| a == b).count();\
             let mut up: PathBuf = (same..from.len()).map(|_| \"..\").collect();\
             up.extend(&to[same..]);\
             println!(\"cargo:rerun-if-changed=build.rs\");\
             {body}"
        ));
        case.write("data.txt", "data");
        builds(&case, &["app"]);
        builds(&case, &[]);
        case.env("CARGO_TARGET_DIR", case.path("at/another/depth"));
        builds(&case, &["app"]);
    }
}

#[test]
fn where_cargo_was_started_counts_for_scripts_that_ask() {
    let case = project("leave(&env::var(\"PWD\").unwrap_or_default());");
    case.write("sub/x", "");
    let mut texts = Vec::new();
    for dir in ["sub", "", "sub"] {
        case.wipe();
        let mut command = case.cargo_command(Mode::Cached, &["build"]);
        command.current_dir(case.path(dir));
        case.run(command).ok();
        texts.push(case.printed("debug/app"));
    }
    assert_eq!(texts[0], case.path("sub").display().to_string());
    assert_eq!(
        texts[1].trim_end_matches('/'),
        case.path("").display().to_string().trim_end_matches('/')
    );
    assert_eq!(texts[0], texts[2]);
}

#[test]
fn a_shell_that_is_told_where_it_is() {
    let mut case = project("leave(&run(\"sh\", &[\"-c\", \"echo said\"]));");
    let elsewhere = case.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    case.env("PWD", &elsewhere);
    is_cached(&case, "said");
    fs::remove_dir(&elsewhere).unwrap();
    case.unset("PWD");
    builds(&case, &[]);
}

/// Compiles C with debug information, and with a header that lies in `OUT_DIR`.
const COMPILES: &str = "\
    let include = out.join(\"include\");\
    fs::create_dir(&include).unwrap();\
    fs::write(include.join(\"value.h\"), \"static inline int given(void) { return 7; }\").unwrap();\
    let object = out.join(\"value.o\");\
    let include = format!(\"-I{}\", include.display());\
    run(\"cc\", &[\"-g\", \"-c\", \"value.c\", &include, \"-o\", object.to_str().unwrap()]);\
    run(\"ar\", &[\"crsD\", out.join(\"libvalue.a\").to_str().unwrap(), object.to_str().unwrap()]);\
    println!(\"cargo:rustc-link-search=native={}\", out.display());\
    println!(\"cargo:rustc-link-lib=static=value\");";

const VALUE: &str = "#include <value.h>\nint value(void) { return given(); }\n";

/// A package where cargo unpacks those of registries; returns how to depend on it.
fn unpacked(case: &mut Case, name: &str, files: &[(&str, &str)]) -> String {
    let home = case.root().join("home");
    let package = home.join("registry/src/index").join(name);
    fs::create_dir_all(package.join("src")).expect("directories should be creatable");
    for (file, text) in files {
        fs::write(package.join(file), text).expect("a file should be writable");
    }
    case.env("CARGO_HOME", home);
    format!("{name} = {{ path = '{}' }}\n", package.display())
}

/// A program and a package with C code that it depends on.
fn with_dependency_in_c() -> Case {
    let mut case = counted();
    let library = "unsafe extern \"C\" { fn value() -> i32; }\n\
        pub fn of_c() -> i32 { unsafe { value() } }\n";
    let files = [
        ("Cargo.toml", &*manifest("dep", "")),
        ("src/lib.rs", library),
        ("build.rs", &script(COMPILES)),
        ("value.c", VALUE),
    ];
    let dependency = unpacked(&mut case, "dep", &files);
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all");
    case.write(
        "Cargo.toml",
        manifest("app", &format!("[dependencies]\n{dependency}")),
    );
    case.write("src/main.rs", "fn main() { print!(\"{}\", dep::of_c()); }");
    case
}

/// Whether an object that a script left says where it was made.
fn names_its_place(case: &Case) -> bool {
    let out_dirs = walkdir::WalkDir::new(case.target()).into_iter().flatten();
    let object = out_dirs.map(walkdir::DirEntry::into_path);
    let mut object = object.filter(|path| path.ends_with("out/value.o"));
    let object = fs::read(object.next().expect("there should be one")).expect("it is readable");
    let place = case.target().into_os_string().into_encoded_bytes();
    object.windows(place.len()).any(|part| part == place)
}

#[test]
fn c_code_of_a_dependency_is_compiled_once_for_all_places() {
    let mut case = with_dependency_in_c();
    case.env("CACHEWRAP_PRELOAD", "auto");
    let build = |case: &Case, expected: &[&str]| {
        case.wipe();
        let runs = runs_in(case, || case.cargo(&["build"]).ok());
        assert_eq!(runs, expected);
        assert_eq!(case.printed("debug/app"), "7");
    };
    build(&case, &["dep"]);
    assert!(!names_its_place(&case));
    case.copy_project("elsewhere");
    build(&case, &[]);
    assert!(!names_its_place(&case));
    case.env("CARGO_TARGET_DIR", case.root().join("a/target"));
    build(&case, &[]);
    for (name, value) in [
        ("CACHEWRAP_TRIM_PATHS", "off"),
        ("CACHEWRAP_PRELOAD", "off"),
    ] {
        case.env(name, value);
        case.forget();
        build(&case, &["dep"]);
        assert!(names_its_place(&case), "{name}");
        case.copy_project(name);
        case.env("CARGO_TARGET_DIR", case.path("target"));
        build(&case, &["dep"]);
        case.unset(name).env("CACHEWRAP_PRELOAD", "auto");
    }
}

#[test]
fn c_code_of_an_own_package_says_where_it_is() {
    let mut case = project(&format!("leave(\"x\"); {COMPILES}"));
    case.write("value.c", VALUE);
    builds(&case, &["app"]);
    assert!(names_its_place(&case));
    case.copy_project("elsewhere");
    builds(&case, &["app"]);
}
