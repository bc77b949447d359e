//! A store that others have rearranged: whatever its directories and files have become, nothing
//! outside it is written, changed or removed, and builds go on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use cache_core::Store;
use cache_core::store::Cleared;
use walkdir::WalkDir;

use crate::harness::{Case, Direct, Mode, copy_tree};

/// Everything about the files of somebody else.
type Belongings = BTreeMap<PathBuf, (u32, u64, u64, i64, i64, Vec<u8>)>;

fn belongings(dir: &Path) -> Belongings {
    let entries = WalkDir::new(dir).into_iter();
    entries
        .map(|entry| {
            let entry = entry.expect("it should be readable");
            let metadata = entry.metadata().expect("it should be there");
            let all = (
                metadata.mode(),
                metadata.ino(),
                metadata.nlink(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                fs::read(entry.path()).unwrap_or_default(),
            );
            (entry.into_path(), all)
        })
        .collect()
}

/// A filled store, a copy of it, and somebody's directory.
struct Place {
    direct: Direct,
    intact: PathBuf,
    victim: PathBuf,
}

impl Place {
    fn new() -> Self {
        let mut direct = Direct::new();
        direct.builds_rightly("cold", |_| ());
        let mut gc = direct.case.wrapper_command();
        let collected = gc.arg("--cachewrap-gc").status();
        assert!(collected.is_ok_and(|status| status.success()));
        direct.builds_rightly("warm", |_| ());
        let running = direct.case.cache().join("v1/running");
        fs::create_dir_all(running).expect("it should be creatable");
        let intact = direct.case.root().join("intact");
        copy_tree(&direct.case.cache(), &intact);
        let victim = direct.case.root().join("victim");
        Self {
            direct,
            intact,
            victim,
        }
    }

    fn cache(&self) -> PathBuf {
        self.direct.case.cache()
    }

    /// The directories of the store below its top.
    fn dirs(&self) -> Vec<PathBuf> {
        let entries = WalkDir::new(&self.intact)
            .min_depth(1)
            .into_iter()
            .flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_dir());
        let relative = dirs.map(|dir| dir.path().strip_prefix(&self.intact).map(Path::to_owned));
        let mut dirs: Vec<PathBuf> = relative.flatten().collect();
        // Shards of one kind are alike.
        let mut seen = Vec::new();
        dirs.retain(|dir| {
            let parent = dir.parent().map(Path::to_owned);
            let is_shard = dir.components().count() == 3;
            let again = is_shard && seen.contains(&parent);
            seen.push(parent);
            !again
        });
        dirs
    }

    /// Restores the store, and gives the victim what lay in `dir` and files of its own, all old.
    fn renew(&self, dir: &Path) {
        self.direct.case.forget();
        copy_tree(&self.intact, &self.cache());
        let _ = fs::remove_dir_all(&self.victim);
        copy_tree(&self.intact.join(dir), &self.victim);
        let digest = "ab".repeat(32);
        for name in [
            "thesis",
            "ab/thesis",
            "docs/thesis",
            &digest,
            &format!("ab/{digest}"),
        ] {
            let path = self.victim.join(name);
            fs::create_dir_all(path.parent().expect("it is below the victim"))
                .expect("it should be creatable");
            fs::write(&path, "precious").expect("it should be writable");
        }
        let old = SystemTime::now() - Duration::from_secs(100 * 24 * 3600);
        for entry in WalkDir::new(&self.victim)
            .contents_first(true)
            .into_iter()
            .flatten()
        {
            let file = fs::File::open(entry.path()).expect("it should be readable");
            file.set_modified(old).expect("its time should be settable");
        }
    }

    fn store(&self) -> Store {
        Store::new(self.cache(), false)
    }

    /// Everything that is done with a store, by name.
    fn does(&mut self, what: &str, dir: &str) {
        let what_where = format!("{what} with {dir}");
        match what {
            "a build" => {
                self.direct.builds_rightly(&what_where, |_| ());
            }
            "another build" => {
                self.direct.case.env("CACHEWRAP_KEY_SALT", "another");
                self.direct.builds_rightly(&what_where, |_| ());
                self.direct.case.env("CACHEWRAP_KEY_SALT", "");
            }
            "a collection" => {
                let mut gc = self.direct.case.wrapper_command();
                gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "1K");
                // It may say that it could not do all of it.
                let ended = gc.status().is_ok_and(|status| status.code().is_some());
                assert!(ended, "{what_where}");
            }
            "verifying" => {
                let report = self.store().verify(false, &|_| ());
                let findings = report.map(|r| r.map(|r| r.findings.len()));
                assert!(findings.is_ok_and(|n| n > Some(0)), "{what_where}");
            }
            "repairing" => {
                let report = self.store().verify(true, &|_| ());
                let repaired = report.expect("it should be readable");
                let findings = repaired.expect("nobody collects").findings;
                assert!(
                    findings.iter().all(|finding| finding.removed),
                    "{findings:?}"
                );
                self.direct.builds_rightly(&what_where, |_| ());
                let warm = self.direct.builds_rightly(&what_where, |_| ());
                assert!(warm.compiled.is_empty(), "{what_where} did not help");
            }
            "counting" => {
                let _ = (self.store().usage(), self.store().counters());
                let _ = (self.store().reset_counters(), self.store().records());
            }
            "clearing" => {
                let _ = self.store().clear();
            }
            _ => {
                let mut cli = Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"));
                let cli = cli.args(what.split(' ')).env("CACHEWRAP_DIR", self.cache());
                let output = cli.output().expect("it should start");
                assert!(output.status.code().is_some(), "{what_where}: {output:?}");
            }
        }
    }
}

const ACTIONS: [&str; 9] = [
    "a build",
    "another build",
    "a collection",
    "verifying",
    "repairing",
    "counting",
    "clearing",
    "prune --older-than 1d",
    "prune --max 1K",
];

#[test]
fn links_in_place_of_directories() {
    let mut place = Place::new();
    let dirs = place.dirs();
    assert!(dirs.len() >= 10, "{dirs:?}");
    for dir in dirs {
        for action in ACTIONS {
            place.renew(&dir);
            let link = place.cache().join(&dir);
            fs::remove_dir_all(&link).expect("it should be removable");
            symlink(&place.victim, &link).expect("a link should be creatable");
            let before = belongings(&place.victim);
            place.does(action, &dir.display().to_string());
            let after = belongings(&place.victim);
            assert!(before == after, "{action} with {}", dir.display());
        }
    }
}

#[test]
fn files_in_place_of_directories() {
    let mut place = Place::new();
    for dir in place.dirs() {
        for action in ["a build", "a collection", "repairing", "clearing"] {
            place.renew(&dir);
            let path = place.cache().join(&dir);
            fs::remove_dir_all(&path).expect("it should be removable");
            fs::write(&path, "").expect("it should be writable");
            place.does(action, &dir.display().to_string());
        }
    }
}

/// Each file of the store is also a file of somebody else, under its other name.
#[test]
fn files_with_names_elsewhere_are_not_written_to() {
    let mut place = Place::new();
    for action in [
        "a build",
        "another build",
        "a collection",
        "repairing",
        "counting",
    ] {
        place.renew(Path::new(""));
        for entry in WalkDir::new(place.cache()).into_iter().flatten() {
            if entry.file_type().is_file() {
                let relative = entry.path().strip_prefix(place.cache());
                let theirs = place.victim.join(relative.expect("it is below the cache"));
                fs::remove_file(entry.path()).expect("it should be removable");
                fs::hard_link(theirs, entry.path()).expect("it should be linkable");
            }
        }
        let before = belongings(&place.victim);
        place.does(action, "hard links");
        // What goes from the store has one name less.
        let content = |all: Belongings| -> Vec<_> {
            let all = all.into_iter();
            all.map(|(path, (mode, ino, _, s, ns, bytes))| (path, mode, ino, s, ns, bytes))
                .collect()
        };
        let (before, after) = (content(before), content(belongings(&place.victim)));
        assert!(before == after, "{action}");
    }
}

#[test]
fn a_tag_that_is_a_link_is_not_written_through() {
    let mut place = Place::new();
    let tag = place.cache().join("CACHEDIR.TAG");
    let elsewhere = place.direct.case.root().join("made by nobody");
    fs::remove_file(&tag).expect("it should be removable");
    symlink(&elsewhere, &tag).expect("a link should be creatable");
    for action in [
        "a build",
        "another build",
        "a collection",
        "verifying",
        "repairing",
    ] {
        place.does(action, "the tag");
        assert!(!elsewhere.exists(), "{action}");
    }
    assert!(fs::symlink_metadata(&tag).is_ok_and(|tag| tag.is_file()));
}

/// The top may be a link: that is for its user to say.
#[test]
fn the_top_may_be_a_link() {
    let mut place = Place::new();
    let real = place.direct.case.root().join("real");
    fs::rename(place.cache(), &real).expect("it should be movable");
    symlink(&real, place.cache()).expect("a link should be creatable");
    let warm = place.direct.builds_rightly("through a link", |_| ());
    assert!(warm.compiled.is_empty());
    place.does("another build", "the top");
    place.does("a collection", "the top");
    let report = place.store().verify(false, &|_| ());
    let report = report
        .expect("it should be readable")
        .expect("nobody collects");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let cleared = place.store().clear().expect("it should be clearable");
    assert!(matches!(cleared, Cleared::Done { .. }));
    assert!(!real.join("v1").exists());
}

#[test]
fn what_is_displaced_is_told() {
    let place = Place::new();
    let v1 = place.cache().join("v1");
    assert!(place.store().displaced().is_empty());
    fs::remove_dir_all(v1.join("names")).expect("it should be removable");
    symlink("/usr", v1.join("names")).expect("a link should be creatable");
    fs::remove_dir_all(v1.join("tmp")).expect("it should be removable");
    fs::write(v1.join("tmp"), "").expect("it should be writable");
    assert_eq!(
        place.store().displaced(),
        [v1.join("names"), v1.join("tmp")]
    );
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"));
    let doctor = doctor.arg("doctor").env("CACHEWRAP_DIR", place.cache());
    let shown = doctor.output().expect("it should start").stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains("v1/names"), "{shown}");
    fs::remove_dir_all(&v1).expect("it should be removable");
    symlink("/usr", &v1).expect("a link should be creatable");
    assert_eq!(place.store().displaced(), [v1]);
}

/// The compiler itself writes nothing into the store, which may go while it runs.
#[test]
fn a_store_that_goes_while_the_compiler_runs() {
    for (what, then) in [
        ("nothing", ""),
        ("a link", "ln -s \"$VICTIM\" \"$STORE\"; "),
    ] {
        let mut case = Case::new();
        case.write("base.rs", "pub const WORD: &str = env!(\"WORD\");");
        let victim = case.root().join("victim");
        fs::create_dir_all(victim.join("tmp")).expect("it should be creatable");
        let store = case.cache().join("v1");
        case.env("WORD", "one")
            .env("STORE", &store)
            .env("VICTIM", &victim);
        // Only while it compiles, and not when it is asked something.
        case.put_before_compiler(|counting| {
            format!(
                "case \"$*\" in *base.rs*) rm -rf \"$STORE\"; {then}: ;; esac\nexec {counting} \"$@\""
            )
        });
        fs::create_dir(case.path("out")).expect("it should be creatable");
        let args = [
            "--crate-name=base",
            "--crate-type=lib",
            "--emit=metadata",
            "--out-dir=out",
            "base.rs",
        ];
        case.rustc(Mode::Cached, &args).ok();
        assert!(case.path("out/libbase.rmeta").exists(), "{what}");
        let left = fs::read_dir(victim.join("tmp")).expect("it should be readable");
        assert_eq!(left.count(), 0, "{what}");
    }
}

/// Without dep-info of its own a compilation is stored all the same, with its variables.
#[test]
fn a_compilation_without_dep_info() {
    let mut case = Case::new();
    case.write("base.rs", "pub const WORD: &str = env!(\"WORD\");");
    let args = [
        "--crate-name=base",
        "--crate-type=lib",
        "--emit=metadata",
        "--out-dir=out",
        "base.rs",
    ];
    fs::create_dir(case.path("out")).expect("it should be creatable");
    for (word, compiles) in [("one", 1), ("one", 0), ("two", 1), ("one", 0)] {
        case.env("WORD", word);
        let build = case.rustc(Mode::Cached, &args).ok();
        assert_eq!(build.compiled.len(), compiles, "{word}");
    }
}
