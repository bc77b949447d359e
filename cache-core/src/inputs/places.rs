//! **Values that name places.** Where a variable's value is a path below a root, the value is recorded
//! with the root left open, so that another place of that root can use the result, if nothing can have come of the
//! path but what is found by it, or a copy of it:
//! - If a package's own code names the variable, the value is recorded as it is. Who names it may hash it,
//!   measure it, or take it apart. (Cargo's own variables for scripts are another matter: they are in the key, with roots
//!   left open; a script whose code may compute something from them is bound to the places, see `build_script::computes`.
//!   So is `CARGO_TARGET_DIR` where it is the directory that such a script's `OUT_DIR` lies in: many ask for it to tell
//!   whether it is, and where it is another one, the script is bound to its own.)
//! - If only tools of the system name it (a compiler, a shell, `git`), roots are left open. What they
//!   look for below the path is an input by itself, relative to the same root. What they write of it
//!   is found when outputs are searched for the paths of roots, and binds the result.
//! - `HOME` can be meant without being named: `~`, a `cd` to nowhere, what other languages have. Where a package's own
//!   scripts, or texts of its programs, hold that, its own code names `HOME` (`names::home`).
//!
//! A user's home is a root for inputs alone. Where no input is told relative to it, nobody can have known it, and what
//! contains its path is nobody's trace; else the result is bound ([`Recorder::bind`]). A path below the home may have
//! been reached in another way, given as it is in a source or a variable for one. That does not show, so each fact that is
//! told relative to the home is told of the path as it is, too ([`Facts::tell_as_they_are`]): where nothing is there, which is
//! what tools that look for settings mostly find, both hold in any home; what is there binds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::PathError;
use crate::inputs::facts::Facts;
use crate::inputs::input::Input;
use crate::inputs::names::{self, Variable};
use crate::roots::{Root, RootedPath, Roots, Template};
use crate::scene::Scene;

/// Where cargo is told to build.
pub(crate) const TARGET_DIR: &[u8] = b"CARGO_TARGET_DIR";

/// The values of variables, roots left open where only tools of the system name them.
pub(crate) fn with_open_roots(
    scene: &Scene<'_>,
    in_key: &dyn Fn(&OsStr) -> bool,
    variables: Vec<Variable>,
    code: &[names::Code<'_>],
) -> Result<Vec<(Variable, Template)>, PathError> {
    let mut open = Vec::with_capacity(variables.len());
    for variable in variables {
        let exact = || Template::literal(variable.value.clone());
        let value = if is_exact(scene, in_key, &variable) {
            exact()
        } else {
            let value = scene.roots.value(&variable.value);
            let is_home = variable.name == b"HOME" && value.names_a_root();
            if is_home && names::stands_for_home(code)? {
                exact()
            } else {
                value
            }
        };
        open.push((variable, value));
    }
    Ok(open)
}

/// Whether a variable that code names counts with its roots: others than tools of the system name it, and nobody
/// judges what they make of it.
pub(crate) fn is_exact(
    scene: &Scene<'_>,
    in_key: &dyn Fn(&OsStr) -> bool,
    variable: &Variable,
) -> bool {
    // Whose places are in its key is judged.
    let is_judged = variable.name == TARGET_DIR && in_key(OsStr::new("OUT_DIR"));
    let value = Path::new(OsStr::from_bytes(&variable.value));
    variable.is_own && !(is_judged && scene.roots.get(Root::Target) == Some(value))
}

/// Inputs that bind a result with some inputs to the places of some roots.
pub(crate) fn bindings(known: &Roots, roots: &[Root], inputs: &[Input]) -> Vec<Input> {
    let mut bindings = Facts::default();
    let knows_home = || inputs.iter().any(|input| input.names(Root::Home));
    for binding in bindings_to(known, roots.iter().copied(), knows_home) {
        bindings.insert(binding);
    }
    bindings.into_inputs()
}

/// One input for each root, but for the user's home where nobody knew it.
pub(super) fn bindings_to(
    known: &Roots,
    roots: impl Iterator<Item = Root>,
    knows_home: impl FnOnce() -> bool,
) -> Vec<Input> {
    let roots: BTreeSet<Root> = roots.collect();
    let left_out = roots.contains(&Root::Home) && !knows_home();
    let roots = roots
        .iter()
        .filter(|root| **root != Root::Home || !left_out);
    roots
        .filter_map(|root| {
            let value = RootedPath {
                root: None,
                rest: known.get(*root)?.as_os_str().as_bytes().to_vec(),
            };
            Some(Input::RootValue { root: *root, value })
        })
        .collect()
}
