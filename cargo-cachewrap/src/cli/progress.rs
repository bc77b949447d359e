//! A progress bar on standard error, where that is a terminal.

use std::sync::Mutex;

use cache_core::store::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows one phase after the other. Draws nothing where standard error is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    phase: Mutex<&'static str>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg:>18} [{bar:30}] {human_pos}/{human_len} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        let phase = Mutex::new("");
        Self { bar, phase }
    }

    pub(super) fn show(&self, progress: Progress) {
        if let Ok(mut phase) = self.phase.lock()
            && *phase != progress.phase
        {
            *phase = progress.phase;
            self.bar.reset();
            self.bar.set_message(progress.phase);
            self.bar.set_length(progress.total);
        }
        self.bar.set_position(progress.done);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
