//! Capturing: finding the files a compilation wrote, and storing them.
//!
//! Outputs are found by what the compiler and the kernel say, not by rules about names:
//! the artifact messages (`--json=artifacts`), the rules of dep-info (one for each
//! emitted file), and the files that were seen to be written and are still there. The
//! last source brings the `.dwo`, `.dwp` and `-C save-temps` files, which are announced
//! nowhere.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::ReadCache;
use object::archive::MAGIC;
use object::read::archive::ArchiveFile;

use crate::error::PathError;
use crate::inputs::input::FileType;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outputs::result::{Content, Output, Role};
use crate::roots::{Root, Roots, Scanner};
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

/// Stores the outputs' contents.
pub(crate) fn capture(
    places: &Places<'_>,
    outputs: &[PathBuf],
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
    for path in outputs {
        let role = places.role(path);
        let role = role.ok_or_else(|| NotStored::UnknownOutput.at(path))?;
        let stamp = Stamp::of(path);
        let stamp = stamp.ok_or_else(|| NotStored::UnknownOutput.at(path))?;
        let content = if is_dep_info(path, &role) {
            let text = fs::read(path)?;
            Content::Text(dep_info::template(&text, roots))
        } else {
            scanner.next_content();
            let stored = store.take_in(path, 0o777, |piece| scanner.scan(piece));
            let stored = stored.map_err(|e| match e {
                StoreError::Path(e) if e.path == *path => NotStored::UnknownOutput.of(e),
                e => NotStored::Store.of(e),
            })?;
            let blob = stored.blob;
            // The next unit will ask for its digest.
            if let Some(now) = Stamp::of(path).filter(|now| now.same_content(&stamp)) {
                memo.put(path, &now, blob);
            }
            captured.size += stored.size;
            Content::Blob(blob)
        };
        captured.outputs.push(Output {
            role,
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
