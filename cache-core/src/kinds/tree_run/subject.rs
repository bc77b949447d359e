//! What is particular to runs that leave a tree among the processes that are observed.
//!
//! Everything in their directory, which is empty at first, is the run's own; the directory itself must
//! stay one. What is read through a link of the run's own counts as what the link led to at
//! that moment.

use std::path::{Path, PathBuf};

use crate::cargo::toolchain::Toolchain;
use crate::inputs::sort::{Program, Sorter, Subject, Summary};
use crate::inputs::tool_caches::ToolCaches;
use crate::observe::{Access, Event, Observation};
use crate::os::env::Environment;
use crate::os::fs;
use crate::outcome::{NotStored, Refusal};

/// Extensions of text that compilers and the like read, which is nobody's script.
const SOURCES: &[&str] = &[
    "S", "asm", "c", "cc", "cpp", "cxx", "def", "h", "hh", "hpp", "hxx", "inl", "ipp", "m", "md",
    "mm", "proto", "rs", "s", "txx",
];

/// Places and programs that need no recording.
pub(super) struct Known<'a> {
    pub(super) env: &'a Environment,
    pub(super) toolchain: Option<&'a Toolchain>,
    /// The directory for everything, as given and as it really is.
    pub(super) out_dir: [&'a Path; 2],
    /// What is executed, where it really is.
    pub(super) executable: &'a Path,
    /// The wrapper's own program.
    pub(super) wrapper: Option<&'a Path>,
    /// Where tools keep caches of their own.
    pub(super) tool_caches: ToolCaches,
    /// The named pipe of the jobserver, where it has one.
    pub(super) jobserver: Option<PathBuf>,
}

/// Sorts out the observation of a run.
pub(super) fn summarise(observation: &Observation, known: &Known<'_>) -> Result<Summary, Refusal> {
    let mut sorter = Sorter::new(observation, known)?;
    for event in &observation.events {
        let makes = matches!(event.access, Access::Symlink | Access::Create);
        if makes && known.out_dir.contains(&&*event.real) {
            // What lies there now, a hit would not put in the place of an empty directory.
            return Err(NotStored::SideEffect.at(&event.path));
        }
        sorter.add(event)?;
    }
    let summary = sorter.finish();
    let remains = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    if let Some(path) = summary.written.iter().find(|path| remains(path)) {
        return Err(NotStored::SideEffect.at(path));
    }
    Ok(summary)
}

impl Known<'_> {
    fn is_of_toolchain(&self, path: &Path) -> bool {
        let toolchain = self.toolchain;
        toolchain.is_some_and(|toolchain| toolchain.holds(path))
    }

    fn is_in_out_dir(&self, path: &Path) -> bool {
        self.out_dir.iter().any(|dir| path.starts_with(dir))
    }
}

impl Subject for Known<'_> {
    fn program(&self, path: &Path) -> Program {
        if Some(path) == self.wrapper {
            Program::Ourselves
        } else if path == self.executable {
            Program::Script
        } else if self.is_of_toolchain(path) {
            Program::OfToolchain
        } else {
            Program::Foreign
        }
    }

    fn starts_at_once(&self) -> bool {
        true
    }

    fn runs_macros(&self) -> bool {
        true
    }

    fn is_elsewhere(&self, path: &Path) -> bool {
        self.is_in_out_dir(path)
            || self.tool_caches.hold(path)
            || self.jobserver.as_deref() == Some(path)
    }

    fn is_output(&self, _path: &Path) -> bool {
        false
    }

    fn is_covered(&self, event: &Event) -> bool {
        // Which wrapper there is, and where, changes nothing that comes out.
        self.wrapper == Some(&*event.real)
            || self
                .toolchain
                .is_some_and(|toolchain| toolchain.settles(event))
            || crate::inputs::sort::is_look_at_pwd(event, self.env)
    }

    fn env(&self) -> &Environment {
        self.env
    }

    fn is_fixed(&self, path: &Path) -> bool {
        self.is_of_toolchain(path)
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
    use crate::formats::digest::Digest;
    use crate::os::stamp::Stamp;

    fn event(access: Access, path: &Path) -> Event {
        let real = path.canonicalize().or_else(|_| {
            let dir = path.parent().unwrap().canonicalize()?;
            std::io::Result::Ok(dir.join(path.file_name().unwrap()))
        });
        Event {
            pid: 1,
            access,
            path: path.into(),
            real: real.unwrap().into(),
            found: Stamp::of(path),
            failed: false,
            at: crate::os::stamp::now(),
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
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/toolchains/tc"));
        let known = Known {
            env: &Environment::default(),
            toolchain: Some(&toolchain),
            out_dir: [&out, &out],
            executable: Path::new("/t/build-script"),
            wrapper: Some(Path::new("/bin/cachewrap")),
            tool_caches: ToolCaches::default(),
            jobserver: Some(root.join("fifo")),
        };
        let calls = calls(&root);
        let events = calls.iter().map(|(access, path)| event(*access, path));
        let observation = Observation {
            events: events.collect(),
            parents: vec![(1, 0)],
            ..Observation::default()
        };
        let summary = summarise(&observation, &known).map_err(|refusal| refusal.why)?;
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
    fn the_output_directory_stays_one() {
        for access in [Access::Symlink, Access::Create] {
            let found = seen(|root| vec![(access, root.join("out"))]);
            assert_eq!(found, Err(NotStored::SideEffect));
        }
        let again = seen(|root| {
            vec![
                (Access::Alter, root.join("out")),
                (Access::MakeDir, root.join("out")),
            ]
        });
        assert_eq!(again, Ok(vec![]));
        let elsewhere = seen(|root| vec![(Access::Symlink, root.join("link"))]);
        assert_eq!(elsewhere, Ok(vec![]));
    }

    #[test]
    fn a_jobserver_may_be_a_named_pipe() {
        let env = |flags: &str| [("CARGO_MAKEFLAGS", flags)].into_iter().collect();
        let fifo = env("-j --jobserver-fds=3,4 --jobserver-auth=fifo:/tmp/GMfifo1");
        assert_eq!(jobserver(&fifo), Some("/tmp/GMfifo1".into()));
        assert_eq!(jobserver(&env("-j --jobserver-auth=3,4")), None);
    }
}
