//! Storing a tree.
//!
//! A hit can neither change owners nor give attributes, so a tree in which somebody did is not stored.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::{UP_TO_TARGET, is_plain, leads_up, open_roots};
use crate::os::{attributes, fs};
use crate::outcome::{NotStored, Refusal};
use crate::outputs::result::{Content, Output, Role};
use crate::roots::{Root, Roots, Scanner, Template};
use crate::store::{Store, StoreError};

/// Text larger than this is kept as it is, bytes.
const MAX_TEXT: u64 = 256 << 10;

/// How compressed files begin: gzip, zstd, xz, bzip2, zip.
const COMPRESSED: &[&[u8]] = &[
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ",
    b"BZh",
    b"PK\x03\x04",
];

/// What the sections of an object file are called that a C compiler leaves for link-time optimisation, compressed.
const FOR_LINK_TIME: &[u8] = b".gnu.lto_";

/// What was captured.
pub(crate) struct Captured {
    pub(crate) outputs: Vec<Output>,
    /// The roots whose paths the outputs contain.
    pub(crate) contained: Vec<Root>,
    /// What the stored outputs take on disk, bytes.
    pub(crate) size: u64,
}

/// Something in the tree.
struct Found {
    metadata: Metadata,
    path: PathBuf,
    /// The bits of a mode that the directories above it leave to those who would read it.
    reachable: u32,
}

/// Stores the contents of a directory.
pub(crate) fn capture(dir: &Path, roots: &Roots, store: &Store) -> Result<Captured, Refusal> {
    let umask = fs::umask();
    let mut found = find(dir, umask)?;
    found.sort_by_key(|found| rank(&found.metadata));
    let mut capturer = Capturer {
        dir,
        roots,
        store,
        scanner: Scanner::new(roots).hidden_behind(FOR_LINK_TIME),
        names: Names::of(&found)?,
        contained: Vec::new(),
        size: 0,
    };
    let mut outputs = Vec::with_capacity(found.len());
    for (at, found) in found.iter().enumerate() {
        let Found { metadata, path, .. } = found;
        let relative = path.strip_prefix(dir).unwrap_or(path);
        let content = match capturer.names.earlier(metadata, at) {
            Some(original) => Content::SameAs(original),
            None => capturer.content(found)?,
        };
        outputs.push(Output {
            role: Role::InTree {
                path: relative.as_os_str().as_bytes().to_vec(),
                mode: unusual_mode(metadata, umask),
            },
            executable: metadata.is_file() && metadata.mode() & 0o111 != 0,
            content,
        });
    }
    let mut contained = capturer.contained;
    contained.extend_from_slice(capturer.scanner.found());
    Ok(Captured {
        outputs,
        contained,
        size: capturer.size,
    })
}

/// Everything in a directory, which itself must be as a new one is.
fn find(dir: &Path, umask: u32) -> Result<Vec<Found>, Refusal> {
    // What lies behind a link was there before, and is not looked at by a hit.
    let top = fs::symlink_metadata(dir).map_err(|e| NotStored::UnknownOutput.of(e))?;
    if !top.is_dir() {
        return Err(NotStored::SideEffect.at(dir));
    }
    let mut found = Vec::new();
    // Whoever may enter a directory may read what is in it, as far as that allows it.
    let enter = |metadata: &Metadata| (metadata.mode() & 0o111) << 2;
    // Of the directories on the way down to the present one, outermost first.
    let mut above: Vec<u32> = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|e| NotStored::Unreadable.of(e))?;
        let metadata = entry.metadata();
        let metadata = metadata.map_err(|e| NotStored::Unreadable.of(e))?;
        if entry.depth() == 0 && unusual_mode(&metadata, umask).is_some() {
            return Err(NotStored::UnknownOutput.at(dir));
        }
        above.truncate(entry.depth());
        let reachable = above.last().copied().unwrap_or(0o777);
        if metadata.is_dir() {
            above.push(reachable & enter(&metadata));
        }
        let is_of_another = (metadata.uid(), metadata.gid()) != (top.uid(), top.gid());
        if is_of_another || attributes::were_given(entry.path()) {
            return Err(NotStored::UnknownOutput.at(entry.path()));
        }
        if entry.depth() > 0 {
            found.push(Found {
                metadata,
                path: entry.into_path(),
                reachable,
            });
        }
    }
    Ok(found)
}

/// Directories first, each before what it holds; files by age; links last.
fn rank(metadata: &Metadata) -> (u8, (i64, i64)) {
    let written = (metadata.mtime(), metadata.mtime_nsec());
    match (metadata.is_dir(), metadata.is_symlink()) {
        (true, _) => (0, (0, 0)),
        (false, false) => (1, written),
        (false, true) => (2, (0, 0)),
    }
}

/// Which names in the tree are names of one file, by its device and number: the place of the
/// first of them.
struct Names(HashMap<(u64, u64), u32>);

impl Names {
    /// An error if a file has a name elsewhere.
    fn of(found: &[Found]) -> Result<Self, Refusal> {
        let mut first = HashMap::new();
        let mut left: HashMap<(u64, u64), (u64, &Path)> = HashMap::new();
        for (at, Found { metadata, path, .. }) in found.iter().enumerate() {
            if metadata.is_dir() || metadata.nlink() < 2 {
                continue;
            }
            let file = (metadata.dev(), metadata.ino());
            let at = u32::try_from(at).map_err(|e| NotStored::UnknownOutput.of(e))?;
            first.entry(file).or_insert(at);
            let (left, _) = left.entry(file).or_insert((metadata.nlink(), path));
            *left = left.checked_sub(1).ok_or(NotStored::Changed.at(path))?;
        }
        match left.values().find(|(names, _)| *names > 0) {
            Some((_, path)) => Err(NotStored::SideEffect.at(path)),
            None => Ok(Self(first)),
        }
    }

    /// The earlier output that the file at this place is another name of.
    fn earlier(&self, metadata: &Metadata, at: usize) -> Option<u32> {
        let first = self.0.get(&(metadata.dev(), metadata.ino())).copied()?;
        (usize::try_from(first).ok()? < at).then_some(first)
    }
}

/// The permissions, if they are not those that a new file or directory gets.
fn unusual_mode(metadata: &Metadata, umask: u32) -> Option<u32> {
    if metadata.is_symlink() {
        return None;
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let usual = |asked: u32| mode == asked & !umask;
    let is_usual = usual(0o777) || (metadata.is_file() && usual(0o666));
    (!is_usual).then_some(mode)
}

struct Capturer<'a> {
    dir: &'a Path,
    roots: &'a Roots,
    store: &'a Store,
    scanner: Scanner,
    names: Names,
    contained: Vec<Root>,
    size: u64,
}

impl Capturer<'_> {
    fn content(&mut self, found: &Found) -> Result<Content, Refusal> {
        let Found { metadata, path, .. } = found;
        if metadata.is_dir() {
            return Ok(Content::Directory);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(path)?;
            if target.is_relative() && !is_below(path, &target, self.dir) {
                // Between two roots it leads elsewhere where they lie otherwise.
                self.contained = Root::ALL.to_vec();
            }
            let (template, left) = open_roots(target.as_os_str().as_bytes(), self.roots);
            self.contained.extend(left);
            return Ok(Content::Link(template));
        }
        if !metadata.is_file() {
            return Err(NotStored::UnknownOutput.at(path));
        }
        let start = fs::read_start(path, 8)?;
        if COMPRESSED.iter().any(|magic| start.starts_with(magic)) {
            self.contained = Root::ALL.to_vec();
        }
        // A result, in which text is kept, is for everybody.
        if metadata.len() <= MAX_TEXT
            && !fs::is_private(metadata.mode() & found.reachable)
            && let Some(text) = self.text(path)?
        {
            return Ok(Content::Text(text));
        }
        self.scanner.next_content();
        let scanner = &mut self.scanner;
        let stored = self
            .store
            .take_in(path, found.reachable, |piece| scanner.scan(piece))
            .map_err(|e| match e {
                StoreError::Path(e) if e.path == *path => NotStored::Unreadable.of(e),
                e => NotStored::Store.of(e),
            })?;
        self.size += stored.size;
        Ok(if stored.has_holes {
            Content::Sparse(stored.blob)
        } else {
            Content::Blob(stored.blob)
        })
    }

    /// Text that names roots and nothing but whole paths of them.
    fn text(&mut self, path: &Path) -> Result<Option<Template>, Refusal> {
        let bytes = fs::read(path)?;
        let is_text = !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok();
        if !is_text {
            return Ok(None);
        }
        let inside = path
            .strip_prefix(self.dir)
            .map_or(0, |inside| inside.components().count());
        if leads_up(&bytes, UP_TO_TARGET + inside.saturating_sub(1)) {
            self.contained = Root::ALL.to_vec();
        }
        let (template, left) = open_roots(&bytes, self.roots);
        let plain = template.roots().all(|root| is_plain(self.roots, root));
        // The user's home stays as it is.
        let is_open = left.iter().all(|root| *root == Root::Home);
        let is_wanted = template.names_a_root() && is_open && plain;
        if is_wanted {
            self.contained.extend(left);
        }
        Ok(is_wanted.then_some(template))
    }
}

/// Whether a relative link at `link` leads to what lies in `dir`, by its text.
pub(super) fn is_below(link: &Path, target: &Path, dir: &Path) -> bool {
    let depth = link
        .strip_prefix(dir)
        .map_or(0, |inside| inside.components().count());
    let mut depth = depth.saturating_sub(1);
    target.components().all(|part| match part {
        Component::ParentDir => {
            let inside = depth > 0;
            depth = depth.saturating_sub(1);
            inside
        }
        Component::Normal(_) => {
            depth += 1;
            true
        }
        _ => true,
    })
}
