//! `probe`: says how the remote answers, with one small object.
//!
//! ```text
//! status 0   everything that is set to be done can be
//!        1   something cannot
//!        2   no remote is set
//! ```

use std::process::ExitCode;
use std::time::Instant;

use cache_core::remote::{Condition, EngineError, Mode};

use crate::context::Context;
use crate::engine::{self, MARK, marker};

pub(crate) fn probe() -> ExitCode {
    let context = match Context::load() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    println!("{}", context.settings.address);
    let engine = engine::open(&context);
    let name = marker(&context.settings);
    let mut is_well = true;
    let mut step = |what: &str, work: &dyn Fn() -> Result<String, EngineError>| {
        let begun = Instant::now();
        let said = work();
        let took = begun.elapsed();
        is_well &= said.is_ok();
        let said = said.unwrap_or_else(|e| e.to_string());
        println!("{what:<8} {:>8.1} ms  {said}", took.as_secs_f64() * 1e3);
    };
    // The first exchange has the connection, and where credentials come from a service, them.
    step("connect", &|| {
        engine.get(&name, 1 << 10).map(|object| match object {
            Some(_) => "an object of an earlier probe is there".to_owned(),
            None => "no object of an earlier probe is there".to_owned(),
        })
    });
    if context.settings.address.mode == Mode::Write {
        step("put", &|| {
            engine
                .put(&name, MARK, Condition::Always)
                .map(|_| "written".to_owned())
        });
        step("get", &|| {
            let object = engine.get(&name, 1 << 10)?;
            let is_same = object.is_some_and(|object| object.bytes == MARK);
            let differs = || {
                let trouble = cache_core::remote::Trouble::Confused;
                EngineError::new(trouble, "what was read is not what was written")
            };
            is_same.then(|| "the same".to_owned()).ok_or_else(differs)
        });
    } else {
        step("get", &|| {
            engine.get(&name, 1 << 10).map(|_| "answered".to_owned())
        });
    }
    step("has", &|| {
        engine
            .has(&name)
            .map(|has| if has { "there" } else { "not there" }.to_owned())
    });
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
