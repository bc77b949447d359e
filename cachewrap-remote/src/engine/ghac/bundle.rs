//! Bundles: many objects as one file.
//!
//! ```text
//! bundle = magic record*
//! magic  = "cwbu" version                                    version: u8, 1
//! record = idle: u8, u8 and u64 LE: how long name and content are, bytes; name, content
//! ```
//! Of a name that is there more than once the last content counts. `idle` says how many bundles in succession have
//! taken an object along that nobody used; who makes a bundle leaves out what was not used for long ([`Bundle::take_along`]), so that
//! a build that failed early, or that was of a part only, does not lose the rest.
//!
//! A bundle is not believed: each object speaks for itself, as it does wherever it lies. What is read here are lengths, which
//! must come out even.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAGIC: &[u8; 5] = b"cwbu\x01";

/// What precedes a name in a record, bytes.
const HEAD: usize = 10;

/// How many objects there may be.
const MOST: usize = 1 << 16;

/// How many bundles take along what nobody uses.
const LONGEST_IDLE: u8 = 4;

/// Objects in a file.
pub(super) struct Bundle {
    file: File,
    length: u64,
    places: HashMap<String, Place>,
}

/// Where the content of an object is.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    length: u64,
    idle: u8,
}

impl Bundle {
    /// One without objects, in an empty file.
    pub(super) fn create(file: File) -> io::Result<Self> {
        file.write_all_at(MAGIC, 0)?;
        Ok(Self {
            file,
            length: MAGIC.len() as u64,
            places: HashMap::new(),
        })
    }

    /// One that is in a file; `None`: what is there is no bundle.
    pub(super) fn open(file: File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        if length < magic.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut magic, 0)?;
        let mut places = HashMap::new();
        let mut at = magic.len() as u64;
        while at < length {
            let Some((name, place)) = read_head(&file, at, length)? else {
                return Ok(None);
            };
            at = place.at + place.length;
            places.insert(name, place);
            if places.len() > MOST {
                return Ok(None);
            }
        }
        let bundle = Self {
            file,
            length,
            places,
        };
        Ok((magic == *MAGIC).then_some(bundle))
    }

    /// How long all of it is, bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// How long an object is, bytes, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.places.get(name).map(|place| place.length)
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.places.get(name) else {
            return Ok(None);
        };
        let length = usize::try_from(place.length).map_err(io::Error::other)?;
        let mut content = vec![0; length];
        self.file.read_exact_at(&mut content, place.at)?;
        Ok(Some(content))
    }

    /// Adds an object, unless the whole would be longer than that, bytes; whether it did.
    pub(super) fn add(&mut self, name: &str, content: &[u8], most: u64) -> io::Result<bool> {
        self.append(name, 0, content, most)
    }

    fn append(&mut self, name: &str, idle: u8, content: &[u8], most: u64) -> io::Result<bool> {
        let name_length = u8::try_from(name.len()).map_err(io::Error::other)?;
        let length = content.len() as u64;
        let head = [
            &[idle, name_length],
            length.to_le_bytes().as_slice(),
            name.as_bytes(),
        ]
        .concat();
        let at = self.length + head.len() as u64;
        let is_full = at + length > most || self.places.len() >= MOST;
        if is_full && !self.places.contains_key(name) || at + length > most {
            return Ok(false);
        }
        self.file.write_all_at(&head, self.length)?;
        self.file.write_all_at(content, at)?;
        self.length = at + length;
        let place = Place { at, length, idle };
        self.places.insert(name.to_owned(), place);
        Ok(true)
    }

    /// Adds what another has and this one has not: what is used, and, as long as there is room, what was not long ago.
    pub(super) fn take_along(
        &mut self,
        other: &Self,
        is_used: impl Fn(&str) -> bool,
        most: u64,
    ) -> io::Result<()> {
        let more = other.places.iter();
        let mut more: Vec<(u8, &str)> = more
            .filter(|(name, _)| !self.places.contains_key(*name))
            .map(|(name, place)| {
                let is_used = is_used(name);
                let idle = if is_used {
                    0
                } else {
                    place.idle.saturating_add(1)
                };
                (idle, name.as_str())
            })
            .filter(|(idle, _)| *idle <= LONGEST_IDLE)
            .collect();
        more.sort_unstable();
        for (idle, name) in more {
            if let Some(content) = other.read(name)? {
                self.append(name, idle, &content, most)?;
            }
        }
        Ok(())
    }
}

/// The name and the place of the object whose record begins there; `None`: that makes no sense.
fn read_head(file: &File, at: u64, end: u64) -> io::Result<Option<(String, Place)>> {
    let mut head = [0; HEAD];
    let mut name = [0; 255];
    if end - at < HEAD as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, at)?;
    let [idle, name_length, length @ ..] = head;
    let length = u64::from_le_bytes(length);
    let at = at + HEAD as u64;
    let name = name.get_mut(..usize::from(name_length)).unwrap_or_default();
    let content = at + name.len() as u64;
    if content.checked_add(length).is_none_or(|after| after > end) {
        return Ok(None);
    }
    file.read_exact_at(name, at)?;
    let is_plain = name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| is_plain);
    Ok(name.map(|name| {
        let place = Place {
            at: content,
            length,
            idle,
        };
        (name.to_owned(), place)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 1 << 20;

    fn empty() -> Bundle {
        Bundle::create(tempfile::tempfile().unwrap()).unwrap()
    }

    fn file_of(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn bytes(bundle: &Bundle) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(bundle.length()).unwrap()];
        bundle.file().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_bundle_has_the_bytes_that_its_grammar_says() {
        let mut bundle = empty();
        assert!(bundle.add("a", b"xy", ROOM).unwrap());
        assert!(bundle.add("a", b"z", ROOM).unwrap());
        let expected = b"cwbu\x01\x00\x01\x02\0\0\0\0\0\0\0axy\x00\x01\x01\0\0\0\0\0\0\0az";
        assert_eq!(bytes(&bundle), expected);
        let read = Bundle::open(file_of(expected)).unwrap().unwrap();
        assert_eq!(read.read("a").unwrap().unwrap(), b"z");
        assert_eq!((read.find("a"), read.find("b")), (Some(1), None));
        assert!(read.read("b").unwrap().is_none());
    }

    #[test]
    fn what_is_no_bundle_or_a_part_of_one_is_refused() {
        let mut bundle = empty();
        bundle.add("first", b"1", ROOM).unwrap();
        let first = bytes(&bundle).len();
        bundle.add("second", b"content", ROOM).unwrap();
        let whole = bytes(&bundle);
        for end in 0..whole.len() {
            let opened = Bundle::open(file_of(&whole[..end])).unwrap();
            // A record more or less is a bundle, too, and nothing is served that does not speak for itself.
            assert_eq!(opened.is_some(), end == 5 || end == first, "{end}");
        }
        for (at, byte) in [
            (0, b'x'),
            (4, 2),
            (6, 255),
            (14, 255),
            (15, b'\n'),
            (15, 0xff),
        ] {
            let mut changed = whole.clone();
            changed[at] = byte;
            assert!(Bundle::open(file_of(&changed)).unwrap().is_none(), "{at}");
        }
        let many = [MAGIC.as_slice(), &b"\0\x01\0\0\0\0\0\0\0\0x".repeat(10)].concat();
        assert!(Bundle::open(file_of(&many)).unwrap().is_some());
    }

    #[test]
    fn there_are_only_so_many_objects() {
        let mut all = MAGIC.to_vec();
        for n in 0..=MOST {
            all.extend_from_slice(b"\0\x05\0\0\0\0\0\0\0\0");
            all.extend_from_slice(format!("{n:05}").as_bytes());
        }
        assert!(Bundle::open(file_of(&all)).unwrap().is_none());
        all.truncate(all.len() - 15);
        assert!(Bundle::open(file_of(&all)).unwrap().is_some());
    }

    #[test]
    fn what_nobody_uses_is_taken_along_for_a_while() {
        let mut bundle = empty();
        bundle.add("used", b"1", ROOM).unwrap();
        bundle.add("unused", b"2", ROOM).unwrap();
        for n in 1..=LONGEST_IDLE + 1 {
            let mut next = empty();
            next.add("new", b"3", ROOM).unwrap();
            next.take_along(&bundle, |name| name == "used", ROOM)
                .unwrap();
            assert_eq!(next.read("used").unwrap().unwrap(), b"1");
            assert_eq!(next.find("unused").is_some(), n <= LONGEST_IDLE, "{n}");
            bundle = Bundle::open(file_of(&bytes(&next))).unwrap().unwrap();
        }
    }

    #[test]
    fn a_bundle_keeps_to_its_bound_and_what_is_used_goes_first() {
        let mut old = empty();
        for name in ["a-unused", "used"] {
            old.add(name, &[0; 100], ROOM).unwrap();
        }
        let mut next = empty();
        assert!(!next.add("long", &[0; 300], 250).unwrap());
        assert!(next.add("new", &[0; 50], 250).unwrap());
        next.take_along(&old, |name| name == "used", 250).unwrap();
        assert_eq!(
            (next.find("used"), next.find("a-unused")),
            (Some(100), None)
        );
        assert!(next.length() <= 250);
    }
}
