//! Offers: for one manifest key, the lists of questions that lead to results.
//!
//! ```text
//! object = frame 'L' version 1 (see codec), body = [Sealed], newest first, at most 16
//! Sealed = content: frame 'O' with Offer, signed: 96 bytes
//! ```
//! They are kept in the store as they are in the remote (`<dir>/v1/remote/offers/<key>`), but for those that
//! nobody vouches for who is trusted: whoever writes a list says which files of this machine are looked at.

use serde::{Deserialize, Serialize};

use super::trust::{self, Sealed, SecretKey, Trust};
use crate::formats::codec::{self, Kind};
use crate::formats::digest::ManifestKey;
use crate::inputs::question::Question;

const LIST: Kind = Kind {
    tag: b'L',
    version: 1,
};

const OFFER: Kind = Kind {
    tag: b'O',
    version: 1,
};

/// How many there are for one key; the oldest go.
const MOST: usize = 16;

/// The longest object, bytes.
pub(crate) const LONGEST: u64 = 8 << 20;

/// A list of questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) questions: Vec<Question>,
    /// How long making what it leads to took, microseconds.
    pub(crate) duration_us: u64,
}

/// The offers for one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offers(Vec<Sealed>);

impl Offers {
    /// Reads an object; one that is damaged has none.
    pub(crate) fn decode(object: &[u8]) -> Self {
        let mut entries: Vec<Sealed> = codec::decode(LIST, object).unwrap_or_default();
        entries.truncate(MOST);
        Self(entries)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(LIST, &self.0).unwrap_or_default()
    }

    /// What there is, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Offer> {
        let offers = self.0.iter();
        offers.filter_map(|entry| codec::decode(OFFER, &entry.content).ok())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves those that count.
    pub(crate) fn admit(&mut self, trust: &Trust, namespace: &str, key: ManifestKey) {
        let message = |offer: &[u8]| message(namespace, key, offer);
        self.0.retain(|entry| entry.counts(trust, message));
    }

    /// Puts an offer in front; `false` if one with the same questions is there already, and counts.
    pub(crate) fn add(&mut self, offer: &Offer, by: &Author<'_>) -> bool {
        let mut counting = self.clone();
        counting.admit(by.trust, by.namespace, by.manifest);
        if counting
            .iter()
            .any(|known| known.questions == offer.questions)
        {
            return false;
        }
        let Ok(offer) = codec::encode(OFFER, offer) else {
            return false;
        };
        let message = |offer: &[u8]| message(by.namespace, by.manifest, offer);
        self.0.insert(0, Sealed::new(offer, by.key, message));
        self.0.truncate(MOST);
        true
    }

    /// Takes the entries of others that are not here.
    pub(crate) fn merge(&mut self, others: Self) {
        let new = others.0.into_iter().filter(|entry| !self.0.contains(entry));
        let new: Vec<Sealed> = new.collect();
        self.0.splice(0..0, new);
        self.0.truncate(MOST);
    }
}

/// Who makes an offer.
pub(crate) struct Author<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) manifest: ManifestKey,
    pub(crate) key: Option<&'a SecretKey>,
    /// Whom those that read it trust, as far as is known here.
    pub(crate) trust: &'a Trust,
}

fn message(namespace: &str, key: ManifestKey, offer: &[u8]) -> Vec<u8> {
    trust::message("offer", &[namespace.as_bytes(), key.0.as_bytes(), offer])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::digest::Digest;
    use crate::roots::Root;

    fn offer(n: u64) -> Offer {
        Offer {
            questions: vec![
                Question::RootValue(Root::Target, None),
                Question::Argument(n.to_string()),
            ],
            duration_us: n,
        }
    }

    #[test]
    fn only_offers_of_those_who_are_trusted_are_admitted() {
        let (ours, other) = (SecretKey::of_seed([1; 32]), SecretKey::of_seed([2; 32]));
        let trust = Trust::Keys(vec![ours.public()]);
        let manifest = ManifestKey(Digest::of(b"unit"));
        let author = |key| Author {
            namespace: "n",
            manifest,
            key,
            trust: &trust,
        };
        let mut offers = Offers::default();
        assert!(offers.add(&offer(1), &author(Some(&other))));
        // What does not count does not stand in the way.
        assert!(offers.add(&offer(1), &author(Some(&ours))));
        assert!(!offers.add(&offer(1), &author(Some(&ours))));
        assert!(offers.add(&offer(2), &author(None)));
        let mut read = Offers::decode(&offers.encode());
        assert_eq!(read.iter().count(), 3);
        read.admit(&trust, "n", manifest);
        assert_eq!(read.iter().collect::<Vec<_>>(), [offer(1)]);
        for (namespace, key) in [("m", manifest), ("n", ManifestKey(Digest::of(b"other")))] {
            let mut elsewhere = Offers::decode(&offers.encode());
            elsewhere.admit(&trust, namespace, key);
            assert!(elsewhere.is_empty());
        }
    }

    #[test]
    fn the_oldest_go() {
        let author = Author {
            namespace: "n",
            manifest: ManifestKey(Digest::of(b"unit")),
            key: None,
            trust: &Trust::Bucket,
        };
        let mut offers = Offers::default();
        for n in 0..20 {
            assert!(offers.add(&offer(n), &author));
        }
        let durations: Vec<u64> = offers.iter().map(|offer| offer.duration_us).collect();
        assert_eq!(durations, (4..20).rev().collect::<Vec<_>>());
        let mut merged = Offers::default();
        merged.add(&offer(30), &author);
        merged.merge(offers);
        assert_eq!(merged.iter().count(), 16);
        assert!(Offers::decode(b"nothing").is_empty());
    }
}
