//! What is to be kept.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{EvictReason, Plan};
use crate::config::Config;
use crate::formats::digest::Digest;

/// How long entries are spared after their last use, unless told otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10 * 60);

/// How large the store may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Above this, it is brought down, bytes.
    pub trigger: u64,
    /// It may stay above the low-water mark for the sake of grace, but not above this.
    pub max: u64,
    /// What it is brought down to, bytes.
    pub low_water: u64,
}

impl Bound {
    /// Brings a store that exceeds `max` down to four fifths of it, so that collections
    /// are few.
    pub fn with_slack(max: u64) -> Self {
        Self {
            trigger: max,
            max,
            low_water: max / 5 * 4,
        }
    }

    /// Brings a store that exceeds `max` down to just that.
    pub fn exactly(max: u64) -> Self {
        Self {
            trigger: max,
            max,
            low_water: max,
        }
    }
}

/// How much space is to stay free on the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFree {
    /// With less than this, the store is made smaller, bytes.
    pub trigger: u64,
    /// Until this is free.
    pub goal: u64,
}

impl KeepFree {
    /// Frees a quarter more than has to stay free, so that collections are few.
    pub fn with_slack(keep: u64) -> Self {
        Self {
            trigger: keep,
            goal: keep.saturating_add(keep / 4),
        }
    }

    /// Frees just what has to stay free.
    pub fn exactly(keep: u64) -> Self {
        Self {
            trigger: keep,
            goal: keep,
        }
    }

    /// What it means for the size of a store that has so much room.
    pub(super) fn bound(self, room: u64) -> Bound {
        Bound {
            trigger: room.saturating_sub(self.trigger),
            max: u64::MAX,
            low_water: room.saturating_sub(self.goal),
        }
    }
}

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The size; `None` for no bound.
    pub bound: Option<Bound>,
    /// What is to stay free on the file system; `None` for nothing.
    pub keep_free: Option<KeepFree>,
    /// Entries last used longer ago than this go.
    pub older_than: Option<Duration>,
    /// Entries of toolchains of which none was used for so long go.
    pub toolchain_older_than: Option<Duration>,
    /// Entries of these toolchains go.
    pub drop_toolchains: BTreeSet<Digest>,
    /// How long entries are spared after their last use.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bound: None,
            keep_free: None,
            older_than: None,
            toolchain_older_than: None,
            drop_toolchains: BTreeSet::new(),
            grace: DEFAULT_GRACE,
        }
    }
}

impl Policy {
    /// What the settings say, to the byte.
    pub fn configured(config: &Config) -> Self {
        Self {
            bound: Some(Bound::exactly(*config.max_size)),
            keep_free: config.keep_free_space.map(KeepFree::exactly),
            older_than: *config.max_age,
            toolchain_older_than: *config.toolchain_max_age,
            ..Self::default()
        }
    }

    /// The same, so that collections are few.
    #[must_use]
    pub fn with_slack(self) -> Self {
        Self {
            bound: self.bound.map(|bound| Bound::with_slack(bound.max)),
            keep_free: self
                .keep_free
                .map(|keep| KeepFree::with_slack(keep.trigger)),
            ..self
        }
    }
}

impl Policy {
    /// Goes the whole way where a plan has begun to: what compressing left is known only then.
    pub(in crate::store) fn insist(&mut self, plan: &Plan) {
        if let Some(bound) = &mut self.bound
            && plan.shrunk_for.contains(&EvictReason::Size)
        {
            bound.trigger = bound.low_water;
        }
        if let Some(keep) = &mut self.keep_free
            && plan.shrunk_for.contains(&EvictReason::FreeSpace)
        {
            keep.trigger = keep.goal;
        }
    }
}
