//! The little of Bazel's action results that is needed (`build.bazel.remote.execution.v2`, protocol buffers):
//!
//! ```text
//! ActionResult = output_files = 2: OutputFile, stdout_raw = 5: bytes       either of them is there
//! OutputFile   = path = 1: "object", digest = 2: Digest
//! Digest       = hash = 1: SHA-256, 64 hexadecimal digits, size_bytes = 2: varint
//! ```
//! An object is what the action wrote to its standard output, or the one file that it made. Servers add fields of
//! their own, and order them as they like.

/// What an action result says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is this.
    Content(Vec<u8>),
    /// It is what has this digest, and so long, bytes.
    Elsewhere { hash: String, length: u64 },
}

const OUTPUT_FILES: u64 = 2;
const STDOUT_RAW: u64 = 5;
const PATH: u64 = 1;
const DIGEST: u64 = 2;
const HASH: u64 = 1;
const SIZE_BYTES: u64 = 2;

/// How a field is written.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

impl Action {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut result = Vec::new();
        match self {
            Self::Content(content) => put_bytes(&mut result, STDOUT_RAW, content),
            Self::Elsewhere { hash, length } => {
                let (mut digest, mut file) = (Vec::new(), Vec::new());
                put_bytes(&mut digest, HASH, hash.as_bytes());
                put_varint(&mut digest, SIZE_BYTES << 3 | VARINT);
                put_varint(&mut digest, *length);
                put_bytes(&mut file, PATH, b"object");
                put_bytes(&mut file, DIGEST, &digest);
                put_bytes(&mut result, OUTPUT_FILES, &file);
            }
        }
        result
    }

    /// Reads what is written as above; `None`: it is something else.
    pub(super) fn decode(result: &[u8]) -> Option<Self> {
        let result = fields(result)?;
        let Some(Value::Bytes(file)) = last(&result, OUTPUT_FILES) else {
            let Some(Value::Bytes(content)) = last(&result, STDOUT_RAW) else {
                return None;
            };
            return Some(Self::Content(content.to_vec()));
        };
        let Some(Value::Bytes(digest)) = last(&fields(file)?, DIGEST) else {
            return None;
        };
        let digest = fields(digest)?;
        let (Some(Value::Bytes(hash)), Some(Value::Number(length))) =
            (last(&digest, HASH), last(&digest, SIZE_BYTES))
        else {
            return None;
        };
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let is_hash = hash.len() == 64 && hash.iter().all(is_digit);
        let hash = String::from_utf8(hash.to_vec()).ok()?;
        is_hash.then_some(Self::Elsewhere { hash, length })
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; those of a fixed width are of no use here.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let value = match key & 7 {
            VARINT => Value::Number(take_varint(&mut message)?),
            BYTES => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                Value::Bytes(message.split_off(..length)?)
            }
            FIXED_64 => Value::Bytes(message.split_off(..8)?),
            FIXED_32 => Value::Bytes(message.split_off(..4)?),
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

/// Of a field that is there more than once the last one counts.
fn last<'a>(fields: &[(u64, Value<'a>)], number: u64) -> Option<Value<'a>> {
    let mut from_behind = fields.iter().rev();
    from_behind
        .find(|(known, _)| *known == number)
        .map(|(_, value)| *value)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return message.push(low);
        }
        message.push(low | 0x80);
    }
}

fn put_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | BYTES);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_results_are_those_of_the_protocol() {
        let inline = Action::Content(b"abc".to_vec());
        assert_eq!(inline.encode(), b"\x2a\x03abc");
        let hash = "0123456789abcdef".repeat(4);
        let elsewhere = Action::Elsewhere {
            hash: hash.clone(),
            length: 300,
        };
        let expected = [
            b"\x12\x4f\x0a\x06object\x12\x45\x0a\x40",
            hash.as_bytes(),
            b"\x10\xac\x02",
        ]
        .concat();
        assert_eq!(elsewhere.encode(), expected);
        for action in [inline, elsewhere] {
            let mut result = action.encode();
            assert_eq!(Action::decode(&result), Some(action.clone()));
            // What a server adds: execution_metadata, and fields of other kinds.
            result.extend_from_slice(b"\x4a\x07\x0a\x05local\x20\x00\x65abcd\x61abcdefgh");
            assert_eq!(Action::decode(&result), Some(action.clone()));
            for end in 1..action.encode().len() {
                assert_eq!(Action::decode(&action.encode()[..end]), None);
            }
        }
    }

    #[test]
    fn what_is_no_action_result_of_ours_is_none() {
        for bytes in [
            b"".as_slice(),
            b"text",
            b"\x12\x00",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Action::decode(bytes), None, "{bytes:?}");
        }
        let unlike = Action::Elsewhere {
            hash: "../x".repeat(16),
            length: 1,
        };
        assert_eq!(Action::decode(&unlike.encode()), None);
    }
}
