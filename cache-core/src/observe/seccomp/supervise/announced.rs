//! What an announced call is about to do.

use std::path::{Path, PathBuf};

use super::{Supervisor, unreadable};
use crate::inputs::libraries::TABLE;
use crate::observe::seccomp::calls::{self, At, Doing, Last, Meaning, argument};
use crate::observe::seccomp::events::Access;
use crate::observe::seccomp::memory;
use crate::observe::seccomp::resolve::{self, Eyes, Resolved, Unclear};
use crate::observe::seccomp::sys::{Listener, Notification};
use crate::os::stamp::{self, Stamp};

impl Supervisor<'_> {
    pub(super) fn note(&mut self, call: &Notification) -> Result<(), Unclear> {
        let pid = self.process_of(call.tid)?;
        if pid == self.own_pid {
            // Our own thread, before it became the compiler.
            return Ok(());
        }
        if !call.native {
            return Err("a program of another architecture".to_owned());
        }
        self.settle(call.tid)?;
        if Listener::appears(call) {
            // A copy of the program that its parent runs, and of what that has read.
            self.programs.changes(pid);
            return Ok(());
        }
        if Listener::asks_for_notes(call) {
            return Ok(());
        }
        if Listener::asks_to_shorten(call) {
            self.shorten();
            return Ok(());
        }
        if Listener::is_unheard(call) {
            return Err("a variable was asked for that cannot be noted".to_owned());
        }
        if self.moving.remove(&call.tid) {
            self.forget();
        }
        let eyes = Eyes { pid, tid: call.tid };
        if calls::gives_times(call) {
            let (access, path) = (Access::GiveTimes, Path::new(""));
            self.push(eyes, access, path, Resolved::nowhere(), stamp::now())?;
        }
        let ask = |access| (access, Path::new(""));
        let (access, path) = match calls::meaning(call.call) {
            None => return Err(format!("an unknown call: {}", call.call)),
            Some(Meaning::Leaves(why)) => return Err(why.to_owned()),
            Some(Meaning::Path(at, last, doing)) => {
                return self.note_path(call, eyes, at, last, doing);
            }
            Some(Meaning::Pair(from, to, doing)) => {
                return self.note_pair(call, eyes, from, to, doing);
            }
            Some(Meaning::Symlink(text, at)) => {
                // A link to nothing fails, and is no news.
                memory::read_path(call.tid, argument(call, text)).ok_or_else(unreadable)?;
                let doing = Doing::Known(Access::Symlink);
                return self.note_path(call, eyes, at, Last::Itself, doing);
            }
            Some(Meaning::Descriptor(position, access)) => {
                return self.note_descriptor(eyes, argument(call, position), access);
            }
            Some(Meaning::AskMachine) => ask(Access::AskMachine),
            Some(Meaning::AskUser) => ask(Access::AskUser),
            Some(Meaning::AskDirectory(size)) => ask(Access::AskDirectory {
                resolving: argument(call, size) == calls::ROOM_FOR_DIRECTORY,
            }),
            Some(Meaning::Talk(address)) => {
                let address = address.map(|(at, len)| (argument(call, at), argument(call, len)));
                return self.note_talk(call, eyes, address);
            }
            Some(Meaning::TalkMessage(position)) => {
                let message = argument(call, position);
                let address = memory::read_name(call.tid, message).ok_or_else(unreadable)?;
                return match address {
                    (0, _) => Ok(()),
                    address => self.note_talk(call, eyes, Some(address)),
                };
            }
        };
        self.push(eyes, access, path, Resolved::nowhere(), stamp::now())
    }

    pub(super) fn note_path(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        at: At,
        last: Last,
        doing: Doing,
    ) -> Result<(), Unclear> {
        let intent = calls::intent(call, last, doing).ok_or_else(unreadable)?;
        let Some(access) = intent.access else {
            return Ok(());
        };
        let directory = at.directory.map(|position| argument(call, position));
        let text = memory::read_path(call.tid, argument(call, at.path)).ok_or_else(unreadable)?;
        if text.as_os_str().is_empty() {
            // The descriptor itself, or a call that fails.
            return match (access, directory) {
                (Access::Execute | Access::Alter | Access::Attributes, Some(descriptor)) => {
                    self.note_descriptor(eyes, descriptor, access)
                }
                _ => Ok(()),
            };
        }
        let path = spelled(call.tid, directory, &text, intent.in_root)?;
        let mut resolved = self.resolver.resolve(&path, intent.follows, eyes)?;
        if access == Access::Read && self.object == Some(path.as_path()) {
            // Part of the observer, as is what the loader does with it.
            return Ok(());
        }
        let is_table = access == Access::Read && path == Path::new(TABLE);
        if is_table && resolved.found.is_some() && memory::is_of_loader(call.tid, call.from) {
            let access = Access::FindLibraries;
            return self.push(eyes, access, &path, resolved, stamp::now());
        }
        if intent.minds_links {
            if resolved.real != path {
                return Err(format!("links or mounts decide: {}", path.display()));
            }
            self.push(eyes, Access::Enter, &path, resolved.clone(), stamp::now())?;
        }
        if matches!(access, Access::Write { .. })
            && let Some(descriptor) = resolved.descriptor.take()
            && resolve::is_inherited(&descriptor)
        {
            // Writing to what was handed down is not seen where it needs no path either.
            resolved.real = descriptor;
        }
        self.push_opened(eyes, access, intent, &path, resolved, stamp::now())
    }

    pub(super) fn note_pair(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        from: At,
        to: At,
        doing: Doing,
    ) -> Result<(), Unclear> {
        const EXCHANGE: u64 = 2;
        let last = if calls::source_follows(call) {
            Last::Followed
        } else {
            Last::Itself
        };
        let create = Doing::Known(Access::Create);
        self.note_path(call, eyes, from, last, doing)?;
        if call.call == libc::SYS_renameat2 && argument(call, 4) & EXCHANGE != 0 {
            self.note_path(call, eyes, to, last, doing)?;
            self.note_path(call, eyes, from, last, create)?;
        }
        self.note_path(call, eyes, to, Last::Itself, create)
    }

    /// Something is done to the file that a descriptor is open for.
    pub(super) fn note_descriptor(
        &mut self,
        eyes: Eyes,
        descriptor: u64,
        access: Access,
    ) -> Result<(), Unclear> {
        #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
        let link = match descriptor as i32 {
            libc::AT_FDCWD => format!("/proc/{}/cwd", eyes.tid),
            descriptor => format!("/proc/{}/fd/{descriptor}", eyes.tid),
        };
        let is_open = Stamp::of_name(Path::new(&link)).is_ok();
        if !is_open {
            // The call fails.
            return Ok(());
        }
        let resolved = self.resolver.resolve(Path::new(&link), true, eyes);
        match resolved {
            Ok(resolved) => {
                let path = resolved.real.clone();
                self.push(eyes, access, &path, resolved, stamp::now())
            }
            // Changing or asking about what has no name any more is nobody's business.
            Err(_) if access != Access::Execute => Ok(()),
            Err(why) => Err(why),
        }
    }

    /// A socket that is not there was looked for; any other is somebody to talk to.
    pub(super) fn note_talk(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        address: Option<(u64, u64)>,
    ) -> Result<(), Unclear> {
        let peer = match address {
            None => PathBuf::new(),
            Some((at, len)) => memory::read_peer(call.tid, at, len).ok_or_else(unreadable)?,
        };
        if peer.as_os_str().is_empty() {
            return self.push(eyes, Access::Talk, &peer, Resolved::nowhere(), stamp::now());
        }
        let path = spelled(call.tid, None, &peer, false)?;
        let resolved = self.resolver.resolve(&path, true, eyes)?;
        let access = match resolved.found {
            None => Access::Stat,
            Some(_) => Access::Talk,
        };
        self.push(eyes, access, &path, resolved, stamp::now())
    }
}

/// A path as the process sees it from that directory descriptor.
fn spelled(
    tid: u32,
    directory: Option<u64>,
    text: &Path,
    in_root: bool,
) -> Result<PathBuf, Unclear> {
    if text.is_absolute() && !in_root {
        return Ok(text.to_owned());
    }
    let base = resolve::base(tid, directory)?;
    let text = text.strip_prefix("/").unwrap_or(text);
    Ok(resolve::join(&base, text))
}
