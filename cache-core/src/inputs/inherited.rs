//! Descriptors that a process inherits beside the standard ones.
//!
//! Reading from one names no path and is not seen. Whoever hands a file down
//! (`exec 5<words; cargo build`) means it to be read; so which of the descriptors that a shell can
//! name with one digit are open for reading enters the key, with what files hold and from where on
//! they are read next (the file may have no name any more), and with the paths of directories,
//! by which others begin, and what they list. That is none in nearly every build. What is read from an inherited
//! pipe or socket is not known. Of compilations it is no part of the key but an input, where code that is not the compiler's
//! own ran in them.
//!
//! A file that changes while it is read shows by its path, which is an input too.
//!
//! Not among them are the jobserver's, those that are open for writing only, and devices.

use std::path::{Path, PathBuf};

use crate::formats::digest::{BlobRef, Digest};
use crate::formats::key::KeyHasher;
use crate::inputs::input::FileType;
use crate::inputs::listing;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::stamp::Stamp;

/// The descriptors that a shell can name with one digit.
const NUMBERS: std::ops::RangeInclusive<u32> = 3..=9;

/// What an input is called that tells which there are.
pub(crate) const FACT: &str = "descriptors";

/// The flag of a descriptor that can be named and not read.
#[cfg(target_os = "linux")]
const NAMED_ONLY: i32 = libc::O_PATH;
/// No other system has the directory where flags are looked up.
#[cfg(not(target_os = "linux"))]
const NAMED_ONLY: i32 = 0;

/// What a descriptor is open for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File {
        path: PathBuf,
        content: Content,
        /// Where the next byte is read from, as `/proc/self/fdinfo` has it.
        position: String,
    },
    /// `None`: it cannot be listed.
    Directory(PathBuf, Option<Digest>),
    Stream,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Known(BlobRef),
    /// It is long, or cannot be read again: which file it is, and how long.
    As([u64; 3]),
}

/// Files beyond this length are not hashed for a key, bytes.
const MAX_LENGTH: u64 = 16 << 20;

/// The descriptors that processes of this one inherit and may read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited(Vec<(u32, Kind)>);

impl Inherited {
    /// Those of this process; `env` tells which are the jobserver's.
    pub(crate) fn find(env: &Environment) -> Self {
        let jobserver = jobserver(env);
        let mut numbers = NUMBERS.filter(|number| !jobserver.contains(number));
        let found = numbers.by_ref().filter_map(|number| {
            let info = fs::read(Path::new(&format!("/proc/self/fdinfo/{number}"))).ok()?;
            let info = String::from_utf8_lossy(&info);
            let is_handed_down = is_readable_by_children(&info)?;
            let link = PathBuf::from(format!("/proc/self/fd/{number}"));
            let kind = is_handed_down.then(|| kind(&link, &info))??;
            Some((number, kind))
        });
        Self(found.collect())
    }

    /// Adds which descriptors there are to a key.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        for (number, kind) in &self.0 {
            hasher.bytes("descriptor", &number.to_le_bytes());
            match kind {
                Kind::File {
                    content, position, ..
                } => {
                    match content {
                        Content::Known(blob) => hasher.bytes("file", blob.digest.as_bytes()),
                        Content::As(numbers) => {
                            let numbers = numbers.map(u64::to_le_bytes);
                            hasher.bytes("long-file", numbers.as_flattened());
                        }
                    }
                    hasher.str("position", position);
                }
                Kind::Directory(path, listing) => {
                    hasher.os("directory", path.as_os_str());
                    hasher.optional("listing", listing.as_ref().map(|d| d.as_bytes().as_slice()));
                }
                Kind::Stream => hasher.str("open-for", "stream"),
            }
            hasher.end_part(|| format!("descriptor {number}"));
        }
    }

    /// What an input tells of them.
    pub(crate) fn fact(&self) -> Option<Vec<u8>> {
        let mut hasher = KeyHasher::new(FACT);
        self.hash(&mut hasher);
        (!self.0.is_empty()).then(|| hasher.finish().as_bytes().to_vec())
    }

    /// The files among them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(_, kind)| match kind {
            Kind::File { path, .. } => Some(path.as_path()),
            Kind::Directory(..) | Kind::Stream => None,
        })
    }
}

fn kind(link: &Path, info: &str) -> Option<Kind> {
    let target = fs::read_link(link).ok()?;
    let stamp = Stamp::of(link)?;
    match stamp.file_type {
        FileType::File if target.is_absolute() => {
            let content = (stamp.size <= MAX_LENGTH).then(|| fs::digest(link).ok());
            Some(Kind::File {
                path: target,
                content: content.flatten().map_or(
                    Content::As([stamp.dev, stamp.ino, stamp.size]),
                    Content::Known,
                ),
                position: field(info, "pos:").unwrap_or_default().to_owned(),
            })
        }
        FileType::File => Some(Kind::Stream),
        FileType::Dir => Some(Kind::Directory(target, listing::digest(link).ok())),
        // Devices have paths, pipes and sockets do not.
        FileType::Other if !target.is_absolute() => Some(Kind::Stream),
        FileType::Other | FileType::Link => None,
    }
}

/// What `/proc/self/fdinfo` says of one thing.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// Whether a descriptor stays open when a program is executed, and may be read from, by what
/// `/proc/self/fdinfo` says of it.
fn is_readable_by_children(info: &str) -> Option<bool> {
    let flags = i32::from_str_radix(field(info, "flags:")?, 8).ok()?;
    let is_written_only = flags & libc::O_ACCMODE == libc::O_WRONLY;
    Some(flags & (libc::O_CLOEXEC | NAMED_ONLY) == 0 && !is_written_only)
}

/// The numbers of the jobserver's pipe.
fn jobserver(env: &Environment) -> Vec<u32> {
    let flags = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"].into_iter();
    let words = flags.filter_map(|name| env.get(name)?.to_str());
    let words = words.flat_map(str::split_ascii_whitespace);
    let pipes = words.filter_map(|word| {
        let auth = word.strip_prefix("--jobserver-auth=");
        auth.or_else(|| word.strip_prefix("--jobserver-fds="))
    });
    pipes
        .flat_map(|pipe| pipe.split(','))
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_down_for_reading_is_told_by_its_flags() {
        for (flags, expected) in [
            ("0100000", true),
            ("0100002", true),
            ("0100001", false),
            ("02100000", false),
        ] {
            let info = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t30\n");
            assert_eq!(is_readable_by_children(&info), Some(expected), "{flags}");
        }
        assert_eq!(is_readable_by_children("pos: 0"), None);
    }

    #[test]
    fn the_jobserver_is_known() {
        let env: Environment = [(
            "CARGO_MAKEFLAGS",
            "-j --jobserver-fds=8,9 --jobserver-auth=8,9",
        )]
        .into_iter()
        .collect();
        assert_eq!(jobserver(&env), [8, 9, 8, 9]);
        let fifo = [("MAKEFLAGS", "--jobserver-auth=fifo:/x")];
        assert!(jobserver(&fifo.into_iter().collect()).is_empty());
    }
}
