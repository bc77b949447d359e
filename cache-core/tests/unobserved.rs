//! Without the observer, what the compiler itself reports is cached, and all else only runs.
//!
//! Where there is an observer, it is switched off here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::{
    BypassReason, Command, Config, Depth, Environment, NotStored, Outcome, Request, Runner as _,
    Status, Store, SystemRunner,
};

struct Place {
    _dir: tempfile::TempDir,
    work: PathBuf,
    env: Environment,
}

impl Place {
    fn new(source: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory should be creatable");
        let work = dir.path().join("work");
        std::fs::create_dir(&work).expect("a directory should be creatable");
        std::fs::write(work.join("sample.rs"), source).expect("a file should be writable");
        // A source is an input only if it was not changed in the same tick of the clock.
        std::thread::sleep(Duration::from_millis(50));
        let mut env = Environment::of_process();
        env.set("CACHEWRAP_DIR", dir.path().join("cache"));
        if cfg!(observer) {
            env.set("CACHEWRAP_OBSERVE", "off");
        }
        Self {
            work,
            env,
            _dir: dir,
        }
    }

    fn compile(&self, words: &str) -> Outcome {
        let words = format!("rustc --crate-name sample --out-dir . sample.rs {words}");
        let argv: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        let config = Config::load(&self.env).config;
        let request = Request::new(&argv, &self.env, &self.work, &config, &SystemRunner);
        cache_core::run(&request, &mut |_| (), &mut |_| ()).expect("the compiler should start")
    }

    fn results(&self) -> u64 {
        let config = Config::load(&self.env).config;
        let usage = Store::new(&config.dir.value, true).usage();
        usage.map_or(0, |usage| usage.results)
    }
}

const LIBRARY: &str = "--crate-type lib --emit=dep-info,metadata,link";

/// Whether the compiler ran, and what it did was kept.
fn is_stored(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Miss {
            status: Status::Code(0),
            not_stored: None,
            ..
        }
    )
}

#[test]
fn a_library_is_cached_by_what_dep_info_names() {
    let place = Place::new("pub fn one() -> u8 { 1 }\n");
    assert!(is_stored(&place.compile(LIBRARY)));
    std::fs::remove_file(place.work.join("libsample.rlib")).unwrap();
    let again = place.compile(LIBRARY);
    assert!(matches!(again, Outcome::Hit { status: 0 }), "{again:?}");
    assert!(place.work.join("libsample.rlib").is_file());
    std::fs::write(place.work.join("sample.rs"), "pub fn two() -> u8 { 2 }\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_stored(&place.compile(LIBRARY)));
}

#[test]
fn what_links_or_names_no_inputs_is_left_to_the_compiler() {
    let place = Place::new("fn main() {}\n");
    for words in [
        "--crate-type bin --emit=dep-info,link",
        "--crate-type cdylib --emit=dep-info,link",
        "--crate-type lib --emit=metadata,link",
        "--crate-type lib --emit=dep-info,metadata --extern macros=libmacros.so",
        "--crate-type lib --emit=dep-info,metadata --extern macros=libmacros.dylib",
    ] {
        let outcome = place.compile(words);
        let Outcome::Bypass(reason) = outcome else {
            panic!("{words}: {outcome:?}");
        };
        assert_eq!(reason.why, BypassReason::Unobserved, "{words}");
    }
    assert_eq!(place.results(), 0);
}

/// An archive with one file in it.
fn archive(content: &str) -> String {
    let (name, len) = ("native.o/", content.len());
    format!("!<arch>\n{name:<16}0           0     0     100644  {len:<10}`\n{content}")
}

#[test]
fn a_library_that_takes_in_an_archive_is_not_kept() {
    let place = Place::new("pub fn one() -> u8 { 1 }\n");
    let native = place.work.join("libnative.a");
    let (one, linked) = (
        "pub fn one() -> u8 { 1 }\n",
        "#[link(name = \"native\", kind = \"static\")]\nunsafe extern \"C\" {}\n",
    );
    for (content, source, given) in [
        ("first archived", one, "-l static=native"),
        ("second archived", one, "-l static=native"),
        ("third archived", linked, ""),
    ] {
        std::fs::write(&native, archive(content)).unwrap();
        std::fs::write(place.work.join("sample.rs"), source).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let outcome = place.compile(&format!("{LIBRARY} -L native=. {given}"));
        let Outcome::Miss { not_stored, .. } = outcome else {
            panic!("{content}: {outcome:?}");
        };
        let why = not_stored.map(|refusal| refusal.why);
        assert_eq!(why, Some(NotStored::Incomplete), "{content}");
        let made = std::fs::read(place.work.join("libsample.rlib")).unwrap();
        let mut words = made.windows(content.len());
        assert!(words.any(|word| word == content.as_bytes()));
    }
    // Where one could be taken in, and none is, it is as without.
    std::fs::write(place.work.join("sample.rs"), "pub fn two() -> u8 { 2 }\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    for more in [
        "-L native=.",
        "-Cincremental=session",
        "-O -Ccodegen-units=1 -Cextra-filename=-12",
        "-O -Clinker-plugin-lto -g",
    ] {
        let outcome = place.compile(&format!("{LIBRARY} {more}"));
        assert!(is_stored(&outcome), "{more}: {outcome:?}");
    }
}

#[test]
fn a_build_script_is_left_to_who_starts_it() {
    let mut place = Place::new("");
    let script: OsString = place.work.join("script").into();
    let out_dir = place.work.join("out");
    std::fs::create_dir(&out_dir).unwrap();
    place.env.set("OUT_DIR", &out_dir);
    place.env.set("CARGO_MANIFEST_DIR", &place.work);
    place.env.set("CACHEWRAP_BUILD_SCRIPTS", "all");
    let (argv, config) = ([script], Config::load(&place.env).config);
    let wrapper = std::env::current_exe().unwrap();
    let mut request = Request::new(&argv, &place.env, &place.work, &config, &SystemRunner);
    request.is_build_script = true;
    request.wrapper = Some(&wrapper);
    let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ()).unwrap();
    let Outcome::Bypass(reason) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason.why, BypassReason::NotWanted);
    assert_eq!(place.results(), 0);
}

#[test]
fn a_process_that_cannot_be_observed_runs_all_the_same() {
    let mut command = Command::new("/bin/sh", Environment::of_process(), "/");
    command.args = vec!["-c".into(), "echo a; exit 3".into()];
    let mut out = Vec::new();
    let mut stdout = |piece: &[u8]| out.extend_from_slice(piece);
    let run = SystemRunner.run(&command, Some(Depth::Tree), &mut stdout, &mut |_| ());
    let run = run.unwrap();
    assert_eq!((run.status, &out[..]), (Status::Code(3), &b"a\n"[..]));
    if cfg!(not(observer)) {
        assert_eq!(run.calls(), None);
        assert!(cache_core::probe_observer().is_err() && !cache_core::is_observed());
    }
}
