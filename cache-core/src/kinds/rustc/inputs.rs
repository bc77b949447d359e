//! What is particular to a compiler among the processes that are observed.
//!
//! Not inputs: the identified toolchain (it is in the key), the incremental directory,
//! search directories given with `-L` (what is found there is an input by itself), and
//! the libraries that the dynamic loader opened for the compiler before its `main`.

use std::path::{Path, PathBuf};

use crate::inputs::input::FileType;
use crate::inputs::modes;
use crate::inputs::sort::{self, Program, Subject, Summary};
use crate::inputs::tool_caches::ToolCaches;
use crate::observe::{Event, Observation};
use crate::os::env::Environment;
use crate::outcome::{NotStored, Refusal};

use crate::cargo::toolchain::Toolchain;

/// Places and programs that need no recording.
pub(crate) struct Known<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) toolchain: &'a Toolchain,
    /// Where outputs go, as given and as it really is.
    pub(crate) out_dir: [&'a Path; 2],
    /// The source, absolute, and where it really is.
    pub(crate) source: &'a [PathBuf],
    /// The directory of `-C incremental`, in all its spellings.
    pub(crate) incremental: &'a [PathBuf],
    /// Where tools keep caches of their own.
    pub(crate) tool_caches: &'a ToolCaches,
    /// Directories of `-L`.
    pub(crate) search_dirs: &'a [PathBuf],
    /// Those of them that hold nothing but crates.
    pub(crate) crate_dirs: &'a [PathBuf],
    /// Whether a crate is named without its path, so that what else a search directory
    /// holds decides too.
    pub(crate) searches: bool,
    /// Whether code that is not the compiler's own runs in it.
    pub(crate) macros: bool,
    /// Whether the unit links.
    pub(crate) links: bool,
}

/// Sorts out the observation of a compiler.
pub(crate) fn summarise(observation: &Observation, known: &Known<'_>) -> Result<Summary, Refusal> {
    let mut events = observation.events.iter();
    if known.macros
        && let Some(event) = events.find(|event| shows_process(event))
    {
        return Err(NotStored::Machine.at(&event.path));
    }
    let summary = sort::summarise(observation, known)?;
    if summary.compiled {
        Ok(summary)
    } else {
        Err(NotStored::Incomplete.of("no compiler was seen to start"))
    }
}

/// Forgets looks at permissions that the compiler made for itself, at sources that it names.
pub(crate) fn forget_own_looks(summary: &mut Summary, sources: &[PathBuf]) {
    summary.modes.retain(|look, _| {
        let may_be_own = look.mask != modes::ALL || look.path.extension() == Some("rs".as_ref());
        !(look.by_compiler && may_be_own && sources.contains(&look.path))
    });
}

/// Whether an event reads of a process what it was given beside its files: its
/// environment and arguments, or a file by way of its directories.
fn shows_process(event: &Event) -> bool {
    let Ok(below) = event.real.strip_prefix("/proc") else {
        return false;
    };
    let parts = ["environ", "cmdline", "cwd", "root"];
    !event.access.is_stat()
        && below.components().skip(1).any(|part| {
            let part = part.as_os_str();
            parts.iter().any(|known| part == *known)
        })
}

impl Subject for Known<'_> {
    fn program(&self, path: &Path) -> Program {
        if self.toolchain.is_compiler(path) {
            Program::Compiler
        } else if self.toolchain.holds(path) {
            Program::OfToolchain
        } else {
            Program::Foreign
        }
    }

    fn starts_at_once(&self) -> bool {
        false
    }

    fn runs_macros(&self) -> bool {
        self.macros
    }

    fn leads_to_source(&self, path: &Path) -> bool {
        self.source.iter().any(|source| source.starts_with(path))
    }

    fn is_elsewhere(&self, path: &Path) -> bool {
        self.incremental.iter().any(|dir| path.starts_with(dir)) || self.tool_caches.hold(path)
    }

    fn is_output(&self, path: &Path) -> bool {
        path.parent().is_some_and(|dir| self.out_dir.contains(&dir))
    }

    fn is_covered(&self, event: &Event) -> bool {
        let path = &*event.path;
        let is_dir = event.found.is_some_and(|f| f.file_type == FileType::Dir);
        // Crates found by their full names make the rest of a directory irrelevant; but a
        // macro may look into a directory of native libraries as into any other.
        let searched = self.crate_dirs.iter().any(|d| d == path)
            || (!self.macros && self.search_dirs.iter().any(|d| d == path));
        let is_irrelevant = self.out_dir.contains(&path) || (!self.searches && searched);
        if (is_dir && is_irrelevant) || sort::is_look_at_pwd(event, self.env) {
            return true;
        }
        if !self.links
            && path.extension() == Some("rlib".as_ref())
            && crate::os::fs::exists(&path.with_extension("rmeta"))
        {
            // The same metadata again; whether the compiler finds it here depends on how
            // far a parallel build has come.
            return true;
        }
        self.toolchain.settles(event)
    }

    fn env(&self) -> &Environment {
        self.env
    }

    fn is_fixed(&self, path: &Path) -> bool {
        self.toolchain.holds(path)
    }

    fn is_searched(&self, path: &Path) -> bool {
        // The compiler lists each search directory once, before it loads any macro.
        !self.searches && self.search_dirs.iter().any(|d| d == path)
    }

    /// Native libraries, which the compiler looks for there too, are not: where there is
    /// one, it is used.
    fn is_candidate(&self, path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default();
        let searched = |dir: &Path| self.search_dirs.iter().any(|d| d == dir);
        path.parent().is_some_and(searched)
            && (extension == "rlib" || extension == "rmeta" || extension == "so")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::digest::Digest;
    use crate::inputs::sort::{Code, Use};
    use crate::observe::Access;
    use crate::os::stamp::Stamp;

    fn stamp(file_type: FileType) -> Stamp {
        Stamp {
            dev: 1,
            ino: 1,
            size: 1,
            mtime: 0,
            ctime: 0,
            file_type,
            mode: 0o644,
            mount: 0,
        }
    }

    /// `(pid, access, path, there)`
    type Call = (u32, Access, &'static str, bool);

    fn summary(calls: &[Call]) -> Result<Summary, NotStored> {
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/toolchains/tc"));
        let search_dirs = [PathBuf::from("/t/deps")];
        let known = Known {
            env: &Environment::default(),
            toolchain: &toolchain,
            out_dir: [Path::new("/t/deps"); 2],
            source: &[],
            incremental: &["/t/incremental".into()],
            tool_caches: &ToolCaches::default(),
            search_dirs: &search_dirs,
            crate_dirs: &[],
            searches: false,
            macros: false,
            links: true,
        };
        let exec = (1, Access::Execute, "/toolchains/tc/bin/rustc", true);
        let events = std::iter::once(&exec).chain(calls);
        let events = events.map(|&(pid, access, path, there)| Event {
            pid,
            access,
            path: Path::new(path).into(),
            real: Path::new(path).into(),
            failed: false,
            found: there.then(|| stamp(FileType::File)),
            at: 0,
        });
        let observation = Observation {
            events: events.collect(),
            parents: vec![(1, 0), (2, 1)],
            ..Observation::default()
        };
        summarise(&observation, &known).map_err(|refusal| refusal.why)
    }

    fn paths(summary: &Summary) -> Vec<(&str, Use, Code)> {
        let seen = summary.seen.iter();
        seen.map(|s| (s.path.to_str().unwrap(), s.usage, s.code))
            .collect()
    }

    const WRITE: Access = Access::Write { fresh: true };

    #[test]
    fn files_read_and_looked_for_are_inputs() {
        let summary = summary(&[
            (1, Access::Read, "/lib/libc.so.6", true),
            (1, Access::Read, "/proc/self/maps", true),
            (1, Access::Stat, "/ws/src/a/mod.rs", false),
            (1, Access::Stat, "/ws/src/a.rs", true),
            (1, Access::Read, "/ws/src/a.rs", true),
            (1, Access::Read, "/t/deps/libmac.so", true),
            (1, Access::Stat, "/t/deps/libx.rmeta", true),
            (1, Access::Read, "/t/incremental/x", true),
        ])
        .unwrap();
        assert_eq!(
            paths(&summary),
            [
                ("/ws/src/a/mod.rs", Use::Looked, Code::No),
                ("/ws/src/a.rs", Use::Read, Code::No),
                ("/t/deps/libmac.so", Use::Read, Code::Yes),
            ]
        );
    }

    #[test]
    fn what_is_written_first_is_no_input() {
        let summary = summary(&[
            (1, WRITE, "/t/deps/x.o", false),
            (2, Access::Execute, "/usr/bin/cc", true),
            (2, Access::Read, "/lib/libc.so.6", true),
            (2, Access::Read, "/t/deps/x.o", true),
            (2, Access::Read, "/ws/link.ld", true),
            (2, Access::Create, "/t/deps/x", false),
        ])
        .unwrap();
        assert_eq!(
            paths(&summary),
            [
                ("/usr/bin/cc", Use::Read, Code::Yes),
                ("/lib/libc.so.6", Use::Read, Code::Yes),
                ("/ws/link.ld", Use::Read, Code::Perhaps),
            ]
        );
        assert_eq!(
            summary.written,
            [Path::new("/t/deps/x.o"), Path::new("/t/deps/x")]
        );
    }

    #[test]
    fn the_first_file_that_a_shell_reads_is_its_script() {
        let summary = summary(&[
            (2, Access::Execute, "/bin/sh", true),
            (2, Access::Read, "/lib/libc.so.6", true),
            (2, Access::Read, "/ws/link.sh", true),
        ])
        .unwrap();
        assert_eq!(
            paths(&summary).last(),
            Some(&("/ws/link.sh", Use::Read, Code::Interpreted))
        );
    }

    /// `(path, itself, mask)` of what may have been minded.
    fn minded(calls: &[Call]) -> Vec<(&'static str, bool, u16)> {
        let mut summary = summary(calls).unwrap();
        forget_own_looks(&mut summary, &["/ws/src/a.rs".into(), "/ws/inc".into()]);
        let paths = calls.iter().map(|call| call.2);
        let known = |path: &Path| paths.clone().find(|known| Path::new(known) == path);
        let looks = summary.modes.keys();
        looks
            .map(|look| (known(&look.path).unwrap(), look.itself, look.mask))
            .collect()
    }

    #[test]
    fn permissions_are_minded_by_macros_and_not_by_compilers() {
        let macros = (1, Access::Read, "/t/deps/libmac.so", true);
        assert_eq!(minded(&[(1, Access::Stat, "/ws/data", true), macros]), []);
        let found = minded(&[
            (1, Access::Read, "/ws/src/main.rs", true),
            macros,
            (1, Access::Read, "/t/deps/libx.rlib", true),
            (1, Access::Stat, "/t/deps/x.o", true),
            (1, Access::Stat, "/ws/src/a.rs", true),
            (1, Access::Read, "/ws/src/a.rs", true),
            (1, Access::Read, "/ws/inc", true),
            (1, Access::Stat, "/ws/gone", false),
            (1, Access::Stat, "/ws/data", true),
            (1, Access::StatItself, "/ws/link", true),
            (1, Access::Read, "/ws/read", true),
        ]);
        let expected = [
            ("/ws/data", false, modes::ALL),
            ("/ws/link", true, modes::ALL),
            ("/ws/read", false, modes::OWNERS),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn permissions_are_minded_by_programs_that_are_not_known() {
        let look = (2, Access::Stat, "/ws/src/a.rs", true);
        let by = |program| [(2, Access::Execute, program, true), look];
        assert_eq!(minded(&by("/usr/bin/x86_64-linux-gnu-gcc-13")), []);
        assert_eq!(minded(&by("/toolchains/tc/bin/rust-lld")), []);
        let expected = [("/ws/src/a.rs", false, modes::ALL)];
        assert_eq!(minded(&by("/usr/bin/ls")), expected);
        assert_eq!(minded(&by("/ws/gcc")), expected);
    }

    #[test]
    fn updating_a_file_in_place_cannot_be_repeated() {
        let update = Access::Write { fresh: false };
        let outcome = summary(&[(1, update, "/ws/log.txt", true)]);
        assert_eq!(outcome.unwrap_err(), NotStored::SideEffect);
        assert!(summary(&[(1, update, "/t/deps/x", true)]).is_ok());
    }

    #[test]
    fn an_observation_without_a_compiler_is_useless() {
        let observation = Observation::default();
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/toolchains/tc"));
        let known = Known {
            env: &Environment::default(),
            toolchain: &toolchain,
            out_dir: [Path::new("/t"); 2],
            source: &[],
            incremental: &[],
            tool_caches: &ToolCaches::default(),
            search_dirs: &[],
            crate_dirs: &[],
            searches: false,
            macros: false,
            links: false,
        };
        let outcome = summarise(&observation, &known);
        assert_eq!(outcome.unwrap_err().why, NotStored::Incomplete);
    }
}
