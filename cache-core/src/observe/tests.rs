use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use super::{Access, Depth, Observation, spawn};

const THREADS: usize = 300;
const FILES_EACH: usize = 5;
/// Tells [`opens_files_on_many_threads`] where the files are.
const DIRECTORY: &str = "CACHEWRAP_TEST_DIRECTORY";

fn observe(command: &mut Command) -> Observation {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (status, (), observation) = spawn(command, None, Depth::Usual, |_| ()).unwrap();
    assert!(status.unwrap().success());
    assert!(observation.complete);
    observation
}

fn was_read(observation: &Observation, path: &Path) -> bool {
    let mut events = observation.events.iter();
    events.any(|event| event.access == Access::Read && &*event.path == path)
}

/// The program that the next test observes: this test by itself, told where to look.
#[test]
fn opens_files_on_many_threads() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let all_there = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (dir, all_there) = (Path::new(&dir), &all_there);
            scope.spawn(move || {
                all_there.wait();
                for file in 0..FILES_EACH {
                    std::fs::read(dir.join(format!("{thread}-{file}"))).unwrap();
                }
            });
        }
    });
}

#[test]
fn hundreds_of_threads_at_once_are_all_heard() {
    let dir = tempfile::tempdir().unwrap();
    let names = (0..THREADS).flat_map(|t| (0..FILES_EACH).map(move |f| format!("{t}-{f}")));
    let files: Vec<_> = names.map(|name| dir.path().join(name)).collect();
    for file in &files {
        std::fs::write(file, "").unwrap();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "observe::tests::opens_files_on_many_threads"])
        .env(DIRECTORY, dir.path());
    let observation = observe(&mut command);
    for file in &files {
        assert!(was_read(&observation, file), "{}", file.display());
    }
}

#[test]
fn hundreds_of_processes_at_once_are_all_heard() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.current_dir(&dir).args([
        "-c",
        "n=0; while [ $n -lt 200 ]; do : >$n; n=$((n + 1)); done
         n=0; while [ $n -lt 200 ]; do (read -r x <$n || exec true <$n) & n=$((n + 1)); done; wait",
    ]);
    let observation = observe(&mut command);
    let dir = dir.path().canonicalize().unwrap();
    for n in 0..200 {
        assert!(was_read(&observation, &dir.join(n.to_string())), "{n}");
    }
}
