//! Descriptors that a process inherits beside the standard ones.
//!
//! Reading from one names no path and is not seen. Whoever hands a file down
//! (`exec 5<words; cargo build`) means it to be read; so the files among the descriptors that a
//! shell can name with one digit are inputs, and which of them are open for reading, and as
//! what, enters the key. That is none in nearly every build. What is read from an inherited
//! pipe or socket is not known.
//!
//! Not among them are the jobserver's, those that are open for writing only, devices, and
//! directories, below which paths are seen.

use std::path::{Path, PathBuf};

use crate::formats::key::KeyHasher;
use crate::inputs::input::FileType;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::stamp::Stamp;

/// The descriptors that a shell can name with one digit.
const NUMBERS: std::ops::RangeInclusive<u32> = 3..=9;

/// The flag of a descriptor that can be named and not read.
#[cfg(target_os = "linux")]
const NAMED_ONLY: i32 = libc::O_PATH;
/// No other system has the directory where flags are looked up.
#[cfg(not(target_os = "linux"))]
const NAMED_ONLY: i32 = 0;

/// What a descriptor is open for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Stream,
}

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
            let is_handed_down = is_readable_by_children(&String::from_utf8_lossy(&info))?;
            let link = PathBuf::from(format!("/proc/self/fd/{number}"));
            let kind = is_handed_down.then(|| kind(&link))??;
            Some((number, kind))
        });
        Self(found.collect())
    }

    /// Adds which descriptors there are to a key.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        for (number, kind) in &self.0 {
            hasher.bytes("descriptor", &number.to_le_bytes());
            hasher.str(
                "open-for",
                match kind {
                    Kind::File(_) => "file",
                    Kind::Stream => "stream",
                },
            );
            hasher.end_part(|| format!("descriptor {number}"));
        }
    }

    /// The files among them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(_, kind)| match kind {
            Kind::File(path) => Some(path.as_path()),
            Kind::Stream => None,
        })
    }
}

fn kind(link: &Path) -> Option<Kind> {
    let target = fs::read_link(link).ok()?;
    match Stamp::of(link)?.file_type {
        FileType::File if target.is_absolute() => Some(Kind::File(target)),
        FileType::File => Some(Kind::Stream),
        // Devices have paths, pipes and sockets do not.
        FileType::Other if !target.is_absolute() => Some(Kind::Stream),
        FileType::Other | FileType::Dir | FileType::Link => None,
    }
}

/// Whether a descriptor stays open when a program is executed, and may be read from, by what
/// `/proc/self/fdinfo` says of it.
fn is_readable_by_children(info: &str) -> Option<bool> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
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
