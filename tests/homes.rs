//! One cache for users with homes of their own: what comes out the same in each is made once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_core::Store;

use crate::fail_open::is_root;
use crate::harness::{Case, Toolchain, bin_manifest, compare, macro_manifest, manifest};

/// Two homes, each with a checkout at the same place in it. What is found by `HOME`, and what is found from the
/// checkout upwards, is the same file then.
struct Homes {
    case: Case,
}

impl Homes {
    /// A program whose build script says `text`.
    fn new(body: &str) -> Self {
        Self::with(script(body))
    }

    fn with(script: String) -> Self {
        let mut case = Case::new();
        case.env("CACHEWRAP_BUILD_SCRIPTS", "all");
        case.write("Cargo.toml", manifest("app", ""))
            .write("src/main.rs", MAIN)
            .write("build.rs", script);
        let mut homes = Self { case };
        for name in ["a", "b/longer"] {
            fs::create_dir_all(homes.home(name)).expect("a home should be creatable");
        }
        homes.enter("a");
        homes
    }

    fn home(&self, name: &str) -> PathBuf {
        self.case.root().join("homes").join(name)
    }

    /// Goes on as another user, in a checkout of theirs.
    fn enter(&mut self, name: &str) -> &mut Self {
        let home = self.home(name);
        let project = home.join("src/project");
        if project.exists() {
            self.case.enter(project);
        } else {
            let name = project.strip_prefix(self.case.root()).expect("it is below");
            let name = name.to_str().expect("it is text").to_owned();
            self.case.copy_project(&name);
        }
        self.case.env("CARGO_HOME", home.join(".cargo"));
        self.case.env("HOME", home);
        self
    }

    /// Builds with and without the cache; whether the script's run was served.
    #[track_caller]
    fn builds(&self) -> bool {
        let before = runs(&self.case);
        compare(&self.case, &["build"]).ok();
        runs(&self.case) == before
    }

    /// A result of the one home is used in the other.
    #[track_caller]
    fn are_one(&mut self) {
        assert!(!self.builds(), "the first build");
        assert!(self.builds(), "the second build in the same home");
        self.enter("b/longer");
        assert!(self.builds(), "the first build in the other home");
    }

    /// What was made in one home is right in no other, and `compare` sees that nothing wrong is served.
    #[track_caller]
    fn differ(&mut self) {
        assert!(!self.builds(), "the first build");
        let first = self.case.printed("debug/app");
        assert!(self.builds(), "the second build in the same home");
        self.enter("b/longer");
        assert!(!self.builds(), "the first build in the other home");
        assert_ne!(self.case.printed("debug/app"), first);
        self.enter("a");
        assert!(self.builds(), "the third build in the first home");
    }
}

const MAIN: &str =
    "fn main() { print!(\"{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/text\"))); }";

/// A build script; `leave` writes `OUT_DIR/text`.
fn script(body: &str) -> String {
    format!(
        "#![allow(unused)]\nuse std::process::Command;\nuse std::{{env, fs}};\n\
         fn main() {{ println!(\"cargo:rerun-if-changed=build.rs\"); {body} }}\n\
         fn leave(text: &str) {{\n\
         fs::write(format!(\"{{}}/text\", env::var(\"OUT_DIR\").unwrap()), text).unwrap();\n}}\n\
         fn run(program: &str, args: &[&str]) -> String {{\n\
         let output = Command::new(program).args(args).output().unwrap();\n\
         assert!(output.status.success(), \"{{program}} {{args:?}}: {{output:?}}\");\n\
         String::from_utf8(output.stdout).unwrap().trim().to_owned()\n}}\n"
    )
}

/// How many runs of scripts were not served so far.
fn runs(case: &Case) -> u64 {
    let counters = Store::new(case.cache(), true).counters();
    let counters = counters.expect("the counters should be readable");
    let count = |name| counters.get(name).copied().unwrap_or(0);
    count("script_miss") + count("script_bypass")
}

#[test]
fn a_shell_that_could_have_known_home() {
    Homes::new("leave(&run(\"sh\", &[\"-c\", \"echo said\"]));").are_one();
}

#[test]
fn a_shell_that_is_told_by_a_pipe() {
    let body = "leave(&run(\"sh\", &[\"-c\", \"cat tool.sh | sh\"]));";
    let mut homes = Homes::new(body);
    for name in ["a", "b/longer"] {
        homes.enter(name).case.write("tool.sh", "echo said\n");
    }
    homes.enter("a").are_one();
}

#[test]
fn home_in_what_a_script_says_or_leaves() {
    for body in [
        "let home = env::var(\"HOME\").unwrap(); leave(\"x\"); leave(&home);\
         println!(\"cargo:rustc-link-search=native={home}\");",
        "leave(&env::var(\"HOME\").unwrap());",
        "leave(&run(\"sh\", &[\"-c\", \"echo in $HOME/x\"]));",
        "leave(&run(\"sh\", &[\"-c\", \"echo ~\"]));",
        "leave(&run(\"sh\", &[\"-c\", \"cd; pwd\"]));",
        "leave(&format!(\"{} {}\", env::var(\"OUT_DIR\").unwrap(), run(\"sh\", &[\"-c\", \"cd; pwd\"])));",
    ] {
        Homes::new(body).differ();
    }
}

#[test]
fn what_a_script_makes_of_home() {
    for body in [
        "leave(&env::var(\"HOME\").unwrap().len().to_string());",
        "let home = env::home_dir().unwrap(); leave(home.file_name().unwrap().to_str().unwrap());",
        "leave(&run(\"sh\", &[\"-c\", \"printf %s \\\"$HOME\\\" | cksum\"]));",
        "leave(&run(\"sh\", &[\"-c\", \"echo ~|cksum\"]));",
        "leave(&run(\"sh\", &[\"-c\", \"cd; pwd|cksum\"]));",
        "leave(&run(\"sh\", &[\"tool.sh\"]));",
        "leave(&env::var(\"CARGO_HOME\").unwrap().len().to_string());",
    ] {
        let mut homes = Homes::new(body);
        for name in ["b/longer", "a"] {
            homes
                .enter(name)
                .case
                .write("tool.sh", "set -- ~\necho \"$1\" | cksum\n");
        }
        homes.differ();
    }
}

#[test]
fn what_a_home_holds() {
    for body in [
        "let home = env::var(\"HOME\").unwrap();\
         leave(&fs::read_to_string(format!(\"{home}/.config/tool\")).unwrap_or_default());",
        "leave(&run(\"sh\", &[\"-c\", \"cd; cat .config/tool\"]));",
    ] {
        let mut homes = Homes::new(body);
        for (name, text) in [("a", "one"), ("b/longer", "two")] {
            let dir = homes.home(name).join(".config");
            fs::create_dir_all(&dir).expect("it should be creatable");
            fs::write(dir.join("tool"), text).expect("it should be writable");
        }
        homes.differ();
    }
}

#[test]
fn settings_that_are_the_same_in_both_homes() {
    let git = r#"leave(&run("git", &["-C", "/", "config", "--global", "--get", "a.b"]));"#;
    let mut homes = Homes::new(git);
    for name in ["a", "b/longer"] {
        let settings = homes.home(name).join(".gitconfig");
        fs::write(settings, "[a]\nb = same\n").expect("it should be writable");
    }
    // As long as both are there: nobody knows whether they were looked for in the home or by that path.
    homes.are_one();
    let settings = homes.home("b/longer").join(".gitconfig");
    fs::write(settings, "[a]\nb = other\n").expect("it should be writable");
    assert!(!homes.builds());
    assert_eq!(homes.case.printed("debug/app"), "other");
}

/// A path that was given as it is leads to the one home whoever asks.
#[test]
fn a_path_that_only_happens_to_lie_in_a_home() {
    let mut homes = Homes::new("let path = env!(\"SETTINGS\"); leave(&run(\"cat\", &[path]));");
    for name in ["a", "b/longer"] {
        let file = homes.home(name).join("settings");
        fs::write(file, "same").expect("it should be writable");
    }
    let settings = homes.home("a").join("settings");
    homes.case.env("SETTINGS", &settings);
    assert!(!homes.builds(), "the first build");
    homes.enter("b/longer");
    let _ = homes.builds();
    fs::write(settings, "changed").expect("it should be writable");
    assert!(!homes.builds(), "another content");
    assert_eq!(homes.case.printed("debug/app"), "changed");
}

/// From the target directory upwards, another place in the home leads elsewhere.
#[test]
fn what_lies_in_the_home_above_the_checkout() {
    let mut homes = Homes::new(
        "let out = std::path::PathBuf::from(env::var(\"OUT_DIR\").unwrap());\
         let above = out.ancestors().nth(6).unwrap();\
         leave(&fs::read_to_string(above.join(\"beside\")).unwrap());",
    );
    for (name, text) in [("a", "a"), ("b/longer", "b")] {
        fs::write(homes.home(name).join("src/beside"), text).unwrap_or_else(|_| {
            fs::create_dir_all(homes.home(name).join("src")).expect("it should be creatable");
            fs::write(homes.home(name).join("src/beside"), text).expect("it should be writable");
        });
    }
    homes.differ();
    // The same home, one directory further down.
    let deeper = homes.home("a/src/deeper");
    fs::create_dir_all(&deeper).expect("it should be creatable");
    fs::write(deeper.join("beside"), "deeper").expect("it should be writable");
    homes.case.copy_project("homes/a/src/deeper/project");
    assert!(!homes.builds());
    assert_eq!(homes.case.printed("debug/app"), "deeper");
}

#[test]
fn nobody_has_the_home_of_nobody() {
    let mut homes = Homes::new("leave(&run(\"sh\", &[\"-c\", \"echo said\"]));");
    homes.are_one();
    homes.case.env("HOME", "");
    assert!(!homes.builds(), "without a home");
    assert!(homes.builds(), "again");
}

/// A macro that makes `code` of the variable's value, and a program that prints what it gives.
fn with_macro(code: &str) -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["mac"]))
        .write("src/main.rs", "fn main() { print!(\"{}\", mac::get!()); }")
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write(
            "mac/src/lib.rs",
            format!(
                "use proc_macro::*;\n#[proc_macro] pub fn get(_: TokenStream) -> TokenStream {{\n\
                 let value: String = {code};\n\
                 TokenTree::from(Literal::string(&value)).into()\n}}\n"
            ),
        );
    case
}

#[test]
fn macros_that_embed_a_home() {
    for (variable, code) in [
        ("HOME", "std::env::var(\"HOME\").unwrap()"),
        ("HOME", "std::env::var(\"HOME\").unwrap().len().to_string()"),
        ("CARGO_HOME", "std::env::var(\"CARGO_HOME\").unwrap()"),
        (
            "CARGO_HOME",
            "std::env::var(\"CARGO_HOME\").unwrap().len().to_string()",
        ),
    ] {
        let mut case = with_macro(code);
        let mut printed = Vec::new();
        for home in ["one", "another", "one"] {
            let home = case.root().join(home);
            fs::create_dir_all(&home).expect("a home should be creatable");
            case.env(variable, &home);
            compare(&case, &["build"]).ok();
            printed.push(case.printed("debug/app"));
        }
        assert_ne!(printed[0], printed[1], "{variable}: {code}");
        assert_eq!(printed[0], printed[2], "{variable}: {code}");
    }
}

/// A registry in a directory, from which cargo unpacks packages into its home.
fn registry(case: &Case) {
    let dir = case.root().join("registry");
    let packages = case.root().join("packages");
    fs::create_dir_all(dir.join("index/de/pe")).expect("it should be creatable");
    let package = packages.join("depend-1.0.0");
    fs::create_dir_all(package.join("src")).expect("it should be creatable");
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"depend\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
        ),
        (
            "src/lib.rs",
            "pub const TEXT: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/text\"));\n\
             pub fn fail() { panic!(\"on purpose\") }\n\
             #[inline] pub fn sum(n: &[u8]) -> u8 { n.iter().sum() }\n",
        ),
        (
            "build.rs",
            &script("leave(&run(\"sh\", &[\"-c\", \"echo said\"]));"),
        ),
    ];
    for (name, text) in files {
        fs::write(package.join(name), text).expect("it should be writable");
    }
    let krate = dir.join("depend-1.0.0.crate");
    let tar = Command::new("tar")
        .args(["--sort=name", "-czf"])
        .arg(&krate)
        .arg("-C")
        .arg(&packages)
        .arg("depend-1.0.0")
        .status();
    assert!(tar.expect("tar should start").success());
    let sum = Command::new("sha256sum")
        .arg(&krate)
        .output()
        .expect("it should start");
    let sum = String::from_utf8(sum.stdout).expect("it is text");
    let sum = sum.split_whitespace().next().expect("it has a sum");
    let index = format!(
        "{{\"name\":\"depend\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{sum}\",\"features\":{{}},\"yanked\":false}}\n"
    );
    fs::write(dir.join("index/de/pe/depend"), index).expect("it should be writable");
    case.write(
        ".cargo/config.toml",
        format!(
            "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nlocal-registry = \"{}\"\n",
            dir.display()
        ),
    );
    case.write(
        "Cargo.toml",
        manifest("app", "[dependencies]\ndepend = \"1\""),
    )
    .write(
        "src/main.rs",
        "fn main() { println!(\"{} {}\", depend::TEXT, depend::sum(&[1, 2])); }",
    );
}

/// A user of their own, who shares paths of packages with nobody: a home, cargo's home, and a checkout elsewhere.
fn becomes(case: &mut Case, name: &str) {
    let home = case.root().join("homes").join(name);
    fs::create_dir_all(&home).expect("a home should be creatable");
    case.copy_project(&format!("checkouts/{name}/project"));
    case.env("CACHEWRAP_TRIM_PATHS", "all");
    case.env("CARGO_HOME", home.join("cargo"));
    case.env("HOME", home);
}

#[test]
fn homes_of_cargo_with_packages() {
    for args in [&["build"][..], &["build", "--release"], &["check"]] {
        let mut case = Case::new();
        registry(&case);
        for (name, compiled) in [("a", None), ("b/longer", Some(&[][..]))] {
            becomes(&mut case, name);
            // What is unpacked is told, once.
            case.bare_cargo(&["fetch"]).ok();
            let before = runs(&case);
            let built = compare(&case, args).ok();
            if let Some(compiled) = compiled {
                built.compiles(compiled);
                assert_eq!(runs(&case), before, "runs of scripts");
            }
        }
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it should be ours");
}

#[test]
fn two_users_with_one_store() {
    let may_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !is_root() || !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: it takes root to become somebody else");
        return;
    }
    let mut case = Case::new();
    open(case.root(), 0o755);
    let somebody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "test",
        "-x",
    ];
    let may_enter = Command::new("setpriv")
        .args(somebody)
        .arg(case.root())
        .status();
    if !may_enter.is_ok_and(|status| status.success()) {
        eprintln!("skipped: other users cannot enter the directory for temporary files");
        return;
    }
    registry(&case);
    // The toolchain may lie in a home that others cannot enter.
    let sysroot = case.toolchain().sysroot().to_owned();
    let mount = case.root().join("toolchain");
    case.use_toolchain(Toolchain::at(&mount));
    for dir in [mount.clone(), case.cache()] {
        fs::create_dir(&dir).expect("it should be creatable");
        open(&dir, 0o777);
    }
    // Where the compiler counts its runs.
    fs::write(case.root().join("log"), "").expect("it should be creatable");
    open(&case.root().join("log"), 0o666);
    let mounted = format!(
        "mount --bind '{}' '{}' && exec setpriv --clear-groups \"$@\"",
        sysroot.display(),
        mount.display()
    );
    for (name, id) in [("a", "65533"), ("b", "65534")] {
        becomes(&mut case, name);
        case.env("USER", name).env("LOGNAME", name);
        case.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let places = [case.root().join("homes").join(name), case.path("")];
        let owned = Command::new("chown")
            .args(["-R", id])
            .args(&places)
            .status();
        assert!(owned.expect("chown should start").success());
        let (user, group) = (format!("--reuid={id}"), format!("--regid={id}"));
        case.launcher(&["unshare", "-m", "sh", "-c", &mounted, "sh", &user, &group]);
        let before = runs(&case);
        let built = case.cargo(&["build"]).ok();
        let done = (built.compiled.len(), runs(&case) - before);
        assert_eq!(
            done == (0, 0),
            name == "b",
            "compilations and runs for {name}: {done:?}"
        );
    }
}
