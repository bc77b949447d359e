//! Content digests and the names of stored content.

use std::fmt;
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread::Builder;

use serde::{Deserialize, Serialize};

/// How much of a file is read for hashing, or written, at a time, bytes.
///
/// BLAKE3 reaches its full SIMD width from about 16 KiB on, and system calls no longer count
/// from 32 KiB on. More is worse: the page cache takes memory in units as large as a write
/// (ext4 since Linux 6.16), and large units are those that a virtual machine has given back
/// to its host and must ask for again. Building bat 0.25.0 from a full cache took 1.7 s with
/// 128 KiB and 1 MiB, and 1.25 s with 16 KiB to 64 KiB.
const PIECE: usize = 64 * 1024;

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
        buffer.resize((2 * n).min(PIECE), 0);
    }
    Ok(BlobRef {
        digest: hasher.finalize().into(),
        len,
    })
}

/// From this length on, bytes, content is hashed on a thread of its own.
///
/// Reading and writing takes about as long as hashing. Below, starting a thread and waking
/// it, on a processor that may be asleep or have other work, takes as long as it would save.
const LARGE: u64 = 32 << 20;

/// What is handed to the other thread at a time, bytes, and how many buffers of it there are.
const HANDED_OVER: usize = 1 << 20;
const BUFFERS: usize = 3;

/// The same as [`hash_pieces`] for content of about `len` bytes, each piece of which is also
/// shown to `inspect`. That and hashing happen on another thread where it pays.
pub(crate) fn hash_aside<E>(
    mut reader: impl Read,
    len: u64,
    cannot_read: impl Fn(io::Error) -> E,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    mut inspect: impl FnMut(&[u8]) + Send,
) -> Result<BlobRef, E> {
    if len >= LARGE
        && let Some(hashed) = hash_on_thread(&mut reader, &cannot_read, &mut piece, &mut inspect)
    {
        return hashed;
    }
    hash_pieces(reader, cannot_read, |bytes| {
        inspect(bytes);
        piece(bytes)
    })
}

/// `None`: there is no thread to be had, and nothing has been read.
fn hash_on_thread<E>(
    reader: &mut impl Read,
    cannot_read: &impl Fn(io::Error) -> E,
    piece: &mut impl FnMut(&[u8]) -> Result<(), E>,
    inspect: &mut (impl FnMut(&[u8]) + Send),
) -> Option<Result<BlobRef, E>> {
    let (full, to_hash) = mpsc::channel::<Vec<u8>>();
    let (empty, to_fill) = mpsc::channel();
    let hash = move || {
        let mut hasher = blake3::Hasher::new();
        for _ in 0..BUFFERS {
            // Refused when the other side has failed already; so below.
            let _ = empty.send(Vec::new());
        }
        for bytes in to_hash {
            hasher.update(&bytes);
            inspect(&bytes);
            let _ = empty.send(bytes);
        }
        BlobRef {
            digest: hasher.finalize().into(),
            len: hasher.count(),
        }
    };
    std::thread::scope(|scope| {
        let hashing = Builder::new().spawn_scoped(scope, hash).ok()?;
        let copy = || {
            for mut bytes in to_fill {
                bytes.resize(HANDED_OVER, 0);
                let n = fill(reader, &mut bytes).map_err(cannot_read)?;
                bytes.truncate(n);
                bytes.chunks(PIECE).try_for_each(&mut *piece)?;
                let _ = full.send(bytes);
                if n < HANDED_OVER {
                    break;
                }
            }
            Ok(())
        };
        let copied = copy();
        drop(full);
        match hashing.join() {
            Ok(blob) => Some(copied.map(|()| blob)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends with an error after some bytes.
    struct Broken(u64);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("broken"));
            }
            let n = buffer.len().min(usize::try_from(self.0).unwrap());
            self.0 -= n as u64;
            Ok(n)
        }
    }

    #[test]
    fn large_content_is_the_same_whoever_hashes_it() {
        let large = usize::try_from(LARGE).unwrap();
        for len in [0, 1, large - 1, large, large + 1, large + HANDED_OVER] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let (mut copied, mut inspected) = (Vec::new(), Vec::new());
            let hashed = hash_aside(
                bytes.as_slice(),
                len as u64,
                |e| e,
                |piece| {
                    copied.extend_from_slice(piece);
                    Ok(())
                },
                |piece| inspected.extend_from_slice(piece),
            );
            assert_eq!(hashed.unwrap(), BlobRef::of(&bytes));
            assert!(copied == bytes && inspected == bytes, "{len}");
        }
    }

    #[test]
    fn errors_end_the_hashing_of_large_content() {
        let unreadable = hash_aside(Broken(LARGE), LARGE, |e| e, |_| Ok(()), |_| ());
        assert_eq!(unreadable.unwrap_err().to_string(), "broken");
        let full = || Err(io::Error::other("full"));
        let unwritable = hash_aside(io::repeat(1), LARGE, |e| e, |_| full(), |_| ());
        assert_eq!(unwritable.unwrap_err().to_string(), "full");
    }
}
