//! A tool that embeds the core compiles in directories and environments other than its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{Config, Environment, Outcome, Request, Status, SystemRunner};

const OUTPUTS: [&str; 3] = ["libsample.rlib", "libsample.rmeta", "sample.d"];

/// A directory with a library and a cache, and the environment of requests.
struct Embedder {
    _dir: tempfile::TempDir,
    work: PathBuf,
    env: Environment,
}

impl Embedder {
    fn new(source: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory should be creatable");
        let work = dir.path().join("work");
        std::fs::create_dir(&work).expect("a directory should be creatable");
        std::fs::write(work.join("lib.rs"), source).expect("a file should be writable");
        // A source is an input only if it was not changed in the same tick of the clock.
        std::thread::sleep(Duration::from_millis(50));
        let mut env = Environment::of_process();
        env.set("CACHEWRAP_DIR", dir.path().join("cache"));
        Self {
            work,
            env,
            _dir: dir,
        }
    }

    fn compile(&self, rustc: impl AsRef<Path>) -> Outcome {
        let words = "--crate-name sample --error-format=json --json=artifacts --crate-type lib \
                     --emit=dep-info,metadata,link --out-dir . lib.rs";
        let mut argv: Vec<OsString> = vec![rustc.as_ref().into()];
        argv.extend(words.split_whitespace().map(OsString::from));
        let config = Config::load(&self.env).config;
        let request = Request::new(&argv, &self.env, &self.work, &config, &SystemRunner);
        cache_core::run(&request, &mut |_| (), &mut |_| ()).expect("the compiler should start")
    }

    #[track_caller]
    fn compiles(&self, rustc: impl AsRef<Path>, status: i32) {
        let outcome = self.compile(rustc);
        let Outcome::Miss {
            status: ended,
            not_stored,
            ..
        } = &outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(*ended, Status::Code(status));
        assert_eq!(not_stored.is_none(), status == 0, "{outcome:?}");
    }

    #[track_caller]
    fn hits(&self, rustc: impl AsRef<Path>) {
        for name in OUTPUTS {
            std::fs::remove_file(self.work.join(name)).expect("an output should be there");
        }
        let outcome = self.compile(rustc);
        assert!(matches!(outcome, Outcome::Hit { status: 0 }), "{outcome:?}");
        for name in OUTPUTS {
            assert!(self.work.join(name).is_file(), "{name}");
        }
    }
}

#[test]
fn relative_outputs_lie_in_the_directory_of_the_request() {
    let embedder = Embedder::new("pub fn one() -> u8 { 1 }\n");
    embedder.compiles("rustc", 0);
    embedder.hits("rustc");
}

/// The compiler itself: a proxy looks for the directories of its user.
fn compiler() -> PathBuf {
    let output = std::process::Command::new("rustc")
        .args(["--print", "sysroot"])
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("the compiler should start");
    let sysroot = String::from_utf8(output.stdout).expect("the sysroot should be text");
    Path::new(sysroot.trim_end()).join("bin/rustc")
}

/// Starts this test again, in a process with other variables.
fn again(name: &str, variables: &[(&str, &str)]) {
    let this = std::env::current_exe().expect("this process should have a program");
    let status = std::process::Command::new(this)
        .args(["--exact", name])
        .env("EMBEDDING_AGAIN", "1")
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null())
        .status()
        .expect("this test should start again");
    assert!(status.success());
}

#[test]
fn the_compiler_sees_the_variables_of_the_request_and_no_others() {
    if std::env::var_os("EMBEDDING_AGAIN").is_none() {
        return again(
            "the_compiler_sees_the_variables_of_the_request_and_no_others",
            &[("RUSTC_BOOTSTRAP", "1"), ("SAMPLE_FLAVOUR", "process")],
        );
    }
    let mut embedder = Embedder::new("#![feature(rustc_attrs)]\npub fn one() -> u8 { 1 }\n");
    embedder.compiles(compiler(), 0);
    embedder.hits(compiler());
    // A compiler without the variable refuses the source; this process has it all the same.
    embedder.env.remove("RUSTC_BOOTSTRAP");
    embedder.compiles(compiler(), 1);
    let source = "pub const FLAVOUR: Option<&str> = option_env!(\"SAMPLE_FLAVOUR\");\n\
                  const _: () = assert!(FLAVOUR.is_none());\n";
    std::fs::write(embedder.work.join("lib.rs"), source).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    embedder.compiles(compiler(), 1);
    embedder.env.remove("SAMPLE_FLAVOUR");
    embedder.compiles(compiler(), 0);
    embedder.hits(compiler());
}

#[test]
fn the_compiler_is_looked_for_where_the_request_says() {
    let mut embedder = Embedder::new("pub fn one() -> u8 { 1 }\n");
    std::os::unix::fs::symlink(compiler(), embedder.work.join("my-rustc")).unwrap();
    embedder.env.set("PATH", "nowhere:.:/usr/bin:/bin");
    embedder.compiles("my-rustc", 0);
    embedder.hits("my-rustc");
    embedder.hits("./my-rustc");
}

#[cfg(observer)]
#[test]
fn a_build_script_sees_the_variables_and_the_directory_of_the_request() {
    if std::env::var_os("EMBEDDING_AGAIN").is_none() {
        return again(
            "a_build_script_sees_the_variables_and_the_directory_of_the_request",
            &[("FLAVOUR", "process")],
        );
    }
    let mut embedder = Embedder::new("");
    let script = embedder.work.join("script");
    std::fs::write(&script, "#!/bin/sh\npwd\necho \"${FLAVOUR-none}\"\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let out_dir = embedder.work.join("target/debug/build/sample-1/out");
    std::fs::create_dir_all(&out_dir).unwrap();
    let rustc = compiler();
    let (work, out_dir) = (embedder.work.as_os_str(), out_dir.as_os_str());
    for (name, value) in [
        ("OUT_DIR", out_dir),
        ("RUSTC", rustc.as_os_str()),
        ("TARGET", "x".as_ref()),
        ("HOST", "x".as_ref()),
        ("CARGO_MANIFEST_DIR", work),
        ("RUSTC_WRAPPER", rustc.as_os_str()),
        ("CACHEWRAP_BUILD_SCRIPTS", "all".as_ref()),
        ("FLAVOUR", "request".as_ref()),
    ] {
        embedder.env.set(name, value);
    }
    let run = |env: &Environment| {
        let (argv, config) = ([script.clone().into()], Config::load(env).config);
        let mut request = Request::new(&argv, env, &embedder.work, &config, &SystemRunner);
        request.is_build_script = true;
        request.wrapper = Some(&rustc);
        let mut said = Vec::new();
        let mut stdout = |piece: &[u8]| said.extend_from_slice(piece);
        let outcome = cache_core::run(&request, &mut stdout, &mut |_| ()).unwrap();
        let said = String::from_utf8(said).unwrap();
        let expected = format!("{}\n", embedder.work.canonicalize().unwrap().display());
        let flavour = said.strip_prefix(&expected).unwrap_or(&said);
        (matches!(outcome, Outcome::Hit { .. }), flavour.to_owned())
    };
    assert_eq!(run(&embedder.env), (false, "request\n".to_owned()));
    assert_eq!(run(&embedder.env), (true, "request\n".to_owned()));
    let mut env = embedder.env.clone();
    env.remove("FLAVOUR");
    assert_eq!(run(&env), (false, "none\n".to_owned()));
}
