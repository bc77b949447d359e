//! What to look for: names of variables, and parts of them that can give a name away.
//!
//! | piece | of `MY_TOOL_FLAVOUR` | because |
//! |---|---|---|
//! | whole | all of it | a program must know what it asks for |
//! | beginning | `MY_TOOL_`, `MY_` | code asks for all variables that begin alike, or puts the rest behind it |
//! | ending | `_FLAVOUR` | code puts something before it |
//! | head | its first 4, 8 or 16 bytes | a compiler makes numbers of short texts that are only compared |

use std::ops::Range;

use memchr::memmem::Finder;

/// Shorter beginnings and endings of names are not looked for.
const MIN_PART: usize = 4;

/// Up to this number, patterns are looked for one after the other, which is then faster.
const FEW: usize = 8;

/// Which part of a name a pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Whole,
    Beginning,
    Ending,
    Head,
}

/// One thing to look for.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) bytes: Vec<u8>,
    /// The position of the name.
    pub(super) name: usize,
    pub(super) piece: Piece,
}

/// Everything to look for.
pub(super) struct Patterns {
    list: Vec<Pattern>,
    /// `None`: there are few.
    beginnings: Option<Beginnings>,
}

/// The first two bytes of all patterns. Nearly no place in a program has any of them, so looking at two
/// bytes each time is several times as fast as following an automaton.
struct Beginnings {
    /// A bit for each two bytes.
    bits: Vec<u64>,
    /// The positions of the patterns that begin with them, ordered.
    patterns: Vec<([u8; 2], usize)>,
}

impl Beginnings {
    fn of(list: &[Pattern]) -> Self {
        let mut patterns = Vec::new();
        for (position, pattern) in list.iter().enumerate() {
            match *pattern.bytes.as_slice() {
                [] => {}
                [only] => patterns.extend((0..=u8::MAX).map(|next| ([only, next], position))),
                [first, second, ..] => patterns.push(([first, second], position)),
            }
        }
        patterns.sort_unstable();
        let mut bits = vec![0; 1 << 10];
        for (beginning, _) in &patterns {
            let (word, bit) = Self::bit(*beginning);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
        Self { bits, patterns }
    }

    fn bit(beginning: [u8; 2]) -> (usize, u64) {
        let number = u16::from_le_bytes(beginning);
        (usize::from(number >> 6), 1 << (number & 63))
    }

    /// The patterns that begin so.
    fn with(&self, beginning: [u8; 2]) -> impl Iterator<Item = usize> {
        let from = self
            .patterns
            .partition_point(|(known, _)| *known < beginning);
        let rest = self.patterns.iter().skip(from);
        let same = rest.take_while(move |(known, _)| *known == beginning);
        same.map(|(_, position)| *position)
    }

    /// Shows every place at which a pattern may begin, with its first bytes; of the last byte of all, it is
    /// not known what follows.
    fn find(&self, content: &[u8], mut found: impl FnMut(usize, [u8; 2])) {
        let Some((last, _)) = content.split_last() else {
            return;
        };
        let seconds = content.iter().skip(1);
        for (at, (&first, &second)) in content.iter().zip(seconds).enumerate() {
            let (word, bit) = Self::bit([first, second]);
            if self.bits.get(word).is_some_and(|word| word & bit != 0) {
                found(at, [first, second]);
            }
        }
        found(content.len() - 1, [*last, 0]);
    }
}

impl Patterns {
    /// Names and their parts; in text whose letters have zero bytes beside them, if `wide`.
    pub(super) fn new(names: &[&[u8]], wide: bool) -> Self {
        let mut list = Vec::new();
        for (name, bytes) in names.iter().enumerate() {
            let mut add = |part: Option<&[u8]>, piece| {
                list.extend(part.map(|part| Pattern {
                    bytes: part.to_vec(),
                    name,
                    piece,
                }));
            };
            add(Some(*bytes), Piece::Whole);
            for at in memchr::memchr_iter(b'_', bytes) {
                if (MIN_PART..bytes.len()).contains(&(at + 1)) {
                    add(bytes.get(..=at), Piece::Beginning);
                }
                if at > 0 && bytes.len() - at > MIN_PART {
                    add(bytes.get(at..), Piece::Ending);
                }
            }
            let head = match bytes.len() {
                17.. => Some(16),
                9.. => Some(8),
                5..=7 => Some(4),
                _ => None,
            };
            if bytes.len() > 16 {
                add(bytes.get(..8), Piece::Head);
            }
            add(head.and_then(|len| bytes.get(..len)), Piece::Head);
        }
        if wide {
            list.retain(|pattern| pattern.piece == Piece::Whole);
            for pattern in &mut list {
                let letters = pattern.bytes.iter().flat_map(|&letter| [0, letter]);
                // Without the zero before the first letter: both byte orders are found.
                pattern.bytes = letters.skip(1).collect();
            }
        }
        let beginnings = (list.len() > FEW).then(|| Beginnings::of(&list));
        Self { list, beginnings }
    }

    /// The length of the longest, bytes.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.list.iter().map(|pattern| pattern.bytes.len());
        lengths.max().unwrap_or(0)
    }

    /// Shows every place where one occurs, overlapping ones too: a name may contain another.
    pub(super) fn find(&self, content: &[u8], mut found: impl FnMut(&Pattern, Range<usize>)) {
        // One pass for all of them: macros are megabytes, and names are many.
        if let Some(beginnings) = &self.beginnings {
            beginnings.find(content, |at, beginning| {
                let rest = content.get(at..).unwrap_or_default();
                let patterns = beginnings.with(beginning).filter_map(|i| self.list.get(i));
                for pattern in patterns.filter(|pattern| rest.starts_with(&pattern.bytes)) {
                    found(pattern, at..at + pattern.bytes.len());
                }
            });
            return;
        }
        for pattern in &self.list {
            let finder = Finder::new(&pattern.bytes);
            let mut from = 0;
            while let Some(next) = content.get(from..).and_then(|rest| finder.find(rest)) {
                let start = from + next;
                found(pattern, start..start + pattern.bytes.len());
                from = start + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn found(names: &[&[u8]], content: &[u8]) -> BTreeSet<(usize, usize)> {
        let mut places = BTreeSet::new();
        Patterns::new(names, false).find(content, |pattern, at| {
            if pattern.piece == Piece::Whole {
                places.insert((pattern.name, at.start));
            }
        });
        places
    }

    #[test]
    fn few_and_many_names_are_found_alike() {
        let content = b"A_A_A_A.B_A_A AB_X";
        let mut names: Vec<&[u8]> = vec![b"A_A", b"A_A_A", b"B_A", b"AB"];
        let few = found(&names, content);
        assert_eq!(few.len(), 8);
        names.extend([b"Z".as_slice(); FEW]);
        assert_eq!(found(&names, content), few);
    }

    #[test]
    fn names_are_found_at_both_ends() {
        for more in [0, FEW] {
            let mut names: Vec<&[u8]> = vec![b"X", b"AB", b"ABC"];
            names.extend(vec![b"Z_Z_Z".as_slice(); more]);
            let all = [(0, 0), (0, 6), (1, 1), (1, 4), (2, 1)].into();
            assert_eq!(found(&names, b"XABCABX"), all, "{more}");
            assert_eq!(found(&names, b"X"), [(0, 0)].into(), "{more}");
            assert_eq!(found(&names, b"A"), BTreeSet::new(), "{more}");
            assert_eq!(found(&names, b""), BTreeSet::new(), "{more}");
        }
    }

    #[test]
    fn names_give_themselves_away_by_parts() {
        let patterns = Patterns::new(&[b"MY_TOOL_FLAVOUR"], false);
        let parts = |piece| {
            let of_kind = patterns.list.iter().filter(move |p| p.piece == piece);
            let texts = of_kind.map(|p| String::from_utf8_lossy(&p.bytes).into_owned());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(parts(Piece::Beginning), ["MY_TOOL_"]);
        assert_eq!(parts(Piece::Ending), ["_TOOL_FLAVOUR", "_FLAVOUR"]);
        assert_eq!(parts(Piece::Head), ["MY_TOOL_"]);
    }
}
