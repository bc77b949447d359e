use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::formats::digest::{BlobRef, Digest};
use crate::inputs::question::Question;
use crate::outputs::result::{CompileResult, Content, Output, Role};
use crate::roots::{Root, Template};

/// Objects in memory, and what happens before each one is got.
#[derive(Default)]
pub(super) struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    trouble: Mutex<Option<EngineError>>,
    asked: AtomicU32,
}

impl Memory {
    fn object(&self, part: &str) -> Vec<u8> {
        let objects = self.objects.lock().unwrap();
        let mut found = objects.iter().filter(|(name, _)| name.contains(part));
        found.next().unwrap().1.clone()
    }

    fn replace(&self, part: &str, bytes: &[u8]) {
        let mut objects = self.objects.lock().unwrap();
        for (_, object) in objects.iter_mut().filter(|(name, _)| name.contains(part)) {
            *object = bytes.to_vec();
        }
    }

    fn ask(&self) -> Result<(), EngineError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.trouble.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Engine for Memory {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        self.ask()?;
        let bytes = self.objects.lock().unwrap().get(name).cloned();
        if bytes
            .as_ref()
            .is_some_and(|bytes| bytes.len() as u64 > most)
        {
            return Err(EngineError::new(Trouble::TooLong, name));
        }
        Ok(bytes.map(|bytes| Object {
            version: Some(Digest::of(&bytes).to_hex()),
            bytes,
        }))
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        self.ask()?;
        Ok(self.objects.lock().unwrap().contains_key(name))
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        self.ask()?;
        let mut objects = self.objects.lock().unwrap();
        let there = objects.get(name).map(|bytes| Digest::of(bytes).to_hex());
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => there.is_none(),
            Condition::Version(version) => there.as_deref() == Some(version),
        };
        if holds {
            objects.insert(name.to_owned(), bytes.to_vec());
        }
        Ok(if holds { Written::Yes } else { Written::No })
    }
}

pub(super) struct Machine {
    dir: tempfile::TempDir,
    pub(super) store: Store,
}

impl Machine {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        Self { dir, store }
    }

    /// Stores and queues a result of one file.
    pub(super) fn make(&self, content: &[u8], manifest: ManifestKey, result: ResultKey) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut open = std::fs::metadata(file.path()).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o644);
        std::fs::set_permissions(file.path(), open).unwrap();
        let blob = self.store.put_blob(file.path(), |_| ()).unwrap();
        let made = result_of(blob);
        self.store.put_result(result, &made).unwrap();
        self.store.enqueue(&queued(manifest, result)).unwrap();
    }
}

fn result_of(blob: BlobRef) -> CompileResult {
    CompileResult {
        unit: "x (lib)".into(),
        toolchain: Digest::of(b"toolchain"),
        outputs: vec![Output {
            role: Role::InOutDir("libx.rlib".into()),
            executable: false,
            content: Content::Blob(blob),
        }],
        included: Vec::new(),
        stdout: Template::default(),
        stderr: Template::literal("warning\n"),
        status: 0,
        duration_us: 1_000,
        created: 1_700_000_000,
    }
}

fn queued(manifest: ManifestKey, result: ResultKey) -> Queued {
    Queued {
        unit: "x (lib)".into(),
        manifest,
        result,
        questions: vec![Question::RootValue(Root::Target, None)],
        duration_us: 1_000,
    }
}

pub(super) fn keys() -> (ManifestKey, ResultKey) {
    (ManifestKey(Digest::of(b"m")), ResultKey(Digest::of(b"r")))
}

pub(super) fn settings(key: Option<&SecretKey>, trust: Trust) -> Settings {
    Settings {
        address: Address::parse("s3://bucket?mode=write").unwrap(),
        trust,
        key: key.cloned(),
        room: 1 << 20,
    }
}

fn signing() -> (SecretKey, Trust) {
    let key = SecretKey::of_seed([3; 32]);
    let trust = Trust::Keys(vec![key.public()]);
    (key, trust)
}

/// A remote that one machine has sent a result to.
fn filled(key: Option<&SecretKey>) -> Memory {
    let (memory, machine) = (Memory::default(), Machine::new());
    let (manifest, result) = keys();
    machine.make(b"content", manifest, result);
    let settings = settings(key, Trust::Bucket);
    let sent = Remote::new(&machine.store, &memory, &settings)
        .send_all()
        .unwrap();
    assert_eq!((sent.results, machine.store.queue_length()), (1, 0));
    memory
}

fn fetch(memory: &Memory, settings: &Settings) -> (Fetched, Store, tempfile::TempDir) {
    let machine = Machine::new();
    let (manifest, result) = keys();
    let remote = Remote::new(&machine.store, memory, settings);
    let fetched = remote.fetch_result(manifest, result).unwrap();
    (fetched, machine.store, machine.dir)
}

#[test]
fn what_one_machine_sends_another_finds() {
    let (key, trust) = signing();
    let memory = filled(Some(&key));
    let machine = Machine::new();
    let (manifest, result) = keys();
    let settings = settings(None, trust);
    let remote = Remote::new(&machine.store, &memory, &settings);
    assert!(remote.fetch_offers(manifest).unwrap());
    let offers = Offers::decode(&machine.store.offers(manifest).unwrap());
    let offered: Vec<_> = offers.iter().map(|offer| offer.questions).collect();
    assert_eq!(offered, [queued(manifest, result).questions]);
    assert!(!machine.store.has_whole(result));
    assert!(matches!(
        remote.fetch_result(manifest, result),
        Ok(Fetched::Placed(_))
    ));
    assert!(machine.store.has_whole(result));
    let found = machine.store.result(result).unwrap().unwrap();
    assert_eq!(found, result_of(BlobRef::of(b"content")));
    let other = ResultKey(Digest::of(b"other"));
    assert_eq!(remote.fetch_result(manifest, other), Ok(Fetched::Missing));
}

#[test]
fn what_was_removed_is_missing_and_sent_again() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    let engine = Directory::new(dir.path());
    let (manifest, result) = keys();
    let settings = settings(None, Trust::Bucket);
    let remote = Remote::new(&machine.store, &engine, &settings);
    let send = || {
        machine.make(b"content", manifest, result);
        remote.send_all().unwrap().results
    };
    assert_eq!(send(), 1);
    let prune = |seconds, dry_run| {
        let pruned = remote.prune(Duration::from_secs(seconds), SystemTime::now(), dry_run);
        let pruned = pruned.unwrap().unwrap();
        (pruned.found, pruned.removed, pruned.failed)
    };
    assert_eq!((prune(3600, false), prune(0, true)), ((2, 0, 0), (2, 2, 0)));
    let other = Machine::new();
    let reader = Remote::new(&other.store, &engine, &settings);
    assert!(reader.fetch_offers(manifest).unwrap());
    assert_eq!(prune(0, false), (2, 2, 0));
    assert_eq!(reader.fetch_result(manifest, result), Ok(Fetched::Missing));
    assert_eq!((send(), prune(3600, false)), (1, (2, 0, 0)));
    let fetched = reader.fetch_result(manifest, result);
    assert!(matches!(fetched, Ok(Fetched::Placed(_))));
    // Where an engine does not say what it has, nothing is removed.
    let memory = filled(None);
    let remote = Remote::new(&machine.store, &memory, &settings);
    let pruned = remote.prune(Duration::ZERO, SystemTime::now(), false);
    assert_eq!(
        (pruned, memory.objects.lock().unwrap().len()),
        (Ok(None), 2)
    );
}

#[test]
fn nothing_is_taken_that_nobody_trusted_signed() {
    let (key, trust) = signing();
    let (manifest, _) = keys();
    for by in [None, Some(SecretKey::of_seed([9; 32]))] {
        let memory = filled(by.as_ref());
        let (fetched, store, _dir) = fetch(&memory, &settings(None, trust.clone()));
        assert!(matches!(fetched, Fetched::Unfit(_)), "{fetched:?}");
        assert_eq!(store.usage().unwrap().results, 0);
        let settings = settings(None, trust.clone());
        let remote = Remote::new(&store, &memory, &settings);
        assert!(!remote.fetch_offers(manifest).unwrap());
        assert_eq!(store.offers(manifest), None);
    }
    // Of another namespace.
    let mut elsewhere = settings(None, trust);
    elsewhere.address.namespace = "other".into();
    let memory = filled(Some(&key));
    let objects = memory.objects.lock().unwrap().clone();
    let moved = objects
        .into_iter()
        .map(|(n, o)| (n.replace("/default/", "/other/"), o));
    *memory.objects.lock().unwrap() = moved.collect();
    let (fetched, ..) = fetch(&memory, &elsewhere);
    assert!(matches!(fetched, Fetched::Unfit(_)), "{fetched:?}");
    // Without keys, and without saying that all are trusted, nothing is even asked for.
    let nobody = settings(None, Trust::Keys(Vec::new()));
    let asked = memory.asked.load(Ordering::Relaxed);
    assert_eq!(fetch(&memory, &nobody).0, Fetched::Missing);
    assert_eq!(memory.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn a_pack_that_is_changed_in_any_byte_is_not_taken() {
    let (key, trust) = signing();
    let memory = filled(Some(&key));
    let pack = memory.object("/r/");
    let settings = settings(None, trust);
    let (manifest, result) = keys();
    let machine = Machine::new();
    for i in 0..pack.len() {
        let mut bad = pack.clone();
        bad[i] ^= 0x10;
        memory.replace("/r/", &bad);
        let remote = Remote::new(&machine.store, &memory, &settings);
        let fetched = remote.fetch_result(manifest, result);
        assert!(
            matches!(fetched, Ok(Fetched::Unfit(_))),
            "byte {i}: {fetched:?}"
        );
    }
    for len in [0, 4, 5, 9, 100, pack.len() / 2, pack.len() - 1] {
        memory.replace("/r/", &pack[..len]);
        let remote = Remote::new(&machine.store, &memory, &settings);
        let fetched = remote.fetch_result(manifest, result);
        assert!(
            matches!(fetched, Ok(Fetched::Unfit(_))),
            "{len} bytes: {fetched:?}"
        );
    }
    assert_eq!(machine.store.usage().unwrap().results, 0);
}

#[test]
fn one_pack_does_not_stand_for_another() {
    let (key, trust) = signing();
    let (memory, machine) = (Memory::default(), Machine::new());
    let keys = |n: u8| {
        (
            ManifestKey(Digest::of(&[n])),
            ResultKey(Digest::of(&[n, n])),
        )
    };
    for n in 0..2 {
        machine.make(&[n], keys(n).0, keys(n).1);
    }
    let mut settings = settings(Some(&key), trust);
    Remote::new(&machine.store, &memory, &settings)
        .send_all()
        .unwrap();
    let (one, other) = (keys(0).1.0.to_hex(), keys(1).1.0.to_hex());
    let pack = memory.object(&one);
    memory.replace(&other, &pack);
    settings.key = None;
    let reader = Machine::new();
    let remote = Remote::new(&reader.store, &memory, &settings);
    let swapped = remote.fetch_result(keys(1).0, keys(1).1);
    assert!(matches!(swapped, Ok(Fetched::Unfit(_))), "{swapped:?}");
    let honest = remote.fetch_result(keys(0).0, keys(0).1);
    assert!(matches!(honest, Ok(Fetched::Placed(_))), "{honest:?}");
}

#[test]
fn a_pack_that_takes_more_room_than_there_is_is_not_taken() {
    let memory = Memory::default();
    let machine = Machine::new();
    let (manifest, result) = keys();
    // A megabyte of zeros takes a few bytes as it is sent.
    machine.make(&vec![0; 1 << 20], manifest, result);
    let mut settings = settings(None, Trust::Bucket);
    Remote::new(&machine.store, &memory, &settings)
        .send_all()
        .unwrap();
    settings.room = 1 << 19;
    let (fetched, store, _dir) = fetch(&memory, &settings);
    assert_eq!(fetched, Fetched::Unfit("too long".into()));
    assert_eq!(store.usage().unwrap().blobs, 0);
    settings.room = 2 << 20;
    assert!(matches!(fetch(&memory, &settings).0, Fetched::Placed(_)));
}

#[test]
fn what_is_private_stays() {
    let (memory, machine) = (Memory::default(), Machine::new());
    let (manifest, result) = keys();
    machine.make(b"secret", manifest, result);
    let blob = machine.store.layout().blob(BlobRef::of(b"secret").digest);
    let mut mode = std::fs::metadata(&blob).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o400);
    std::fs::set_permissions(&blob, mode).unwrap();
    let settings = settings(None, Trust::Bucket);
    let sent = Remote::new(&machine.store, &memory, &settings)
        .send_all()
        .unwrap();
    assert_eq!((sent.results, sent.dropped), (0, 1));
    assert!(memory.objects.lock().unwrap().is_empty());
}

#[test]
fn a_remote_in_trouble_is_left_alone() {
    let memory = filled(None);
    let machine = Machine::new();
    let (manifest, result) = keys();
    let settings = settings(None, Trust::Bucket);
    let trouble = EngineError::new(Trouble::Slow, "no answer");
    *memory.trouble.lock().unwrap() = Some(trouble);
    let asked = memory.asked.load(Ordering::Relaxed);
    let remote = Remote::new(&machine.store, &memory, &settings);
    for _ in 0..5 {
        assert!(remote.fetch_offers(manifest).is_err());
        assert!(remote.fetch_result(manifest, result).is_err());
    }
    assert_eq!(memory.asked.load(Ordering::Relaxed), asked + 1);
    // All processes know, and it is asked again when the time is over.
    *memory.trouble.lock().unwrap() = None;
    let name = settings.name();
    let mut down = machine.store.down(&name).unwrap();
    assert_eq!((down.times, down.is_over()), (1, false));
    down.until = SystemTime::now();
    machine.store.set_down(&name, Some(&down));
    assert!(remote.fetch_offers(manifest).unwrap());
    assert_eq!(machine.store.down(&name), None);
}

#[test]
fn what_could_not_be_sent_stays_in_the_queue() {
    let (memory, machine) = (Memory::default(), Machine::new());
    let (manifest, result) = keys();
    machine.make(b"content", manifest, result);
    let settings = settings(None, Trust::Bucket);
    *memory.trouble.lock().unwrap() = Some(EngineError::new(Trouble::Denied, "401"));
    let remote = Remote::new(&machine.store, &memory, &settings);
    assert_eq!(remote.send_all().unwrap_err().trouble, Trouble::Denied);
    assert_eq!(machine.store.queue_length(), 1);
    *memory.trouble.lock().unwrap() = None;
    machine.store.set_down(&settings.name(), None);
    assert_eq!(remote.send_all().unwrap().results, 1);
    assert_eq!(machine.store.queue_length(), 0);
}

#[test]
fn many_who_offer_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Directory::new(dir.path());
    let manifest = keys().0;
    std::thread::scope(|scope| {
        for n in 0..6_u8 {
            let engine = &engine;
            scope.spawn(move || {
                let machine = Machine::new();
                let result = ResultKey(Digest::of(&[n]));
                machine.make(&[n], manifest, result);
                let mut queued = queued(manifest, result);
                queued.questions.push(Question::Argument(n.to_string()));
                machine.store.enqueue(&queued).unwrap();
                let settings = settings(None, Trust::Bucket);
                // Others may hold the lock for long on a busy machine, or change the list each time.
                for _ in 0..200 {
                    let _ = Remote::new(&machine.store, engine, &settings).send_all();
                    if machine.store.queue_length() == 0 {
                        break;
                    }
                    machine.store.set_down(&settings.name(), None);
                }
                assert_eq!(machine.store.queue_length(), 0);
            });
        }
    });
    let machine = Machine::new();
    let settings = settings(None, Trust::Bucket);
    let remote = Remote::new(&machine.store, &engine, &settings);
    assert!(remote.fetch_offers(manifest).unwrap());
    let offers = Offers::decode(&machine.store.offers(manifest).unwrap());
    assert_eq!(offers.iter().count(), 6);
}

#[test]
fn what_a_pack_came_with_leads_to_it() {
    let memory = filled(None);
    let machine = Machine::new();
    let (manifest, result) = keys();
    let settings = settings(None, Trust::Bucket);
    let remote = Remote::new(&machine.store, &memory, &settings);
    assert!(matches!(remote.fetch(None, result), Ok(Fetched::Placed(_))));
    let offers = Offers::decode(&machine.store.offers(manifest).unwrap());
    let offered: Vec<_> = offers.iter().map(|offer| offer.questions).collect();
    assert_eq!(offered, [queued(manifest, result).questions]);
}
