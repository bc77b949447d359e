//! Reading records: builds, and what can be told of them beyond their lines.
//!
//! What cargo knows of a build is not recorded, but follows from calls: the package of a unit, the workspace, and
//! [which units need each other](super::needs). Units that were served ahead are noted without calls; an earlier
//! build that has the same result tells them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::call::Call;
use super::{DIR, LeftUnit, UnitKind, UnitRecord, differences, is_name, needs, parse, parse_left};
use crate::error::PathError;
use crate::formats::digest::{Digest, ResultKey};
use crate::os::dir::Listed;
use crate::os::proc;
use crate::remote::Entry;
use crate::store::Store;
use crate::store::scan::modified;

/// What one process (cargo) asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Build {
    /// The process: its id and when it was started.
    pub id: String,
    /// The workspace, or else where the process asked its questions; not known of each.
    pub dir: Option<PathBuf>,
    /// Its units, in the order in which they ended.
    pub units: Vec<UnitRecord>,
    /// Of each unit those of the build whose outcome it was given, by their positions, as far as that
    /// shows in their calls. Calls of units that were served ahead are those of earlier builds.
    pub needs: Vec<Vec<usize>>,
    /// How many lines could not be read: they are cut short, damaged, or of another release.
    pub unread: usize,
    /// Whether the process is there yet.
    pub is_running: bool,
    /// Units that could have been served ahead and were not.
    left: Vec<LeftUnit>,
}

impl Build {
    /// `None`: nothing can be read.
    fn parse(name: &str, text: &[u8]) -> Option<Self> {
        let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let (mut units, mut left, mut unread) = (Vec::new(), Vec::new(), 0);
        for line in lines {
            if let Some(unit) = parse(line) {
                units.push(unit);
            } else if let Some(unit) = parse_left(line) {
                left.push(unit);
            } else {
                unread += 1;
            }
        }
        for unit in &mut units {
            name.clone_into(&mut unit.build);
        }
        Some(Self {
            id: name.to_owned(),
            dir: dir_of(&units).map(PathBuf::from),
            needs: vec![Vec::new(); units.len()],
            is_running: proc::is_running(name),
            units,
            left,
            unread,
        })
        .filter(|build| !build.units.is_empty())
    }

    /// Whether anything but questions was asked for.
    pub fn is_of_units(&self) -> bool {
        self.units.iter().any(|unit| unit.kind != UnitKind::Query)
    }

    /// Finds out which units need each other, with calls of earlier times where there are none, and takes
    /// the calls out.
    fn connect(&mut self, earlier: &HashMap<String, Call>) {
        let own: Vec<Option<Call>> = self.units.iter_mut().map(|unit| unit.call.take()).collect();
        let both = own.iter().zip(&mut self.units).map(|(own, unit)| {
            let known = || earlier.get(unit.result.as_ref()?);
            let call = own.as_ref().or_else(known);
            unit.package = call.and_then(Call::package);
            call
        });
        let calls: Vec<Option<&Call>> = both.collect();
        self.needs = needs::needs(&calls);
        for left in std::mem::take(&mut self.left) {
            if let Some(unit) = self.units.iter_mut().find(|unit| left.is(unit)) {
                unit.not_ahead = Some(left.not_ahead);
            }
        }
    }
}

/// Where a build worked.
fn dir_of(units: &[UnitRecord]) -> Option<&str> {
    let mut calls = units.iter().rev().filter_map(|unit| unit.call.as_ref());
    let asks = |unit: &&UnitRecord| unit.kind == UnitKind::Query && !unit.dir.is_empty();
    let asked_in = || units.iter().find(asks).map(|unit| unit.dir.as_str());
    calls.find_map(Call::workspace).or_else(asked_in)
}

/// Of how many builds others are told.
const BUILDS_OF_INDEX: usize = 4;

impl Store {
    /// The results that the last builds of a workspace used, those of the newest first.
    pub(crate) fn results_used_in(&self, workspace: &Path) -> Vec<Entry> {
        let builds = self.builds().unwrap_or_default().into_iter().rev();
        let of_it = builds.filter(|build| build.dir.as_deref() == Some(workspace));
        let units = of_it.take(BUILDS_OF_INDEX).flat_map(|build| build.units);
        let mut named = HashSet::new();
        units
            .filter(|unit| unit.kind != UnitKind::Query)
            .filter_map(|unit| {
                let result = ResultKey(Digest::from_hex(unit.result.as_deref()?)?);
                // What was not saved was spent.
                let is_saved = unit.saved_us > 0;
                named.insert(result).then_some(Entry {
                    result,
                    bytes: unit.bytes,
                    duration_us: if is_saved {
                        unit.saved_us
                    } else {
                        unit.took_us
                    },
                })
            })
            .collect()
    }

    /// The keys of manifests and results that the builds of late used, as hexadecimal digits.
    pub(crate) fn keys_used(&self) -> HashSet<String> {
        let builds = self.builds().unwrap_or_default();
        let units = builds.into_iter().flat_map(|build| build.units);
        units
            .flat_map(|unit| [unit.manifest, unit.result])
            .flatten()
            .collect()
    }

    /// The builds of late, the oldest first.
    pub fn builds(&self) -> Result<Vec<Build>, PathError> {
        let mut builds = Vec::new();
        for listed in self.list(&self.layout().part(DIR))? {
            builds.extend(self.build_in(&listed)?);
        }
        builds.sort_by_key(|build: &Build| build.units.first().map(|unit| unit.started_us));
        let units = || builds.iter().flat_map(|build: &Build| &build.units);
        let callless = units().filter(|unit| unit.call.is_none());
        let wanted: HashSet<&str> = callless.filter_map(|unit| unit.result.as_deref()).collect();
        let calls = units().filter_map(|unit| {
            let result = unit
                .result
                .as_ref()
                .filter(|key| wanted.contains(key.as_str()))?;
            Some((result.clone(), unit.call.clone()?))
        });
        let calls: HashMap<String, Call> = calls.collect();
        for build in &mut builds {
            build.connect(&calls);
        }
        differences::tell(builds.iter_mut().flat_map(|build| &mut build.units));
        Ok(builds)
    }

    /// The newest build that asked for more than what the compiler is. Only what its own record tells is
    /// known of it: neither packages of units that were served ahead, nor who needs whom.
    pub fn last_build(&self) -> Result<Option<Build>, PathError> {
        let mut files = self.list(&self.layout().part(DIR))?;
        files.sort_by_cached_key(|listed| {
            let stat = self.look(&listed.path).ok();
            std::cmp::Reverse(stat.map(|stat| modified(&stat)))
        });
        for listed in files {
            let build = self.build_in(&listed)?;
            if let Some(build) = build.filter(Build::is_of_units) {
                return Ok(Some(build));
            }
        }
        Ok(None)
    }

    fn build_in(&self, listed: &Listed) -> Result<Option<Build>, PathError> {
        let Some(name) = listed.name.to_str().filter(|name| is_name(name)) else {
            return Ok(None);
        };
        match self.read_plain(&listed.path) {
            Ok(text) => Ok(Build::parse(name, &text)),
            // Gone meanwhile, or somebody else's.
            Err(e) if e.is_not_found() || e.is_no_file() || e.is_denied() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The units that builds asked for lately: the builds one after the other, the oldest first, and
    /// those of a build in the order in which they ended.
    pub fn records(&self) -> Result<Vec<UnitRecord>, PathError> {
        let builds = self.builds()?.into_iter();
        Ok(builds.flat_map(|build| build.units).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::super::line;
    use super::super::tests::{note, store};
    use super::*;

    /// A line of a unit, with its call if that is known.
    fn unit(name: &str, kind: &str, result: &str, call: Option<&str>) -> String {
        let mut json = serde_json::json!({
            "time": 1, "started_us": 5, "took_us": 1, "dir": "/asked", "unit": name, "kind": kind,
            "outcome": { "event": "hit" }, "result": result, "added later": 1,
        });
        if let Some(argv) = call {
            let env = ["CARGO_PKG_NAME=p", "CARGO_PKG_VERSION=1.2.3"];
            let argv: Vec<&str> = argv.split(' ').collect();
            json["call"] =
                serde_json::json!({ "cwd": "", "argv": argv, "env": env, "roots": [["w", "/ws"]] });
        }
        line(&json.to_string())
    }

    #[test]
    fn builds_are_told_with_what_earlier_ones_know_of_their_units() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let builds = store.layout().part(DIR);
        store.make_dir(&builds).unwrap();
        let write = |name: &str, time: u64, lines: &[String]| {
            let path = builds.join(name);
            std::fs::write(&path, lines.concat()).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        };
        let a = "rustc --crate-name a --out-dir /t";
        let b = "rustc --crate-name b --out-dir /t --extern a=/t/liba.rlib";
        let question = || unit("query", "query", "0", None);
        write(
            "1-1",
            1,
            &[
                unit("a", "compilation", "1", Some(a)),
                unit("b", "compilation", "2", Some(b)),
            ],
        );
        let cut = "01234567 {".to_owned();
        let again = [
            question(),
            unit("b", "compilation", "2", None),
            unit("a", "compilation", "1", None),
        ];
        write("2-1", 2, &[&again[..], &[cut]].concat());
        write("3-1", 3, &[question()]);
        write("4-1", 4, &["no line\n".to_owned()]);
        let told = store.builds().unwrap();
        let ids: Vec<&str> = told.iter().map(|build| build.id.as_str()).collect();
        assert_eq!(ids.len(), 3, "{ids:?}");
        let build = |id: &str| told.iter().find(|build| build.id == id).unwrap();
        assert_eq!(build("1-1").dir.as_deref(), Some(Path::new("/ws")));
        assert_eq!(build("1-1").needs, [vec![], vec![0]]);
        let ahead = build("2-1");
        assert_eq!(
            (&ahead.needs, ahead.unread),
            (&vec![vec![], vec![2], vec![]], 1)
        );
        assert_eq!(ahead.dir.as_deref(), Some(Path::new("/asked")));
        let packages = [None, Some("p 1.2.3"), Some("p 1.2.3")];
        assert_eq!(
            ahead
                .units
                .iter()
                .map(|u| u.package.as_deref())
                .collect::<Vec<_>>(),
            packages
        );
        assert!(!ahead.is_running && !build("3-1").is_of_units());
        assert_eq!(store.last_build().unwrap().unwrap().id, "2-1");
    }

    #[test]
    fn the_build_that_goes_on_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert!(store.last_build().unwrap().is_none());
        note(&store, "a");
        assert!(store.last_build().unwrap().unwrap().is_running);
    }
}
