//! Panics on purpose, for tests of what a panic of ours must not undo. Only tests have it.

use std::cell::Cell;

thread_local! {
    static NEXT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Lets this thread panic when it next comes to the point of that name.
pub(crate) fn at(name: &'static str) {
    NEXT.set(Some(name));
}

/// Whether the point of [`at`] has not been met.
pub(crate) fn is_left() -> bool {
    NEXT.take().is_some()
}

/// Whether this is the point, for those who must panic on another thread.
pub(crate) fn is_met(name: &'static str) -> bool {
    let is_met = NEXT.get() == Some(name);
    if is_met {
        NEXT.set(None);
    }
    is_met
}

/// A place in the code where something may be wrong.
pub(crate) fn point(name: &'static str) {
    assert!(!is_met(name), "injected: {name}");
}
