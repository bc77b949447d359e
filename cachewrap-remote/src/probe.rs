//! `probe`: says how the remote answers, with one small object, and whether it keeps to conditions: two machines that
//! add to the same list at the same time then lose nothing.
//!
//! ```text
//! status 0   everything that is set to be done can be
//!        1   something cannot
//!        2   no remote is set
//! ```

use std::process::ExitCode;
use std::time::Instant;

use cache_core::remote::{Condition, Engine, EngineError, Mode, Trouble, Written};

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
            let differs =
                || EngineError::new(Trouble::Confused, "what was read is not what was written");
            is_same.then(|| "the same".to_owned()).ok_or_else(differs)
        });
        step("absent", &|| absent(&*engine, &name).map(said_of_condition));
        step("version", &|| {
            version(&*engine, &name).map(said_of_condition)
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

/// Something else than the mark, for a moment, and as long.
const OTHER: &[u8] = b"cachewrap.";

/// Whether what is there is not written where it has to be absent.
fn absent(engine: &dyn Engine, name: &str) -> Result<bool, EngineError> {
    Ok(engine.put(name, MARK, Condition::Absent)? == Written::No)
}

/// Whether a version is replaced while it is there, and not when it has been replaced already.
fn version(engine: &dyn Engine, name: &str) -> Result<bool, EngineError> {
    engine.put(name, OTHER, Condition::Always)?;
    let there = engine.get(name, 1 << 10)?;
    let Some(version) = there.and_then(|there| there.version) else {
        engine.put(name, MARK, Condition::Always)?;
        return Ok(false);
    };
    let condition = Condition::Version(&version);
    let first = engine.put(name, MARK, condition)?;
    let second = engine.put(name, MARK, condition)?;
    Ok((first, second) == (Written::Yes, Written::No))
}

fn said_of_condition(holds: bool) -> String {
    if holds {
        "the condition is kept"
    } else {
        "the condition is ignored"
    }
    .to_owned()
}
