//! Stores made through the library's public interface, without a compiler.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cache_core::entry::{
    BlobRef, CompileResult, Content, Input, InputManifest, ManifestKey, Output, ResultKey, Role,
    RootedPath, Template, result_key,
};
use cache_core::{Digest, Store};

/// One compilation that never was.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) outputs: Vec<Vec<u8>>,
    /// How long ago it was stored.
    pub(crate) stored: Duration,
    /// How long ago it was last hit.
    pub(crate) hit: Option<Duration>,
    pub(crate) toolchain: Digest,
}

impl Unit {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outputs: vec![compressible(name, 40_000)],
            stored: Duration::from_secs(3600),
            hit: None,
            toolchain: Digest::of(b"toolchain"),
        }
    }

    pub(crate) fn stored_ago(mut self, seconds: u64) -> Self {
        self.stored = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn hit_ago(mut self, seconds: u64) -> Self {
        self.hit = Some(Duration::from_secs(seconds));
        self
    }
}

/// Text of which zstd leaves about a third.
pub(crate) fn compressible(seed: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 80);
    let mut hash = Digest::of(seed.as_bytes());
    while out.len() < len {
        out.extend_from_slice(hash.to_hex().as_bytes());
        out.extend_from_slice(&[b' '; 16]);
        hash = Digest::of(hash.as_bytes());
    }
    out.truncate(len);
    out
}

/// Bytes that do not compress.
pub(crate) fn random(seed: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut hash = Digest::of(seed.as_bytes());
    while out.len() < len {
        out.extend_from_slice(hash.as_bytes());
        hash = Digest::of(hash.as_bytes());
    }
    out.truncate(len);
    out
}

/// A store with its files' times under control.
pub(crate) struct Synthetic {
    pub(crate) store: Store,
    pub(crate) now: SystemTime,
    scratch: tempfile::NamedTempFile,
}

impl Synthetic {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            store: Store::new(dir, false),
            now: SystemTime::now(),
            scratch: tempfile::NamedTempFile::new().unwrap(),
        }
    }

    /// Stores a unit.
    pub(crate) fn add(&self, unit: &Unit) -> (ManifestKey, ResultKey) {
        let key = ManifestKey(Digest::of(unit.name.as_bytes()));
        let inputs = vec![Input::Absent {
            path: RootedPath {
                root: None,
                rest: unit.name.clone().into_bytes(),
            },
        }];
        let result_key = result_key(key, &inputs);
        let outputs = unit.outputs.iter().enumerate();
        let outputs = outputs.map(|(i, bytes)| Output {
            role: Role::InOutDir(format!("lib{}.{i}", unit.name)),
            executable: false,
            content: Content::Blob(self.put(bytes, unit.stored)),
        });
        let stored = self.now - unit.stored;
        let result = CompileResult {
            unit: unit.name.clone(),
            toolchain: unit.toolchain,
            outputs: outputs.collect(),
            included: Vec::new(),
            stdout: Template::literal(""),
            stderr: Template::literal(""),
            status: 0,
            duration_us: 1_000_000,
            created: stored
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        };
        self.store.put_result(result_key, &result).unwrap();
        let used = self.now - unit.hit.unwrap_or(unit.stored);
        set_modified(&self.store.layout().result(result_key), used);
        let mut manifest = InputManifest::default();
        manifest.add(inputs, result_key);
        self.store.put_manifest(key, &manifest).unwrap();
        (key, result_key)
    }

    /// Stores a blob that no result names.
    pub(crate) fn put(&self, bytes: &[u8], stored: Duration) -> BlobRef {
        std::fs::write(self.scratch.path(), bytes).unwrap();
        let blob = self.store.put_blob(self.scratch.path(), |_| {}).unwrap();
        set_modified(&self.store.layout().blob(blob.digest), self.now - stored);
        blob
    }

    /// The raw files of a unit's outputs.
    pub(crate) fn blob_paths(&self, unit: &Unit) -> Vec<PathBuf> {
        let digests = unit.outputs.iter().map(|bytes| Digest::of(bytes));
        digests
            .map(|digest| self.store.layout().blob(digest))
            .collect()
    }
}

/// Sets a file's time, unless a collection has removed it meanwhile.
pub(crate) fn set_modified(path: &Path, time: SystemTime) {
    let Ok(file) = File::open(path) else { return };
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}
