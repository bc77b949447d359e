//! Packs: a result with all of its blobs as one object.
//!
//! ```text
//! pack    = magic version length header signed body
//! magic   = "cwpk"             4 bytes
//! version = u8                 1
//! length  = u32 LE             of the header, bytes; at most 16 MiB
//! header  = frame 'K' (see codec) with Header
//! signed  = 96 bytes           who signed the header, and the signature; zeros where nobody did
//! body    = zstd stream of: length u64 LE and bytes of the result's frame, then the bytes of each of
//!           its blobs, once, in the order in which outputs first name them
//! ```
//! The signature is over the namespace and the header, which has both keys, the toolchain, and the digest of the
//! body: so nothing is decompressed that was not signed. What comes out of it is bounded by what the
//! header says, that by what the reader allows; each blob is checked against its digest, and the
//! result has to be of the toolchain and of the shape of any other in a store. Only then is it put
//! there, blobs first.
//!
//! A blob that not everybody may read who can reach it stays where it is, and with it the result.

use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::trust::{self, SIGNED, SecretKey, Signed, Trust};
use crate::formats::codec::{self, Kind};
use crate::formats::digest::{BlobRef, Digest, ManifestKey, ResultKey};
use crate::inputs::question::Question;
use crate::outputs::result::{CompileResult, Content};
use crate::store::{Shared, Store, StoreError};

const MAGIC: &[u8; 5] = b"cwpk\x01";

const HEADER: Kind = Kind {
    tag: b'K',
    version: 1,
};

const LONGEST_HEADER: usize = 16 << 20;

/// The longest frame of a result, bytes.
const LONGEST_RESULT: u64 = 64 << 20;

/// The longest pack, bytes.
pub(crate) const LONGEST: u64 = 512 << 20;

/// Results are sent once and read often; higher levels take much longer for a few percent.
const LEVEL: i32 = 3;

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) manifest: ManifestKey,
    pub(crate) result: ResultKey,
    toolchain: Digest,
    /// Of the body as it is.
    body: Digest,
    /// Length of the body when it is decompressed, bytes.
    plain: u64,
    /// What leads to the result.
    pub(crate) questions: Vec<Question>,
    pub(crate) duration_us: u64,
}

/// Why a result cannot be packed.
#[derive(Debug)]
pub(crate) enum Unpackable {
    /// It is no longer there.
    Gone,
    /// It is not for others.
    Private,
    /// It is longer than a pack may be.
    TooLong,
    Store(StoreError),
}

impl From<StoreError> for Unpackable {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What is packed.
pub(crate) struct Contents<'a> {
    pub(crate) manifest: ManifestKey,
    pub(crate) result: ResultKey,
    pub(crate) questions: &'a [Question],
}

/// Makes the pack of a result in the store.
pub(crate) fn pack(
    store: &Store,
    contents: &Contents<'_>,
    namespace: &str,
    key: Option<&SecretKey>,
) -> Result<Vec<u8>, Unpackable> {
    let result = store.result(contents.result)?.ok_or(Unpackable::Gone)?;
    let frame = result.encode().map_err(StoreError::from)?;
    let plain = plain_length(&frame, &result);
    if plain > LONGEST {
        return Err(Unpackable::TooLong);
    }
    let no_memory = |_| Unpackable::TooLong;
    let mut body = zstd::Encoder::new(Vec::new(), LEVEL).map_err(no_memory)?;
    let length = (frame.len() as u64).to_le_bytes();
    body.write_all(&length).map_err(no_memory)?;
    body.write_all(&frame).map_err(no_memory)?;
    for (blob, _) in distinct_blobs(&result) {
        let mut content = match store.open_shared_blob(blob)? {
            Shared::Content(content) => content,
            Shared::Private => return Err(Unpackable::Private),
            Shared::Gone => return Err(Unpackable::Gone),
        };
        let copied = std::io::copy(&mut content, &mut body);
        if copied.ok() != Some(blob.len) {
            return Err(Unpackable::Gone);
        }
    }
    let body = body.finish().map_err(no_memory)?;
    let header = Header {
        manifest: contents.manifest,
        result: contents.result,
        toolchain: result.toolchain,
        body: Digest::of(&body),
        plain,
        questions: contents.questions.to_vec(),
        duration_us: result.duration_us,
    };
    let header = codec::encode(HEADER, &header).map_err(StoreError::from)?;
    let length = u32::try_from(header.len()).ok();
    let length = length.filter(|_| header.len() <= LONGEST_HEADER);
    let length = length.ok_or(Unpackable::TooLong)?.to_le_bytes();
    let signed = trust::sign(key, &message(namespace, &header));
    Ok([MAGIC.as_slice(), &length, &header, &signed, &body].concat())
}

fn message(namespace: &str, header: &[u8]) -> Vec<u8> {
    trust::message("pack", &[namespace.as_bytes(), header])
}

/// What the body of a pack is when it is decompressed, bytes.
fn plain_length(frame: &[u8], result: &CompileResult) -> u64 {
    let blobs = distinct_blobs(result);
    let blobs = blobs.iter().map(|(blob, _)| blob.len);
    blobs.fold(8 + frame.len() as u64, u64::saturating_add)
}

/// The blobs of a result, and whether they have holes.
fn distinct_blobs(result: &CompileResult) -> Vec<(BlobRef, bool)> {
    let mut blobs: Vec<(BlobRef, bool)> = Vec::new();
    for output in &result.outputs {
        if let Some(blob) = output.content.blob()
            && blobs.iter().all(|(known, _)| *known != blob)
        {
            blobs.push((blob, matches!(output.content, Content::Sparse(_))));
        }
    }
    blobs
}

/// Why a pack was not taken.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is damaged, or not what was asked for.
    Damaged(&'static str),
    /// Nobody who is trusted has signed it.
    Untrusted,
    /// It would take too much room.
    TooLong,
    Store(StoreError),
}

impl From<StoreError> for Unfit {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a pack has to be to be taken.
pub(crate) struct Wanted<'a> {
    /// `None`: whatever leads to the result.
    pub(crate) manifest: Option<ManifestKey>,
    pub(crate) result: ResultKey,
    pub(crate) namespace: &'a str,
    pub(crate) trust: &'a Trust,
    /// How long it may be when it is decompressed, bytes.
    pub(crate) room: u64,
}

/// Puts what is in a pack into the store.
pub(crate) fn unpack(pack: &[u8], wanted: &Wanted<'_>, store: &Store) -> Result<Header, Unfit> {
    let (header, body) = open(pack, wanted)?;
    let damaged = |_| Unfit::Damaged("its body");
    let body = zstd::Decoder::new(body).map_err(damaged)?;
    let mut body = body.take(header.plain);
    let mut length = [0; 8];
    body.read_exact(&mut length).map_err(damaged)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_RESULT {
        return Err(Unfit::Damaged("the length of its result"));
    }
    let mut frame = Vec::new();
    (&mut body)
        .take(length)
        .read_to_end(&mut frame)
        .map_err(damaged)?;
    let result = CompileResult::decode(&frame).map_err(|_| Unfit::Damaged("its result"))?;
    let is_as_said = plain_length(&frame, &result) == header.plain
        && result.toolchain == header.toolchain
        && result.duration_us == header.duration_us;
    if !is_as_said {
        return Err(Unfit::Damaged("what it says of itself"));
    }
    for (blob, has_holes) in distinct_blobs(&result) {
        if !store.receive(blob, has_holes, &mut body)? {
            return Err(Unfit::Damaged("a blob"));
        }
    }
    store.put_result(header.result, &result)?;
    Ok(header)
}

/// The header and the body of a pack that may be taken.
fn open<'a>(pack: &'a [u8], wanted: &Wanted<'_>) -> Result<(Header, &'a [u8]), Unfit> {
    let parts = || {
        let (length, rest) = pack.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (header, rest) = rest.split_at_checked(length)?;
        let (signed, body) = rest.split_first_chunk::<SIGNED>()?;
        (length <= LONGEST_HEADER).then_some((header, signed, body))
    };
    let (frame, signed, body): (_, &Signed, _) = parts().ok_or(Unfit::Damaged("its frame"))?;
    if !wanted
        .trust
        .admits(&message(wanted.namespace, frame), signed)
    {
        return Err(Unfit::Untrusted);
    }
    let header: Header = codec::decode(HEADER, frame).map_err(|_| Unfit::Damaged("its header"))?;
    let is_of_another = wanted
        .manifest
        .is_some_and(|manifest| manifest != header.manifest);
    if is_of_another || header.result != wanted.result {
        return Err(Unfit::Damaged("what it is of"));
    }
    if header.plain > wanted.room.min(LONGEST) {
        return Err(Unfit::TooLong);
    }
    if Digest::of(body) != header.body {
        return Err(Unfit::Damaged("its body"));
    }
    Ok((header, body))
}
