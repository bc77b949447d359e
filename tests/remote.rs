//! Several machines and one remote: what one has made, the others need not make.
//!
//! A machine is a cache directory; the remote is a directory. Engines on the network have tests of their own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Case, bin_manifest, compare, lib_manifest, wrapper};
use crate::proc_macros::project;

const EVERYTHING: [&str; 3] = ["build", "--workspace", "--all-targets"];

/// A case whose remote everybody trusts.
fn team(mut case: Case) -> Case {
    case.env("CACHEWRAP_REMOTE_TRUST", "bucket");
    case
}

fn remote(case: &Case) -> PathBuf {
    case.root().join("remote")
}

/// Goes on at another machine, or goes back to one.
fn at_machine(case: &mut Case, name: &str, mode: &str) {
    let url = format!("file://{}?mode={mode}", remote(case).display());
    let cache = case.root().join(name);
    case.env("CACHEWRAP_DIR", cache)
        .env("CACHEWRAP_REMOTE", url);
}

fn command(case: &Case, args: &[&str]) -> Output {
    let program = wrapper().with_file_name("cargo-cachewrap");
    let program = if program.exists() {
        program
    } else {
        PathBuf::from(env!("CARGO_BIN_EXE_cargo-cachewrap"))
    };
    let mut command = case.wrapper_command();
    let env: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = Command::new(program);
    command.env_clear().args(args);
    for (name, value) in env {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .current_dir(case.path(""))
        .output()
        .expect("it should start")
}

#[track_caller]
fn push(case: &Case) {
    let pushed = command(case, &["push"]);
    assert!(pushed.status.success(), "{pushed:?}");
}

fn counters(case: &Case) -> BTreeMap<String, u64> {
    let store = cache_core::Store::new(case.cache(), true);
    store.counters().expect("they should be readable")
}

fn count(case: &Case, name: &str) -> u64 {
    counters(case).get(name).copied().unwrap_or(0)
}

/// The files of the remote, and what they hold.
fn objects(case: &Case) -> BTreeMap<PathBuf, Vec<u8>> {
    walkdir::WalkDir::new(remote(case))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock")
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("it should be readable");
            (entry.into_path(), bytes)
        })
        .collect()
}

#[test]
fn another_machine_compiles_nothing() {
    for args in [
        &EVERYTHING[..],
        &["build", "--release"],
        &["check"],
        &["clippy"],
    ] {
        let mut case = team(Case::fixture("kinds"));
        at_machine(&mut case, "one", "write");
        compare(&case, args).ok();
        push(&case);
        at_machine(&mut case, "two", "read");
        compare(&case, args).ok().compiles(&[]);
        assert!(count(&case, "remote.hit") > 0, "{:?}", counters(&case));
        // And another checkout on a third.
        case.copy_project("somewhere/else");
        at_machine(&mut case, "three", "read");
        compare(&case, args).ok().compiles(&[]);
    }
}

#[test]
fn permissions_that_were_looked_at_are_asked_for() {
    let looks = "use std::os::unix::fs::PermissionsExt as _;\
        let looked = std::fs::symlink_metadata(\"looked-at\").unwrap();\
        format!(\"{:o} {}\", looked.permissions().mode(), std::fs::read(\"read\").unwrap().len())";
    let mut case = team(project("direct", looks));
    let set = |case: &Case, mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(case.path("looked-at"), permissions).expect("it should be ours");
    };
    case.write("looked-at", "").write("read", "text");
    set(&case, 0o640);
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    at_machine(&mut case, "two", "read");
    compare(&case, &["build"]).ok().compiles(&[]);
    set(&case, 0o600);
    at_machine(&mut case, "three", "read");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn what_differs_is_compiled_and_nothing_else() {
    let mut case = team(Case::new());
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write("src/main.rs", "fn main() { println!(\"{} {}\", base::N, base::NAME); }")
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/src/lib.rs",
            "pub const N: usize = include_str!(\"n\").len();\npub const NAME: &str = env!(\"NAME\");",
        )
        .write("base/src/n", "1");
    case.env("NAME", "first");
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    let states: [(&str, &str, &[&str]); 5] = [
        ("1", "first", &[]),
        ("22", "first", &["app", "base"]),
        ("1", "second", &["app", "base"]),
        ("22", "second", &["app", "base"]),
        ("1", "first", &[]),
    ];
    for (n, (content, name, compiled)) in states.into_iter().enumerate() {
        case.write("base/src/n", content);
        case.env("NAME", name);
        at_machine(&mut case, &format!("reader-{n}"), "read");
        compare(&case, &["build"]).ok().compiles(compiled);
        let expected = format!("{} {name}", content.len());
        assert_eq!(case.printed("debug/app"), expected);
    }
    // What a reader made is not there.
    case.write("base/src/n", "22");
    case.env("NAME", "second");
    at_machine(&mut case, "two", "write");
    compare(&case, &["build"]).ok().compiles(&["app", "base"]);
    push(&case);
    at_machine(&mut case, "three", "read");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn runs_of_build_scripts_are_shared() {
    let mut case = team(Case::new());
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all")
        .env("FLAVOUR", "plain");
    case.write("Cargo.toml", bin_manifest("app", &[]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}{}\", env!(\"TOLD\"), include_str!(concat!(env!(\"OUT_DIR\"), \"/made\"))); }",
        )
        .write(
            "build.rs",
            "fn main() {\n\
             let flavour = std::env::var(\"FLAVOUR\").unwrap_or_default();\n\
             let text = std::fs::read_to_string(\"text\").unwrap();\n\
             let out = std::env::var(\"OUT_DIR\").unwrap();\n\
             std::fs::write(format!(\"{out}/made\"), text).unwrap();\n\
             println!(\"cargo:rerun-if-changed=text\\ncargo:rerun-if-env-changed=FLAVOUR\\ncargo:rustc-env=TOLD={flavour}\");\n\
             }",
        )
        .write("text", "one");
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    for (n, (text, flavour, scripts)) in
        [("one", "plain", 0), ("two", "plain", 1), ("one", "rich", 1)]
            .into_iter()
            .enumerate()
    {
        case.write("text", text);
        case.env("FLAVOUR", flavour);
        at_machine(&mut case, &format!("reader-{n}"), "read");
        compare(&case, &["build"]).ok();
        assert_eq!(
            count(&case, "script_miss"),
            scripts,
            "{:?}",
            counters(&case)
        );
        assert_eq!(case.printed("debug/app"), format!("{flavour}{text}"));
    }
}

#[test]
fn only_signed_results_are_taken() {
    let mut case = Case::fixture("kinds");
    let key = |name: &str| {
        let file = case.root().join(name);
        let made = command(
            &case,
            &["remote", "keygen", file.to_str().expect("it is text")],
        );
        assert!(made.status.success(), "{made:?}");
        let permissions = fs::metadata(&file)
            .expect("it should be there")
            .permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        let public = said.split("CACHEWRAP_REMOTE_TRUSTED=").nth(1);
        let public = public.expect("the public key is told").trim().to_owned();
        let secret = fs::read_to_string(&file).expect("it should be readable");
        assert!(!said.contains(secret.trim()), "the secret is told");
        (file, public)
    };
    let (ours, public) = key("ours");
    let (_, others) = key("others");
    let again = command(
        &case,
        &["remote", "keygen", ours.to_str().expect("it is text")],
    );
    assert!(!again.status.success(), "the key would be lost");
    // That nothing is read is told of.
    case.env("CACHEWRAP_LOG", "off");
    at_machine(&mut case, "one", "write");
    case.env("CACHEWRAP_REMOTE_SIGN_KEY_FILE", &ours);
    let all = compare(&case, &["build"]).ok().compiled;
    push(&case);
    case.unset("CACHEWRAP_REMOTE_SIGN_KEY_FILE");
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (n, (trusted, compiled)) in [
        (None, &all[..]),
        (Some(&others), &all),
        (Some(&public), &[]),
    ]
    .into_iter()
    .enumerate()
    {
        at_machine(&mut case, &format!("reader-{n}"), "read");
        if let Some(trusted) = trusted {
            case.env("CACHEWRAP_REMOTE_TRUSTED", trusted);
        }
        compare(&case, &["build"]).ok().compiles(compiled);
        let status = command(&case, &["remote", "status"]);
        assert_eq!(status.status.success(), trusted.is_some(), "{status:?}");
    }
}

#[test]
fn who_reads_writes_nothing() {
    let mut case = team(Case::fixture("kinds"));
    at_machine(&mut case, "one", "read");
    compare(&case, &["build"]).ok();
    assert!(!remote(&case).exists());
    let pushed = command(&case, &["push"]);
    assert_eq!(pushed.status.code(), Some(2), "{pushed:?}");
    at_machine(&mut case, "two", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    let before = objects(&case);
    assert!(!before.is_empty());
    case.write("src/lib.rs", "pub fn changed() {}");
    at_machine(&mut case, "three", "read");
    let _ = case.cargo(&["build"]);
    assert_eq!(objects(&case), before);
}

#[test]
fn a_remote_that_cannot_be_used_is_no_harm() {
    type Spoil = fn(&Path);
    let spoilers: [(&str, Spoil); 4] = [
        ("a file", |path| {
            fs::write(path, "a file").expect("it should be writable");
        }),
        ("a pipe", |path| {
            let made = Command::new("mkfifo").arg(path).status();
            assert!(made.is_ok_and(|status| status.success()));
        }),
        ("a link to nothing", |path| {
            std::os::unix::fs::symlink("/nonexistent/x", path).expect("it should be creatable");
        }),
        ("pipes for objects", |path| {
            fs::create_dir_all(path.join("cw1/default")).expect("it should be creatable");
            for part in ["n", "r"] {
                let made = Command::new("mkfifo")
                    .arg(path.join("cw1/default").join(part))
                    .status();
                assert!(made.is_ok_and(|status| status.success()));
            }
        }),
    ];
    for (what, spoil) in spoilers {
        let mut case = team(Case::fixture("kinds"));
        spoil(&remote(&case));
        // It is told of, once.
        case.env("CACHEWRAP_LOG", "off");
        at_machine(&mut case, "one", "write");
        let build = compare(&case, &["build"]).ok();
        assert!(!build.compiled.is_empty(), "{what}");
        compare(&case, &["build"]).ok().compiles(&[]);
        let pushed = command(&case, &["push"]);
        assert_eq!(pushed.status.code(), Some(1), "{what}: {pushed:?}");
        assert!(count(&case, "fault") == 0, "{what}: {:?}", counters(&case));
        // Nothing that was made is lost.
        let _ = fs::remove_file(remote(&case));
        let _ = fs::remove_dir_all(remote(&case));
        push(&case);
        at_machine(&mut case, "two", "read");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn damaged_objects_are_no_objects() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 4] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
        |bytes| bytes.extend_from_slice(b"more"),
    ];
    for damage in damages {
        let mut case = team(Case::fixture("kinds"));
        at_machine(&mut case, "one", "write");
        let all = compare(&case, &["build"]).ok().compiled;
        push(&case);
        for (path, mut bytes) in objects(&case) {
            damage(&mut bytes);
            fs::write(path, bytes).expect("it should be writable");
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        at_machine(&mut case, "two", "read");
        compare(&case, &["build"]).ok().compiles(&all);
        // And each instead of each.
        let whole = objects(&case);
        let paths: Vec<&PathBuf> = whole.keys().collect();
        for (n, path) in paths.iter().enumerate() {
            let other = paths[(n + 1) % paths.len()];
            fs::write(path, &whole[other]).expect("it should be writable");
        }
        at_machine(&mut case, "three", "read");
        compare(&case, &["build"]).ok().compiles(&all);
    }
}

#[test]
fn what_the_store_has_is_not_asked_for() {
    let mut case = team(Case::fixture("kinds"));
    case.env("CACHEWRAP_SEED", "off");
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    let before: BTreeMap<_, _> = counters(&case);
    compare(&case, &["build"]).ok().compiles(&[]);
    let of_remote = |counters: BTreeMap<String, u64>| {
        let remote = counters
            .into_iter()
            .filter(|(name, _)| name.starts_with("remote."));
        remote.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of_remote(counters(&case)), of_remote(before));
}

#[test]
fn edits_are_neither_asked_for_nor_sent() {
    let mut case = team(Case::new());
    case.write("Cargo.toml", bin_manifest("app", &[]))
        .write("src/main.rs", "fn main() { println!(\"1\"); }");
    case.env("CARGO_INCREMENTAL", "1");
    at_machine(&mut case, "one", "write");
    case.cargo(&["build"]).ok();
    push(&case);
    let (sent, asked) = (count(&case, "remote.sent"), count(&case, "remote.miss"));
    case.write("src/main.rs", "fn main() { println!(\"2\"); }");
    case.cargo(&["build"]).ok().compiles(&["app"]);
    assert_eq!(case.printed("debug/app"), "2");
    push(&case);
    assert_eq!(
        (count(&case, "remote.sent"), count(&case, "remote.miss")),
        (sent, asked)
    );
}

#[test]
fn values_of_variables_do_not_leave_the_machine() {
    let mut case = team(Case::new());
    case.write("Cargo.toml", bin_manifest("app", &[])).write(
        "src/main.rs",
        "const N: usize = env!(\"TOKEN\").len(); fn main() { println!(\"{N}\"); }",
    );
    let secret = "a-value-that-is-nobodys-business";
    case.env("TOKEN", secret);
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    let objects = objects(&case);
    let offers: Vec<_> = objects
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains("/n/"))
        .collect();
    assert!(!offers.is_empty());
    for (path, bytes) in offers {
        let holds = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!holds(secret), "{}", path.display());
    }
    at_machine(&mut case, "two", "read");
    compare(&case, &["build"]).ok().compiles(&[]);
    // Of the same length, and yet another.
    case.env("TOKEN", secret.replace('a', "b"));
    at_machine(&mut case, "three", "read");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_project_does_not_say_where_results_come_from() {
    let mut case = team(Case::fixture("kinds"));
    at_machine(&mut case, "one", "write");
    let all = compare(&case, &["build"]).ok().compiled;
    push(&case);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let url = format!("file://{}", remote(&case).display());
    case.unset("CACHEWRAP_REMOTE")
        .unset("CACHEWRAP_REMOTE_TRUST");
    let cache = case.root().join("two");
    case.env("CACHEWRAP_DIR", cache);
    let config = format!(
        "[env]\nCACHEWRAP_REMOTE = \"{url}\"\nCACHEWRAP_REMOTE_TRUST = {{ value = \"bucket\", force = true }}\n"
    );
    case.write(".cargo/config.toml", config);
    let build = case.wipe().cargo(&["build"]).ok().compiles(&all);
    assert!(
        build.stderr.contains("was set by the project"),
        "{}",
        build.stderr
    );
    // Nor by where the user's settings are.
    let settings = case.path("xdg/cachewrap/config.toml");
    let text = format!("[remote]\nurl = \"{url}\"\ntrust = \"bucket\"\n");
    case.write("xdg/cachewrap/config.toml", text);
    let dir = settings
        .ancestors()
        .nth(2)
        .expect("it lies there")
        .display();
    let config = format!("[env]\nXDG_CONFIG_HOME = {{ value = \"{dir}\", force = true }}\n");
    case.write(".cargo/config.toml", config);
    let cache = case.root().join("by settings");
    case.env("CACHEWRAP_DIR", cache);
    case.wipe().cargo(&["build"]).ok().compiles(&all);
    // Nor whom to trust, where the remote is the user's.
    let config = "[env]\nCACHEWRAP_REMOTE_TRUST = { value = \"bucket\", force = true }\n";
    case.write(".cargo/config.toml", config);
    case.env("CACHEWRAP_REMOTE", url);
    let cache = case.root().join("three");
    case.env("CACHEWRAP_DIR", cache);
    case.wipe().cargo(&["build"]).ok().compiles(&all);
}

#[test]
fn results_that_are_gone_come_back() {
    let mut case = team(Case::fixture("kinds"));
    case.env("CACHEWRAP_SEED", "off");
    at_machine(&mut case, "one", "write");
    compare(&case, &["build"]).ok();
    push(&case);
    // What is evicted: results, or the blobs that they need.
    for part in ["results", "blobs"] {
        fs::remove_dir_all(case.cache().join("v1").join(part)).expect("it should be removable");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn what_a_build_needs_is_fetched_at_once() {
    let mut case = team(Case::fixture("kinds"));
    case.env("CACHEWRAP_SEED", "off");
    at_machine(&mut case, "one", "write");
    case.cargo(&["generate-lockfile"]).ok();
    compare(&case, &["build"]).ok();
    push(&case);
    case.copy_project("elsewhere");
    at_machine(&mut case, "two", "read");
    let pulled = command(&case, &["pull"]);
    assert!(pulled.status.success(), "{pulled:?}");
    assert!(count(&case, "remote.pulled") > 0, "{pulled:?}");
    // Nothing else is needed, so that the remote may be gone.
    fs::remove_dir_all(remote(&case)).expect("it should be removable");
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(count(&case, "remote.fetched_bytes"), 0);
    // Where there is nothing, nothing comes.
    at_machine(&mut case, "three", "read");
    let pulled = command(&case, &["pull"]);
    let said = String::from_utf8_lossy(&pulled.stdout).into_owned();
    assert!(
        pulled.status.success() && said.contains("of 0"),
        "{pulled:?}"
    );
}
