//! Inputs: what a compilation was seen to read.
//!
//! An input records one fact about the world that the compilation looked at, in a form
//! that can be checked again elsewhere: paths relative to roots, contents as digests.
//! An input set is a list of such facts; when all of them still hold, running the
//! process again would read the same things, so its recorded result may be used.
//!
//! | input | fact | recorded because |
//! |---|---|---|
//! | `File` | the path holds these bytes | it was opened for reading |
//! | `Dir` | the directory lists these names | it was opened as a directory |
//! | `Exists` | the path is there, with this type | a directory was looked at and not read |
//! | `Absent` | nothing is there | it was looked for |
//! | `Link` | the path is a link with this text | it was resolved, or entered, or looked at |
//! | `Env` | the variable has this value, or none | dep-info's `env-dep` |
//! | `Program` | this name, searched in `PATH`, is that file | it was executed so |
//! | `NoProgram` | this name is nowhere in `PATH` | it was looked for there |
//! | `CodeEnv` | the variables named in these files of code have these values | the code ran |
//! | `Told` | the variables named by these words have these values | a macro asks for what it is told |
//! | `Argument` | the option, or fact of the machine, has this value | it shaped messages that were printed, or was asked for |
//! | `Modes` | the files have these permissions | any of them may have been copied with them |
//! | `Permission` | the path may be used so, or not | it was asked for, or executed |
//! | `Mode` | the path has these permissions, and is no link perhaps | whoever looked at it may mind (see `modes`) |
//! | `Times` | the path has these times, owners, … | code that minds them looked at it (see `times`) |
//! | `Attributes` | the path has these extended attributes | they were asked for |
//! | `RootValue` | the root is at this path | an output contains the path, or something was reached from it |

use serde::{Deserialize, Serialize};

use crate::formats::digest::{BlobRef, Digest};
use crate::inputs::names::Minds;
use crate::roots::{Root, RootedPath, Template};

/// What a path that exists is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileType {
    /// A regular file, or a link to one.
    File,
    /// A directory, or a link to one.
    Dir,
    /// A device, pipe or socket.
    Other,
    /// A symbolic link itself, where it was not followed.
    Link,
}

/// The expected value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnvValue {
    /// Not set; differs from empty.
    Unset,
    /// Set to this, where paths below roots are filled in before comparing.
    Set(Template),
}

/// One fact that must still hold for a result to be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// The file has this content.
    File {
        /// Where it is.
        path: RootedPath,
        /// What it holds.
        blob: BlobRef,
    },
    /// The directory has these entries.
    Dir {
        /// Where it is.
        path: RootedPath,
        /// Hash of the sorted names and types of its entries.
        listing: Digest,
    },
    /// The path exists.
    Exists {
        /// Where it is.
        path: RootedPath,
        /// As what.
        file_type: FileType,
    },
    /// Nothing is at the path.
    Absent {
        /// Where nothing is.
        path: RootedPath,
    },
    /// The path is a symbolic link with this text.
    Link {
        /// Where it is.
        path: RootedPath,
        /// What it points to, as it says.
        target: RootedPath,
    },
    /// A variable that the compiler itself read, or a macro that was heard.
    Env {
        /// Its name; bytes, as environments need not be UTF-8.
        name: Vec<u8>,
        /// Its value.
        value: EnvValue,
    },
    /// Searching `PATH` for the name finds this file.
    Program {
        /// The name searched for.
        name: Vec<u8>,
        /// The file found.
        path: RootedPath,
    },
    /// The variables whose names occur in code that ran.
    ///
    /// Reads of the environment are not observed but of libraries in the compiler (`names::heard`), so they are inferred: of the
    /// variables that are set, those whose names occur as bytes in any of `code` are
    /// exactly `variables`.
    CodeEnv {
        /// Contents of the files of code.
        code: Vec<BlobRef>,
        /// Names and values, ordered by name; roots are left open where only tools of the system name the
        /// variable (see `record`).
        variables: Vec<(Vec<u8>, Template)>,
        /// Variables that name a place where the process only wrote; any value of
        /// theirs is accepted.
        write_only: Vec<Vec<u8>>,
    },
    /// An argument, or a fact of the machine, that is left out of the key has this value.
    Argument {
        /// The option's long name, or what the fact is called.
        name: String,
        /// Its last value; `None` where it is not given.
        value: Option<Vec<u8>>,
    },
    /// The root resolves to exactly this path.
    RootValue {
        /// Which root.
        root: Root,
        /// Its path: absolute, or below another root.
        value: RootedPath,
    },
    /// Searching `PATH` for the name finds nothing.
    NoProgram {
        /// The name searched for.
        name: Vec<u8>,
    },
    /// The files of the same set have these permissions.
    Modes {
        /// Hash of the permissions of every file, in order.
        modes: Digest,
    },
    /// Whether the path may be used in these ways by who asks.
    Permission {
        /// Where it is.
        path: RootedPath,
        /// What was asked: `R_OK`, `W_OK` and `X_OK` as for `access(2)`.
        asked: u8,
        /// The answer.
        granted: bool,
    },
    /// The path has these extended attributes.
    Attributes {
        /// Where it is.
        path: RootedPath,
        /// Hash of their names and values.
        attributes: Digest,
    },
    /// The variables whose names macros were told, as `CodeEnv` has those that they know.
    Told {
        /// Hashes of the words that they were told, in order; `None`: any.
        words: Option<Vec<u32>>,
        /// Names and values, ordered by name.
        variables: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The path has these permissions.
    Mode {
        /// Where it is.
        path: RootedPath,
        /// Whether it is about what has this name itself, which is no link then.
        itself: bool,
        /// Which of the permissions count.
        mask: u16,
        /// Those of them that it has.
        mode: u16,
        /// As what it is there.
        file_type: FileType,
    },
    /// The path has these times, owners, and the like.
    Times {
        /// Where it is.
        path: RootedPath,
        /// Whether it is about what has this name itself.
        itself: bool,
        /// Which of them count.
        minds: Minds,
        /// Hash of these.
        found: Digest,
    },
}

impl Input {
    /// Whether the fact is told relative to a root.
    pub(crate) fn names(&self, root: Root) -> bool {
        let is_below = |path: &RootedPath| path.root == Some(root);
        match self {
            Self::File { path, .. }
            | Self::Dir { path, .. }
            | Self::Exists { path, .. }
            | Self::Absent { path }
            | Self::Program { path, .. }
            | Self::Permission { path, .. }
            | Self::Attributes { path, .. }
            | Self::Mode { path, .. }
            | Self::Times { path, .. }
            | Self::RootValue { value: path, .. } => is_below(path),
            Self::Link { path, target } => is_below(path) || is_below(target),
            Self::Env { value, .. } => match value {
                EnvValue::Unset => false,
                EnvValue::Set(value) => value.roots().any(|named| named == root),
            },
            Self::CodeEnv { variables, .. } => {
                let mut named = variables.iter().flat_map(|(_, value)| value.roots());
                named.any(|named| named == root)
            }
            Self::Argument { .. }
            | Self::NoProgram { .. }
            | Self::Modes { .. }
            | Self::Told { .. } => false,
        }
    }
}
