//! What a build script leaves in `OUT_DIR`: capturing and restoring a tree.
//!
//! Files go into the blob store. Text that names roots (`.pc` files, generated sources) is
//! kept in the result with the roots left open, so that it serves other checkouts; what
//! contains a root in any other form binds the result to that root's place. So does what
//! is compressed, which hides what it contains.
//!
//! A tree is restored beside its place, files in the order in which they were written, so
//! that tools which compare times find what they left. Only when every file is there and
//! verified does the whole get its place, by one rename.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::check::{Change, MissReason};
use crate::error::PathError;
use crate::fs;
use crate::restore::RestoreError;
use crate::result::{CompileResult, Content, Output, Role};
use crate::roots::{Escaping, Root, Roots, Scanner, Template};
use crate::seen::NotStored;
use crate::store::{Store, StoreError, disk_size};

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

/// What was captured.
pub(super) struct Captured {
    pub(super) outputs: Vec<Output>,
    /// The roots whose paths the outputs contain.
    pub(super) contained: Vec<Root>,
    /// What the stored outputs take on disk, bytes.
    pub(super) size: u64,
}

/// Stores the contents of a directory.
pub(super) fn capture(dir: &Path, roots: &Roots, store: &Store) -> Result<Captured, NotStored> {
    let umask = fs::umask();
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|_| NotStored::Unreadable)?;
        let metadata = entry.metadata().map_err(|_| NotStored::Unreadable)?;
        if entry.depth() == 0 {
            if unusual_mode(&metadata, umask).is_some() {
                return Err(NotStored::UnknownOutput);
            }
            continue;
        }
        found.push((metadata, entry.into_path()));
    }
    // Directories first, each before what it holds; files by age; links last.
    let rank = |metadata: &std::fs::Metadata| {
        let written = (metadata.mtime(), metadata.mtime_nsec());
        match (metadata.is_dir(), metadata.is_symlink()) {
            (true, _) => (0, (0, 0)),
            (false, false) => (1, written),
            (false, true) => (2, (0, 0)),
        }
    };
    found.sort_by_key(|(metadata, _)| rank(metadata));
    let mut capturer = Capturer {
        dir,
        roots,
        store,
        scanner: Scanner::new(roots),
        contained: Vec::new(),
        size: 0,
    };
    let mut outputs = Vec::with_capacity(found.len());
    for (metadata, path) in &found {
        let relative = path.strip_prefix(dir).unwrap_or(path);
        outputs.push(Output {
            role: Role::InTree {
                path: relative.as_os_str().as_bytes().to_vec(),
                mode: unusual_mode(metadata, umask),
            },
            executable: metadata.is_file() && metadata.mode() & 0o111 != 0,
            content: capturer.content(path, metadata)?,
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

/// The permissions, if they are not those that a new file or directory gets.
fn unusual_mode(metadata: &std::fs::Metadata, umask: u32) -> Option<u32> {
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
    contained: Vec<Root>,
    size: u64,
}

impl Capturer<'_> {
    fn content(&mut self, path: &Path, metadata: &std::fs::Metadata) -> Result<Content, NotStored> {
        if metadata.is_dir() {
            return Ok(Content::Directory);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(|_| NotStored::Unreadable)?;
            if target.is_relative() && !is_below(path, &target, self.dir) {
                // Between two roots it leads elsewhere where they lie otherwise.
                self.contained = Root::ALL.to_vec();
            }
            let (template, left) = open_roots(target.as_os_str().as_bytes(), self.roots);
            self.contained.extend(left);
            return Ok(Content::Link(template));
        }
        if !metadata.is_file() {
            return Err(NotStored::UnknownOutput);
        }
        let start = fs::read_start(path, 8).map_err(|_| NotStored::Unreadable)?;
        if COMPRESSED.iter().any(|magic| start.starts_with(magic)) {
            self.contained = Root::ALL.to_vec();
        }
        if metadata.len() <= MAX_TEXT
            && let Some(text) = self.text(path)?
        {
            return Ok(Content::Text(text));
        }
        self.scanner.next_content();
        let scanner = &mut self.scanner;
        let blob = self
            .store
            .put_blob(path, |piece| scanner.scan(piece))
            .map_err(|e| match e {
                StoreError::Path(e) if e.path == *path => NotStored::Unreadable,
                _ => NotStored::Store,
            })?;
        self.size += disk_size(blob.len);
        Ok(Content::Blob(blob))
    }

    /// Text that names roots and nothing but whole paths of them.
    fn text(&mut self, path: &Path) -> Result<Option<Template>, NotStored> {
        let bytes = fs::read(path).map_err(|_| NotStored::Unreadable)?;
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
        Ok((template.names_a_root() && left.is_empty() && plain).then_some(template))
    }
}

/// Text with its roots left open, and the roots that it is bound to: those that it still
/// contains, those whose path is so short that it may mean something else, and all where
/// it holds a relative path from `OUT_DIR` to another of them.
pub(super) fn open_roots(text: &[u8], roots: &Roots) -> (Template, Vec<Root>) {
    let template = roots.template(text, Escaping::Raw);
    if leads_up(text, UP_TO_TARGET) {
        return (template, Root::ALL.to_vec());
    }
    let mut scanner = Scanner::new(roots);
    for literal in template.literals() {
        scanner.next_content();
        scanner.scan(literal);
    }
    let mut bound = scanner.found().to_vec();
    bound.extend(template.roots().filter(|root| is_short(roots, *root)));
    (template, bound)
}

/// How far `OUT_DIR` lies below the target directory at least:
/// `<profile>/build/<package>/out`.
const UP_TO_TARGET: usize = 4;

/// Whether text holds a relative path that leads up so many directories.
fn leads_up(text: &[u8], least: usize) -> bool {
    let up = b"../".repeat(least);
    memchr::memmem::find(text, &up).is_some()
}

/// Whether a root's path may well be text of another meaning: `/app`.
fn is_short(roots: &Roots, root: Root) -> bool {
    let path = roots.get(root);
    path.is_some_and(|path| path.components().count() <= 2)
}

/// Whether a relative link at `link` leads to what lies in `dir`, by its text.
fn is_below(link: &Path, target: &Path, dir: &Path) -> bool {
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

/// Whether a root's path stands in any language as it is.
fn is_plain(roots: &Roots, root: Root) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"/_-.+".contains(b);
    let path = roots.get(root).map(|path| path.as_os_str().as_bytes());
    path.is_some_and(|path| path.iter().all(is_plain))
}

/// Restores a tree in the place of an empty directory.
pub(super) fn restore(
    store: &Store,
    result: &CompileResult,
    roots: &Roots,
    dir: &Path,
) -> Result<(), RestoreError> {
    if result.outputs.is_empty() {
        return Ok(());
    }
    let name = format!(".cachewrap-out-{}", std::process::id());
    let beside = dir.with_file_name(name);
    // Left by a process of the same id that was killed.
    let _ = fs::remove_any(&beside);
    let placed = place(store, result, roots, &beside).and_then(|()| {
        let renamed = fs::rename(&beside, dir);
        renamed.map_err(|e| RestoreError::Place(e.into()))
    });
    if placed.is_err() {
        let _ = fs::remove_any(&beside);
    }
    placed
}

fn place(
    store: &Store,
    result: &CompileResult,
    roots: &Roots,
    dir: &Path,
) -> Result<(), RestoreError> {
    let refused = |e: PathError| RestoreError::Place(e.into());
    let damaged = || RestoreError::Miss(MissReason::Damaged);
    fs::create_dir(dir).map_err(refused)?;
    let mut unusual: Vec<(PathBuf, u32)> = Vec::new();
    for output in &result.outputs {
        let Role::InTree { path, mode } = &output.role else {
            return Err(damaged());
        };
        let path = dir.join(std::ffi::OsStr::from_bytes(path));
        match &output.content {
            Content::Directory => fs::create_dir(&path).map_err(refused)?,
            Content::Link(template) => {
                let target = template.fill(roots).ok_or_else(damaged)?;
                let target = Path::new(std::ffi::OsStr::from_bytes(&target));
                fs::symlink(target, &path).map_err(refused)?;
            }
            Content::Text(template) => {
                let strange = template.roots().find(|root| !is_plain(roots, *root));
                if let Some(root) = strange {
                    return Err(RestoreError::Miss(unplain(root, roots)));
                }
                let text = template.fill(roots).ok_or_else(damaged)?;
                let bits = if output.executable { 0o777 } else { 0o666 };
                let file = fs::TempFile::create_with_mode(path.parent().unwrap_or(dir), bits);
                let mut file = file.map_err(refused)?;
                file.write_all(&text).map_err(refused)?;
                file.persist(&path).map_err(refused)?;
            }
            Content::Blob(blob) => {
                let placed = store.place(*blob, &path, output.executable);
                let placed = placed.map_err(|e| match e {
                    StoreError::Corrupt { .. } => damaged(),
                    e => RestoreError::Place(e),
                })?;
                let placed = placed.ok_or(RestoreError::Miss(MissReason::Evicted))?;
                placed.commit().map_err(refused)?;
            }
        }
        unusual.extend(mode.map(|mode| (path, mode)));
    }
    // Inner ones first: a directory may be closed by its mode.
    for (path, mode) in unusual.iter().rev() {
        fs::set_mode(path, *mode).map_err(refused)?;
    }
    Ok(())
}

fn unplain(root: Root, roots: &Roots) -> MissReason {
    let new = roots.get(root).map(|path| path.display().to_string());
    MissReason::Changed(Change {
        kind: "place",
        what: root.name().to_owned(),
        old: "a path without special characters".to_owned(),
        new: new.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    struct Place {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::new(dir.path().join("cache"), false);
            Self { dir, store }
        }

        /// An empty `OUT_DIR` in a target directory of this name, and its roots.
        fn target(&self, name: &str) -> (PathBuf, Roots) {
            let target = self.dir.path().join(name);
            let out = target.join("build/out");
            std::fs::create_dir_all(&out).unwrap();
            let mut roots = Roots::default();
            roots.add(Root::Target, &target);
            (out, roots)
        }

        fn captured(&self, out: &Path, roots: &Roots) -> (CompileResult, Vec<Root>) {
            let captured = capture(out, roots, &self.store).unwrap();
            let result = CompileResult {
                unit: "x".into(),
                toolchain: Digest::of(b""),
                outputs: captured.outputs,
                stdout: Template::default(),
                stderr: Template::default(),
                status: 0,
                duration_us: 0,
                created: 0,
            };
            (result, captured.contained)
        }
    }

    #[test]
    fn short_roots_and_ways_far_up_bind() {
        let mut roots = Roots::default();
        roots.add(Root::Workspace, "/app");
        roots.add(Root::Target, "/long/enough/target");
        let bound = |text: &str| open_roots(text.as_bytes(), &roots).1;
        assert_eq!(bound("GET /app/route"), [Root::Workspace]);
        assert!(bound("/long/enough/target/x").is_empty());
        assert!(bound("../../../x").is_empty());
        assert_eq!(bound("../../../../src/x"), Root::ALL);
        let below = |link: &str, target: &str| {
            is_below(Path::new(link), Path::new(target), Path::new("/out"))
        };
        assert!(below("/out/a/link", "../b") && below("/out/link", "a/../b"));
        assert!(!below("/out/a/link", "../../b") && !below("/out/link", "../b"));
    }

    #[test]
    fn text_is_moved_and_binaries_bind() {
        let place = Place::new();
        let (out, roots) = place.target("one");
        std::fs::create_dir(out.join("d")).unwrap();
        std::fs::write(out.join("d/x.pc"), format!("prefix={}\n", out.display())).unwrap();
        std::os::unix::fs::symlink(out.join("d"), out.join("link")).unwrap();
        let (result, contained) = place.captured(&out, &roots);
        assert!(contained.is_empty());
        let (there, other_roots) = place.target("two");
        restore(&place.store, &result, &other_roots, &there).unwrap();
        let text = std::fs::read_to_string(there.join("link/x.pc")).unwrap();
        assert_eq!(text, format!("prefix={}\n", there.display()));
        assert_eq!(
            std::fs::read_link(there.join("link")).unwrap(),
            there.join("d")
        );

        for (name, content) in [
            ("binary", format!("\0{}\0", out.display())),
            ("word", format!("-L{}", out.display())),
        ]
        .map(|(name, content)| (name, content.into_bytes()))
        .into_iter()
        .chain([("packed.gz", b"\x1f\x8b".to_vec())])
        {
            std::fs::write(out.join(name), content).unwrap();
            let (_, contained) = place.captured(&out, &roots);
            assert!(contained.contains(&Root::Target), "{name}");
            std::fs::remove_file(out.join(name)).unwrap();
        }
    }

    #[test]
    fn text_is_not_moved_to_a_place_that_would_need_quoting() {
        let place = Place::new();
        let (out, roots) = place.target("one");
        std::fs::write(out.join("x"), format!("dir={}", out.display())).unwrap();
        let (result, _) = place.captured(&out, &roots);
        let (there, other_roots) = place.target("two words");
        let outcome = restore(&place.store, &result, &other_roots, &there);
        let Err(RestoreError::Miss(MissReason::Changed(change))) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(change.kind, "place");
        assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
        // And where it comes from such a place, it stays there.
        std::fs::write(there.join("x"), format!("dir={}", there.display())).unwrap();
        let (_, contained) = place.captured(&there, &other_roots);
        assert_eq!(contained, [Root::Target]);
    }

    #[test]
    fn a_damaged_or_missing_blob_leaves_the_place_as_it_was() {
        let place = Place::new();
        let (out, roots) = place.target("one");
        std::fs::write(out.join("a"), "first").unwrap();
        std::fs::write(out.join("b"), "second").unwrap();
        let (result, _) = place.captured(&out, &roots);
        let blob = result.blobs().last().unwrap();
        std::fs::remove_file(place.store.layout().blob(blob.digest)).unwrap();
        let (there, roots) = place.target("two");
        let outcome = restore(&place.store, &result, &roots, &there);
        assert!(matches!(
            outcome,
            Err(RestoreError::Miss(MissReason::Evicted))
        ));
        assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
        assert_eq!(
            std::fs::read_dir(there.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn what_is_no_file_is_not_kept() {
        let place = Place::new();
        let (out, roots) = place.target("one");
        let _listener = std::os::unix::net::UnixListener::bind(out.join("socket")).unwrap();
        let captured = capture(&out, &roots, &place.store);
        assert!(matches!(captured, Err(NotStored::UnknownOutput)));
    }
}
