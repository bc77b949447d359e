//! What the operating system has: files and their times, directories, locks, the environment.

pub(crate) mod dir;
pub(crate) mod dynamic;
pub(crate) mod env;
pub(crate) mod file_system;
pub(crate) mod fs;
pub(crate) mod lock;
pub(crate) mod proc;
pub(crate) mod sparse;
pub(crate) mod stamp;
pub(crate) mod temp_file;
