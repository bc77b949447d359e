//! What cargo and rustup decide: which compiler is meant, and where things lie.

pub(crate) mod driver;
pub(crate) mod layout;
pub(crate) mod toolchain;
