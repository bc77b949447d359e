//! A tool that embeds the core compiles in directories other than its own.

use std::ffi::OsString;
use std::time::Duration;

use cache_core::{Config, Environment, Outcome, Request, SystemRunner};

#[test]
fn relative_outputs_lie_in_the_directory_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("lib.rs"), "pub fn one() -> u8 { 1 }\n").unwrap();
    // A source is an input only if it was not changed in the same tick of the clock.
    std::thread::sleep(Duration::from_millis(50));
    let mut env = Environment::of_process();
    env.set("CACHEWRAP_DIR", dir.path().join("cache"));
    let config = Config::load(&env).config;
    let argv = "rustc --crate-name sample --error-format=json --json=artifacts --crate-type lib \
                --emit=dep-info,metadata,link --out-dir . lib.rs";
    let argv: Vec<OsString> = argv.split_whitespace().map(OsString::from).collect();
    let compile = || {
        let request = Request {
            argv: &argv,
            env: &env,
            wrapper: None,
            cwd: &work,
            config: &config,
            runner: &SystemRunner,
            stdin: &|| None,
            stderr_is_terminal: false,
        };
        cache_core::run(&request, &mut |_| (), &mut |_| ()).unwrap()
    };
    let first = compile();
    assert!(
        matches!(
            first,
            Outcome::Miss {
                not_stored: None,
                ..
            }
        ),
        "{first:?}"
    );
    let outputs = ["libsample.rlib", "libsample.rmeta", "sample.d"];
    for name in outputs {
        std::fs::remove_file(work.join(name)).unwrap();
    }
    let second = compile();
    assert!(matches!(second, Outcome::Hit { status: 0 }), "{second:?}");
    for name in outputs {
        assert!(work.join(name).is_file(), "{name}");
    }
}
