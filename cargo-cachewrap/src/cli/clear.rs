//! `clear`: an empty cache.

use std::io::Write as _;

use cache_core::config::format_size;
use cache_core::store::Cleared;

use super::context::{Context, store};
use super::output::Failure;

pub(super) fn run(cx: &mut Context) -> Result<(), Failure> {
    let config = cx.config()?;
    let dir = config.dir.display();
    match store(&config).clear()? {
        Cleared::Done { freed } => {
            let freed = format_size(freed);
            writeln!(cx.out, "Cleared {dir}: freed {freed}")?;
            Ok(())
        }
        Cleared::Nothing => {
            writeln!(cx.out, "Nothing to clear in {dir}")?;
            Ok(())
        }
        Cleared::NotOurs => Err(Failure::Failed(format!(
            "{dir} does not look like a cache of cachewrap (no CACHEDIR.TAG of ours); nothing was removed"
        ))),
        Cleared::Busy => Err(Failure::Failed(
            "a collection is running in the cache; try again when it has finished".into(),
        )),
        Cleared::ReadOnly => Err(Failure::Failed(format!(
            "the cache is read-only ({})",
            config.read_only.origin
        ))),
    }
}
