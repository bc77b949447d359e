//! `probe`: says how the remote answers, with one small object, and whether it keeps to conditions: two machines that
//! add to the same list at the same time then lose nothing.
//!
//! ```text
//! status 0   everything that is set to be done can be
//!        1   something cannot
//!        2   no remote is set
//! ```

use std::process::ExitCode;

use cache_core::remote::Remote;

use crate::context::Context;
use crate::engine;

pub(crate) fn probe() -> ExitCode {
    let context = match Context::load() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    let engine = engine::open(&context);
    let mut is_well = true;
    for step in Remote::new(&context.store, &*engine, &context.settings).probe() {
        is_well &= step.outcome.is_ok();
        let took = step.took.as_secs_f64() * 1e3;
        let said = step.outcome.unwrap_or_else(|e| e.to_string());
        println!("{:<8} {took:>8.1} ms  {said}", step.name);
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
