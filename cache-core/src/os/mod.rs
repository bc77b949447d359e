//! What the operating system has: files and their times, directories, locks, the environment.

pub(crate) mod attributes;
#[expect(
    clippy::disallowed_methods,
    reason = "it asks the kernel about this process"
)]
#[expect(unsafe_code, reason = "forking")]
pub(crate) mod detach;
pub(crate) mod dir;
pub(crate) mod dynamic;
#[expect(clippy::disallowed_methods, reason = "it takes the environment")]
pub(crate) mod env;
pub(crate) mod file_system;
#[expect(clippy::disallowed_methods, reason = "it reaches files by path")]
pub(crate) mod fs;
#[expect(clippy::disallowed_methods, reason = "it takes locks")]
pub(crate) mod lock;
#[expect(
    clippy::disallowed_methods,
    reason = "it reads what the kernel says of processes"
)]
pub(crate) mod proc;
pub(crate) mod sparse;
#[expect(clippy::disallowed_methods, reason = "it looks at files by path")]
pub(crate) mod stamp;
pub(crate) mod temp_file;
