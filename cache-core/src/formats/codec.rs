//! The frame around every structured file of the store, and its only codec.
//!
//! ```text
//! frame    = magic kind version reserved length payload checksum
//! magic    = "cwrp"             4 bytes
//! kind     = u8                 'M' manifest, 'R' result, 'S' counters, 'T' toolchain, 'N' names,
//!                                 'G' collection, 'P' seed, 'I' session, 'K' pack, 'L' offers, 'O' offer,
//!                                 'Q' queued, 'H' message, 'X' and 'Y' index
//! version  = u8                 version of the payload's layout for this kind
//! reserved = u16 LE             zero
//! length   = u64 LE             of the payload, bytes
//! payload  = bincode 2 "standard" encoding (little endian, variable-length integers), at
//!            most 256 MiB
//! checksum = 32 bytes           BLAKE3 of everything before it
//! ```
//!
//! A frame with any byte flipped, cut short or followed by more is rejected, never
//! half-read: the checksum covers the header and the payload, and the length must
//! account for the whole file. A version that this code does not know is reported
//! apart from corruption, because such a file belongs to another release and must be
//! left alone.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::formats::digest::Digest;

const MAGIC: &[u8; 4] = b"cwrp";
pub(crate) const HEADER: usize = 16;
pub(crate) const CHECKSUM: usize = 32;

/// The longest payload, bytes. Lengths inside a payload are believed up to here, so that
/// one that lies about them is rejected before memory is asked for.
const LIMIT: usize = 256 << 20;

/// The longest frame, bytes.
pub(crate) const LONGEST: u64 = (HEADER + LIMIT + CHECKSUM) as u64;

type Config = Configuration<LittleEndian, Varint, Limit<LIMIT>>;
const CONFIG: Config = bincode::config::standard().with_limit::<LIMIT>();

/// What a frame holds, and the version of that layout which this code writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The letter in the header.
    pub tag: u8,
    /// The version written, and the only one read.
    pub version: u8,
}

/// Why a frame was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a frame of this kind, or are damaged.
    #[error("damaged or not a cachewrap file")]
    Corrupt,
    /// The frame is whole, but of a layout that this release does not know.
    #[error("written by another version of cachewrap (layout {found})")]
    UnknownVersion {
        /// The version in the header.
        found: u8,
    },
}

/// Encodes `value` as a frame of `kind`.
pub(crate) fn encode<T: Serialize>(
    kind: Kind,
    value: &T,
) -> Result<Vec<u8>, bincode::error::EncodeError> {
    let mut frame = vec![0; HEADER];
    bincode::serde::encode_into_std_write(value, &mut frame, CONFIG)?;
    if frame.len() - HEADER > LIMIT {
        return Err(bincode::error::EncodeError::Other(
            "more than a frame holds",
        ));
    }
    Ok(seal(kind, frame))
}

/// Completes a frame that consists of room for the header and a payload.
pub(crate) fn seal(kind: Kind, mut frame: Vec<u8>) -> Vec<u8> {
    let len = (frame.len() - HEADER) as u64;
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[kind.tag, kind.version, 0, 0]);
    header.extend_from_slice(&len.to_le_bytes());
    for (slot, byte) in frame.iter_mut().zip(header) {
        *slot = byte;
    }
    let checksum = Digest::of(&frame);
    frame.extend_from_slice(checksum.as_bytes());
    frame
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, frame: &[u8]) -> Result<T, DecodeError> {
    let corrupt = DecodeError::Corrupt;
    let body_len = frame.len().checked_sub(CHECKSUM).ok_or(corrupt)?;
    let (body, checksum) = frame.split_at_checked(body_len).ok_or(corrupt)?;
    let (header, payload) = body.split_at_checked(HEADER).ok_or(corrupt)?;
    if Digest::of(body).as_bytes().as_slice() != checksum {
        return Err(corrupt);
    }
    let (&[m0, m1, m2, m3, tag, version, r0, r1], len) =
        header.split_first_chunk::<8>().ok_or(corrupt)?;
    let len = u64::from_le_bytes(len.try_into().map_err(|_| corrupt)?);
    if &[m0, m1, m2, m3] != MAGIC || tag != kind.tag {
        return Err(corrupt);
    }
    if version != kind.version || (r0, r1) != (0, 0) {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    if len != payload.len() as u64 {
        return Err(corrupt);
    }
    let (value, read) = bincode::serde::decode_from_slice(payload, CONFIG).map_err(|_| corrupt)?;
    if read == payload.len() {
        Ok(value)
    } else {
        Err(corrupt)
    }
}

/// The first value of a payload, of which only the beginning was read. Nothing proves that it is whole: what is
/// decided by it must do no harm if it is damaged.
pub(crate) fn peek<T: DeserializeOwned>(kind: Kind, start: &[u8]) -> Option<T> {
    let (header, payload) = start.split_at_checked(HEADER)?;
    let is_of_kind = header.starts_with(&[MAGIC, &[kind.tag, kind.version][..]].concat());
    let value = is_of_kind.then(|| bincode::serde::decode_from_slice(payload, CONFIG));
    value?.ok().map(|(value, _)| value)
}

/// Bytes as one piece, for `#[serde(with)]`: the same in a payload as a `Vec<u8>` without it, which is read
/// and written one by one.
pub(crate) mod bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    struct Piece;

    impl Visitor<'_> for Piece {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Piece)
    }
}

/// The version of a whole frame, if it is another than that of `ours`.
pub(crate) fn foreign_version(frame: &[u8], ours: &[u8]) -> Option<u8> {
    let version = |frame: &[u8]| frame.get(MAGIC.len() + 1).copied();
    version(frame).filter(|found| is_whole(frame) && version(ours) != Some(*found))
}

/// Whether the frame is whole, whatever it holds.
pub(crate) fn is_whole(frame: &[u8]) -> bool {
    let whole = || {
        let (body, checksum) = frame.split_at_checked(frame.len().checked_sub(CHECKSUM)?)?;
        let (header, payload) = body.split_at_checked(HEADER)?;
        let (_, len) = header.split_first_chunk::<8>()?;
        let len = u64::from_le_bytes(len.try_into().ok()?);
        Some(
            header.starts_with(MAGIC)
                && len == payload.len() as u64
                && Digest::of(body).as_bytes().as_slice() == checksum,
        )
    };
    whole() == Some(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind {
        tag: b'X',
        version: 1,
    };
    type Sample = (Vec<u8>, Option<String>, u64);

    fn sample() -> Sample {
        (vec![1, 2, 3], Some("text".into()), 300)
    }

    #[test]
    fn the_frame_layout_is_fixed() {
        let frame = encode(KIND, &(7_u8, 300_u16)).unwrap();
        let (body, checksum) = frame.split_at(HEADER + 4);
        assert_eq!(body, b"cwrpX\x01\0\0\x04\0\0\0\0\0\0\0\x07\xfb\x2c\x01");
        assert_eq!(checksum, Digest::of(body).as_bytes());
    }

    #[test]
    fn the_first_value_is_told_by_the_beginning() {
        let frame = encode(KIND, &("name".to_owned(), vec![7_u64; 100])).unwrap();
        for end in 0..frame.len() {
            let peeked: Option<String> = peek(KIND, &frame[..end]);
            assert_eq!(peeked.is_some(), end >= HEADER + 5, "{end}");
            assert!(peeked.is_none_or(|name| name == "name"));
        }
        for other in [Kind { tag: b'Z', ..KIND }, Kind { version: 2, ..KIND }] {
            assert_eq!(peek::<String>(other, &frame), None);
        }
        assert_eq!(peek::<String>(KIND, &[0; 100]), None);
    }

    #[test]
    fn bytes_in_one_piece_are_encoded_as_any() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        struct InOne(#[serde(with = "bytes")] Vec<u8>);
        for length in [0, 1, 250, 251, 70_000] {
            let content: Vec<u8> = (0..=255).cycle().take(length).collect();
            let frame = encode(KIND, &content).unwrap();
            let in_one = InOne(content);
            assert_eq!(encode(KIND, &in_one).unwrap(), frame);
            assert_eq!(decode(KIND, &frame), Ok(in_one));
        }
    }

    #[test]
    fn every_flipped_or_truncated_byte_is_rejected() {
        let frame = encode(KIND, &sample()).unwrap();
        for i in 0..frame.len() {
            for bit in 0..8 {
                let mut bad = frame.clone();
                bad[i] ^= 1 << bit;
                assert_eq!(
                    decode::<Sample>(KIND, &bad),
                    Err(DecodeError::Corrupt),
                    "byte {i}"
                );
                assert!(!is_whole(&bad));
            }
            assert!(!is_whole(&frame[..i]));
            assert_eq!(
                decode::<Sample>(KIND, &frame[..i]),
                Err(DecodeError::Corrupt)
            );
        }
        let longer = [&frame[..], b"x"].concat();
        assert_eq!(decode::<Sample>(KIND, &longer), Err(DecodeError::Corrupt));
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let newer = Kind { version: 2, ..KIND };
        let frame = encode(newer, &sample()).unwrap();
        assert_eq!(
            decode::<Sample>(KIND, &frame),
            Err(DecodeError::UnknownVersion { found: 2 })
        );
        assert!(is_whole(&frame));
    }

    #[test]
    fn a_frame_of_another_kind_is_rejected() {
        let other = Kind { tag: b'Y', ..KIND };
        let frame = encode(other, &sample()).unwrap();
        assert_eq!(decode::<Sample>(KIND, &frame), Err(DecodeError::Corrupt));
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_decoded(value: Sample) {
            let frame = encode(KIND, &value).unwrap();
            prop_assert_eq!(decode::<Sample>(KIND, &frame), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(decode::<Sample>(KIND, &bytes).is_err());
        }
    }
}
