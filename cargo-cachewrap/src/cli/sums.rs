//! What a build came to, in numbers.

use std::fmt;

use cache_core::store::{RecordedOutcome, UnitKind, UnitRecord};
use serde::Serialize;

use super::output::human_duration;

/// Sums of units. Questions to the compiler do not count.
#[derive(Default, Serialize)]
pub(super) struct Sums {
    pub(super) units: u64,
    /// Served, also ahead.
    pub(super) served: u64,
    pub(super) ahead: u64,
    pub(super) missed: u64,
    pub(super) bypassed: u64,
    pub(super) saved_us: u64,
    pub(super) ran_us: u64,
    pub(super) waited_us: u64,
}

impl Sums {
    pub(super) fn of<'a>(units: impl IntoIterator<Item = &'a UnitRecord>) -> Self {
        let mut sums = Self::default();
        for unit in units {
            if unit.kind != UnitKind::Query {
                sums.add(unit);
            }
        }
        sums
    }

    fn add(&mut self, unit: &UnitRecord) {
        self.units += 1;
        match unit.outcome {
            RecordedOutcome::Hit => self.served += 1,
            RecordedOutcome::Ahead => {
                self.served += 1;
                self.ahead += 1;
            }
            RecordedOutcome::Miss { .. } => self.missed += 1,
            RecordedOutcome::Bypass { .. } => self.bypassed += 1,
        }
        for (sum, amount) in [
            (&mut self.saved_us, unit.saved_us),
            (&mut self.ran_us, ran_us(unit)),
            (&mut self.waited_us, unit.waited_us),
        ] {
            *sum = sum.saturating_add(amount);
        }
    }
}

/// `108 of 109 units served (91 ahead), 42s saved`
impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.units == 1 { "unit" } else { "units" };
        write!(f, "{} of {} {noun} served", self.served, self.units)?;
        if self.ahead > 0 {
            write!(f, " ({} ahead)", self.ahead)?;
        }
        if self.saved_us >= 1000 {
            write!(f, ", {} saved", human_duration(self.saved_us))?;
        }
        Ok(())
    }
}

/// How long a unit's own process ran, microseconds; records of earlier releases do not tell it from the rest.
pub(super) fn ran_us(unit: &UnitRecord) -> u64 {
    match unit.outcome {
        RecordedOutcome::Miss { .. } if unit.ran_us == 0 => unit.took_us,
        _ => unit.ran_us,
    }
}
