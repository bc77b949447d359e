//! The plan against a simple model of a store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const NOW: u64 = 100_000_000;

fn now() -> SystemTime {
    at(NOW)
}

fn raw(size: u64) -> StoredBlob {
    StoredBlob {
        raw: Some(size),
        compressed: None,
        modified: at(0),
    }
}

fn entry(n: u64, last_use: u64, hit: bool, blobs: &[u64]) -> Entry {
    Entry {
        key: ResultKey(digest(n)),
        size: 4 * KIB,
        blobs: blobs.iter().copied().map(digest).collect(),
        last_use: at(last_use),
        hit,
        toolchain: digest(n % 2),
    }
}

fn contents(entries: Vec<Entry>, blobs: &[(u64, u64)]) -> Contents {
    Contents {
        entries,
        blobs: blobs
            .iter()
            .map(|&(n, size)| (digest(n), raw(size)))
            .collect(),
        ..Contents::default()
    }
}

fn bounded(bound: Bound) -> Policy {
    Policy {
        bound: Some(bound),
        ..Policy::default()
    }
}

/// Carries a plan out on the model, with blobs compressing as assumed.
fn apply(contents: &Contents, plan: &Plan) -> Contents {
    let mut after = contents.clone();
    let evicted: HashSet<ResultKey> = plan.evict.iter().map(|(key, _)| *key).collect();
    after.entries.retain(|entry| !evicted.contains(&entry.key));
    for digest in plan.free.iter().chain(&plan.orphans) {
        assert!(after.blobs.remove(digest).is_some(), "removed twice");
    }
    for digest in &plan.duplicates {
        after.blobs.get_mut(digest).unwrap().compressed = None;
    }
    for digest in &plan.compress {
        let blob = after.blobs.get_mut(digest).unwrap();
        blob.compressed = Some(blob.projected());
        blob.raw = None;
    }
    after
}

fn evicted(plan: &Plan) -> Vec<ResultKey> {
    plan.evict.iter().map(|(key, _)| *key).collect()
}

#[test]
fn within_its_bound_nothing_goes() {
    let contents = contents(vec![entry(1, 1, false, &[1])], &[(1, 64 * KIB)]);
    let plan = plan(&contents, &bounded(Bound::exactly(68 * KIB)), now());
    assert_eq!(plan.size_after, plan.size_before);
    assert!(plan.evict.is_empty() && plan.compress.is_empty());
}

#[test]
fn compressing_comes_before_evicting() {
    let blobs = [(1, 64 * KIB), (2, 64 * KIB)];
    let entries = vec![entry(1, 1, false, &[1]), entry(2, 2, false, &[2])];
    let contents = contents(entries, &blobs);
    let plan = plan(&contents, &bounded(Bound::exactly(110 * KIB)), now());
    assert_eq!(plan.compress, [digest(1)]);
    assert!(plan.evict.is_empty());
}

#[test]
fn never_hit_goes_before_hit_and_old_hits_do_not_count() {
    let long_ago = NOW - HIT_COUNTS_FOR.as_secs() - 1;
    let entries = vec![
        entry(1, NOW - 5000, true, &[]),
        entry(2, NOW - 2000, false, &[]),
        entry(3, long_ago, true, &[]),
        entry(4, NOW - 4000, false, &[]),
    ];
    let contents = contents(entries, &[]);
    let plan = plan(&contents, &bounded(Bound::exactly(4 * KIB)), now());
    let order = [3, 4, 2].map(|n| ResultKey(digest(n)));
    assert_eq!(evicted(&plan), order);
}

#[test]
fn shared_blobs_stay_until_their_last_user_goes() {
    let entries = vec![entry(1, 1, false, &[7]), entry(2, 2, false, &[7])];
    let contents = contents(entries, &[(7, 4 * KIB)]);
    let one = plan(&contents, &bounded(Bound::exactly(8 * KIB)), now());
    assert_eq!((one.evict.len(), one.free.len()), (1, 0));
    let both = plan(&contents, &bounded(Bound::exactly(0)), now());
    assert_eq!((both.evict.len(), both.free.len()), (2, 1));
}

#[test]
fn grace_holds_against_the_low_water_mark_but_not_against_the_maximum() {
    let entries = vec![
        entry(1, NOW - 1, false, &[]),
        entry(2, NOW - 2, false, &[]),
        entry(3, NOW - 3, true, &[]),
    ];
    let contents = contents(entries, &[]);
    let bound = Bound {
        trigger: 0,
        max: 8 * KIB,
        low_water: 0,
    };
    let plan = plan(&contents, &bounded(bound), now());
    assert_eq!(evicted(&plan), [ResultKey(digest(2))]);
}

#[test]
fn a_time_far_in_the_future_gives_no_grace() {
    let entries = vec![entry(1, NOW + 1_000_000, false, &[])];
    let contents = contents(entries, &[]);
    let bound = Bound {
        trigger: 0,
        max: 8 * KIB,
        low_water: 0,
    };
    assert_eq!(plan(&contents, &bounded(bound), now()).evict.len(), 1);
}

#[test]
fn orphans_go_after_grace_and_later_beside_another_release() {
    let mut contents = contents(vec![], &[(1, 4 * KIB), (2, 4 * KIB)]);
    contents.blobs.get_mut(&digest(1)).unwrap().modified = at(NOW - 1);
    contents.blobs.get_mut(&digest(2)).unwrap().modified = at(NOW - 3600);
    let policy = Policy::default();
    assert_eq!(plan(&contents, &policy, now()).orphans, [digest(2)]);
    contents.foreign = true;
    assert!(plan(&contents, &policy, now()).orphans.is_empty());
}

#[test]
fn a_toolchain_is_as_old_as_what_was_used_of_it_last() {
    // Even numbers are of one toolchain, odd ones of another.
    let entries = vec![
        entry(1, NOW - 500, false, &[]),
        entry(2, NOW - 5, false, &[]),
        entry(3, NOW - 200, true, &[]),
        entry(4, NOW - 500, false, &[]),
    ];
    let policy = Policy {
        toolchain_older_than: Some(Duration::from_secs(100)),
        ..Policy::default()
    };
    let plan = plan(&contents(entries, &[]), &policy, now());
    assert_eq!(evicted(&plan), [1, 3].map(|n| ResultKey(digest(n))));
    let removed = plan.removed[&EvictReason::ToolchainAge];
    assert_eq!((removed.results, removed.bytes), (2, 8 * KIB));
}

#[test]
fn entries_without_their_blobs_go() {
    let contents = contents(vec![entry(1, NOW, true, &[1, 2])], &[(1, 4 * KIB)]);
    let plan = plan(&contents, &Policy::default(), now());
    assert_eq!(plan.evict, [(ResultKey(digest(1)), EvictReason::Broken)]);
    assert_eq!(plan.free, [digest(1)]);
    assert_eq!(plan.size_after, 0);
}

prop_compose! {
    fn any_blob()(
        size in 1_u64..64,
        state in 0..4,
        age in 0_u64..10_000,
    ) -> StoredBlob {
        let size = size * 4 * KIB;
        let half = Some(disk_size(size / 2));
        let (raw, compressed) = match state {
            0 => (None, half),
            1 => (Some(size), half),
            _ => (Some(size), None),
        };
        StoredBlob { raw, compressed, modified: at(NOW - age) }
    }
}

prop_compose! {
    /// Blobs are named 0 to 19, some of those missing; ages cross every limit.
    fn any_contents()(
        entries in prop::collection::vec(
            (
                prop::collection::btree_set(0_u64..20, 0..5),
                prop_oneof![0_u64..2000, 0_u64..4_000_000],
                any::<bool>(),
            ),
            0..30,
        ),
        blobs in prop::collection::btree_map(0_u64..20, any_blob(), 10..20),
        fixed in 0_u64..10_000,
        per_entry in 0_u64..10_000,
        foreign in any::<bool>(),
    ) -> Contents {
        let entry = |(n, (blobs, age, hit)): (usize, (_, u64, bool))| {
            let blobs: std::collections::BTreeSet<u64> = blobs;
            let blobs: Vec<u64> = blobs.into_iter().collect();
            entry(n as u64, NOW - age, hit, &blobs)
        };
        Contents {
            entries: entries.into_iter().enumerate().map(entry).collect(),
            blobs: blobs.into_iter().map(|(n, blob)| (digest(n), blob)).collect(),
            per_entry,
            fixed,
            foreign,
            room: None,
        }
    }
}

prop_compose! {
    fn any_policy()(
        max in prop::option::of(0_u64..2_000_000),
        low in 0_u64..=100,
        older_than in prop::option::of(0_u64..4_000_000),
        toolchain in prop::option::weighted(0.2, 0_u64..2),
    ) -> Policy {
        Policy {
            bound: max.map(|max| Bound { trigger: max, max, low_water: max * low / 100 }),
            older_than: older_than.map(Duration::from_secs),
            drop_toolchains: toolchain.map(digest).into_iter().collect(),
            ..Policy::default()
        }
    }
}

prop_compose! {
    /// A store on a file system on which some space is free, and a policy that wants more.
    fn any_disk()(
        mut contents in any_contents(),
        mut policy in any_policy(),
        free in 0_u64..1_000_000,
        keep in 0_u64..2_000_000,
        slack in any::<bool>(),
        toolchain_older_than in prop::option::of(0_u64..4_000_000),
    ) -> (Contents, Policy) {
        contents.room = Some(contents.size() + free);
        let keep = if slack { KeepFree::with_slack(keep) } else { KeepFree::exactly(keep) };
        policy.keep_free = Some(keep);
        policy.toolchain_older_than = toolchain_older_than.map(Duration::from_secs);
        (contents, policy)
    }
}

fn is_young(entry: &Entry, policy: &Policy) -> bool {
    now().duration_since(entry.last_use).unwrap() < policy.grace
}

proptest! {
    #[test]
    fn space_is_kept_free_as_far_as_grace_allows((c, p) in any_disk()) {
        let plan = plan(&c, &p, now());
        let after = apply(&c, &plan);
        prop_assert_eq!(plan.size_after, after.size());
        let (room, keep) = (c.room.unwrap(), p.keep_free.unwrap());
        let free = room - plan.size_after;
        if plan.shrunk_for.contains(&EvictReason::FreeSpace) {
            let all_young = after.entries.iter().all(|entry| is_young(entry, &p));
            prop_assert!(free >= keep.goal || all_young);
        } else {
            prop_assert!(free >= keep.trigger);
            prop_assert!(!plan.removed.contains_key(&EvictReason::FreeSpace));
        }
    }

    #[test]
    fn nothing_in_grace_is_evicted_for_space((c, p) in any_disk()) {
        let plan = plan(&c, &p, now());
        let by_key: BTreeMap<ResultKey, &Entry> = c.entries.iter().map(|e| (e.key, e)).collect();
        for (key, reason) in &plan.evict {
            prop_assert!(*reason != EvictReason::FreeSpace || !is_young(by_key[key], &p));
        }
    }

    #[test]
    fn without_knowing_what_is_free_space_is_no_reason((mut c, p) in any_disk()) {
        c.room = None;
        let without = Policy { keep_free: None, ..p.clone() };
        prop_assert_eq!(plan(&c, &p, now()), plan(&c, &without, now()));
    }

    #[test]
    fn what_was_removed_adds_up((c, p) in any_disk()) {
        let plan = plan(&c, &p, now());
        let after = apply(&c, &plan);
        let removed: u64 = plan.removed.values().map(|removed| removed.results).sum();
        prop_assert_eq!(removed, (c.entries.len() - after.entries.len()) as u64);
        prop_assert_eq!(removed, plan.evict.len() as u64);
        let bytes: u64 = plan.removed.values().map(|removed| removed.bytes).sum();
        prop_assert!(bytes <= plan.size_before - plan.size_after);
        let swept = plan.orphans.is_empty() && plan.duplicates.is_empty();
        if swept && plan.shrunk_for.is_empty() {
            prop_assert_eq!(bytes, plan.size_before - plan.size_after);
        }
    }

    #[test]
    fn toolchains_go_as_a_whole_when_nothing_of_them_is_used((c, p) in any_disk()) {
        let after = apply(&c, &plan(&c, &p, now()));
        let Some(limit) = p.toolchain_older_than else { return Ok(()) };
        for entry in &after.entries {
            let same = c.entries.iter().filter(|other| other.toolchain == entry.toolchain);
            let last = same.map(|other| other.last_use).max().unwrap();
            prop_assert!(now().duration_since(last).unwrap() <= limit);
        }
    }

    #[test]
    fn a_second_plan_for_space_finds_nothing_to_do((c, p) in any_disk()) {
        // What was used last of a toolchain may be what has gone.
        let mut p = Policy { toolchain_older_than: None, ..p };
        let first = plan(&c, &p, now());
        p.insist(&first);
        let second = plan(&apply(&c, &first), &p, now());
        prop_assert!(second.evict.is_empty() && second.free.is_empty());
    }

    #[test]
    fn the_sizes_of_a_plan_are_those_of_the_model(c in any_contents(), p in any_policy()) {
        let plan = plan(&c, &p, now());
        prop_assert_eq!(plan.size_before, c.size());
        prop_assert_eq!(plan.size_after, apply(&c, &plan).size());
    }

    #[test]
    fn no_result_is_left_without_its_blobs(c in any_contents(), p in any_policy()) {
        let after = apply(&c, &plan(&c, &p, now()));
        for entry in &after.entries {
            prop_assert!(entry.blobs.iter().all(|blob| after.blobs.contains_key(blob)));
        }
    }

    #[test]
    fn it_ends_at_the_low_water_mark_or_spares_what_is_in_grace(
        c in any_contents(),
        p in any_policy(),
    ) {
        let plan = plan(&c, &p, now());
        let Some(bound) = p.bound else { return Ok(()) };
        let after = apply(&c, &plan);
        if plan.size_after <= bound.low_water {
            return Ok(());
        }
        // Above it only because nothing had to be done, or because what is left is
        // spared or cannot be evicted.
        let untouched = plan.compress.is_empty()
            && plan.evict.iter().all(|(_, reason)| *reason != EvictReason::Size);
        let young = |entry: &Entry| now().duration_since(entry.last_use).unwrap() < p.grace;
        let all_young = after.entries.iter().all(young);
        prop_assert!((untouched && plan.size_after <= bound.trigger) || all_young);
        prop_assert!(plan.size_after <= bound.max || after.entries.is_empty());
    }

    #[test]
    fn grace_is_broken_only_to_keep_the_maximum(c in any_contents(), p in any_policy()) {
        let plan = plan(&c, &p, now());
        let by_key: BTreeMap<ResultKey, &Entry> = c.entries.iter().map(|e| (e.key, e)).collect();
        let young = |key: &ResultKey| now().duration_since(by_key[key].last_use).unwrap() < p.grace;
        let for_size: Vec<ResultKey> = plan
            .evict
            .iter()
            .filter(|(_, reason)| *reason == EvictReason::Size)
            .map(|(key, _)| *key)
            .collect();
        let Some(last) = for_size.last().filter(|key| young(key)) else { return Ok(()) };
        // All that is old is gone, and without the last eviction it would not fit.
        let after = apply(&c, &plan);
        prop_assert!(after.entries.iter().all(|entry| young(&entry.key)));
        let freed: u64 = by_key[last].blobs.iter().map(|b| c.blobs[b].size()).sum();
        prop_assert!(plan.size_after + by_key[last].size + c.per_entry + freed > p.bound.unwrap().max);
    }

    #[test]
    fn nothing_colder_is_kept_than_what_was_evicted_for_size(
        c in any_contents(),
        p in any_policy(),
    ) {
        let plan = plan(&c, &p, now());
        let after = apply(&c, &plan);
        let age = |entry: &Entry| now().duration_since(entry.last_use).unwrap();
        let warmth = |entry: &Entry| {
            let young = age(entry) < p.grace;
            (young, entry.hit && age(entry) < HIT_COUNTS_FOR, entry.last_use)
        };
        let by_key: BTreeMap<ResultKey, &Entry> = c.entries.iter().map(|e| (e.key, e)).collect();
        for (key, reason) in &plan.evict {
            if *reason == EvictReason::Size {
                let evicted = warmth(by_key[key]);
                prop_assert!(after.entries.iter().all(|kept| warmth(kept) >= evicted));
            }
        }
    }

    #[test]
    fn it_evicts_for_size_only_when_compressing_is_exhausted(
        c in any_contents(),
        p in any_policy(),
    ) {
        let plan = plan(&c, &p, now());
        if plan.evict.iter().all(|(_, reason)| *reason != EvictReason::Size) {
            return Ok(());
        }
        let after = apply(&c, &plan);
        for entry in &after.entries {
            if now().duration_since(entry.last_use).unwrap() < p.grace {
                continue;
            }
            let young = |other: &&Entry| now().duration_since(other.last_use).unwrap() < p.grace;
            for blob in &entry.blobs {
                // A blob that a spared entry shares stays raw with it.
                let shared = c.entries.iter().filter(young).any(|e| e.blobs.contains(blob));
                let raw = after.blobs[blob].raw;
                prop_assert!(shared || raw.is_none_or(|raw| raw <= SMALL));
            }
        }
    }

    #[test]
    fn age_and_toolchain_are_obeyed(c in any_contents(), p in any_policy()) {
        let after = apply(&c, &plan(&c, &p, now()));
        for entry in &after.entries {
            let age = now().duration_since(entry.last_use).unwrap();
            prop_assert!(p.older_than.is_none_or(|limit| age <= limit));
            prop_assert!(!p.drop_toolchains.contains(&entry.toolchain));
        }
    }

    #[test]
    fn a_second_plan_finds_nothing_to_do(c in any_contents(), p in any_policy()) {
        let first = plan(&c, &p, now());
        let second = plan(&apply(&c, &first), &p, now());
        prop_assert!(second.evict.is_empty() && second.free.is_empty());
        prop_assert!(second.orphans.is_empty() && second.duplicates.is_empty());
    }
}
