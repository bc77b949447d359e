//! What is particular to rustc, in the order in which an invocation passes through.

pub(crate) mod args;
pub(crate) mod invocation;

pub(crate) mod key;
pub(crate) mod remap;

pub(crate) mod dep_info;
pub(crate) mod messages;

pub(crate) mod capture;
pub(crate) mod inputs;
pub(crate) mod record;
mod session;
mod sources;
mod told;

mod keep;
mod turn;
pub(crate) mod unit;
