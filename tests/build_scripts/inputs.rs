//! What a run depends on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{builds, follows, is_cached, project};
use crate::harness::{Case, compare, lib_manifest, manifest, write_script};

/// Leaves a number that a C program prints, which includes a header found in `near`, then `far`.
const C_PROGRAM: &str = r#"
    println!("cargo:rerun-if-changed=native");
    let object = out.join("value.o");
    run("cc", &["-c", "native/value.c", "-Inative/near", "-Inative/far", "-o", object.to_str().unwrap()]);
    let program = out.join("value");
    run("cc", &[object.to_str().unwrap(), "-o", program.to_str().unwrap()]);
    leave(&run(program.to_str().unwrap(), &[]));
"#;

fn c_program() -> Case {
    let case = project(C_PROGRAM);
    case.write("native/near/other.h", "")
        .write("native/far/value.h", "#define VALUE 1\n")
        .write(
            "native/value.c",
            "#include <stdio.h>\n#include \"value.h\"\n\
             int main(void) { printf(\"%d\\n\", VALUE); return 0; }\n",
        );
    case
}

#[test]
fn a_generated_source() {
    let case = project("leave(&fs::read_to_string(\"words\").unwrap());");
    case.write("words", "one");
    follows(
        &case,
        "one",
        "two",
        || case.write("words", "two"),
        || case.write("words", "one"),
    );
}

#[test]
fn a_directory_listing() {
    let case = project(
        "let mut names: Vec<_> = fs::read_dir(\"words\").unwrap()\
         .map(|e| e.unwrap().file_name().into_string().unwrap()).collect();\
         names.sort(); leave(&names.join(\",\"));",
    );
    case.write("words/a", "");
    follows(
        &case,
        "a",
        "a,b",
        || case.write("words/b", ""),
        || case.remove("words/b"),
    );
}

#[test]
fn a_header_changes_in_place() {
    let case = c_program();
    follows(
        &case,
        "1",
        "2",
        || case.write("native/far/value.h", "#define VALUE 2\n"),
        || case.write("native/far/value.h", "#define VALUE 1\n"),
    );
}

#[test]
fn a_header_is_shadowed_by_a_new_one() {
    let case = c_program();
    follows(
        &case,
        "1",
        "3",
        || case.write("native/near/value.h", "#define VALUE 3\n"),
        || case.remove("native/near/value.h"),
    );
}

#[test]
fn flags_for_the_c_compiler_change() {
    let mut case = c_program();
    case.edit(
        "build.rs",
        "&[\"-c\",",
        "&[&format!(\"-DX{}\", env::var(\"CFLAGS\").unwrap_or_default()), \"-c\",",
    );
    case.edit(
        "native/value.c",
        "VALUE);",
        "VALUE\n#ifdef XMORE\n+ 5\n#endif\n);",
    );
    is_cached(&case, "1");
    case.env("CFLAGS", "MORE");
    is_cached(&case, "6");
    // Empty is not the same as not set, to a script that looks.
    case.env("CFLAGS", "");
    is_cached(&case, "1");
    case.unset("CFLAGS");
    builds(&case, &[]);
}

/// A tool that is found through `PATH`, and the directories it may lie in.
fn tool_case(body: &str) -> Case {
    let mut case = project(body);
    let path = std::env::var("PATH").expect("PATH should be set");
    let (near, far) = (case.root().join("near"), case.root().join("far"));
    for dir in [&near, &far] {
        fs::create_dir(dir).expect("the directory should be creatable");
    }
    case.env(
        "PATH",
        format!("{}:{}:{path}", near.display(), far.display()),
    );
    case
}

#[test]
fn what_a_tool_like_pkg_config_says_changes() {
    let case = tool_case("leave(&run(\"pkg-config\", &[\"--libs\", \"thing\"]));");
    let pc = case.root().join("thing.pc");
    let tool = case.root().join("far/pkg-config");
    write_script(
        &tool,
        &format!("read line <'{}'; echo \"$line\"\n", pc.display()),
    );
    fs::write(&pc, "-lthing\n").expect("the file should be writable");
    follows(
        &case,
        "-lthing",
        "-lother",
        || fs::write(&pc, "-lother\n").expect("the file should be writable"),
        || fs::write(&pc, "-lthing\n").expect("the file should be writable"),
    );
    // The tool itself changes, and another one comes before it.
    write_script(&tool, "echo new\n");
    is_cached(&case, "new");
    let nearer = case.root().join("near/pkg-config");
    write_script(&nearer, "echo nearer\n");
    is_cached(&case, "nearer");
    fs::remove_file(&nearer).expect("the tool should be removable");
    builds(&case, &[]);
}

#[test]
fn a_tool_that_was_missing_appears() {
    let case = tool_case(
        "let found = Command::new(\"my-strange-tool\").output();\
         leave(if found.is_ok() { \"found\" } else { \"missing\" });",
    );
    let tool = case.root().join("near/my-strange-tool");
    follows(
        &case,
        "missing",
        "found",
        || write_script(&tool, "exit 0\n"),
        || fs::remove_file(&tool).expect("the tool should be removable"),
    );
}

#[test]
fn a_tool_appears_in_a_directory_that_is_new_in_the_search_path() {
    // Looked for in the way of the `which` crate, without starting it.
    let mut case = project(
        "let path = env::var_os(\"PATH\").unwrap();\
         let found = env::split_paths(&path).any(|dir| dir.join(\"my-strange-tool\").is_file());\
         leave(if found { \"found\" } else { \"missing\" });",
    );
    let path = std::env::var("PATH").expect("PATH should be set");
    case.env("PATH", path.as_str());
    is_cached(&case, "missing");
    let dir = case.root().join("added");
    fs::create_dir(&dir).expect("the directory should be creatable");
    write_script(&dir.join("my-strange-tool"), "exit 0\n");
    case.env("PATH", format!("{}:{path}", dir.display()));
    is_cached(&case, "found");
    case.env("PATH", path);
    builds(&case, &[]);
}

#[test]
fn the_environment_changes() {
    let body = [
        "println!(\"cargo:rerun-if-env-changed=DECLARED\");\
         leave(&env::var(\"DECLARED\").unwrap_or(\"none\".into()));",
        // Not declared: found by its name in the executable.
        "leave(&env::var(\"SOMETHING_UNDECLARED\").unwrap_or(\"none\".into()));",
        // In the names of tools, composed at run time.
        "let target = env::var(\"TARGET\").unwrap().replace('-', \"_\");\
         leave(&env::var(format!(\"CXX_{target}\")).unwrap_or(\"none\".into()));",
        // All that begin alike.
        "let mut all: Vec<_> = env::vars().filter(|(k, _)| k.starts_with(\"MY_PREFIX_\"))\
         .map(|(_, v)| v).collect(); all.push(\"none\".into()); leave(&all[0]);",
    ];
    let target = "CXX_x86_64_unknown_linux_gnu".replace("x86_64", std::env::consts::ARCH);
    let names = ["DECLARED", "SOMETHING_UNDECLARED", &target, "MY_PREFIX_X"];
    for (body, name) in body.into_iter().zip(names) {
        let mut case = project(body);
        is_cached(&case, "none");
        case.env(name, "here");
        is_cached(&case, "here");
        case.env(name, "there");
        is_cached(&case, "there");
        case.unset(name);
        builds(&case, &[]);
        assert_eq!(case.printed("debug/app"), "none", "{name}");
    }
}

#[test]
fn a_composed_name_that_is_declared() {
    let mut case = project(
        "let name = format!(\"{}_STATIC\", \"zlib\".to_uppercase());\
         println!(\"cargo::rerun-if-env-changed={name}\");\
         leave(&env::var(name).unwrap_or(\"none\".into()));",
    );
    is_cached(&case, "none");
    case.env("ZLIB_STATIC", "1");
    is_cached(&case, "1");
}

#[test]
fn features_and_profiles_are_told_apart() {
    let case = project(
        "leave(&format!(\"{} {}\", env::var_os(\"CARGO_FEATURE_EXTRA\").is_some(),\
         env::var(\"OPT_LEVEL\").unwrap()));",
    );
    case.write("Cargo.toml", manifest("app", "[features]\nextra = []\n"));
    is_cached(&case, "false 0");
    compare(&case, &["build", "--features", "extra"]).ok();
    assert_eq!(case.printed("debug/app"), "true 0");
    compare(&case, &["build", "--release"]).ok();
    assert_eq!(case.printed("release/app"), "false 3");
    builds(&case, &[]);
}

#[test]
fn metadata_of_links_reaches_dependents() {
    let case = project("leave(&env::var(\"DEP_DEEP_WORD\").unwrap());");
    let package = "links = \"deep\"\n";
    let lib =
        lib_manifest("deep", &[]).replace("[dependencies]", &format!("{package}[dependencies]"));
    case.write(
        "Cargo.toml",
        manifest("app", "[dependencies]\ndeep = { path = \"deep\" }"),
    )
    .write("deep/Cargo.toml", lib)
    .write("deep/src/lib.rs", "")
    .write("deep/word", "one")
    .write(
        "deep/build.rs",
        super::script(
            "println!(\"cargo:word={}\", fs::read_to_string(\"word\").unwrap());\
                 println!(\"cargo::metadata=dir={}\", out.display());",
        ),
    );
    builds(&case, &["app", "deep"]);
    builds(&case, &[]);
    case.write("deep/word", "two");
    builds(&case, &["app", "deep"]);
    assert_eq!(case.printed("debug/app"), "two");
    case.write("deep/word", "one");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "one");
}

#[test]
fn the_state_of_git() {
    let case = project("leave(&run(\"git\", &[\"rev-parse\", \"HEAD\"])[..7]);");
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(case.path("")).args(args);
        command
            .args(["--quiet"])
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "a")
                .env(format!("GIT_{role}_EMAIL"), "a@b");
            command.env(format!("GIT_{role}_DATE"), "2020-01-01T00:00:00Z");
        }
        command.status().is_ok_and(|status| status.success())
    };
    if !git(&["init"]) {
        eprintln!("skipped: git is not installed");
        return;
    }
    let commit = |message: &str| assert!(git(&["commit", "--allow-empty", "-m", message]));
    let head = || {
        let dir = fs::read_to_string(case.path(".git/HEAD")).expect("HEAD should be readable");
        let branch = dir.trim_start_matches("ref: ").trim();
        let id = fs::read_to_string(case.path(".git").join(branch));
        id.expect("the branch should be readable")[..7].to_owned()
    };
    commit("one");
    let one = head();
    is_cached(&case, &one);
    commit("two");
    assert_ne!(head(), one);
    is_cached(&case, &head());
    assert!(git(&["reset", "--hard", "HEAD~"]));
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), one);
}

#[test]
fn a_file_behind_a_link_in_the_output_directory() {
    let case = project(
        "std::os::unix::fs::symlink(env::current_dir().unwrap().join(\"words\"), out.join(\"link\")).unwrap();\
         leave(&fs::read_to_string(out.join(\"link/one\")).unwrap());",
    );
    case.write("words/one", "1");
    follows(
        &case,
        "1",
        "2",
        || case.write("words/one", "2"),
        || case.write("words/one", "1"),
    );
}

#[test]
fn a_file_found_from_the_output_directory() {
    let case = project("leave(&fs::read_to_string(out.join(\"../../../../../word\")).unwrap());");
    case.write("word", "1");
    follows(
        &case,
        "1",
        "2",
        || case.write("word", "2"),
        || case.write("word", "1"),
    );
}

#[test]
fn probes_of_the_compiler() {
    // As autocfg does it: through the wrapper, and some are meant to fail.
    let mut case = project(
        r#"
        let probe = |name: &str, code: &str| {
            let wrapper = env::var_os("RUSTC_WRAPPER").filter(|w| !w.is_empty());
            let rustc = env::var_os("RUSTC").unwrap();
            let mut command = match wrapper {
                Some(wrapper) => { let mut c = Command::new(wrapper); c.arg(rustc); c }
                None => Command::new(rustc),
            };
            fs::write(out.join("probe.rs"), code).unwrap();
            command.args(["--crate-type=lib", "--emit=metadata", "--crate-name"]).arg(name);
            command.arg("--out-dir").arg(&out).arg(out.join("probe.rs"));
            command.output().unwrap().status.success()
        };
        let header = fs::read_to_string("probed.rs").unwrap();
        leave(&format!("{} {}", probe("good", &header), probe("bad", "fn x() { y(); }")));
        "#,
    );
    // The counting compiler writes a log, which a build script must not.
    let rustc = case.toolchain().bin("rustc");
    case.env("RUSTC", rustc);
    case.write("probed.rs", "pub fn x() {}");
    follows(
        &case,
        "true false",
        "false false",
        || case.write("probed.rs", "pub fn x() { nothing() }"),
        || case.write("probed.rs", "pub fn x() {}"),
    );
}

#[test]
fn permissions_that_are_copied() {
    let case = project(
        "use std::os::unix::fs::PermissionsExt as _;\
         fs::copy(\"tool\", out.join(\"tool\")).unwrap();\
         let mode = fs::metadata(out.join(\"tool\")).unwrap().permissions().mode();\
         leave(&format!(\"{:o}\", mode & 0o777));",
    );
    case.write("tool", "");
    let set = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(case.path("tool"), permissions).expect("it should be ours");
    };
    set(0o644);
    follows(&case, "644", "750", || set(0o750), || set(0o644));
}

#[test]
fn the_umask() {
    let mut case = project("leave(&run(\"/bin/sh\", &[\"-c\", \"umask\"]));");
    let runs = format!("exec 9>>'{}'; ", case.root().join("runs").display());
    for (umask, text) in [("022", "0022"), ("077", "0077"), ("022", "0022")] {
        let with_umask = format!("{runs}umask {umask}; exec \"$@\"");
        case.launcher(&["/bin/sh", "-c", &with_umask, "sh"]);
        compare(&case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), text);
    }
}

#[test]
fn programs_other_than_the_compiler_and_their_variables() {
    // Interpreters, and libraries that read the environment for them.
    let mut case = project(
        "leave(&run(\"/bin/sh\", &[\"./script.sh\"]));\
         println!(\"cargo:rerun-if-changed=script.sh\");",
    );
    case.write(
        "script.sh",
        "read word <word; echo \"$word ${SUFFIX_OF_IT-none}\"\n",
    )
    .write("word", "one");
    is_cached(&case, "one none");
    case.env("SUFFIX_OF_IT", "some");
    is_cached(&case, "one some");
    case.write("word", "two");
    is_cached(&case, "two some");
    case.unset("SUFFIX_OF_IT").write("word", "one");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "one none");
}

#[test]
fn variables_named_in_what_programs_include() {
    for (command, files) in [
        (
            "sh ./script.sh",
            [
                ("script.sh", ". ./more.inc"),
                ("more.inc", "echo $WITH_SPEED"),
            ],
        ),
        (
            "make -s",
            [
                ("Makefile", "include more.inc\nall:\n\t@echo $(SPEED)"),
                ("more.inc", "SPEED=$(WITH_SPEED)"),
            ],
        ),
    ] {
        let mut case = project(&format!(
            "leave(&run(\"/bin/sh\", &[\"-c\", \"{command}\"]));\
             println!(\"cargo:rerun-if-changed=build.rs\");"
        ));
        for (name, text) in files {
            case.write(name, format!("{text}\n"));
        }
        case.env("WITH_SPEED", "fast");
        is_cached(&case, "fast");
        case.env("WITH_SPEED", "slow");
        is_cached(&case, "slow");
    }
}

#[test]
fn variables_named_in_a_program_that_the_script_compiles() {
    let mut case = project(
        "let helper = out.join(\"helper\");\
         run(\"cc\", &[\"helper.c\", \"-o\", helper.to_str().unwrap()]);\
         leave(&run(helper.to_str().unwrap(), &[]));\
         println!(\"cargo:rerun-if-changed=helper.c\");",
    );
    case.write(
        "helper.c",
        "#include <stdio.h>\n#include <stdlib.h>\n\
         int main(void) { const char *mode = getenv(\"HELPER_MODE\"); puts(mode ? mode : \"none\"); }\n",
    );
    is_cached(&case, "none");
    case.env("HELPER_MODE", "fast");
    is_cached(&case, "fast");
    case.unset("HELPER_MODE");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "none");
}

#[test]
fn what_is_only_looked_at() {
    let case = project(
        "let link = fs::read_link(\"link\").map(|l| l.display().to_string());\
         leave(&format!(\"{} {} {}\", Path::new(\"there\").exists(), Path::new(\"dir\").is_dir(),\
         link.unwrap_or(\"none\".into())));",
    );
    case.write("there", "").write("dir", "");
    is_cached(&case, "true false none");
    case.remove("dir").write("dir/x", "");
    is_cached(&case, "true true none");
    std::os::unix::fs::symlink("one", case.path("link")).expect("the link should be creatable");
    is_cached(&case, "true true one");
    case.remove("there").remove("link");
    std::os::unix::fs::symlink("two", case.path("link")).expect("the link should be creatable");
    is_cached(&case, "false true two");
}

#[test]
fn a_package_reached_through_a_link() {
    let mut case = project(
        "println!(\"cargo:dir={}\", env::var(\"CARGO_MANIFEST_DIR\").unwrap());\
         leave(&fs::read_to_string(\"word\").unwrap());",
    );
    case.write("word", "one");
    builds(&case, &["app"]);
    let link = case.root().join("link");
    std::os::unix::fs::symlink(case.path(""), &link).expect("the link should be creatable");
    case.enter(link);
    builds(&case, &[]);
    case.write("word", "two");
    is_cached(&case, "two");
}

#[test]
fn a_copied_script_whose_interpreter_is_not_there() {
    let interpreter = "/tmp/cachewrap-test-no-interpreter";
    let case = project(
        "run(\"cp\", &[\"tool\", \"copy\"].map(|n| if n == \"copy\" { out.join(n) } \
        else { n.into() }).each_ref().map(|p| p.to_str().unwrap())); leave(\"copied\");",
    );
    case.write("tool", format!("#!{interpreter}\necho 1\n"));
    is_cached(&case, "copied");
}
