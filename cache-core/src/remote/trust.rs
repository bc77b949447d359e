//! Whom results are taken from: Ed25519 signatures and the keys that are trusted.
//!
//! Whoever can write to a remote could put anything there. So what is read from it counts only if it is
//! signed by a key that the *user* trusts, or if the user has said that everybody who can write
//! there is to be trusted. Neither: nothing is read.
//!
//! A signature is over a message that says what kind of thing it is of, the namespace, the keys, and the
//! content, so that nothing signed stands for another thing. Keys are written as
//!
//! ```text
//! public  = "cwpub1-" 64 hexadecimal digits
//! secret  = "cwsec1-" 64 hexadecimal digits     the seed of RFC 8032
//! ```

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

const PUBLIC: &str = "cwpub1-";
const SECRET: &str = "cwsec1-";

/// Bytes of a signature with the key that made it.
pub(crate) const SIGNED: usize = 32 + 64;

/// Who made something, as far as that can be checked.
pub(crate) type Signed = [u8; SIGNED];

/// A key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key that signatures are made with. It is shown to nobody but who asks for it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// Reads what is written as above.
    pub fn parse(text: &str) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&digits(text.strip_prefix(PUBLIC)?)?).ok()?;
        // A weak key's signatures hold for more than one message.
        (!key.is_weak()).then_some(Self(key))
    }
}

impl SecretKey {
    /// The key of a seed, which has to be random.
    pub fn of_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads what is written as above.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self::of_seed(digits(text.trim().strip_prefix(SECRET)?)?))
    }

    /// As it is written, for the one place where it is kept.
    pub fn reveal(&self) -> String {
        format!("{SECRET}{}", hex(self.0.as_bytes()))
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> Signed {
        let mut signed = [0; SIGNED];
        let (key, signature) = signed.split_at_mut(32);
        key.copy_from_slice(self.0.verifying_key().as_bytes());
        signature.copy_from_slice(&self.0.sign(message).to_bytes());
        signed
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

fn digits(text: &str) -> Option<[u8; 32]> {
    Some(*blake3::Hash::from_hex(text).ok()?.as_bytes())
}

/// Whom results are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Who has signed with one of these keys; with none, nobody.
    Keys(Vec<PublicKey>),
    /// Everybody who can write to the remote.
    Bucket,
}

impl Trust {
    /// Whether anything can be read at all.
    pub fn admits_anybody(&self) -> bool {
        !matches!(self, Self::Keys(keys) if keys.is_empty())
    }

    /// Whether what was signed so, or not, counts.
    pub(crate) fn admits(&self, message: &[u8], signed: &Signed) -> bool {
        let Self::Keys(keys) = self else {
            return true;
        };
        let Some((by, signature)) = signed.split_first_chunk::<32>() else {
            return false;
        };
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        let key = keys.iter().find(|key| key.0.as_bytes() == by);
        key.is_some_and(|key| key.0.verify_strict(message, &signature).is_ok())
    }
}

/// Content with the signature of a message that says of what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) content: Vec<u8>,
    signed: Vec<u8>,
}

impl Sealed {
    /// Signs content, if there is a key to do it with.
    pub(crate) fn new(
        content: Vec<u8>,
        key: Option<&SecretKey>,
        message: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        let signed = sign(key, &message(&content)).to_vec();
        Self { content, signed }
    }

    /// Whether it counts.
    pub(crate) fn counts(&self, trust: &Trust, message: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        let signed: Result<Signed, _> = self.signed.as_slice().try_into();
        signed.is_ok_and(|signed| trust.admits(&message(&self.content), &signed))
    }
}

/// Signs a message, if there is a key to do it with.
pub(crate) fn sign(key: Option<&SecretKey>, message: &[u8]) -> Signed {
    key.map_or([0; SIGNED], |key| key.sign(message))
}

/// A message that says of what it is: its parts cannot be taken for one another.
pub(crate) fn message(of: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = format!("cachewrap {of} 1\0").into_bytes();
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_le_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let secret = SecretKey::of_seed([7; 32]);
        assert_eq!(SecretKey::parse(&secret.reveal()), Some(secret.clone()));
        let public = secret.public();
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
        assert!(!format!("{secret:?}").contains("0707"));
        for text in ["", "cwpub1-", "cwpub1-00", &secret.reveal()] {
            assert_eq!(PublicKey::parse(text), None);
        }
        // The neutral element, of which every signature is one.
        let weak = format!("{PUBLIC}01{}", "0".repeat(62));
        assert_eq!(PublicKey::parse(&weak), None);
    }

    #[test]
    fn only_what_a_trusted_key_signed_counts() {
        let (ours, other) = (SecretKey::of_seed([1; 32]), SecretKey::of_seed([2; 32]));
        let trust = Trust::Keys(vec![ours.public()]);
        let signed = sign(Some(&ours), b"message");
        assert!(trust.admits(b"message", &signed));
        assert!(!trust.admits(b"another", &signed));
        assert!(!trust.admits(b"message", &sign(Some(&other), b"message")));
        assert!(!trust.admits(b"message", &sign(None, b"message")));
        let mut forged = sign(Some(&other), b"message");
        forged[..32].copy_from_slice(&signed[..32]);
        assert!(!trust.admits(b"message", &forged));
        assert!(!Trust::Keys(Vec::new()).admits(b"message", &signed));
        assert!(Trust::Bucket.admits(b"message", &sign(None, b"message")));
        for i in 0..SIGNED {
            let mut flipped = signed;
            flipped[i] ^= 1;
            assert!(!trust.admits(b"message", &flipped), "byte {i}");
        }
    }

    #[test]
    fn parts_of_a_message_are_told_apart() {
        assert_ne!(message("x", &[b"a", b"b"]), message("x", &[b"ab", b""]));
        assert_ne!(message("x", &[b"a"]), message("y", &[b"a"]));
    }
}
