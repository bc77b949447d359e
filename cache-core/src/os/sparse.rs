//! Files with holes: read without the holes, and written with them.
//!
//! A file may be a gigabyte long and take a block. Its content is what it reads as, zeros and
//! all, and that is what is hashed; but neither the disk nor the memory for cached pages need
//! hold the zeros.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// What holes are made of, bytes: the block of most file systems.
const BLOCK: usize = 4096;

/// Whether a file has a hole. Fewer blocks than its length needs may also mean that it is
/// compressed, so the file system is asked where the hole is.
pub(crate) fn has_holes(file: &File) -> bool {
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    let len = metadata.len();
    if !metadata.is_file() || metadata.blocks().saturating_mul(512) >= len {
        return false;
    }
    let hole = rustix::fs::seek(file, SeekFrom::Hole(0));
    let back = rustix::fs::seek(file, SeekFrom::Start(0));
    back.is_ok() && hole.is_ok_and(|at| at < len)
}

/// Reads a file from its start, and nothing of its holes.
pub(crate) fn reader(file: File) -> Reader {
    if has_holes(&file) {
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        Reader::Holes {
            file,
            len,
            at: 0,
            stretch: Stretch::Data(0),
        }
    } else {
        Reader::Plain(file)
    }
}

pub(crate) enum Reader {
    Plain(File),
    Holes {
        file: File,
        len: u64,
        at: u64,
        stretch: Stretch,
    },
}

/// What is read now, and where that ends.
#[derive(Clone, Copy)]
pub(crate) enum Stretch {
    Data(u64),
    Hole(u64),
}

impl Stretch {
    /// What begins at `at`, before the end of the file.
    fn at(file: &File, at: u64, len: u64) -> io::Result<Self> {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => len,
            found => found?,
        };
        if data > at {
            return Ok(Self::Hole(data.min(len)));
        }
        Ok(Self::Data(rustix::fs::seek(file, SeekFrom::Hole(at))?))
    }

    fn end(self) -> u64 {
        match self {
            Self::Data(end) | Self::Hole(end) => end,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (file, len, at, stretch) = match self {
            Self::Plain(file) => return file.read(buffer),
            Self::Holes {
                file,
                len,
                at,
                stretch,
            } => (file, *len, at, stretch),
        };
        if *at >= len {
            return Ok(0);
        }
        if stretch.end() <= *at {
            *stretch = Stretch::at(file, *at, len)?;
        }
        let left = usize::try_from(stretch.end() - *at).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let piece = buffer.get_mut(..room).unwrap_or_default();
        let n = match stretch {
            Stretch::Data(_) => file.read_at(piece, *at)?,
            Stretch::Hole(_) => {
                piece.fill(0);
                room
            }
        };
        *at += n as u64;
        Ok(n)
    }
}

/// Writes a file from its start, in which blocks of zeros become holes if there are to be
/// any. Without [`finish`](Self::finish) it may end too early.
pub(crate) struct Writer<'a> {
    file: &'a File,
    holes: bool,
    at: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(file: &'a File, holes: bool) -> Self {
        Self { file, holes, at: 0 }
    }

    /// Gives the file its length: a hole at its end was not written.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.holes {
            self.file.set_len(self.at)?;
        }
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.holes {
            return self.file.write(bytes);
        }
        for block in bytes.chunks(BLOCK) {
            let is_hole = block.iter().fold(0, |all, byte| all | byte) == 0;
            if !is_hole {
                self.file.write_all_at(block, self.at)?;
            }
            self.at += block.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where these bytes are: in the middle, at the start, at the end, and in a hole alone.
    const PLACES: [&[(u64, &[u8])]; 4] = [
        &[(1 << 20, b"middle"), (3 << 20, b"")],
        &[(0, b"start"), (5 << 20, b"")],
        &[((2 << 20) + 17, b"end")],
        &[(1 << 20, b"")],
    ];

    fn sparse(places: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        for (at, bytes) in places {
            file.write_all_at(bytes, *at).unwrap();
            let len = file.metadata().unwrap().len();
            file.set_len(len.max(at + bytes.len() as u64)).unwrap();
        }
        file
    }

    #[test]
    fn holes_read_as_zeros_and_are_written_again() {
        for places in PLACES {
            let file = sparse(places);
            if !has_holes(&file) {
                eprintln!("skipped: this file system has no holes");
                return;
            }
            let mut plain = Vec::new();
            (&file).read_to_end(&mut plain).unwrap();
            let copy = tempfile::tempfile().unwrap();
            let mut writer = Writer::new(&copy, true);
            let mut reader = reader(file.try_clone().unwrap());
            io::copy(&mut reader, &mut writer).unwrap();
            writer.finish().unwrap();
            let mut copied = Vec::new();
            (&copy).read_to_end(&mut copied).unwrap();
            assert!(copied == plain);
            assert!(has_holes(&copy));
            let blocks = |file: &File| file.metadata().unwrap().blocks();
            assert!(blocks(&copy) <= blocks(&file), "{places:?}");
        }
    }

    #[test]
    fn a_file_without_holes_is_written_without() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(&file, false);
        writer.write_all(&vec![0; 1 << 16]).unwrap();
        writer.finish().unwrap();
        assert!(!has_holes(&file));
        assert_eq!(file.metadata().unwrap().len(), 1 << 16);
    }
}
