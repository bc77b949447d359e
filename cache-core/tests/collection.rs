//! Collection, verification and clearing on synthetic stores.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up should fail the test"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use cache_core::entry::{BlobRef, ResultKey};
use cache_core::store::retention::EvictReason::{self, Age, Broken, Size, Toolchain};
use cache_core::store::retention::{Bound, KeepFree, Policy};
use cache_core::store::{Cleared, CollectOptions, Collected, GcReport, run_gc, stats};
use cache_core::{Config, Digest, Environment, Store};

#[path = "../../tests/synthetic/mod.rs"]
mod synthetic;

use synthetic::{Synthetic, Unit, compressible, random, set_modified};

const HOUR: u64 = 3600;

fn fixture() -> (tempfile::TempDir, Synthetic) {
    let dir = tempfile::tempdir().unwrap();
    let synthetic = Synthetic::new(&dir.path().join("cache"));
    (dir, synthetic)
}

/// Whether a unit's outputs can all be placed, intact.
fn serves(s: &Synthetic, unit: &Unit, result: ResultKey) -> bool {
    if s.store.result(result).unwrap().is_none() {
        return false;
    }
    let dir = tempfile::tempdir().unwrap();
    unit.outputs.iter().all(|bytes| {
        let to = dir.path().join("out");
        match s.store.place(BlobRef::of(bytes), &to, false).unwrap() {
            Some(placed) => {
                placed.commit().unwrap();
                std::fs::read(&to).unwrap() == *bytes
            }
            None => false,
        }
    })
}

fn bounded(max: u64) -> CollectOptions {
    let bound = Some(Bound::exactly(max));
    CollectOptions {
        policy: Policy {
            bound,
            ..Policy::default()
        },
        ..CollectOptions::default()
    }
}

fn collect(s: &Synthetic, options: &CollectOptions) -> GcReport {
    match s.store.collect(options, s.now, &|_| {}).unwrap() {
        Collected::Done(report) => report,
        other => panic!("{other:?}"),
    }
}

fn results(report: &GcReport, reason: EvictReason) -> u64 {
    report.removed_for(reason).results
}

fn verify_is_clean(s: &Synthetic) {
    let report = s.store.verify(false, &|_| {}).unwrap().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn an_empty_store_has_nothing_to_collect() {
    let (_dir, s) = fixture();
    assert_eq!(collect(&s, &bounded(0)), GcReport::default());
    assert!(!s.store.layout().dir().exists());
}

#[test]
fn cold_blobs_are_compressed_and_still_serve() {
    let (_dir, s) = fixture();
    let cold = Unit::new("cold").stored_ago(3 * HOUR);
    let warm = Unit::new("warm").stored_ago(2 * HOUR).hit_ago(HOUR);
    let keys = [s.add(&cold), s.add(&warm)];
    let size = s.store.usage().unwrap().size;
    let report = collect(&s, &bounded(size - 1));
    assert_eq!((report.compressed, results(&report, Size)), (1, 0));
    assert!(report.size_after < size - 1);
    // The collection's own record comes on top, one block.
    assert_eq!(report.size_after + 4096, s.store.usage().unwrap().size);
    assert!(!s.blob_paths(&cold)[0].exists());
    assert!(s.blob_paths(&cold)[0].with_extension("zst").exists());
    assert!(s.blob_paths(&warm)[0].exists());
    assert!(serves(&s, &cold, keys[0].1) && serves(&s, &warm, keys[1].1));
    verify_is_clean(&s);
}

#[test]
fn what_does_not_compress_is_evicted_in_the_same_collection() {
    let (_dir, s) = fixture();
    let units: Vec<Unit> = (0..10)
        .map(|i| {
            let mut unit = Unit::new(&format!("unit{i}")).stored_ago((20 - i) * HOUR);
            unit.outputs = vec![random(&unit.name, 40_000)];
            unit
        })
        .collect();
    let keys: Vec<_> = units.iter().map(|unit| s.add(unit).1).collect();
    let size = s.store.usage().unwrap().size;
    let report = collect(&s, &bounded(size / 2));
    assert!(report.size_after <= size / 2, "{report:?}");
    assert!(results(&report, Size) >= 4, "{report:?}");
    let served = units
        .iter()
        .zip(&keys)
        .map(|(unit, key)| serves(&s, unit, *key));
    let served: Vec<bool> = served.collect();
    assert!(served.is_sorted(), "the coldest go first: {served:?}");
    assert_eq!(report.manifests, results(&report, Size));
    verify_is_clean(&s);
}

#[test]
fn shared_blobs_survive_the_eviction_of_one_user() {
    let (_dir, s) = fixture();
    let mut old = Unit::new("old").stored_ago(9 * HOUR);
    let mut new = Unit::new("new").stored_ago(HOUR);
    old.outputs = vec![random("shared", 10_000), random("old", 10_000)];
    new.outputs = vec![random("shared", 10_000)];
    let (old_key, new_key) = (s.add(&old).1, s.add(&new).1);
    let options = CollectOptions {
        policy: Policy {
            older_than: Some(Duration::from_secs(5 * HOUR)),
            ..Policy::default()
        },
        ..CollectOptions::default()
    };
    assert_eq!(results(&collect(&s, &options), Age), 1);
    assert!(!serves(&s, &old, old_key));
    assert!(serves(&s, &new, new_key));
    assert!(!s.blob_paths(&old)[1].exists());
    verify_is_clean(&s);
}

#[test]
fn toolchains_can_be_dropped() {
    let (_dir, s) = fixture();
    let kept = Unit::new("kept");
    let mut dropped = Unit::new("dropped");
    dropped.toolchain = Digest::of(b"old");
    let key = s.add(&kept).1;
    s.add(&dropped);
    let options = CollectOptions {
        policy: Policy {
            drop_toolchains: [Digest::of(b"old")].into(),
            ..Policy::default()
        },
        ..CollectOptions::default()
    };
    assert_eq!(results(&collect(&s, &options), Toolchain), 1);
    assert!(serves(&s, &kept, key));
    assert_eq!(s.store.usage().unwrap().results, 1);
}

#[test]
fn what_nothing_names_is_swept_after_its_time() {
    let (_dir, s) = fixture();
    let unit = Unit::new("unit");
    let (manifest, result) = s.add(&unit);
    let old = s.put(b"an orphan", Duration::from_secs(HOUR));
    let young = s.put(b"a blob whose result is being written", Duration::ZERO);
    let tmp = s.store.layout().part("tmp");
    for (name, age) in [("left-behind", 2 * HOUR), ("being-written", 60)] {
        std::fs::write(tmp.join(name), "x").unwrap();
        set_modified(&tmp.join(name), s.now - Duration::from_secs(age));
    }
    let report = collect(&s, &CollectOptions::default());
    assert_eq!((report.orphans, report.tmp, report.manifests), (1, 1, 0));
    assert!(!s.store.layout().blob(old.digest).exists());
    assert!(s.store.layout().blob(young.digest).exists());
    assert!(tmp.join("being-written").exists());
    assert!(serves(&s, &unit, result));

    std::fs::remove_file(s.store.layout().result(result)).unwrap();
    let report = collect(&s, &CollectOptions::default());
    assert_eq!((report.manifests, report.orphans), (1, 1));
    assert!(s.store.manifest(manifest).unwrap().is_none());
}

#[test]
fn results_of_another_release_stay_with_their_blobs() {
    let (_dir, s) = fixture();
    let unit = Unit::new("foreign");
    let (_, key) = s.add(&unit);
    let path = s.store.layout().result(key);
    // The same file with another layout version and a checksum that fits.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 32);
    bytes[5] = 99;
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    std::fs::write(&path, &bytes).unwrap();

    let report = collect(&s, &CollectOptions::default());
    assert_eq!((results(&report, Broken), report.orphans), (0, 0));
    assert!(s.blob_paths(&unit)[0].exists());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let report = s.store.verify(true, &|_| {}).unwrap().unwrap();
    assert_eq!((report.foreign, report.findings.len()), (1, 0));
    assert!(path.exists());
}

#[test]
fn a_blob_damaged_in_the_store_is_not_compressed_into_it() {
    let (_dir, s) = fixture();
    let unit = Unit::new("unit");
    s.add(&unit);
    let blob = &s.blob_paths(&unit)[0];
    std::fs::remove_file(blob).unwrap();
    std::fs::write(blob, compressible("other", 40_000)).unwrap();
    set_modified(blob, s.now - Duration::from_secs(HOUR));
    let size = s.store.usage().unwrap().size;
    collect(&s, &bounded(size - 1));
    assert!(!blob.exists() && !blob.with_extension("zst").exists());
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    let (_dir, s) = fixture();
    let unit = Unit::new("unit");
    let key = s.add(&unit).1;
    let dry = CollectOptions {
        dry_run: true,
        ..bounded(0)
    };
    let planned = collect(&s, &dry);
    assert_eq!(results(&planned, Size), 1);
    assert!(serves(&s, &unit, key));
    let done = collect(&s, &bounded(0));
    assert_eq!(done.removed, planned.removed);
    assert_eq!(done.size_before, planned.size_before);
}

#[test]
fn two_collections_never_run_at_once() {
    let (_dir, s) = fixture();
    for i in 0..50 {
        s.add(&Unit::new(&format!("unit{i}")));
    }
    let running = AtomicBool::new(false);
    let entered = |_| {
        // Called from inside the first collection: a second one finds it at work.
        if !running.swap(true, Ordering::SeqCst) {
            let other = Store::new(s.store.layout().dir(), false);
            let second = other.collect(&bounded(0), s.now, &|_| {}).unwrap();
            assert_eq!(second, Collected::Busy);
            assert!(other.verify(true, &|_| {}).unwrap().is_none());
            assert_eq!(other.clear().unwrap(), Cleared::Busy);
        }
    };
    let first = s.store.collect(&bounded(0), s.now, &entered).unwrap();
    assert!(matches!(first, Collected::Done(_)));
    assert!(running.load(Ordering::SeqCst));
}

#[test]
fn a_store_in_use_is_collected_without_a_wrong_or_failed_answer() {
    let (_dir, s) = fixture();
    let units: Vec<Unit> = (0..12).map(|i| Unit::new(&format!("unit{i}"))).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..2)
            .map(|_| {
                let user = Synthetic::new(s.store.layout().dir());
                let units = &units;
                scope.spawn(move || {
                    let mut served = 0;
                    for unit in units.iter().cycle().take(300) {
                        let key = user.add(unit).1;
                        served += u32::from(serves(&user, unit, key));
                    }
                    served
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                s.store.collect(&bounded(150_000), s.now, &|_| {}).unwrap();
                s.store.verify(false, &|_| {}).unwrap();
            }
        });
        let users: Vec<_> = users.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        collector.join().unwrap();
        let served: u32 = users.into_iter().map(Result::unwrap).sum();
        // What is evicted right after it was stored is a miss.
        assert!(served > 0);
    });
    assert_eq!(
        std::fs::read_dir(s.store.layout().part("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_read_only_store_is_left_alone() {
    let (_dir, s) = fixture();
    s.add(&Unit::new("unit"));
    let store = Store::new(s.store.layout().dir(), true);
    let collected = store.collect(&bounded(0), s.now, &|_| {}).unwrap();
    assert_eq!(collected, Collected::ReadOnly);
    assert_eq!(store.clear().unwrap(), Cleared::ReadOnly);
    assert_eq!(store.usage().unwrap().results, 1);
}

#[test]
fn crossing_the_bound_calls_for_one_collection() {
    let (dir, s) = fixture();
    let env: Environment = [("CACHEWRAP_MAX_SIZE", "100KB"), ("HOME", "/nonexistent")]
        .into_iter()
        .collect();
    let config = Config::load(&env).config;
    assert!(!s.store.should_gc(&config, s.now));
    for i in 0..5_u64 {
        let mut unit = Unit::new(&format!("unit{i}")).stored_ago((9 - i) * HOUR);
        unit.outputs = vec![random(&unit.name, 40_000)];
        s.add(&unit);
        s.store.count(&[(stats::STORED_BYTES, 49_152)]).unwrap();
        assert_eq!(s.store.should_gc(&config, s.now), i >= 2, "{i}");
    }
    let off = Config::load(
        &[("CACHEWRAP_GC", "off"), ("HOME", "/h")]
            .into_iter()
            .collect(),
    );
    assert!(!s.store.should_gc(&off.config, s.now));
    let Collected::Done(report) = run_gc(&s.store, &config, s.now).unwrap() else {
        panic!("nothing else runs");
    };
    assert!(report.size_after <= 80_000, "{report:?}");
    let later = s.now + Duration::from_secs(HOUR);
    assert!(!s.store.should_gc(&config, later));
    // Resetting the counters people see does not disturb the account.
    s.store.reset_counters().unwrap();
    assert!(!s.store.should_gc(&config, later));
    s.store.count(&[(stats::STORED_BYTES, 100_000)]).unwrap();
    assert!(s.store.should_gc(&config, later));
    drop(dir);
}

#[test]
fn ages_and_a_full_disk_call_for_a_collection_too() {
    let (_dir, s) = fixture();
    let old = Unit::new("old").stored_ago(40 * 24 * HOUR);
    s.add(&old);
    let new = Unit::new("new").stored_ago(HOUR);
    s.add(&new);
    let config = |name, value| {
        let vars = [(name, value), ("HOME", "/nonexistent")];
        Config::load(&vars.into_iter().collect()).config
    };
    let Collected::Done(report) = run_gc(&s.store, &config("CACHEWRAP_GC", "auto"), s.now).unwrap()
    else {
        panic!("nothing else runs");
    };
    assert!(report.removed.is_empty());
    let aged = config("CACHEWRAP_MAX_AGE", "30d");
    let after = |hours| s.now + Duration::from_secs(hours * HOUR);
    // Once a day is often enough.
    assert!(!s.store.should_gc(&aged, after(23)));
    assert!(s.store.should_gc(&aged, after(24)));
    let Collected::Done(report) = run_gc(&s.store, &aged, s.now).unwrap() else {
        panic!("nothing else runs");
    };
    let age = report.removed_for(Age);
    assert_eq!(age.results, 1);
    assert_eq!(report.removed.len(), 1);
    assert!(age.bytes >= 40_000 && age.bytes <= report.size_before - report.size_after);

    // No disk has so much.
    let spacious = config("CACHEWRAP_KEEP_FREE_SPACE", "100000T");
    assert!(!s.store.should_gc(&spacious, s.now));
    assert!(s.store.should_gc(&spacious, after(1)));
    assert!(
        !s.store
            .should_gc(&config("CACHEWRAP_KEEP_FREE_SPACE", "1"), after(1))
    );
    run_gc(&s.store, &spacious, s.now).unwrap();
    assert_eq!(s.store.usage().unwrap().results, 0);
}

#[test]
fn what_is_in_use_is_not_evicted_for_somebody_elses_files() {
    let (_dir, s) = fixture();
    s.add(&Unit::new("in use").stored_ago(60));
    let options = CollectOptions {
        policy: Policy {
            keep_free: Some(KeepFree::exactly(u64::MAX)),
            ..Policy::default()
        },
        ..CollectOptions::default()
    };
    assert!(collect(&s, &options).removed.is_empty());
    assert_eq!(s.store.usage().unwrap().results, 1);
}

#[test]
fn clearing_removes_ours_and_nothing_else() {
    let (dir, s) = fixture();
    let cache = s.store.layout().dir().to_owned();
    assert_eq!(s.store.clear().unwrap(), Cleared::Nothing);
    s.add(&Unit::new("unit"));
    std::fs::create_dir(cache.join("v2")).unwrap();
    assert!(matches!(s.store.clear().unwrap(), Cleared::Done { freed } if freed > 40_000));
    assert!(cache.join("v2").exists() && cache.join("CACHEDIR.TAG").exists());
    std::fs::remove_dir(cache.join("v2")).unwrap();
    s.add(&Unit::new("unit"));
    s.store.clear().unwrap();
    assert!(!cache.exists());

    let precious = dir.path().join("precious");
    std::fs::create_dir_all(precious.join("v1")).unwrap();
    std::fs::write(precious.join("v1/thesis"), "x").unwrap();
    let store = Store::new(&precious, false);
    assert_eq!(store.clear().unwrap(), Cleared::NotOurs);
    assert!(precious.join("v1/thesis").exists());
}

#[test]
fn verifying_finds_every_single_fault() {
    type Fault = (&'static str, fn(&std::path::Path));
    let faults: [Fault; 5] = [
        ("flipped", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, bytes).unwrap();
        }),
        ("truncated", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("emptied", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, "").unwrap();
        }),
        ("a directory", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("inside"), "x").unwrap();
        }),
        ("a link", |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        }),
    ];
    for (name, fault) in faults {
        for victim in 0..4 {
            let (_dir, s) = fixture();
            let (raw, cold) = (Unit::new("raw"), Unit::new("cold").stored_ago(9 * HOUR));
            let keys = [s.add(&cold), s.add(&raw)];
            let size = s.store.usage().unwrap().size;
            collect(&s, &bounded(size - 1));
            verify_is_clean(&s);
            let layout = s.store.layout();
            let victim = match victim {
                0 => layout.result(keys[1].1),
                1 => layout.manifest(keys[1].0),
                2 => s.blob_paths(&raw)[0].clone(),
                _ => s.blob_paths(&cold)[0].with_extension("zst"),
            };
            fault(&victim);
            let report = s.store.verify(false, &|_| {}).unwrap().unwrap();
            let found = report.findings.iter().any(|f| f.path == victim);
            assert!(found, "{name}: {}: {:?}", victim.display(), report.findings);
            s.store.verify(true, &|_| {}).unwrap();
            verify_is_clean(&s);
            s.add(&raw);
            s.add(&cold);
            assert!(serves(&s, &raw, keys[1].1), "{name}: {}", victim.display());
            assert!(serves(&s, &cold, keys[0].1), "{name}: {}", victim.display());
        }
    }
}

#[test]
fn a_result_without_its_blob_is_found_and_strays_too() {
    let (_dir, s) = fixture();
    let unit = Unit::new("unit");
    let key = s.add(&unit).1;
    std::fs::remove_file(&s.blob_paths(&unit)[0]).unwrap();
    let stray = s.store.layout().part("blobs").join("README");
    std::fs::write(&stray, "x").unwrap();
    let report = s.store.verify(false, &|_| {}).unwrap().unwrap();
    let mut paths: Vec<_> = report.findings.iter().map(|f| f.path.clone()).collect();
    paths.sort();
    assert_eq!(paths, [stray, s.store.layout().result(key)]);
    let shown = report.findings[1].to_string();
    assert!(shown.ends_with("needs 1 of 1 blobs that are missing or damaged"));
}
