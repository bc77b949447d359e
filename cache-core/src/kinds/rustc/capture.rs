//! Capturing: finding the files a compilation wrote, and storing them.
//!
//! Outputs are found by what the compiler and the kernel say, not by rules about names:
//! the artifact messages (`--json=artifacts`), the rules of dep-info (one for each
//! emitted file), and the files that were seen to be written and are still there. The
//! last source brings the `.dwo`, `.dwp` and `-C save-temps` files, which are announced
//! nowhere.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::ReadCache;
use object::archive::MAGIC;
use object::read::archive::ArchiveFile;

use crate::error::PathError;
use crate::inputs::input::FileType;
use crate::os::stamp::Stamp;
use crate::os::{attributes, fs};
use crate::outputs::result::{Content, Output, Role};
use crate::outputs::watch::Watch;
use crate::roots::{Root, Roots, Scanner, Template};
use crate::store::memo::Memo;
use crate::store::{Store, StoreError};

use super::dep_info;
use super::invocation::Invocation;
use crate::outcome::{NotStored, Refusal};

/// What was captured.
pub(crate) struct Captured {
    pub(crate) outputs: Vec<Output>,
    /// The roots whose paths the outputs contain.
    pub(crate) contained: Vec<Root>,
    /// What the stored outputs take on disk, bytes.
    pub(crate) size: u64,
}

/// Where outputs go, as this invocation says.
pub(crate) struct Places<'a> {
    pub(crate) invocation: &'a Invocation,
    pub(crate) cwd: &'a Path,
    /// The directory for outputs without a path of their own.
    pub(crate) out_dir: &'a Path,
}

impl Places<'_> {
    /// What a path is to this invocation; `None` if it is not a place for outputs.
    fn role(&self, path: &Path) -> Option<Role> {
        let emits = self.invocation.emits.iter();
        for emit in emits {
            if emit.path.as_ref().is_some_and(|p| self.cwd.join(p) == path) {
                return Some(Role::Emit(emit.kind.clone()));
            }
        }
        let name = path.file_name()?.to_str()?;
        (path.parent() == Some(self.out_dir)).then(|| Role::InOutDir(name.to_owned()))
    }

    /// Where an output goes; `None` if this invocation has no such place.
    pub(crate) fn path(&self, role: &Role) -> Option<PathBuf> {
        match role {
            Role::InOutDir(name) => Some(self.out_dir.join(name)),
            Role::Emit(kind) => {
                let mut emits = self.invocation.emits.iter();
                let emit = emits.find(|e| e.kind == *kind && e.path.is_some())?;
                Some(self.cwd.join(emit.path.as_ref()?))
            }
            Role::InTree { .. } => None,
        }
    }
}

/// Whether an output has taken files out of native archives, which neither arguments nor dep-info
/// name. What the compiler puts into a library of its own is called after the library.
pub(crate) fn holds_native_code(output: &Path) -> Result<bool, PathError> {
    if fs::read_start(output, MAGIC.len() as u64)? != MAGIC {
        return Ok(false);
    }
    let stem = output.file_stem().unwrap_or_default().as_bytes();
    let stem = stem.strip_prefix(b"lib").unwrap_or(stem);
    let is_own = |name: &[u8]| {
        let rest = name.strip_prefix(stem).unwrap_or_default();
        name.starts_with(b"lib.rmeta")
            || rest.starts_with(b".") && memchr::memmem::find(rest, b".rcgu.").is_some()
    };
    let data = &ReadCache::new(fs::open(output)?);
    let is_all_own = ArchiveFile::parse(data).is_ok_and(|archive| {
        let mut members = archive.members();
        members.all(|member| member.is_ok_and(|member| is_own(member.name())))
    });
    Ok(!is_all_own)
}

/// Sorts out which of the files that were mentioned or written are outputs.
///
/// `announced` must be there and have a place; of those `written` only the ones that
/// still exist count, and one outside the places of outputs is a side effect.
pub(crate) fn outputs(
    places: &Places<'_>,
    announced: &[PathBuf],
    written: &[PathBuf],
) -> Result<Vec<PathBuf>, Refusal> {
    let mut outputs = Vec::new();
    for path in announced {
        let path = places.cwd.join(path);
        if !outputs.contains(&path) {
            places
                .role(&path)
                .ok_or_else(|| NotStored::UnknownOutput.at(&path))?;
            outputs.push(path);
        }
    }
    for path in written {
        let Some(stamp) = Stamp::of(path) else {
            // Gone again, as temporary files are; or a link to nothing, which stays.
            match fs::symlink_metadata(path) {
                Ok(_) => return Err(NotStored::SideEffect.at(path)),
                Err(_) => continue,
            }
        };
        if outputs.contains(path) {
            continue;
        }
        if stamp.file_type != FileType::File || places.role(path).is_none() {
            return Err(NotStored::SideEffect.at(path));
        }
        outputs.push(path.clone());
    }
    Ok(outputs)
}

/// An output as it was right after the compiler had ended: another file may have its name by the time
/// its content is copied, and dep-info is written anew in place.
pub(crate) struct Pinned {
    path: PathBuf,
    role: Role,
    stamp: Stamp,
    content: Pin,
}

enum Pin {
    Text(Template),
    /// Held open.
    File(File),
    /// To be opened by its name.
    Named,
}

/// More outputs than this are not held open: a process may not have many files open.
const MOST_PINNED: usize = 64;

impl Pinned {
    fn new(path: &Path, role: Role, roots: &Roots, hold: bool) -> Result<Self, Refusal> {
        let stamp = Stamp::of(path);
        let mut stamp = stamp.ok_or_else(|| NotStored::UnknownOutput.at(path))?;
        if attributes::were_given(path) {
            return Err(NotStored::UnknownOutput.at(path));
        }
        let content = if is_dep_info(path, &role) {
            let text = fs::read(path)?;
            Pin::Text(dep_info::template(&text, roots))
        } else if hold {
            let file = open(path)?;
            stamp = Stamp::of_file(&file).unwrap_or(stamp);
            Pin::File(file)
        } else {
            Pin::Named
        };
        Ok(Self {
            path: path.to_owned(),
            role,
            stamp,
            content,
        })
    }

    /// Text with its roots left open, if it is that.
    pub(super) fn text(&self) -> Option<&Template> {
        match &self.content {
            Pin::Text(text) => Some(text),
            Pin::File(_) | Pin::Named => None,
        }
    }
}

fn open(path: &Path) -> Result<File, Refusal> {
    fs::open(path).map_err(|e| NotStored::UnknownOutput.of(e))
}

/// Watches outputs that are held open for being written to. `None` where that is not possible.
pub(crate) fn watch(outputs: &[Pinned]) -> Option<Watch> {
    let mut files = Vec::new();
    for output in outputs {
        match &output.content {
            Pin::Text(_) => {}
            Pin::File(file) => files.push(file),
            Pin::Named => return None,
        }
    }
    Watch::new(&files)
}

/// Holds outputs open, unless there are very many.
pub(crate) fn pin(
    places: &Places<'_>,
    outputs: &[PathBuf],
    roots: &Roots,
) -> Result<Vec<Pinned>, Refusal> {
    let hold = outputs.len() <= MOST_PINNED;
    let pinned = outputs.iter().map(|path| {
        let role = places.role(path);
        let role = role.ok_or_else(|| NotStored::UnknownOutput.at(path))?;
        Pinned::new(path, role, roots, hold)
    });
    pinned.collect()
}

/// Stores the outputs' contents.
pub(crate) fn capture(
    outputs: Vec<Pinned>,
    watch: Option<&Watch>,
    roots: &Roots,
    store: &Store,
    memo: &Memo,
) -> Result<Captured, Refusal> {
    let mut scanner = Scanner::new(roots);
    let mut captured = Captured {
        outputs: Vec::new(),
        contained: Vec::new(),
        size: 0,
    };
    for output in outputs {
        let (path, stamp) = (&*output.path, output.stamp);
        let mut take_in = |file: File| -> Result<Content, Refusal> {
            scanner.next_content();
            let source = file.try_clone();
            let source = source.map_err(|e| NotStored::UnknownOutput.of(e))?;
            let stored = store.take_in_open(source, path, 0o777, |piece| scanner.scan(piece));
            let stored = stored.map_err(|e| match e {
                StoreError::Path(e) if e.path == *path => NotStored::UnknownOutput.of(e),
                e => NotStored::Store.of(e),
            })?;
            let now = now_unchanged(&file, &stamp, watch);
            let now = now.ok_or_else(|| NotStored::Changed.at(path))?;
            // The next unit will ask for its digest.
            if let Some(named) = Stamp::of(path).filter(|named| named.same_content(&now)) {
                memo.put(path, &named, stored.blob);
            }
            captured.size += stored.size;
            Ok(Content::Blob(stored.blob))
        };
        let content = match output.content {
            Pin::Text(text) => Content::Text(text),
            Pin::File(file) => take_in(file)?,
            Pin::Named => take_in(open(path)?)?,
        };
        captured.outputs.push(Output {
            role: output.role,
            executable: stamp.is_executable(),
            content,
        });
    }
    captured.contained = scanner.found().to_vec();
    // Metadata first: that is the order in which they are placed.
    captured
        .outputs
        .sort_by_key(|output| !is_metadata(&output.role));
    Ok(captured)
}

/// How an output looks that was read from a file held open, if its content is what it was. Cargo may have
/// linked it under its second name, and where nothing is linked it sets its time, when the compiler
/// has ended: so where the kernel tells of writing, times do not count.
fn now_unchanged(file: &File, pinned: &Stamp, watch: Option<&Watch>) -> Option<Stamp> {
    let now = Stamp::of_file(file)?;
    let is_same = match watch {
        Some(watch) => now.size == pinned.size && !watch.has_seen_writing(file),
        None => now.same_content(pinned),
    };
    is_same.then_some(now)
}

fn is_dep_info(path: &Path, role: &Role) -> bool {
    match role {
        Role::Emit(kind) => kind == "dep-info",
        Role::InTree { .. } => false,
        Role::InOutDir(_) => path.extension().is_some_and(|e| e.as_bytes() == b"d"),
    }
}

fn is_metadata(role: &Role) -> bool {
    match role {
        Role::Emit(kind) => kind == "metadata",
        Role::InTree { .. } => false,
        Role::InOutDir(name) => Path::new(name).extension() == Some("rmeta".as_ref()),
    }
}
