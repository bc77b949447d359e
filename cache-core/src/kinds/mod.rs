//! The kinds of units.

use crate::request::Request;
use crate::unit::Kind;

pub(crate) mod build_script;
mod origins;
pub(crate) mod rustc;
mod tool;
mod tree_run;

/// All kinds. The first that recognises a call has it; the last takes any.
const KINDS: [&dyn Kind; 3] = [
    &tool::ToolRuns,
    &build_script::unit::ScriptRuns,
    &rustc::unit::Compilations,
];

/// The kind that a call is of.
pub(crate) fn of(request: &Request<'_>) -> &'static dyn Kind {
    let [others @ .., any] = KINDS;
    let found = others.into_iter().find(|kind| kind.recognises(request));
    found.unwrap_or(any)
}
