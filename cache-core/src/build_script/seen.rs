//! What is particular to build scripts among the processes that are observed.
//!
//! Everything in `OUT_DIR`, which is empty at first, is the run's own. That holds for
//! what really lies there: a path that leads through a link, or through `..`, to another
//! place is taken for what it leads to. A link made elsewhere might hide what is read
//! through it after it is gone, and ends in not storing.
//!
//! Of the kernel's file systems, a process may read what is about itself, and what
//! programs look at to decide how much to do at a time. Other files there differ from
//! machine to machine or from moment to moment.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::env::Environment;
use crate::fs;
use crate::input::FileType;
use crate::kernel;
use crate::observe::{Access, Event, Observation};
use crate::rustc::toolchain::Toolchain;
use crate::seen::{NotStored, Program, Sorter, Subject, Summary};
use crate::stamp::Stamp;

/// Extensions of text that compilers and the like read, which is nobody's script.
const SOURCES: &[&str] = &[
    "S", "asm", "c", "cc", "cpp", "cxx", "def", "h", "hh", "hpp", "hxx", "inl", "ipp", "m", "md",
    "mm", "proto", "rs", "s", "txx",
];

/// Places and programs that need no recording.
pub(super) struct Known<'a> {
    pub(super) toolchain: &'a Toolchain,
    /// `OUT_DIR`, as given and as it really is.
    pub(super) out_dir: [&'a Path; 2],
    /// The wrapper's own program.
    pub(super) wrapper: &'a Path,
    /// The named pipe of the jobserver, where it has one.
    pub(super) jobserver: Option<PathBuf>,
}

/// Sorts out the observation of a build script.
pub(super) fn summarise(
    observation: &Observation,
    known: &Known<'_>,
) -> Result<Summary, NotStored> {
    let mut sorter = Sorter::new(observation, known)?;
    let mut real_paths = RealPaths::default();
    let mut asked_kernel = false;
    let mut before: Option<Event> = None;
    for event in &observation.events {
        let event = known.settle(event, &mut real_paths);
        if event.access == Access::Symlink && known.hides(&event, before.as_ref()) {
            return Err(NotStored::SideEffect);
        }
        if event.access == Access::Read && kernel::is_of_machine(&event) {
            return Err(NotStored::Machine);
        }
        asked_kernel |= kernel::tells_identity(&event);
        sorter.add(&event)?;
        before = Some(event);
    }
    let mut summary = sorter.summary;
    summary.asked_kernel |= asked_kernel;
    let remains = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    if summary.written.iter().any(remains) {
        return Err(NotStored::SideEffect);
    }
    Ok(summary)
}

impl Known<'_> {
    /// The event with its path where it really is, as far as `OUT_DIR` is concerned.
    fn settle(&self, event: &Event, real_paths: &mut RealPaths) -> Event {
        let mut event = event.clone();
        let climbs = climbs(&event.path);
        if !climbs && !self.is_in_out_dir(&event.path) {
            return event;
        }
        let Some(real) = real_paths.get(&event.path, event.access) else {
            return event;
        };
        let changes = !matches!(
            event.access,
            Access::Read
                | Access::Stat
                | Access::Ask
                | Access::ReadLink
                | Access::Execute
                | Access::Enter
        );
        if changes || self.is_in_out_dir(&event.path) || self.is_in_out_dir(&real) {
            event.path = real;
        }
        event
    }

    /// Whether a new link lies elsewhere, or may have led to what nobody can tell any
    /// more. `before` is the look at what it leads to.
    fn hides(&self, link: &Event, before: Option<&Event>) -> bool {
        if !self.is_elsewhere(&link.path) {
            return true;
        }
        let is_there = fs::symlink_metadata(&link.path).is_ok_and(|m| m.is_symlink());
        let is_dir = |f: &Stamp| f.file_type == FileType::Dir;
        let leads_away = before.is_none_or(|target| {
            target.found.as_ref().is_some_and(is_dir) && !self.is_in_out_dir(&target.path)
        });
        !is_there && leads_away
    }

    fn is_in_out_dir(&self, path: &Path) -> bool {
        self.out_dir.iter().any(|dir| path.starts_with(dir))
    }
}

/// Whether a path has a part `..`.
fn climbs(path: &Path) -> bool {
    memchr::memmem::find(path.as_os_str().as_bytes(), b"..").is_some()
        && path.components().any(|c| c == Component::ParentDir)
}

/// Paths without links and `..`, by what they are called. After the run, so that one path
/// always leads to the same place.
#[derive(Default)]
struct RealPaths(HashMap<(Arc<Path>, bool), Option<Arc<Path>>>);

impl RealPaths {
    /// Where a path leads; of what is not followed, or not there (any more), its directory.
    fn get(&mut self, path: &Arc<Path>, access: Access) -> Option<Arc<Path>> {
        let follows = matches!(
            access,
            Access::Read | Access::Write { .. } | Access::Stat | Access::Ask | Access::Execute
        );
        let known = self.0.entry((Arc::clone(path), follows));
        let real = || Some(real_path(path, follows)?.into());
        known.or_insert_with(real).clone()
    }
}

fn real_path(path: &Path, follows: bool) -> Option<PathBuf> {
    if follows && let Ok(real) = fs::canonicalize(path) {
        return Some(real);
    }
    let name = path.file_name()?;
    Some(fs::canonicalize(path.parent()?).ok()?.join(name))
}

impl Subject for Known<'_> {
    fn program(&self, path: &Path) -> Program {
        if path == self.wrapper {
            Program::Ourselves
        } else if path.starts_with(&self.toolchain.sysroot) {
            Program::OfToolchain
        } else {
            Program::Foreign
        }
    }

    fn starts_at_once(&self) -> bool {
        true
    }

    fn is_elsewhere(&self, path: &Path) -> bool {
        kernel::owns(path) || self.is_in_out_dir(path) || self.jobserver.as_deref() == Some(path)
    }

    fn is_output(&self, _path: &Path) -> bool {
        false
    }

    fn is_covered(&self, event: &Event) -> bool {
        self.toolchain.settles(event)
    }

    fn is_fixed(&self, path: &Path) -> bool {
        path.starts_with(&self.toolchain.sysroot)
    }

    fn may_be_script(&self, path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        // The headers of C++ have no extension.
        !SOURCES.contains(&&*extension) && !path.starts_with("/usr/include")
    }
}

/// The named pipe of the jobserver that `CARGO_MAKEFLAGS` or `MAKEFLAGS` tells of.
pub(super) fn jobserver(env: &Environment) -> Option<PathBuf> {
    let flags = ["CARGO_MAKEFLAGS", "MAKEFLAGS"].into_iter();
    let mut words = flags.filter_map(|name| env.get(name)?.to_str());
    words.find_map(|flags| {
        let mut words = flags.split_ascii_whitespace();
        let path = words.find_map(|word| word.strip_prefix("--jobserver-auth=fifo:"))?;
        Some(PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn event(access: Access, path: &Path) -> Event {
        Event {
            pid: 1,
            access,
            path: path.into(),
            found: Stamp::of(path),
            at: crate::stamp::now(),
        }
    }

    /// `OUT_DIR` below a directory of its own, and what is seen of some calls.
    fn seen(calls: impl Fn(&Path) -> Vec<(Access, PathBuf)>) -> Result<Vec<PathBuf>, NotStored> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let out = root.join("out");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(root.join("there"), "").unwrap();
        std::os::unix::fs::symlink(&root, out.join("away")).unwrap();
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/tc"));
        let known = Known {
            toolchain: &toolchain,
            out_dir: [&out, &out],
            wrapper: Path::new("/bin/cachewrap"),
            jobserver: Some(root.join("fifo")),
        };
        let calls = calls(&root);
        let events = calls.iter().map(|(access, path)| event(*access, path));
        let observation = Observation {
            events: events.collect(),
            parents: vec![(1, 0)],
            complete: true,
        };
        let summary = summarise(&observation, &known)?;
        let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
        Ok(summary.seen.into_iter().map(|s| relative(s.path)).collect())
    }

    const WRITE: Access = Access::Write { fresh: true };

    #[test]
    fn what_is_in_the_output_directory_is_the_runs_own() {
        let found = seen(|root| {
            vec![
                (Access::Read, root.join("there")),
                (WRITE, root.join("out/new")),
                (Access::Read, root.join("out/new")),
                (Access::Stat, root.join("out/other")),
                (WRITE, root.join("fifo")),
            ]
        });
        assert_eq!(found, Ok(vec!["there".into()]));
    }

    #[test]
    fn paths_are_taken_for_where_they_lead() {
        for path in ["out/away/there", "out/../there"] {
            let found = seen(|root| vec![(Access::Read, root.join(path))]);
            assert_eq!(found, Ok(vec!["there".into()]), "{path}");
            let found = seen(|root| vec![(WRITE, root.join(path))]);
            assert_eq!(found, Err(NotStored::SideEffect), "{path}");
        }
        let found = seen(|root| vec![(WRITE, root.join("out/away/out/x"))]);
        assert_eq!(found, Ok(vec![]));
    }

    #[test]
    fn a_link_that_is_gone_may_have_led_anywhere() {
        let linked = |target: &'static str, link: &'static str| {
            seen(move |root| {
                vec![
                    (Access::Ask, root.join(target)),
                    (Access::Symlink, root.join(link)),
                ]
            })
        };
        assert_eq!(linked(".", "out/gone"), Err(NotStored::SideEffect));
        assert_eq!(linked("there", "out/gone"), Ok(vec!["there".into()]));
        assert_eq!(linked("out", "out/gone"), Ok(vec![]));
        assert_eq!(linked("there", "elsewhere"), Err(NotStored::SideEffect));
        assert!(linked(".", "out/away").is_ok());
    }

    #[test]
    fn a_jobserver_may_be_a_named_pipe() {
        let env = |flags: &str| [("CARGO_MAKEFLAGS", flags)].into_iter().collect();
        let fifo = env("-j --jobserver-fds=3,4 --jobserver-auth=fifo:/tmp/GMfifo1");
        assert_eq!(jobserver(&fifo), Some("/tmp/GMfifo1".into()));
        assert_eq!(jobserver(&env("-j --jobserver-auth=3,4")), None);
    }
}
