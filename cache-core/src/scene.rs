//! Where a call takes place.

use std::path::Path;

use crate::formats::digest::ManifestKey;
use crate::os::env::Environment;
use crate::roots::Roots;
use crate::store::Store;
use crate::store::memo::Memo;

/// What a call happens in, and what is known of its files: looking up, recording and keeping
/// all need it.
pub(crate) struct Scene<'a> {
    /// What the call is called in messages.
    pub(crate) name: String,
    pub(crate) key: ManifestKey,
    pub(crate) env: &'a Environment,
    /// The directory that it runs in; absolute.
    pub(crate) cwd: &'a Path,
    pub(crate) roots: Roots,
    pub(crate) store: &'a Store,
    pub(crate) memo: Memo,
}
