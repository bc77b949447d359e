//! Questions: inputs without their answers.
//!
//! An input set says what a process read and what it found there. Without what it found, it is a list of
//! questions, which can be asked anywhere: the answers are an input set again, and that set's name is the
//! name of the result that the process would have here, if any machine has ever made it. So machines that
//! share results need not tell each other what their files and variables hold.
//!
//! Asking is checking: each answer is the fact as it is here and now, found as
//! [`check`](super::check) finds it. A list that somebody forged leads to the name of a result that nobody
//! made. What has to hold is that asking the questions of a set, where all of the set holds, gives that
//! very set; who offers a list to others has seen that it does.
//!
//! A question is of one kind: where a file is no longer there, the question for its content has no
//! answer, and neither has the list. What code names which variables is asked of files of the same list;
//! code that the process made itself is known by its content.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};

use super::check::World;
use super::input::{EnvValue, FileType, Input};
use super::names::{self, Code, Minds};
use super::{listing, modes, places, times};
use crate::formats::digest::BlobRef;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::roots::{Escaping, Root, RootedPath};

/// An input without its answer. The variants are those of [`Input`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Question {
    File(RootedPath),
    Dir(RootedPath),
    Exists(RootedPath),
    Absent(RootedPath),
    Link(RootedPath),
    Env(Vec<u8>),
    Program(Vec<u8>),
    NoProgram(Vec<u8>),
    CodeEnv {
        /// Which questions of the list are for files of code.
        files: Vec<u32>,
        /// Code that is no input.
        own: Vec<BlobRef>,
        write_only: Vec<Vec<u8>>,
    },
    Argument(String),
    /// Below which other root its path is told, if below one.
    RootValue(Root, Option<Root>),
    Modes,
    Permission {
        path: RootedPath,
        asked: u8,
    },
    Attributes(RootedPath),
    Told(Option<Vec<u32>>),
    Mode {
        path: RootedPath,
        itself: bool,
        mask: u16,
    },
    Times {
        path: RootedPath,
        itself: bool,
        minds: Minds,
    },
}

/// The questions that an input set answers, in its order.
pub(crate) fn questions(inputs: &[Input]) -> Vec<Question> {
    inputs
        .iter()
        .map(|input| match input {
            Input::File { path, .. } => Question::File(path.clone()),
            Input::Dir { path, .. } => Question::Dir(path.clone()),
            Input::Exists { path, .. } => Question::Exists(path.clone()),
            Input::Absent { path } => Question::Absent(path.clone()),
            Input::Link { path, .. } => Question::Link(path.clone()),
            Input::Env { name, .. } => Question::Env(name.clone()),
            Input::Program { name, .. } => Question::Program(name.clone()),
            Input::NoProgram { name } => Question::NoProgram(name.clone()),
            Input::CodeEnv {
                code, write_only, ..
            } => code_question(inputs, code, write_only),
            Input::Argument { name, .. } => Question::Argument(name.clone()),
            Input::RootValue { root, value } => Question::RootValue(*root, value.root),
            Input::Modes { .. } => Question::Modes,
            Input::Permission { path, asked, .. } => Question::Permission {
                path: path.clone(),
                asked: *asked,
            },
            Input::Attributes { path, .. } => Question::Attributes(path.clone()),
            Input::Told { words, .. } => Question::Told(words.clone()),
            Input::Mode {
                path, itself, mask, ..
            } => Question::Mode {
                path: path.clone(),
                itself: *itself,
                mask: *mask,
            },
            Input::Times {
                path,
                itself,
                minds,
                ..
            } => Question::Times {
                path: path.clone(),
                itself: *itself,
                minds: *minds,
            },
        })
        .collect()
}

fn code_question(inputs: &[Input], code: &[BlobRef], write_only: &[Vec<u8>]) -> Question {
    let mut own = code.to_vec();
    let mut files = Vec::new();
    for (n, input) in (0_u32..).zip(inputs) {
        if let Input::File { blob, .. } = input
            && code.contains(blob)
        {
            files.push(n);
            own.retain(|known| known != blob);
        }
    }
    let write_only = write_only.to_vec();
    Question::CodeEnv {
        files,
        own,
        write_only,
    }
}

/// Who asks questions, each of them once.
pub(crate) struct Asker<'a> {
    world: &'a World<'a>,
    answers: HashMap<Question, Option<Input>>,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(world: &'a World<'a>) -> Self {
        Self {
            world,
            answers: HashMap::new(),
        }
    }

    /// The input set that a list of questions comes to here and now; `None` if any has no answer.
    pub(crate) fn ask(&mut self, questions: &[Question]) -> Option<Vec<Input>> {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            // These two are about the other answers.
            let is_of_all = matches!(question, Question::CodeEnv { .. } | Question::Modes);
            answers.push(if is_of_all {
                None
            } else {
                Some(self.answer(question)?)
            });
        }
        for (n, question) in questions.iter().enumerate() {
            let of_all = match question {
                Question::CodeEnv {
                    files,
                    own,
                    write_only,
                } => self.code_env(&answers, files, own, write_only)?,
                Question::Modes => self.modes(&answers),
                _ => continue,
            };
            *answers.get_mut(n)? = Some(of_all);
        }
        answers.into_iter().collect()
    }

    fn answer(&mut self, question: &Question) -> Option<Input> {
        if let Some(known) = self.answers.get(question) {
            return known.clone();
        }
        let answer = self.find(question);
        self.answers.insert(question.clone(), answer.clone());
        answer
    }

    fn find(&self, question: &Question) -> Option<Input> {
        let scene = self.world.scene;
        Some(match question {
            Question::File(path) => self.file(path)?,
            Question::Dir(path) => Input::Dir {
                path: path.clone(),
                listing: listing::digest(&self.world.at(path)?).ok()?,
            },
            Question::Exists(path) => Input::Exists {
                path: path.clone(),
                file_type: Stamp::of(&self.world.at(path)?)?.file_type,
            },
            Question::Absent(path) => {
                let is_absent = self.world.is_absent(path);
                is_absent.then(|| Input::Absent { path: path.clone() })?
            }
            Question::Link(path) => Input::Link {
                path: path.clone(),
                target: scene
                    .roots
                    .relativize(&fs::read_link(&self.world.at(path)?).ok()?),
            },
            Question::Env(name) => Input::Env {
                name: name.clone(),
                value: match scene.env.get(OsStr::from_bytes(name)) {
                    None => EnvValue::Unset,
                    Some(value) => {
                        let value = value.as_bytes();
                        EnvValue::Set(scene.roots.template(value, Escaping::Raw))
                    }
                },
            },
            Question::Program(name) => Input::Program {
                name: name.clone(),
                path: scene.roots.relativize(&self.world.program(name)?),
            },
            Question::NoProgram(name) => {
                let found = self.world.program(name);
                found
                    .is_none()
                    .then(|| Input::NoProgram { name: name.clone() })?
            }
            Question::Argument(name) => Input::Argument {
                name: name.clone(),
                value: self.world.argument(name),
            },
            Question::RootValue(root, below) => Input::RootValue {
                root: *root,
                value: self.root_value(*root, *below)?,
            },
            Question::Permission { path, asked } => Input::Permission {
                path: path.clone(),
                asked: *asked,
                granted: self
                    .world
                    .at(path)
                    .is_some_and(|p| fs::may_be_used(&p, *asked)),
            },
            Question::Attributes(path) => Input::Attributes {
                path: path.clone(),
                attributes: listing::attributes(&self.world.at(path)?).ok()?,
            },
            Question::Told(words) => Input::Told {
                words: words.clone(),
                variables: names::told(scene.env, words.as_deref()),
            },
            Question::Mode { path, itself, mask } => {
                let now = modes::look(&self.world.at(path)?, *itself)?;
                modes::input(path.clone(), *itself, *mask, &now)
            }
            Question::Times {
                path,
                itself,
                minds,
            } => {
                let now = times::look(&self.world.at(path)?, *itself)?;
                times::input(path.clone(), *itself, *minds, &now)
            }
            Question::CodeEnv { .. } | Question::Modes => return None,
        })
    }

    fn root_value(&self, root: Root, below: Option<Root>) -> Option<RootedPath> {
        let roots = &self.world.scene.roots;
        let path = roots.get(root)?;
        let rest = match below {
            Some(below) => path.strip_prefix(roots.get(below)?).ok()?,
            None => path,
        };
        Some(RootedPath {
            root: below,
            rest: rest.as_os_str().as_bytes().to_vec(),
        })
    }

    fn file(&self, path: &RootedPath) -> Option<Input> {
        let place = self.world.at(path)?;
        let stamp = Stamp::of(&place).filter(|stamp| stamp.file_type == FileType::File)?;
        // What is known of it may not be known to everybody.
        if stamp.mode & 0o004 == 0 && !fs::is_readable(&place) {
            return None;
        }
        let blob = self.world.scene.memo.digest_of(&place, &stamp).ok()?;
        let path = path.clone();
        Some(Input::File { path, blob })
    }

    fn code_env(
        &self,
        answers: &[Option<Input>],
        files: &[u32],
        own: &[BlobRef],
        write_only: &[Vec<u8>],
    ) -> Option<Input> {
        let scene = self.world.scene;
        let mut code = Vec::with_capacity(files.len() + own.len());
        for n in files {
            let Some(Input::File { path, blob }) = answers.get(*n as usize)?.as_ref() else {
                return None;
            };
            code.push((*blob, self.world.at(path)?));
        }
        code.extend(
            own.iter()
                .map(|blob| (*blob, scene.store.layout().blob(blob.digest))),
        );
        let named: Vec<Code<'_>> = code
            .iter()
            .map(|(blob, path)| Code { blob: *blob, path })
            .collect();
        let found = names::variables(scene.store, scene.env, &named, self.world.in_key);
        let mut variables = found.ok()?;
        variables.retain(|variable| !write_only.contains(&variable.name));
        let variables =
            places::with_open_roots(scene, self.world.in_key, variables, &named).ok()?;
        let variables = variables
            .into_iter()
            .map(|(variable, open)| (variable.name, open));
        let variables = variables.collect();
        let mut code: Vec<BlobRef> = code.into_iter().map(|(blob, _)| blob).collect();
        code.sort_unstable();
        code.dedup();
        Some(Input::CodeEnv {
            code,
            variables,
            write_only: write_only.to_vec(),
        })
    }

    fn modes(&self, answers: &[Option<Input>]) -> Input {
        let files = answers.iter().filter_map(|answer| match answer {
            Some(Input::File { path, .. }) => Some(path),
            _ => None,
        });
        Input::Modes {
            modes: listing::modes(files, &self.world.scene.roots),
        }
    }
}
