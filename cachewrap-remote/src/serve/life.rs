//! Whose builds are served, and when it is over.
//!
//! A wrapper says which process its build is, which is cargo's. When the last of these has ended the helper ends, once what
//! is queued is sent, or after [`SENDING`]. Without builds to wait for (another tool's, or none of whose process is known) it ends
//! when nobody is connected any more and nobody came for [`BETWEEN`]; in any case [`IDLE`] after it was last asked.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use super::flights::lock;
use super::{Server, sender};

/// How long what is queued may take after the last build.
const SENDING: Duration = Duration::from_mins(1);

/// How long nobody need ask.
const IDLE: Duration = Duration::from_mins(10);

/// How long the first, or the next, may take to come.
const BETWEEN: Duration = Duration::from_secs(2);

/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of those who are served.
pub(super) struct Life {
    builds: Mutex<HashMap<u32, Build>>,
    asked: Mutex<Instant>,
}

/// A process that is waited for.
enum Build {
    /// By a descriptor of it.
    Held(OwnedFd),
    /// By its number, where the kernel has no such descriptors. Another may have it one day: [`IDLE`] ends that.
    Named(Pid),
}

impl Default for Life {
    fn default() -> Self {
        Self {
            builds: Mutex::default(),
            asked: Mutex::new(Instant::now()),
        }
    }
}

impl Life {
    /// Notes a build that is to be served.
    pub(super) fn meet(&self, build: Option<u32>) {
        self.note();
        let pid = build.and_then(|build| Pid::from_raw(i32::try_from(build).ok()?));
        if let (Some(build), Some(pid)) = (build, pid) {
            lock(&self.builds).entry(build).or_insert_with(|| {
                pidfd_open(pid, PidfdFlags::empty()).map_or(Build::Named(pid), Build::Held)
            });
        }
    }

    /// Notes that somebody asked.
    pub(super) fn note(&self) {
        *lock(&self.asked) = Instant::now();
    }

    fn quiet(&self) -> Duration {
        lock(&self.asked).elapsed()
    }

    /// Forgets the builds that have ended; whether any is left.
    fn is_any_build(&self) -> bool {
        let mut builds = lock(&self.builds);
        builds.retain(|_, build| build.lives());
        !builds.is_empty()
    }
}

impl Build {
    fn lives(&self) -> bool {
        match self {
            Self::Held(process) => {
                let mut ended = [PollFd::new(process, PollFlags::IN)];
                let at_once = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                poll(&mut ended, Some(&at_once)).is_ok_and(|ended| ended == 0)
            }
            Self::Named(pid) => test_kill_process(*pid).is_ok(),
        }
    }
}

/// Returns when nobody needs the helper any more.
pub(super) fn wait_until_over(server: &Server) {
    let mut last_build = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        let life = &server.life;
        let is_any_build = life.is_any_build();
        let is_connected = server.connections.load(Ordering::SeqCst) > 0;
        if is_any_build || is_connected {
            last_build = Instant::now();
        }
        if life.quiet() >= IDLE && !is_connected {
            return;
        }
        let is_left = !is_any_build && !is_connected && life.quiet() >= BETWEEN;
        if is_left && (last_build.elapsed() >= SENDING || !sender::is_busy(server)) {
            return;
        }
    }
}
