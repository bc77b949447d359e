//! Identities that were found earlier, kept in the store.
//!
//! ```text
//! file = frame 'T' version 3 (see codec), body = Memoised
//! name = hash of the driver's path and stamp, the target, `--sysroot`, and of what
//!        a driver that is a script could decide by
//! ```
//! Version history: 1, the first; 2, the compilers themselves; 3, of directories with other files too, the compiler's
//! only. A memoised identity holds while every file of it has
//! the stamp it had (see `stamp`) and every directory the same entries, so a hit pays
//! one `stat` a file and runs nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Surroundings, Toolchain, Wanted};
use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::names::Variable;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::store::Store;

pub(crate) const KIND: Kind = Kind {
    tag: b'T',
    version: 3,
};

/// How a file of the toolchain looked when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    path: Vec<u8>,
    /// Device, inode, size, modification and change time; `None`: not there.
    stamp: Option<(u64, u64, u64, i128, i128)>,
}

impl Seen {
    pub(super) fn now(path: &Path) -> (Self, Option<Stamp>) {
        let stamp = Stamp::of(path);
        let seen = Self {
            path: path.as_os_str().as_bytes().to_vec(),
            stamp: stamp.map(|s| (s.dev, s.ino, s.size, s.mtime, s.ctime)),
        };
        (seen, stamp)
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn holds(&self) -> bool {
        Self::now(self.path()).0 == *self
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Memoised {
    pub(super) digest: Digest,
    pub(super) sysroot: Vec<u8>,
    pub(super) version: String,
    pub(super) files: Vec<Seen>,
    pub(super) dirs: Vec<Seen>,
    /// Programs that a driver executed which is not the compiler itself, and the files
    /// they really are.
    pub(super) programs: Vec<(Vec<u8>, Seen)>,
    /// The programs that are the compiler itself.
    pub(super) compilers: Vec<Vec<u8>>,
    /// Whether the sources of the standard library are installed, and where that shows.
    pub(super) sources: (Vec<u8>, bool),
}

/// A toolchain that was identified earlier, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownToolchain {
    /// What results name it by.
    pub digest: Digest,
    /// The first line of `-vV`.
    pub version: String,
    /// Where it lay.
    pub sysroot: PathBuf,
}

/// The toolchains memoised in a store. Those not used for long are missing.
pub fn known_toolchains(store: &Store) -> Result<Vec<KnownToolchain>, PathError> {
    let files = store.list(&store.layout().part("toolchains"))?;
    let known = files.iter().filter_map(|file| {
        let bytes = store.read_plain(&file.path).ok()?;
        let memoised: Memoised = codec::decode(KIND, &bytes).ok()?;
        Some(KnownToolchain {
            digest: memoised.digest,
            version: memoised.version,
            sysroot: PathBuf::from(OsStr::from_bytes(&memoised.sysroot)),
        })
    });
    let mut known: Vec<KnownToolchain> = known.collect();
    known.sort();
    known.dedup();
    Ok(known)
}

pub(super) fn memo_name(
    driver: &Path,
    wanted: Wanted<'_>,
    decided_by: Option<&[Variable]>,
    around: &Surroundings<'_>,
) -> Digest {
    let mut hasher = KeyHasher::new("toolchain memo");
    let (seen, _) = Seen::now(driver);
    hasher.bytes("driver", &seen.path);
    let (dev, ino, size, mtime, ctime) = seen.stamp.unwrap_or_default();
    for number in [dev, ino, size] {
        hasher.bytes("stamp", &number.to_le_bytes());
    }
    hasher.bytes("mtime", &mtime.to_le_bytes());
    hasher.bytes("ctime", &ctime.to_le_bytes());
    hasher.optional("target", wanted.target.map(OsStrExt::as_bytes));
    let sysroot = wanted.sysroot.map(Path::as_os_str);
    hasher.optional("sysroot", sysroot.map(OsStrExt::as_bytes));
    if let Some(variables) = decided_by {
        // It starts the real compiler, chosen by whatever it likes.
        for variable in variables {
            hasher.bytes("name", &variable.name);
            hasher.bytes("value", &variable.value);
        }
        for name in ["PATH", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME"] {
            hasher.optional(name, around.request.env.get(name).map(OsStrExt::as_bytes));
        }
        hasher.os("cwd", around.request.cwd.as_os_str());
    }
    hasher.finish()
}

pub(super) fn recall(store: &Store, file: &Path) -> Option<Toolchain> {
    let memoised: Memoised = codec::decode(KIND, &store.read_plain(file).ok()?).ok()?;
    let (sources, installed) = &memoised.sources;
    let same_program = |(path, program): &(Vec<u8>, Seen)| {
        let canonical = fs::canonicalize(Path::new(OsStr::from_bytes(path)));
        canonical.is_ok_and(|path| path == program.path()) && program.holds()
    };
    let holds = memoised.files.iter().chain(&memoised.dirs).all(Seen::holds)
        && memoised.programs.iter().all(same_program)
        && fs::exists(Path::new(OsStr::from_bytes(sources))) == *installed;
    holds.then(|| toolchain(&memoised))
}

pub(super) fn toolchain(memoised: &Memoised) -> Toolchain {
    let dirs: Vec<PathBuf> = memoised.dirs.iter().map(|s| s.path().to_owned()).collect();
    let is_in = |dir: &Seen, file: &Seen| {
        let name = file.path.strip_prefix(&*dir.path);
        name.is_some_and(|name| memchr::memrchr(b'/', name) == Some(0))
    };
    let files = memoised.files.iter();
    let apart = files.filter(|file| !memoised.dirs.iter().any(|dir| is_in(dir, file)));
    Toolchain {
        digest: memoised.digest,
        key: memoised.digest,
        compilers: memoised
            .compilers
            .iter()
            .map(|path| path_of(path))
            .collect(),
        sysroot: path_of(&memoised.sysroot),
        files: apart.map(|s| s.path().to_owned()).collect(),
        dirs,
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
