//! Many processes on one store, and processes that are killed at any moment.
//!
//! Each test runs for some seconds; `CACHEWRAP_TEST_SECONDS` says for how many instead.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cache_core::Store;
use cache_core::store::Damage;

use crate::harness::{Case, Direct, Mode, bin_manifest, lib_manifest};

fn duration(seconds: u64) -> Duration {
    let given = std::env::var("CACHEWRAP_TEST_SECONDS").ok();
    Duration::from_secs(given.and_then(|n| n.parse().ok()).unwrap_or(seconds))
}

/// A bound below what the builds want, so that collections always have something to do.
const TIGHT: &str = "1200K";

/// Small numbers that look random (xorshift); the seed is printed, for what it is worth.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let seed = u64::from(now.subsec_nanos()) << 20 | u64::from(std::process::id());
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        let n = usize::try_from(self.below(among.len() as u64));
        let picked = n.ok().and_then(|n| among.get(n));
        *picked.expect("there should be something to pick")
    }
}

/// A project that is built by several processes at once, each with its own target directory.
struct Project {
    dir: PathBuf,
    program: &'static str,
    prints: &'static str,
    builds: usize,
}

fn write_app(case: &Case) {
    case.write("Cargo.toml", bin_manifest("app", &["base", "util"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", base::value() + util::value()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", "pub fn value() -> u32 { 7 }")
        .write("util/Cargo.toml", lib_manifest("util", &["base"]))
        .write("util/src/lib.rs", "pub fn value() -> u32 { base::value() }");
}

/// The same sources twice, other sources under the same names, and another project.
fn projects(case: &mut Case) -> Vec<Project> {
    let kinds = case.path("");
    let named = |case: &mut Case, name: &str| {
        case.enter(case.root().join(name));
        write_app(case);
        case.path("")
    };
    let project = |dir, program, prints, builds| Project {
        dir,
        program,
        prints,
        builds,
    };
    let first = named(case, "first");
    let second = named(case, "second");
    let other = named(case, "other");
    case.edit("base/src/lib.rs", "{ 7 }", "{ 9 }");
    vec![
        project(first, "debug/app", "14", 2),
        project(second, "debug/app", "14", 2),
        project(other, "debug/app", "18", 2),
        project(kinds, "debug/kinds", "13 3 42", 2),
    ]
}

struct Running<'a> {
    project: &'a Project,
    target: PathBuf,
    cargo: Child,
}

fn start<'a>(case: &Case, project: &'a Project, target: PathBuf) -> Running<'a> {
    let cargo = case
        .cargo_command(Mode::Cached, &["build"])
        .current_dir(&project.dir)
        .env("CARGO_TARGET_DIR", &target)
        .env("CACHEWRAP_MAX_SIZE", TIGHT)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo should start");
    Running {
        project,
        target,
        cargo,
    }
}

#[track_caller]
fn ends_well(running: Running<'_>) {
    let output = running.cargo.wait_with_output().expect("cargo should end");
    assert!(output.status.success(), "{output:?}");
    let printed = Command::new(running.target.join(running.project.program))
        .output()
        .expect("the program should start");
    let printed = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
    assert_eq!(printed, running.project.prints);
    fs::remove_dir_all(&running.target).expect("the target directory should be removable");
}

/// Collects and verifies until told to stop; says how often.
fn maintain(case: &Case, stop: &AtomicBool) -> (u32, u32) {
    let (mut collections, mut verifications) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut gc = case.wrapper_command();
        gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", TIGHT);
        assert!(gc.status().expect("it should start").success());
        collections += 1;
        let report = Store::new(case.cache(), true).verify(false, &|_| ());
        let report = report.expect("the store should be readable");
        for finding in report.expect("verifying waits for nobody").findings {
            // A result may lose a race with the eviction of a blob that it shares; that is a
            // miss. Anything else would be damage.
            assert!(
                matches!(finding.damage, Damage::MissingBlobs { .. }),
                "{finding}"
            );
        }
        verifications += 1;
        // Builds are to be disturbed, not kept from running.
        thread::sleep(Duration::from_millis(100));
    }
    (collections, verifications)
}

fn counters(case: &Case) -> BTreeMap<String, u64> {
    let counters = Store::new(case.cache(), true).counters();
    counters.expect("the counters should be readable")
}

#[track_caller]
fn assert_nothing_is_left(case: &Case) {
    for part in ["tmp", "running"] {
        let entries = fs::read_dir(case.cache().join("v1").join(part));
        let left: Vec<_> = entries.into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Stops the maintenance, also when a build was wrong.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Builds all projects at once, again and again; says how often.
fn build_for(case: &Case, projects: &[Project], time: Duration) -> usize {
    let start_time = Instant::now();
    let mut builds = 0;
    while start_time.elapsed() < time {
        let mut running = Vec::new();
        for project in projects {
            for _ in 0..project.builds {
                let target = case.root().join(format!("target{builds}"));
                running.push(start(case, project, target));
                builds += 1;
            }
        }
        for running in running {
            ends_well(running);
        }
    }
    builds
}

#[test]
fn builds_collections_and_verifications_at_once() {
    let mut case = Case::fixture("kinds");
    let projects = projects(&mut case);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let maintenance = scope.spawn(|| maintain(&case, &stop));
        let stopper = Stop(&stop);
        let builds = build_for(&case, &projects, duration(15));
        drop(stopper);
        let (collections, verifications) = maintenance.join().expect("nothing was damaged");
        eprintln!(
            "{builds} builds beside {collections} collections and {verifications} verifications"
        );
    });
    let counters = counters(&case);
    let counter = |name: &str| counters.get(name).copied().unwrap_or(0);
    // What the compilers say agrees with what the counters say.
    assert_eq!(
        case.compiled().len() as u64,
        counter("miss") - counter("miss.query"),
        "{counters:?}"
    );
    assert_eq!(
        (counter("fault"), counter("corrupt")),
        (0, 0),
        "{counters:?}"
    );
    assert!(counter("hit") > 0, "{counters:?}");
    await_the_last_collection(&case);
    assert_nothing_is_left(&case);
}

/// Builds start collections that outlive them.
fn await_the_last_collection(case: &Case) {
    let mut gc = case.wrapper_command();
    let gc = gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "10G");
    for _ in 0..200 {
        let before = fs::metadata(case.cache().join("v1/gc")).and_then(|m| m.modified());
        assert!(gc.status().expect("it should start").success());
        let after = fs::metadata(case.cache().join("v1/gc")).and_then(|m| m.modified());
        // One that finds another at work leaves no record.
        if before.ok() != after.ok() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the last collection should end");
}

/// Processes of a group that have not ended.
fn alive(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("there should be a /proc");
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            let mut fields = fields.split(' ');
            let (state, _parent, its_group) = (fields.next(), fields.next(), fields.next());
            state != Some("Z") && its_group == Some(group.to_string().as_str())
        })
        .collect()
}

/// Nothing that was started may live on, holding locks.
#[track_caller]
fn await_the_end(group: u32) {
    let start = Instant::now();
    while !alive(group).is_empty() {
        let left = alive(group);
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{left:?} live on"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

fn kill(target: &str) {
    // It may have ended by itself.
    let _ = Command::new("kill")
        .args(["-KILL", "--", target])
        .stderr(Stdio::null())
        .status();
}

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Wrapper,
    Compiler,
    Both,
    Collection,
}

#[test]
fn kills_at_any_moment() {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let mut random = Random::new();
    let start = Instant::now();
    let mut kills = BTreeMap::new();
    let victims = [
        Victim::Wrapper,
        Victim::Compiler,
        Victim::Both,
        Victim::Collection,
    ];
    let mut round = 0;
    while start.elapsed() < duration(12) {
        round += 1;
        let victim = random.pick(&victims);
        // Some rounds meet an entry, some meet none, and eviction keeps that so.
        direct
            .case
            .env("CACHEWRAP_KEY_SALT", random.below(12).to_string());
        direct.case.env("CACHEWRAP_MAX_SIZE", "100K");
        let mut command = match victim {
            Victim::Collection => direct.case.wrapper_command(),
            _ => direct.command(Mode::Cached),
        };
        if matches!(victim, Victim::Collection) {
            command.arg("--cachewrap-gc");
        }
        let mut child = command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it should start");
        let group = child.id();
        // A hit takes a few milliseconds, a miss tens of them.
        let longest = random.pick(&[4_000, 15_000, 120_000]);
        thread::sleep(Duration::from_micros(random.below(longest)));
        match victim {
            Victim::Wrapper | Victim::Collection => kill(&group.to_string()),
            Victim::Both => kill(&format!("-{group}")),
            Victim::Compiler => {
                for pid in alive(group).into_iter().filter(|pid| *pid != group) {
                    kill(&pid.to_string());
                }
            }
        }
        let status = child.wait().expect("it should end");
        // What a compiler says when it is killed is that it was.
        if !status.success() {
            *kills.entry(format!("{victim:?}")).or_insert(0) += 1;
        }
        await_the_end(group);
        direct.builds_rightly(&format!("after round {round}, {victim:?}"), |_| ());
    }
    eprintln!("{round} rounds, killed {kills:?}, no build wrong");
    await_the_last_collection(&direct.case);
    let store = Store::new(direct.case.cache(), false);
    let report = store.verify(false, &|_| ()).expect("it should be readable");
    let findings = report.expect("nobody repairs").findings;
    assert!(findings.is_empty(), "{findings:?}");
    // What the killed left behind goes once it is old.
    age(&direct.case.cache().join("v1/tmp"));
    age(&direct.case.cache().join("v1/running"));
    await_the_last_collection(&direct.case);
    assert_nothing_is_left(&direct.case);
}

fn age(dir: &Path) {
    let aged = Command::new("find")
        .arg(dir)
        .args([
            "-mindepth",
            "1",
            "-exec",
            "touch",
            "-d",
            "3 hours ago",
            "{}",
            "+",
        ])
        .status();
    assert!(aged.is_ok_and(|status| status.success()));
}
