//! What to look for: names of variables, and parts of them that can give a name away.
//!
//! | piece | of `MY_TOOL_FLAVOUR` | because |
//! |---|---|---|
//! | whole | all of it | a program must know what it asks for |
//! | beginning | `MY_TOOL_`, `MY_` | code asks for all variables that begin alike, or puts the rest behind it |
//! | ending | `_FLAVOUR` | code puts something before it |
//! | head | its first 4, 8 or 16 bytes | a compiler makes numbers of short texts that are only compared |

use std::ops::Range;

use aho_corasick::AhoCorasick;
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
    /// `None`: there are few, or too many to look for at once.
    searcher: Option<AhoCorasick>,
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
        let searcher = (list.len() > FEW)
            .then(|| AhoCorasick::new(list.iter().map(|pattern| &pattern.bytes)).ok())
            .flatten();
        Self { list, searcher }
    }

    /// The length of the longest, bytes.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.list.iter().map(|pattern| pattern.bytes.len());
        lengths.max().unwrap_or(0)
    }

    /// Shows every place where one occurs, overlapping ones too: a name may contain another.
    pub(super) fn find(&self, content: &[u8], mut found: impl FnMut(&Pattern, Range<usize>)) {
        // One pass for all of them: macros are megabytes, and names are many.
        if let Some(searcher) = &self.searcher {
            for at in searcher.find_overlapping_iter(content) {
                if let Some(pattern) = self.list.get(at.pattern().as_usize()) {
                    found(pattern, at.range());
                }
            }
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
