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
    assert_eq!(observation.missed, None);
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
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // The end of one of them may interrupt a call of the shell, and then not all was seen.
    let observation = (0..20).find_map(|_| {
        let (_, (), observation) = spawn(&mut command, None, Depth::Usual, |_| ()).unwrap();
        observation.is_complete().then_some(observation)
    });
    let observation = observation.unwrap();
    let dir = dir.path().canonicalize().unwrap();
    for n in 0..200 {
        assert!(was_read(&observation, &dir.join(n.to_string())), "{n}");
    }
}

#[test]
fn a_call_that_a_signal_interrupts_does_not_go_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    // Signals without end, and looks that never fail by themselves.
    command.current_dir(&dir).stderr(Stdio::null()).args([
        "-c",
        "trap : USR1; (while kill -USR1 $$; do :; done) & n=0; lost=0
         while [ $n -lt 3000 ]; do [ -e /etc ] || lost=$((lost + 1)); n=$((n + 1)); done
         kill -9 $!; wait; echo $lost >lost",
    ]);
    let (status, (), observation) = spawn(&mut command, None, Depth::Tree, |_| ()).unwrap();
    assert!(status.unwrap().success());
    let lost = std::fs::read_to_string(dir.path().join("lost")).unwrap();
    assert!(lost.trim() == "0" || observation.missed.is_some(), "{lost}");
}

#[test]
fn a_process_with_another_view_of_the_file_system_ends_the_observation() {
    for words in [["unshare", "-m", "true"], ["chroot", "/", "true"]] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stderr(Stdio::null());
        let (status, (), observation) = spawn(&mut command, None, Depth::Usual, |_| ()).unwrap();
        // It may not be permitted; it was tried all the same.
        let _ = status.unwrap();
        assert!(observation.missed.is_some(), "{words:?}");
    }
}

#[test]
fn looking_at_one_path_for_ever_takes_no_memory() {
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "n=0; while [ $n -lt 20000 ]; do [ -e /nonexistent ]; n=$((n + 1)); done",
    ]);
    command.stdout(Stdio::null());
    let (status, (), observation) = spawn(&mut command, None, Depth::Tree, |_| ()).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(observation.missed, None);
    assert!(
        observation.events.len() < 5000,
        "{}",
        observation.events.len()
    );
}
