//! File systems that are full, coarse or far down: real ones, mounted for the test.
//!
//! Mounting needs root; where it is not possible the tests say so and do nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::harness::{Case, Direct, Mode, compare, copy_tree};

/// A mounted file system, until it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// `None`, with a word to the reader, where that cannot be done.
    pub(crate) fn new(at: &Path, words: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).expect("the mount point should be creatable");
        let mounted = Command::new("mount").args(words).arg(at).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("skipped: cannot mount {words:?}");
        None
    }

    pub(crate) fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        Self::new(at, &["-t", "tmpfs", "-o", options, "cachewrap-test"])
    }

    /// Ext2 with the small inodes of its youth: times are in whole seconds, and there are
    /// no reflinks.
    fn ext2(at: &Path, image: &Path) -> Option<Self> {
        Self::image("mkfs.ext2", &["-I", "128"], at, image)
    }

    /// A new file system in a file.
    pub(crate) fn image(mkfs: &str, words: &[&str], at: &Path, image: &Path) -> Option<Self> {
        let file = fs::File::create(image).expect("the image should be creatable");
        file.set_len(64 << 20)
            .expect("the image should be growable");
        let made = Command::new(mkfs).arg("-q").args(words).arg(image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            eprintln!("skipped: there is no {mkfs}");
            return None;
        }
        let image = image.to_str().expect("a path of the test is text");
        Self::new(at, &["-o", "loop", image])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: nothing may be left behind even if a test has failed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes the room on a file system away, and gives it back in pieces.
trait Filler {
    /// Leaves room for so many pages or files.
    fn leave(&mut self, pieces: usize);
    fn clear(&mut self);
}

/// Fills a file system to the last page.
struct Pages(PathBuf);

const PAGE: usize = 4096;

impl Filler for Pages {
    fn leave(&mut self, pieces: usize) {
        let mut file = fs::File::create(&self.0).expect("the filler should be creatable");
        let mut len = 0;
        while file.write_all(&[0; PAGE]).is_ok() {
            len += PAGE;
        }
        file.set_len(len.saturating_sub(pieces * PAGE) as u64)
            .expect("the filler should shrink");
    }

    fn clear(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Fills a file system to the last inode.
struct Inodes(PathBuf);

impl Filler for Inodes {
    fn leave(&mut self, pieces: usize) {
        fs::create_dir_all(&self.0).expect("the filler should be creatable");
        let name = |n: usize| self.0.join(n.to_string());
        let full = (0..100_000).find(|&n| fs::File::create(name(n)).is_err());
        let full = full.expect("the file system should be small");
        for n in full.saturating_sub(pieces)..full {
            fs::remove_file(name(n)).expect("a filler should be removable");
        }
    }

    fn clear(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds with room for nothing, then a little more each time, until everything fits:
/// between any two files there is a build for which it ends.
#[track_caller]
fn survives_a_lack(options: &str, filler: impl Fn(&Path) -> Box<dyn Filler>) {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let warm = direct.case.root().join("warm");
    fs::rename(direct.case.cache(), &warm).expect("the store should be movable");
    let Some(_mount) = Mount::tmpfs(&direct.case.cache(), options) else {
        return;
    };
    // The compiler is known already; what is stored is not.
    copy_tree(&warm, &direct.case.cache());
    let mut filler = filler(&direct.case.cache());
    let mut stored = false;
    for pieces in 0..40 {
        direct.case.env("CACHEWRAP_KEY_SALT", pieces.to_string());
        filler.leave(pieces);
        let what = format!("room for {pieces}");
        direct.builds_rightly(&what, |_| ());
        let again = direct.builds_rightly(&format!("{what}, again"), |_| ());
        filler.clear();
        direct.builds_rightly(&format!("after {what}"), |_| ());
        let warm = direct.builds_rightly(&format!("long after {what}"), |_| ());
        assert!(warm.compiled.is_empty(), "{what} did lasting harm");
        assert!(
            pieces > 0 || !again.compiled.is_empty(),
            "it should be full"
        );
        stored = again.compiled.is_empty();
        if stored {
            break;
        }
    }
    assert!(stored, "it should have fitted in the end");
}

#[test]
fn a_file_system_that_fills_up_between_any_two_files() {
    survives_a_lack("size=16m", |dir| Box::new(Pages(dir.join("filler"))));
}

#[test]
fn a_file_system_that_runs_out_of_inodes_between_any_two_files() {
    survives_a_lack("size=64m,nr_inodes=600", |dir| {
        Box::new(Inodes(dir.join("filler")))
    });
}

#[test]
fn a_directory_so_deep_that_some_paths_are_too_long() {
    let mut direct = Direct::new();
    let root = direct.case.root().join("deep");
    for len in [3900, 3960, 4000, 4020, 4040, 4080, 4095, 5000] {
        let mut dir = root.clone();
        while dir.as_os_str().len() + 201 < len {
            dir.push("d".repeat(200));
        }
        let rest = len.saturating_sub(dir.as_os_str().len() + 1);
        dir.push("e".repeat(rest.max(1)));
        direct.case.env("CACHEWRAP_DIR", &dir);
        for round in 0..2 {
            direct.builds_rightly(&format!("{len} bytes, round {round}"), |_| ());
        }
    }
}

/// Waits for the start of a second, so that what follows falls into it.
fn next_second() {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    std::thread::sleep(Duration::from_nanos(
        1_000_000_000 - u64::from(now.subsec_nanos()),
    ));
}

#[test]
fn a_file_system_with_whole_seconds() {
    let mut case = Case::new();
    let image = case.root().join("image");
    let Some(_mount) = Mount::ext2(&case.path(""), &image) else {
        return;
    };
    case.env("CACHEWRAP_DIR", case.path("cache"));
    let write = |value: u32| {
        let source = format!("fn main() {{ println!(\"{{}}\", {value}); }}\n");
        case.write("main.rs", source);
    };
    let args = ["--edition=2021", "-Cmetadata=1", "-o", "main", "main.rs"];
    let runs = |value: u32| {
        case.rustc(Mode::Cached, &args).ok();
        let output = Command::new(case.path("main")).output();
        let printed = output.expect("the program should start").stdout;
        assert_eq!(String::from_utf8_lossy(&printed).trim(), value.to_string());
    };
    write(0);
    runs(0);
    for n in 1..4 {
        // Two states of one size in one second.
        next_second();
        write(n);
        runs(n);
        write(n + 3);
        runs(n + 3);
    }
    // What is older than that is cached as anywhere.
    write(7);
    next_second();
    std::thread::sleep(Duration::from_secs(2));
    runs(7);
    assert!(case.rustc(Mode::Cached, &args).ok().compiled.is_empty());
}

#[test]
fn clocks_that_jump() {
    const YEAR: i64 = 365 * 24 * 3600;
    let mut direct = Direct::new();
    let mut value = 10;
    for shift in [0, YEAR, -YEAR, 40 * YEAR, -40 * YEAR, 0] {
        for _ in 0..2 {
            // Between builds of one clock and of two.
            value += 1;
            direct.case.write("part.rs", value.to_string());
            direct.expect_bare();
            for _ in 0..2 {
                let preload = direct.preload.clone();
                direct.builds_rightly(&format!("{shift} seconds ahead"), |command| {
                    preload.shift_clock(command, shift);
                });
            }
        }
    }
    direct.builds_rightly("the right time", |_| ());
    // The times of the store itself, far ahead and far behind.
    for times in ["2000-01-01", "2037-01-01"] {
        let touched = Command::new("find")
            .arg(direct.case.cache())
            .args(["-exec", "touch", "-d", times, "{}", "+"])
            .status();
        assert!(touched.is_ok_and(|status| status.success()));
        direct.builds_rightly(times, |_| ());
        let mut gc = direct.case.wrapper_command();
        gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "64K");
        assert!(gc.status().is_ok_and(|status| status.success()));
        direct.builds_rightly(times, |_| ());
    }
}

#[test]
fn a_full_file_system_under_cargo() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_LOG", "error");
    let Some(_mount) = Mount::tmpfs(&case.cache(), "size=64k") else {
        return;
    };
    let build = compare(&case, &["build"]).ok();
    assert!(!build.compiled.is_empty());
    compare(&case, &["build"]).ok();
    // To the last byte.
    Pages(case.cache().join("filler")).leave(0);
    compare(&case, &["build"]).ok();
}
