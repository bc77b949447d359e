//! What a file of code is, as far as its bytes tell, and whether names can be found in it.
//!
//! The name of a file decides nothing: a plug-in may be called anything, and so may an
//! archive that an interpreter runs. What is compressed or encrypted shows no names; it is
//! *opaque*, and may ask for any variable there is. Pictures and fonts are compressed too,
//! but nobody's code.

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// An ELF program or shared library.
    Program,
    /// What linkers and readers of media take, and nobody runs.
    Data,
    /// A library of rustc's.
    Library,
    /// Anything else without text's looks: bytecode, images of interpreters.
    Binary,
    /// Text, in any encoding whose letters are bytes.
    Text,
    /// Text in which each letter has a zero byte beside it.
    WideText,
    /// Compressed or encrypted, or with such a part.
    Opaque,
}

/// How much of the start of a file its kind is told from, bytes.
pub(crate) const START: usize = 64 << 10;

/// Starts of data that is not code, compressed or not.
const DATA: &[&[u8]] = &[
    b"!<thin>\n",
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"wOFF",
    b"wOF2",
    b"OTTO",
    b"\0\x01\0\0\0",
    b"OggS",
    b"ID3",
    // Catalogs of messages.
    b"\xde\x12\x04\x95",
    b"\x95\x04\x12\xde",
    // The loader's cache.
    b"ld.so-1.7.0",
    b"glibc-ld.so.cache",
    // Precompiled headers of gcc and clang.
    b"gpch",
    b"CPCH",
];

/// Marks of containers that hide what they hold, anywhere in a file that is no program.
const HIDING: &[&[u8]] = &[
    b"PK\x03\x04",
    b"\xfd7zXZ\0",
    b"BZh91AY&SY",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf\x27\x1c",
    b"\x04\x22\x4d\x18",
    // The first of them in base 64: zip, gzip, xz.
    b"UEsDBB",
    b"H4sIA",
    b"/Td6WFoA",
];

/// What a file is, by its start (at most [`START`] bytes) and its length.
pub(crate) fn of(start: &[u8], len: u64) -> Content {
    if start.starts_with(b"\x7fELF") {
        // The type, in the byte order of the file.
        let kind = match (start.get(5), start.get(16), start.get(17)) {
            (Some(2), Some(high), Some(low)) => u16::from_be_bytes([*high, *low]),
            (_, Some(low), Some(high)) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        return if matches!(kind, 2 | 3) {
            Content::Program
        } else {
            Content::Data
        };
    }
    if start.starts_with(b"!<arch>") || start.starts_with(b"rust\0") {
        return Content::Library;
    }
    if start.is_empty() || DATA.iter().any(|data| start.starts_with(data)) {
        return Content::Data;
    }
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") || is_wide(start) {
        return Content::WideText;
    }
    if !start.contains(&0) && is_text(start) {
        return Content::Text;
    }
    if is_hidden(start) || hides(start) || (len >= 256 && is_random(start)) {
        return Content::Opaque;
    }
    Content::Binary
}

/// Whether bytes are UTF-8, but for a letter cut off at the end.
fn is_text(start: &[u8]) -> bool {
    match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none(),
    }
}

/// Whether every other byte is zero.
fn is_wide(start: &[u8]) -> bool {
    let (mut even, mut odd) = (0_usize, 0_usize);
    for pair in start.as_chunks::<2>().0 {
        even += usize::from(pair[0] == 0);
        odd += usize::from(pair[1] == 0);
    }
    let pairs = start.len() / 2;
    pairs >= 8 && even.max(odd) * 10 >= pairs * 9 && even.min(odd) * 10 <= pairs
}

/// How a shell is told to make something readable again, which may be a script.
const DECODING: [&[u8]; 3] = [b"base64", b"openssl enc", b"xxd"];

/// Where bytes tell a shell to decode something.
pub(super) fn decodings(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let found = DECODING.iter();
    let is_told = |rest: &[u8]| {
        matches!(
            rest,
            [b' ', b'-', b'd' | b'D' | b'r', ..] | [b' ', b'-', b'-', b'd', ..]
        )
    };
    found.flat_map(move |text| {
        let found = memchr::memmem::find_iter(bytes, text);
        found.filter(move |at| bytes.get(at + text.len()..).is_some_and(is_told))
    })
}

/// Whether a file starts as one does that is compressed as a whole.
fn is_hidden(start: &[u8]) -> bool {
    let starts: [&[u8]; 11] = [
        b"\x1f\x8b",
        b"\x1f\x9d",
        b"\x1f\xa0",
        b"\x5d\0\0",
        b"\x78\x01",
        b"\x78\x9c",
        b"\x78\xda",
        b"hsqs",
        b"LZIP",
        b"Salted__",
        b"age-encryption.org/",
    ];
    starts.iter().any(|hidden| start.starts_with(hidden))
}

/// Whether bytes hold a container that hides what it holds.
pub(super) fn hides(bytes: &[u8]) -> bool {
    HIDING
        .iter()
        .any(|mark| memchr::memmem::find(bytes, mark).is_some())
        || memchr::memmem::find_iter(bytes, b"\x1f\x8b\x08").any(|at| {
            // Flags, how much it was compressed, and where (RFC 1952, 2.3.1).
            let header = bytes.get(at + 3..at + 10);
            header.is_some_and(|h| match h {
                [flags, .., level, system] => {
                    *flags < 0x20 && matches!(level, 0 | 2 | 4) && matches!(system, 0..=13 | 255)
                }
                _ => false,
            })
        })
}

/// Whether bytes look like chance, as do those that were compressed or encrypted.
pub(super) fn is_random(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..START).unwrap_or(bytes);
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 64 Ki")]
    let len = bytes.len() as f64;
    if bytes.len() < 4096 {
        // So many different bytes are to be expected.
        let expected = 256.0 * (1.0 - (-len / 256.0).exp());
        let different = counts.iter().filter(|&&count| count > 0).count();
        #[expect(clippy::cast_precision_loss, reason = "at most 256")]
        let different = different as f64;
        return len > 0.0 && different >= 0.92 * expected;
    }
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / len;
            -share * share.log2()
        })
        .sum();
    entropy > 7.5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look like chance.
    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn content_decides_what_a_file_is() {
        let of = |start: &[u8]| of(start, start.len() as u64);
        let mut elf = b"\x7fELF\x02\x01\x01.........".to_vec();
        elf.extend([3, 0]);
        assert_eq!(of(&elf), Content::Program);
        elf[16] = 1;
        assert_eq!(of(&elf), Content::Data);
        assert_eq!(of(b"#!/bin/sh\necho"), Content::Text);
        assert_eq!(of("#!/bin/sh\necho \u{fc}".as_bytes()), Content::Text);
        assert_eq!(of(b"!<arch>\nx"), Content::Library);
        assert_eq!(of(b"\x89PNG\r\n\x1a\n"), Content::Data);
        assert_eq!(of(b"\xca\xfe\xba\xbe\0\0\0\x41"), Content::Binary);
        assert_eq!(of(b"\xff\xfee\0c\0"), Content::WideText);
        assert_eq!(of(b"e\0c\0h\0o\0 \0a\0b\0c\0"), Content::WideText);
    }

    #[test]
    fn what_shows_no_names_is_told() {
        let of = |start: &[u8]| of(start, start.len() as u64);
        for start in [
            b"PK\x03\x04\x14\0".as_slice(),
            b"#!/usr/bin/python3\nPK\x03\x04\x14\0\0\0",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03x",
            b"#!/bin/sh\ntail -c +99 $0 | gunzip\n\0\x1f\x8b\x08\0\0\0\0\0\0\x03x",
            b"\xfd7zXZ\0\0\x04",
            b"\x28\xb5\x2f\xfd\x24",
            b"Salted__\0\xff",
        ] {
            assert_eq!(of(start), Content::Opaque, "{start:?}");
        }
        assert_eq!(of(&random(600)), Content::Opaque);
        assert_eq!(of(&random(50_000)), Content::Opaque);
        let code = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_random(&code[..50_000]));
    }
}
