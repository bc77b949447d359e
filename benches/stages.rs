//! What the stages of a hit and of a miss cost, each by itself.
//!
//! `cargo bench -p cache-core --bench stages`. A hit includes all that a wrapper does between its
//! first and last instruction except starting up; `benches/instructions` counts that too, free of
//! noise. A question such as `-vV` is parsed, the compiler identified, the key made, and one result
//! read; a library has inputs besides, so hits with more and more sources show what checking one
//! costs. Restoring raw shares storage (reflink) where `TMPDIR` is on a file system that can, such as
//! Btrfs or XFS, and copies elsewhere. What observing costs is in `observer.rs`.

#![expect(missing_docs, reason = "of the functions that criterion's macros make")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::entry::BlobRef;
use cache_core::{Config, Environment, Outcome, Request, Store, SystemRunner};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A library of some modules, and a cache.
struct Library {
    dir: tempfile::TempDir,
    env: Environment,
    config: Config,
    argv: Vec<OsString>,
}

impl Library {
    fn new(sources: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory should be creatable");
        let mut root = String::new();
        for n in 1..sources {
            let text = format!("pub fn f{n}(x: u64) -> u64 {{ x.wrapping_mul({n}) }}\n");
            write(&dir.path().join(format!("m{n}.rs")), text.as_bytes());
            root.extend(["pub mod m", &n.to_string(), ";\n"]);
        }
        write(&dir.path().join("lib.rs"), root.as_bytes());
        let mut env = Environment::of_process();
        env.set("CACHEWRAP_DIR", dir.path().join("cache"));
        let config = Config::load(&env).config;
        let argv = "rustc --crate-name sample --edition=2021 --error-format=json \
                    --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib \
                    --emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 \
                    --check-cfg cfg(docsrs,test) -C metadata=0123456789abcdef \
                    -C extra-filename=-0123456789abcdef --out-dir . --cap-lints allow lib.rs";
        let argv = argv.split_whitespace().map(OsString::from).collect();
        // A source is an input only if it was not changed in the same tick of the clock.
        std::thread::sleep(Duration::from_millis(50));
        Self {
            dir,
            env,
            config,
            argv,
        }
    }

    fn run(&self, argv: &[OsString]) -> Outcome {
        let (env, cwd) = (&self.env, self.dir.path());
        let request = Request::new(argv, env, cwd, &self.config, &SystemRunner);
        cache_core::run(&request, &mut |_| (), &mut |_| ()).expect("the compiler should start")
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a temporary file should be writable");
}

fn stages(criterion: &mut Criterion) {
    let library = Library::new(1);
    criterion.bench_function("settings", |b| b.iter(|| Config::load(&library.env)));
    let mut help = library.argv.clone();
    help.push("--help".into());
    criterion.bench_function("parse and bypass", |b| b.iter(|| library.run(&help)));
    let question = ["rustc", "-vV"].map(OsString::from);
    hits(criterion, "hit, a question", &library, &question);
    for (sources, name) in [
        (1, "hit, 1 source"),
        (20, "hit, 20 sources"),
        (200, "hit, 200 sources"),
    ] {
        let library = Library::new(sources);
        hits(criterion, name, &library, &library.argv);
    }
}

fn hits(criterion: &mut Criterion, name: &str, library: &Library, argv: &[OsString]) {
    library.run(argv);
    criterion.bench_function(name, |b| {
        b.iter(|| {
            let outcome = library.run(argv);
            assert!(matches!(outcome, Outcome::Hit { status: 0 }), "{outcome:?}");
        });
    });
}

fn blobs(criterion: &mut Criterion) {
    const SIZE: usize = 8 << 20;
    let dir = tempfile::tempdir().expect("a temporary directory should be creatable");
    let store = Store::new(dir.path().join("cache"), false);
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let words = (0..SIZE as u64 / 8).map(|n| n / 7 * n / 3);
    let content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    write(&from, &content);
    let blob = BlobRef::of(&content);
    let raw = store.layout().blob(blob.digest);

    let mut group = criterion.benchmark_group("8 MiB");
    group.throughput(Throughput::Bytes(SIZE as u64));
    group.bench_function("hash", |b| b.iter(|| BlobRef::of(&content)));
    group.bench_function("capture", |b| {
        b.iter(|| store.put_blob(&from, |_| ()).expect("it should be stored"));
    });
    group.bench_function("restore raw", |b| b.iter(|| restore(&store, blob, &to)));
    let packed = zstd::encode_all(content.as_slice(), 3).expect("it should compress");
    let compressed: PathBuf = raw.with_extension("zst");
    write(&compressed, &packed);
    std::fs::remove_file(&raw).expect("the raw one should be removable");
    group.bench_function("restore compressed", |b| {
        b.iter(|| restore(&store, blob, &to));
    });
    group.finish();
}

fn restore(store: &Store, blob: BlobRef, to: &Path) {
    let placed = store
        .place(blob, to, false)
        .expect("the store should be readable");
    let placed = placed.expect("the blob should be there");
    placed.commit().expect("it should be placed");
}

criterion_group!(benches, stages, blobs);
criterion_main!(benches);
