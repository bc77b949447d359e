//! The critical path: units, each of which needs the one before, that take longest together. With any number of
//! processors, a build takes about as long.
//!
//! How long a unit has to wait for one that it needs is known as far as it was seen: cargo lets a unit begin as
//! soon as the metadata of a library is there, while the rest of the library is compiled. So if it began before that
//! had ended, what counts is the time until then, else all of the time that the library took. The machine may have
//! been busy meanwhile, so that the path can be shorter than it looks, but not longer.

/// When a unit was at work, microseconds.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) took: u64,
}

/// A path, by positions of units, the first one first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) units: Vec<usize>,
    /// How long it is, microseconds.
    pub(super) length: u64,
}

/// What is known of a unit on the way.
#[derive(Clone, Copy)]
struct Known {
    /// The earliest time that it can begin, on the longest way to it.
    earliest: u64,
    /// The unit before it on that way.
    before: Option<usize>,
}

/// The longest path. Units without a span do not count.
pub(super) fn path(spans: &[Option<Span>], needs: &[Vec<usize>]) -> Path {
    let span_of = |unit: usize| spans.get(unit).copied().flatten();
    let mut order: Vec<(usize, Span)> = (0..spans.len())
        .filter_map(|unit| Some((unit, span_of(unit)?)))
        .collect();
    order.sort_by_key(|(unit, span)| (span.start, *unit));
    let mut known: Vec<Option<Known>> = vec![None; spans.len()];
    let mut longest = (0, None);
    for (unit, span) in order {
        let own = needs.get(unit).map_or(&[][..], Vec::as_slice);
        // Records may say anything: what began later is not known yet and held nothing up, so no path is a circle.
        let ways = own.iter().filter_map(|&need| {
            let (before, at) = (known.get(need).copied().flatten()?, span_of(need)?);
            let held_up = at.took.min(span.start.saturating_sub(at.start));
            Some((before.earliest.saturating_add(held_up), Some(need)))
        });
        let (earliest, before) = ways.max().unwrap_or((0, None));
        if let Some(place) = known.get_mut(unit) {
            *place = Some(Known { earliest, before });
        }
        longest = longest.max((earliest.saturating_add(span.took), Some(unit)));
    }
    let (length, mut next) = longest;
    let mut units = Vec::new();
    while let Some(unit) = next {
        units.push(unit);
        next = known
            .get(unit)
            .copied()
            .flatten()
            .and_then(|known| known.before);
    }
    units.reverse();
    Path { units, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(of: &[(u64, u64)]) -> Vec<Option<Span>> {
        of.iter()
            .map(|&(start, took)| Some(Span { start, took }))
            .collect()
    }

    #[test]
    fn the_longest_way_counts_not_the_last() {
        // The last one to end waits for a short one only, since the machine was busy.
        let spans = spans(&[(0, 5), (0, 9), (9, 4), (13, 1), (20, 6)]);
        let needs = [vec![], vec![], vec![0, 1], vec![0], vec![3]];
        assert_eq!(
            path(&spans, &needs),
            Path {
                units: vec![1, 2],
                length: 13
            }
        );
    }

    #[test]
    fn metadata_lets_a_unit_begin_early() {
        let spans = spans(&[(0, 30), (10, 30)]);
        assert_eq!(
            path(&spans, &[vec![], vec![0]]),
            Path {
                units: vec![0, 1],
                length: 40
            }
        );
    }

    #[test]
    fn what_cannot_be_leads_nowhere() {
        assert_eq!(path(&[], &[]), Path::default());
        assert_eq!(path(&[None], &[vec![0]]), Path::default());
        let circle = spans(&[(1, 3), (1, 3)]);
        assert_eq!(path(&circle, &[vec![1, 9], vec![0, 1]]).units, [0, 1]);
        let later = spans(&[(5, 9), (6, 8), (u64::MAX, u64::MAX)]);
        assert_eq!(path(&later, &[vec![1], vec![], vec![1]]).length, u64::MAX);
    }
}
