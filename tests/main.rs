//! Black-box tests: the real cargo drives the real wrapper on small projects.
//!
//! Every case owns a temporary directory with a project, a cache directory and a compiler shim that
//! logs each real compile. A test states which crates may be compiled (exact lists) and compares
//! everything a user can see with a build of the same state without the cache.
//!
//! All topics share one executable: it links once and lets the test runner fill the processors.
//! `CACHEWRAP_UNDER_TEST=/path/to/wrapper` runs the suite against another wrapper, and
//! `CACHEWRAP_COUNTS=off` leaves the compile counts out: against a script that only execs its
//! arguments, what then still fails is a fault of the suite.

mod harness;

mod ahead;
mod build_scripts;
mod concurrent;
mod debugging;
mod deferred;
mod edits;
mod explain;
mod fail_open;
mod failing_io;
mod file_systems;
mod handed_down;
mod homes;
mod hostile_store;
mod incremental;
mod interrupted;
mod layouts;
mod linked_units;
mod macro_plug_ins;
mod macro_variables;
mod mapped_files;
mod native_inputs;
mod nested_workspaces;
mod odd_places;
mod permissions;
mod proc_macros;
mod random_edits;
mod relocate;
mod remote;
mod sharing;
mod store_faults;
mod stress;
mod times;
mod toolchains;
mod warm;
mod wrapper_chains;
mod wrong_hits;
