//! Caches a tool of one's own: the code that `protoc` generates.
//!
//! A second run is served, into another directory too; a change of an imported file is noticed, though
//! nobody tells the cache which files are imported.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use cache_core::{Config, Environment, Outcome, Request, SystemRunner};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let config = Config::new(dir.path().join("cache"));
    let write = |name: &str, text: &str| {
        let text = format!("syntax = \"proto3\"; {text}\n");
        fs::write(dir.path().join(name), text)?;
        // Who changes a file twice in one tick of the clock does not show it.
        thread::sleep(Duration::from_millis(50));
        std::io::Result::Ok(())
    };
    write("age.proto", "message Age { int32 years = 1; }")?;
    write(
        "person.proto",
        "import \"age.proto\"; message Person { Age age = 1; }",
    )?;
    assert!(!generate(dir.path(), "first", &config)?);
    assert!(generate(dir.path(), "second", &config)?);
    write("age.proto", "message Age { int64 years = 1; }")?;
    assert!(!generate(dir.path(), "third", &config)?);
    Ok(())
}

/// Generates code, and says whether it was served from the cache.
fn generate(dir: &Path, name: &str, config: &Config) -> Result<bool, Box<dyn Error>> {
    let out_dir = dir.join(name);
    fs::create_dir(&out_dir)?;
    let mut option = OsString::from("--python_out=");
    option.push(&out_dir);
    let argv = ["protoc".into(), option, "person.proto".into()];
    // Nothing else of the environment reaches the tool.
    let path = Environment::of_process();
    let env: Environment = path
        .get("PATH")
        .map(|path| ("PATH", path))
        .into_iter()
        .collect();
    let mut request = Request::new(&argv, &env, dir, config, &SystemRunner);
    request.out_dir = Some(&out_dir);
    let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ())?;
    println!("{name}: {outcome:?}");
    if !out_dir.join("person_pb2.py").exists() {
        return Err("protoc made nothing; is protobuf-compiler installed?".into());
    }
    Ok(matches!(outcome, Outcome::Hit { .. }))
}
