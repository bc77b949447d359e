//! The memo: digests of files that have been hashed before, keyed by what `stat` says.
//!
//! Checking inputs means knowing the digest of every file a unit read. Most of those
//! files (sources of registry crates, libraries just restored, the linker) were hashed
//! moments ago by another unit. The memo remembers them in one file of fixed size:
//!
//! ```text
//! table  = bucket * 16384                      4 MiB, sparse until used
//! bucket = slot * 4
//! slot   = key digest length check             64 bytes
//! key    = 16 bytes   start of the hash of (the machine's start, mount, device, inode, size,
//!                     mtime, ctime)
//! digest = 32 bytes   BLAKE3 of the content
//! length = u64 LE     of the content
//! check  = 8 bytes    start of the hash of the rest of the slot
//! ```
//! A slot is read and written with one system call and proves itself by its check, so
//! any number of processes may use the table without locks; a torn or damaged slot is a
//! miss.
//!
//! # What it trusts
//!
//! That a file which is reached through the same mount and has the same device, inode, size,
//! modification time and *change* time is unchanged. What could make that wrong, and what is
//! done about it:
//!
//! | a file may change without its stamp | so |
//! |---|---|
//! | within the clock tick of the stamp | one whose last change is no older than a tick when it is hashed is not remembered (as git does with "racily clean" entries). Where the kernel gives every change that follows a `stat` a time of its own, there are no such files, and outputs are remembered as soon as they are placed or stored |
//! | because another image lies where it lay | the key holds the mount's number, and when the machine was started, for numbers begin again then. Before Linux 6.8 a number is given again within that time too, to whatever is mounted next: there images that agree in all the rest are taken for each other |
//! | through a mapping (`mmap`), which changes the times when it first writes to a page and again only once the page was written back, on tmpfs never | a file that somebody has open for writing or mapped so is not remembered; see [`Writers`] |
//! | because its file system keeps times otherwise: a network's, whose servers and caches decide; FUSE; FAT, where change times can be set | files on others than the usual local ones are not remembered |
//!
//! What is not remembered is hashed again each time. Outputs that this process has just
//! placed or that its compiler has just written are remembered without asking for writers:
//! they are new, and whoever maps them later changes their times by writing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::LazyLock;

use crate::error::PathError;
use crate::formats::digest::{BlobRef, Digest};
use crate::observe;
use crate::os::file_system::FileSystem;
use crate::os::fs;
use crate::os::stamp::{self, Stamp};
use crate::store::Store;

const BUCKETS: u64 = 16384;
const SLOT: usize = 64;
const SLOTS: usize = 4;
const BUCKET: usize = SLOT * SLOTS;

/// The table, or nothing where it cannot be opened: then everything is hashed.
#[derive(Debug)]
pub(crate) struct Memo {
    table: Option<File>,
    writable: bool,
}

impl Memo {
    pub(crate) fn open(store: &Store) -> Self {
        let path = store.layout().part("memo");
        let writable = !store.is_read_only();
        let table = if writable {
            store.open_file(&path)
        } else {
            store.open_plain(&path)
        };
        Self {
            table: table.ok(),
            writable,
        }
    }

    /// Whether every slot of a table proves itself.
    pub(crate) fn is_sound(table: &[u8]) -> bool {
        let mut slots = table.chunks(SLOT);
        slots.all(|slot| slot.iter().all(|&b| b == 0) || parse_slot(slot).is_some())
    }

    /// The digest of a file's content, from the table or by reading the file.
    pub(crate) fn digest(&self, path: &Path) -> Result<(Stamp, BlobRef), PathError> {
        let stamp = Stamp::at(path)?;
        Ok((stamp, self.digest_of(path, &stamp)?))
    }

    /// The same, for a file whose stamp has just been taken.
    pub(crate) fn digest_of(&self, path: &Path, stamp: &Stamp) -> Result<BlobRef, PathError> {
        if let Some(blob) = self.get(stamp) {
            return Ok(blob);
        }
        let file = fs::open_file(path)?;
        // From here on a writer would have to begin, and the times would tell.
        let is_quiet = FileSystem::of_file(&file).is_some_and(|system| {
            // Others are not even asked: that may mean asking a server.
            system.keeps_times() && Writers::of(&file).are_told_by(stamp, system)
        });
        let blob = fs::digest_opened(file, path)?;
        // Only what was the same file before and after is worth remembering.
        if is_quiet && Stamp::of(path).as_ref() == Some(stamp) && blob.len == stamp.size {
            self.put(path, stamp, blob);
        }
        Ok(blob)
    }

    fn get(&self, stamp: &Stamp) -> Option<BlobRef> {
        let table = self.table.as_ref()?;
        let (bucket, key) = place(stamp);
        let mut bytes = [0; BUCKET];
        // What lies beyond the end of the file reads as empty slots.
        table.read_at(&mut bytes, bucket * BUCKET as u64).ok()?;
        let slot = bytes
            .chunks_exact(SLOT)
            .find(|slot| slot.starts_with(&key))?;
        parse_slot(slot)
    }

    /// The digest of what a path leads to, if the table has it.
    pub(crate) fn recall(&self, path: &Path) -> Option<BlobRef> {
        self.get(&Stamp::of(path)?)
    }

    /// Remembers the digest of a file whose content has just been known, and whose times were set since.
    pub(crate) fn note(&self, path: &Path, blob: BlobRef) {
        if let Some(stamp) = Stamp::of(path).filter(|stamp| stamp.size == blob.len) {
            self.put(path, &stamp, blob);
        }
    }

    /// Remembers the digest of a file's content, unless it could still change under the
    /// same stamp. The content must have been the same since before the stamp was taken.
    pub(crate) fn put(&self, path: &Path, stamp: &Stamp, blob: BlobRef) {
        let Some(system) = FileSystem::of(path).filter(|system| system.keeps_times()) else {
            return;
        };
        // The kinds of file system that tell every change have forms that cannot: ext4
        // with the small inodes of ext2.
        let told = || !stamp.is_coarse() && system.tells_every_change();
        if !stamp.is_racy(stamp::now()) || told() {
            self.write(stamp, blob);
        }
    }

    fn write(&self, stamp: &Stamp, blob: BlobRef) {
        let Some(table) = self.table.as_ref().filter(|_| self.writable) else {
            return;
        };
        let (bucket, key) = place(stamp);
        let mut bytes = [0; BUCKET];
        let _ = table.read_at(&mut bytes, bucket * BUCKET as u64);
        let free = bytes
            .chunks_exact(SLOT)
            .position(|slot| slot.starts_with(&key) || slot.iter().all(|&b| b == 0));
        let slot = free.unwrap_or(usize::from(key.last().copied().unwrap_or(0)) % SLOTS);
        let at = bucket * BUCKET as u64 + (slot * SLOT) as u64;
        // A failed write leaves an old or a torn slot; both are told by the check.
        let _ = table.write_all_at(&make_slot(&key, blob), at);
    }
}

/// Whether somebody can write to a file without opening it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    None,
    Some,
    /// The file is not this user's, or its file system does not know.
    Unknown,
}

/// After so long, nanoseconds, what a mapping has changed was written back (Linux begins after
/// 30 s, and looks every 5 s), and what it changes next changes the times.
const WRITTEN_BACK: i128 = 60_000_000_000;

impl Writers {
    fn of(file: &File) -> Self {
        match observe::has_writer(file) {
            Some(false) => Self::None,
            Some(true) => Self::Some,
            None => Self::Unknown,
        }
    }

    /// Whether a change from now on shows in the times.
    fn are_told_by(self, stamp: &Stamp, system: FileSystem) -> bool {
        let is_old = stamp.ctime + WRITTEN_BACK < stamp::now();
        match self {
            // A mapping through an overlay holds the file beneath it, which nobody asked about.
            Self::None if system.is_overlay() => is_old,
            Self::None => true,
            Self::Some => false,
            Self::Unknown => is_old && system.writes_back(),
        }
    }
}

/// When the machine was started, told by a number drawn then.
static BOOT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read(path).unwrap_or_default()
});

fn place(stamp: &Stamp) -> (u64, [u8; 16]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(BOOT.len() as u64).to_le_bytes());
    hasher.update(&BOOT);
    hasher.update(&stamp.mount.to_le_bytes());
    hasher.update(&stamp.dev.to_le_bytes());
    hasher.update(&stamp.ino.to_le_bytes());
    hasher.update(&stamp.size.to_le_bytes());
    hasher.update(&stamp.mtime.to_le_bytes());
    hasher.update(&stamp.ctime.to_le_bytes());
    let hash = hasher.finalize();
    let mut key = [0; 16];
    let mut number = [0; 8];
    let bytes = hash.as_bytes();
    key.copy_from_slice(bytes.get(..16).unwrap_or(&[0; 16]));
    number.copy_from_slice(bytes.get(16..24).unwrap_or(&[0; 8]));
    (u64::from_le_bytes(number) % BUCKETS, key)
}

fn make_slot(key: &[u8; 16], blob: BlobRef) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(key);
    slot.extend_from_slice(blob.digest.as_bytes());
    slot.extend_from_slice(&blob.len.to_le_bytes());
    let check = Digest::of(&slot);
    slot.extend(check.as_bytes().iter().take(8));
    slot
}

fn parse_slot(slot: &[u8]) -> Option<BlobRef> {
    let (body, check) = slot.split_at_checked(SLOT - 8)?;
    if !Digest::of(body).as_bytes().starts_with(check) {
        return None;
    }
    let digest: [u8; 32] = body.get(16..48)?.try_into().ok()?;
    let len: [u8; 8] = body.get(48..56)?.try_into().ok()?;
    Some(BlobRef {
        digest: digest.into(),
        len: u64::from_le_bytes(len),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::input::FileType;

    fn old_stamp(ino: u64) -> Stamp {
        Stamp {
            dev: 1,
            ino,
            size: 3,
            mtime: 5,
            ctime: 7,
            file_type: FileType::File,
            mode: 0o644,
            mount: 11,
        }
    }

    fn memo(dir: &Path) -> Memo {
        let store = Store::new(dir, false);
        store.prepare().unwrap();
        Memo::open(&store)
    }

    #[test]
    fn digests_are_remembered_by_the_whole_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let blob = BlobRef::of(b"abc");
        memo(dir.path()).write(&old_stamp(9), blob);
        let memo = memo(dir.path());
        assert_eq!(memo.get(&old_stamp(9)), Some(blob));
        assert_eq!(memo.get(&old_stamp(8)), None);
        for other in [
            Stamp {
                ctime: 8,
                ..old_stamp(9)
            },
            Stamp {
                mount: 12,
                ..old_stamp(9)
            },
        ] {
            assert_eq!(memo.get(&other), None);
        }
    }

    #[test]
    fn a_file_changed_within_the_last_tick_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Stamp {
            ctime: stamp::now(),
            ..old_stamp(9)
        };
        // Of another kind than any that tells every change.
        let path = Path::new("/proc/self/status");
        memo(dir.path()).put(path, &fresh, BlobRef::of(b"abc"));
        assert_eq!(memo(dir.path()).get(&fresh), None);
    }

    #[test]
    fn where_every_change_is_told_a_fresh_file_is_remembered_and_never_mistaken() {
        let dir = tempfile::tempdir().unwrap();
        if !FileSystem::of(dir.path()).unwrap().tells_every_change() {
            eprintln!("skipped: change times here advance by ticks");
            return;
        }
        let memo = memo(dir.path());
        let path = dir.path().join("file");
        let mut remembered = 0;
        for n in 0..2000_u32 {
            std::fs::write(&path, n.to_le_bytes()).unwrap();
            let (stamp, blob) = memo.digest(&path).unwrap();
            assert_eq!(blob, BlobRef::of(&n.to_le_bytes()), "the content before");
            remembered += u32::from(memo.get(&stamp) == Some(blob));
        }
        // A process that another test starts just then may hold the file open.
        assert!(remembered > 1000, "{remembered}");
    }

    #[test]
    fn a_file_that_somebody_may_write_to_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        if !FileSystem::of(dir.path()).unwrap().tells_every_change() {
            eprintln!("skipped: change times here advance by ticks");
            return;
        }
        let memo = memo(dir.path());
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let (stamp, _) = memo.digest(&path).unwrap();
        assert_eq!(memo.get(&stamp), None);
        drop(writer);
        let remembered = (0..1000).any(|_| {
            memo.digest(&path).unwrap();
            memo.get(&stamp).is_some()
        });
        assert!(remembered);
    }

    #[test]
    fn whose_writers_are_unknown_must_have_been_left_alone() {
        let stamp = |age: i128| Stamp {
            ctime: stamp::now() - age,
            ..old_stamp(9)
        };
        let (old, new) = (stamp(WRITTEN_BACK + 1_000_000_000), stamp(0));
        for (writers, system, of_old, of_new) in [
            (Writers::None, FileSystem::EXT4, true, true),
            (Writers::Some, FileSystem::EXT4, false, false),
            (Writers::Unknown, FileSystem::EXT4, true, false),
            (Writers::None, FileSystem::TMPFS, true, true),
            (Writers::Unknown, FileSystem::TMPFS, false, false),
            (Writers::None, FileSystem::OVERLAY, true, false),
            (Writers::Unknown, FileSystem::OVERLAY, true, false),
        ] {
            assert_eq!(writers.are_told_by(&old, system), of_old, "{writers:?}");
            assert_eq!(writers.are_told_by(&new, system), of_new, "{writers:?}");
        }
    }

    #[test]
    fn damaged_slots_are_misses() {
        let slot = make_slot(&[1; 16], BlobRef::of(b"abc"));
        assert_eq!(parse_slot(&slot), Some(BlobRef::of(b"abc")));
        for i in 0..SLOT {
            let mut bad = slot.clone();
            bad[i] ^= 1;
            assert_eq!(parse_slot(&bad), None, "byte {i}");
        }
    }

    #[test]
    fn a_full_bucket_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let memo = memo(dir.path());
        for ino in 0..100_000 {
            memo.write(&old_stamp(ino), BlobRef::of(&ino.to_le_bytes()));
        }
        let known = (0..100_000).filter(|&ino| {
            let found = memo.get(&old_stamp(ino));
            assert!(found.is_none_or(|blob| blob == BlobRef::of(&ino.to_le_bytes())));
            found.is_some()
        });
        assert!(known.count() > 50_000);
    }
}
