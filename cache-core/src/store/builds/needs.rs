//! Which units of a build were given what others of it made: read from their calls.
//!
//! ```text
//! made by   a compilation   <--out-dir>/[lib]<--crate-name><-C extra-filename>
//!           a script's run  OUT_DIR
//! given to  a compilation   --extern [options:]name=<path>; OUT_DIR
//!           a script's run  the program
//! ```
//! Paths are compared as templates, without `lib` and ending. What can go wrong: a call was not noted, or
//! something is found through `-L` only (`DEP_…` variables of another script's run are such a case). Then
//! an edge is missing; none is made up.

use std::collections::HashMap;

use super::call::Call;

/// Of each unit those whose outcome it was given, by their positions, in order.
pub(super) fn needs(calls: &[Option<&Call>]) -> Vec<Vec<usize>> {
    let mut makers: HashMap<String, usize> = HashMap::new();
    for (position, call) in calls.iter().enumerate() {
        let made = call.and_then(made);
        makers.extend(made.map(|made| (made, position)));
    }
    let of_one = |(position, call): (usize, Option<&Call>)| {
        let given = call.map(given).unwrap_or_default();
        let found = given.iter().filter_map(|made| makers.get(made).copied());
        let mut needs: Vec<usize> = found.filter(|other| *other != position).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    };
    calls.iter().copied().enumerate().map(of_one).collect()
}

fn made(call: &Call) -> Option<String> {
    let mut name = None;
    let (mut out_dir, mut extra) = (None, "");
    for (option, value) in options(call) {
        match option {
            "--crate-name" => name = Some(value),
            "--out-dir" => out_dir = Some(value),
            "-C" => extra = value.strip_prefix("extra-filename=").unwrap_or(extra),
            _ => {}
        }
    }
    match (name, out_dir) {
        (Some(name), Some(dir)) => Some(format!("{dir}/{name}{extra}")),
        (None, _) => call.variable("OUT_DIR").map(str::to_owned),
        _ => None,
    }
}

fn given(call: &Call) -> Vec<String> {
    let mut given = Vec::new();
    let mut is_compilation = false;
    for (option, value) in options(call) {
        is_compilation |= option == "--crate-name";
        if option == "--extern" {
            let path = value.split_once('=').map(|(_, path)| path);
            given.extend(path.and_then(plain));
        }
    }
    if is_compilation {
        given.extend(call.variable("OUT_DIR").map(str::to_owned));
    } else {
        given.extend(call.argv().first().and_then(|program| plain(program)));
    }
    given
}

/// A path without what the compiler adds to the name of a crate.
fn plain(path: &str) -> Option<String> {
    let (dir, name) = path.rsplit_once('/')?;
    let stem = name.split('.').next()?;
    Some(format!(
        "{dir}/{}",
        stem.strip_prefix("lib").unwrap_or(stem)
    ))
}

/// Options with their values, in either spelling.
fn options(call: &Call) -> impl Iterator<Item = (&str, &str)> {
    let words = call.argv();
    words.iter().enumerate().filter_map(|(n, word)| {
        if let Some(pair) = word.split_once('=').filter(|_| word.starts_with("--")) {
            return Some(pair);
        }
        match word.strip_prefix("-C").filter(|rest| !rest.is_empty()) {
            Some(value) => Some(("-C", value)),
            None => Some((word.as_str(), words.get(n + 1)?.as_str())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(argv: &str, env: &[&str]) -> Call {
        let argv: Vec<&str> = argv.split(' ').collect();
        let json = serde_json::json!({ "cwd": "", "argv": argv, "env": env, "roots": [] });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn crates_scripts_and_their_runs_need_each_other() {
        let calls = [
            call(
                "rustc --crate-name a --out-dir /t/deps -C extra-filename=-1",
                &[],
            ),
            call(
                "rustc --crate-name build_script_build --out-dir=/t/build/b -Cextra-filename=-2",
                &[],
            ),
            call(
                "/t/build/b/build_script_build-2.cachewrap-real",
                &["OUT_DIR=/t/build/b/out"],
            ),
            call(
                "rustc --crate-name b --out-dir /t/deps -C extra-filename=-3 --extern priv:a=/t/deps/liba-1.rmeta",
                &["OUT_DIR=/t/build/b/out"],
            ),
            call(
                "rustc --crate-name c --out-dir /t/deps --extern b=/t/deps/libb-3.rlib --extern=x=/x/libx.rlib",
                &[],
            ),
        ];
        let mut calls: Vec<Option<&Call>> = calls.iter().map(Some).collect();
        let found = needs(&calls);
        assert_eq!(found, [vec![], vec![], vec![1], vec![0, 2], vec![3]]);
        calls[2] = None;
        assert_eq!(needs(&calls), [vec![], vec![], vec![], vec![0], vec![3]]);
    }

    #[test]
    fn nothing_needs_itself() {
        let own = call(
            "rustc --crate-name a --out-dir /t --extern a=/t/liba.rlib",
            &[],
        );
        assert_eq!(needs(&[Some(&own)]), [vec![]; 1] as [Vec<usize>; 1]);
    }
}
