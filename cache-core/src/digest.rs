//! Content digests and the names of stored content.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// Size of the buffer with which files are read for hashing, bytes.
///
/// BLAKE3 reaches its full SIMD width from about 16 KiB on; 128 KiB halves the
/// system calls again and still fits into the L2 cache of current processors.
const READ_BUFFER: usize = 128 * 1024;

/// How much is read of a file at first, bytes: all of most sources.
const FIRST_READ: usize = 16 * 1024;

/// The BLAKE3 hash of some content, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes a byte string.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes everything `reader` yields and counts it.
    pub fn of_reader(reader: impl Read) -> io::Result<BlobRef> {
        hash_pieces(reader, |e| e, |_| Ok(()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lowercase hexadecimal digits; the name of the content in the store.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote; `None` for anything else.
    ///
    /// ```
    /// use cache_core::Digest;
    /// let digest = Digest::of(b"content");
    /// assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
    /// assert_eq!(Digest::from_hex("no digest"), None);
    /// ```
    pub fn from_hex(hex: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(hex).ok()?;
        Some(Self(*hash.as_bytes()))
    }
}

/// Hashes everything `reader` yields, and hands each piece of it to `piece` in order.
///
/// `cannot_read` turns an error of the reader into one that the caller can tell from its
/// own.
pub(crate) fn hash_pieces<E>(
    mut reader: impl Read,
    cannot_read: impl FnOnce(io::Error) -> E,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<BlobRef, E> {
    let mut hasher = blake3::Hasher::new();
    // Most files are small, and clearing a large buffer for each would cost more than
    // hashing them.
    let mut buffer = vec![0; FIRST_READ];
    let mut len = 0;
    loop {
        let n = match fill(&mut reader, &mut buffer) {
            Ok(n) => n,
            Err(e) => return Err(cannot_read(e)),
        };
        let (read, rest) = buffer.split_at(n);
        if n > 0 {
            hasher.update(read);
            piece(read)?;
            len += n as u64;
        }
        if !rest.is_empty() {
            break;
        }
        buffer.resize((2 * n).min(READ_BUFFER), 0);
    }
    Ok(BlobRef {
        digest: hasher.finalize().into(),
        len,
    })
}

/// Reads until the buffer is full or the reader is at its end.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A digest and the length of what it is the digest of.
///
/// The length lets a changed file be told apart by its size alone, and bounds
/// what a reader of the store accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content, bytes.
    pub len: u64,
}

impl BlobRef {
    /// Names a byte string.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            len: bytes.len() as u64,
        }
    }
}

/// Everything known before compiling: names an input manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestKey(pub Digest);

/// A manifest key and one set of inputs: names a compile result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResultKey(pub Digest);
