use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use crate::observe::{Access, Depth, Object, Observation, spawn};

const THREADS: usize = 300;
const FILES_EACH: usize = 5;
/// Tells [`opens_files_on_many_threads`] where the files are.
const DIRECTORY: &str = "CACHEWRAP_TEST_DIRECTORY";

fn observe(command: &mut Command) -> Observation {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (status, (), observation) = spawn(command, None, Depth::Usual, None, |_| ()).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(observation.missed, None);
    observation
}

/// What is seen of a command that runs in `dir` with the preloaded object.
#[cfg(preload)]
fn observe_with(command: &mut Command, dir: &Path, object: &Path) -> Observation {
    let (status, (), observation) = spawn(
        command,
        Some(dir),
        Depth::Tree,
        Some(Object::from(object)),
        |_| (),
    )
    .unwrap();
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
        .args([
            "--exact",
            "observe::seccomp::tests::opens_files_on_many_threads",
        ])
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
        let (_, (), observation) = spawn(&mut command, None, Depth::Usual, None, |_| ()).unwrap();
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
    let (status, (), observation) = spawn(&mut command, None, Depth::Tree, None, |_| ()).unwrap();
    assert!(status.unwrap().success());
    let lost = std::fs::read_to_string(dir.path().join("lost")).unwrap();
    assert!(lost.trim() == "0" || observation.missed.is_some(), "{lost}");
}

#[test]
fn a_process_with_another_view_of_the_file_system_ends_the_observation() {
    for words in [["unshare", "-m", "true"], ["chroot", "/", "true"]] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stderr(Stdio::null());
        let (status, (), observation) =
            spawn(&mut command, None, Depth::Usual, None, |_| ()).unwrap();
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
    let (status, (), observation) = spawn(&mut command, None, Depth::Tree, None, |_| ()).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(observation.missed, None);
    assert!(
        observation.events.len() < 5000,
        "{}",
        observation.events.len()
    );
}

/// The preloaded object as a file.
pub(super) fn object(dir: &Path) -> std::path::PathBuf {
    let object = dir.join("object.so");
    let bytes = super::PRELOADED_OBJECT.expect("there should be one for this system");
    std::fs::write(&object, bytes).unwrap();
    object
}

/// What is seen of a shell's script that runs in `dir`, and what it prints; calls below `dir` only,
/// sorted.
fn seen_below(dir: &Path, script: &str, object: Option<&Path>) -> (Vec<String>, Vec<u8>) {
    use std::io::Read as _;
    let mut command = Command::new("/bin/bash");
    command.args(["-ec", script]).stdout(Stdio::piped());
    let (status, printed, observation) = spawn(
        &mut command,
        Some(dir),
        Depth::Tree,
        object.map(Object::from),
        |child| {
            let mut printed = Vec::new();
            let out = child.stdout.as_mut().unwrap();
            out.read_to_end(&mut printed).unwrap();
            printed
        },
    )
    .unwrap();
    assert!(status.unwrap().success(), "{script}");
    assert_eq!(observation.missed, None, "{script}");
    assert_eq!(observation.noted > 0, object.is_some(), "{script}");
    let events = observation.events.iter();
    let below = events.filter(|event| event.real.starts_with(dir));
    let mut seen: Vec<String> = below
        .map(|event| {
            let (access, there) = (event.access, event.found.is_some());
            format!(
                "{access:?} {} {} {there}",
                event.path.display(),
                event.real.display()
            )
        })
        .collect();
    seen.sort();
    seen.dedup();
    (seen, printed)
}

#[cfg(preload)]
#[test]
fn what_processes_note_themselves_is_what_they_would_be_seen_to_do() {
    let scripts = [
        "read -r x <f; echo $x; [ -e none ] || [ -d sub/ ]; [ -x f ] || [ -r sub/../link ]",
        "cd sub; cat <../f; . ./g; [ ! -e ../none ]; test ../f -nt g || true",
        "mv sub moved; read -r x <moved/g; [ ! -e sub/g ]; mv moved sub; read -r x <sub/g",
        "(cd sub; [ -e g ] && read -r x <g) & wait; (cd sub; exec sh -c '. ./g; [ -e ../f ]')",
        "ln -s f new; [ -L new ]; read -r x <new; rm new; [ ! -e new ]",
        "mkdir made; echo 1 >made/a; read -r x <made/a; rm -r made; [ ! -e made/a ]",
        "perl -e 'opendir(D, q(sub)) or die; print sort readdir D; print -s q(f), readlink q(link)'",
        "perl -e 'use Cwd q(realpath); print realpath(q(sub/../link)), -e q(none) ? 1 : 0'",
        "python3 -c 'import os; print(os.path.realpath(\"link\"), sorted(os.listdir(\"sub\")), \
         open(\"f\").read(), os.access(\"f\", os.X_OK), os.path.exists(\"none\"))'",
        "printf 'all: f\n\t@cat f sub/g\n-include none\ninclude sub/rules\n' >M; make -sf M; rm M",
        "printf '#include \"h.h\"\nint a = H;' >c.c; gcc -I none -I sub -c c.c -o c.o; rm c.c c.o",
        "printf '#!/bin/sh\n. ./sub/g; cat f\n' >s; chmod +x s; ./s; rm s",
        // What was answered before is asked again, and leads elsewhere.
        "is() { [ \"$@\" ] && echo y || echo n; }; look() { for i in 1 2 3; do is -e n; /bin/true; done; }; \
         look; echo 1 >n; look; read -r x <n; rm n; look; mkdir n; look; rmdir n; look",
        "is() { [ \"$@\" ] && echo y || echo n; }; look() { for i in 1 2 3; do is -e l/g; is -e l/none; /bin/true; done; }; \
         mkdir own; echo : >own/g; ln -s own l; look; rm l; ln -s sub l; look; . l/g; rm -r own l; look",
        "is() { [ \"$@\" ] && echo y || echo n; }; look() { for i in 1 2 3; do is -e own/g; is -e own/h.h; /bin/true; done; }; \
         mkdir own; echo : >own/g; look; mv own old; mv sub own; look; . own/g; mv own sub; rm -r old",
        "is() { [ \"$@\" ] && echo y || echo n; }; look() { for i in 1 2 3; do is -e g; is -e ./f; /bin/true; done; }; \
         look; cd sub; look; cd ..; look; (cd sub; look); look",
        "is() { [ \"$@\" ] && echo y || echo n; }; look() { for i in 1 2 3; do is -r l; is -L l; read -r x <l || :; cat none 2>/dev/null || :; done; }; \
         ln -s f l; look; sh -c 'rm l; ln -s sub/g l'; look; rm l; ln -s none l; look; \
         echo 1 >none; look; rm none l",
        "perl -e 'sub look { print -e q(n) ? 1 : 0, -e q(sub/n) ? 1 : 0; system q(/bin/true) } \
         look for 1 .. 3; if (fork) { wait } else { open F, q(>n); exit } look for 1 .. 3; \
         rename q(n), q(sub/n); look for 1 .. 3; unlink q(sub/n); look for 1 .. 3'",
        // Programs are looked for.
        "export PATH=$PWD/sub:$PWD/none:$PATH; perl -e 'system q(cat), q(f) for 1 .. 3; system q(no-such), 1'; \
         printf '#!/bin/sh\necho mine' >sub/cat; chmod +x sub/cat; perl -e 'system q(cat), q(f); exec q(cat), q(f)'; \
         printf 'echo text' >sub/cat; perl -e 'system q(cat), q(f)'; chmod -x sub/cat; perl -e 'system q(cat), q(f)'; \
         rm sub/cat; mkdir sub/cat; perl -e 'system q(cat), q(f)'; rmdir sub/cat; ln -s none sub/cat; \
         perl -e 'system q(cat), q(f)'; rm sub/cat",
        "export PATH=:sub:$PWD/sub:$PATH; printf '#!/bin/sh\necho here' >cat; chmod +x cat; \
         perl -e 'system q(cat), q(sub/g); chdir q(sub); system q(cat), q(g)'; rm cat",
        "PATH=$PWD/none:$PATH python3 -c 'import os, subprocess as s; s.run([\"cat\", \"f\"]); os.environ[\"PATH\"] = \"/nowhere\"; \
         print(s.run([\"/bin/cat\", \"f\"]).returncode); os.posix_spawnp(\"/bin/cat\", [\"cat\", \"f\"], {}); os.wait()'",
        // Names of plain files come and go, of links and directories, and of what is not there.
        "perl -e 'link q(f), qq(n$_) or die for 1 .. 50; open F, q(n7) or die; print <F>; unlink qq(n$_) or die for 1 .. 50; \
         print -e q(n7) ? 1 : 0; print link(q(f), q(sub)) ? 1 : 0; \
         print unlink(q(sub)), unlink(q(none)), unlink(q(f/)); chdir q(sub); link q(../f), q(./h); unlink q(../sub/h)'",
        "python3 -c 'import os, shutil; os.mkdir(\"made\"); [os.link(\"f\", f\"made/{i}\") for i in range(50)]; \
         print(open(\"made/0\").read()); shutil.rmtree(\"made\"); os.symlink(\"f\", \"s\"); \
         os.link(\"s\", \"t\", follow_symlinks=False); os.unlink(\"s\"); print(open(\"t\").read()); os.unlink(\"t\"); \
         d = os.open(\"sub\", os.O_RDONLY); os.link(\"f\", \"i\", dst_dir_fd=d); os.unlink(\"i\", dir_fd=d)'",
        "perl -e 'for (1 .. 9) { open F, q(>own); print F q(x); close F; link q(own), q(other); unlink q(own); \
         rename q(other), q(own); unlink q(own) } symlink q(f), q(l); link q(l), q(m); unlink q(l), q(m); mkdir q(d); rmdir q(d)'",
    ];
    for script in scripts {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("f"), "of f\n").unwrap();
        std::fs::write(dir.join("sub/g"), ": of g\n").unwrap();
        std::fs::write(dir.join("sub/h.h"), "#define H 1\n").unwrap();
        std::fs::write(dir.join("sub/rules"), "X = 1\n").unwrap();
        std::os::unix::fs::symlink("f", dir.join("link")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let object = object(elsewhere.path());
        let announced = seen_below(&dir, script, None);
        let noted = seen_below(&dir, script, Some(&object));
        assert!(announced.0.len() > 3, "{script}: {announced:#?}");
        // Where a path leads is asked of the kernel at once, instead of link by link.
        let (links, at_once) = ("ReadLink ", "Enter ");
        let is_same = |line: &&String| !line.starts_with(links) && !line.starts_with(at_once);
        let [announced_calls, noted_calls] =
            [&announced.0, &noted.0].map(|seen| seen.iter().filter(is_same).collect::<Vec<_>>());
        if script.contains("realpath") {
            assert!(
                noted.0.iter().any(|line| line.starts_with(at_once)),
                "{noted:#?}"
            );
        } else {
            assert_eq!(announced_calls, noted_calls, "{script}");
        }
        assert_eq!(announced.1, noted.1, "{script}");
    }
}

#[cfg(preload)]
#[test]
fn more_is_noted_than_there_is_room_for() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    let script = "perl -e 'for (1 .. 30000) { -e qq(none$_) and die }'";
    let (seen, _) = seen_below(&dir, script, Some(&object));
    let missing = seen.iter().filter(|line| line.ends_with("false"));
    assert_eq!(missing.count(), 30000);
}

#[cfg(preload)]
#[test]
fn what_was_answered_so_before_is_not_noted_again() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    let script = "sub look { -e q(none) and die; -e q(object.so) or die; open F, q(no) and die } \
        look; system q(/bin/true); look for 1 .. 5000; symlink q(none), q(link); \
        look; system q(/bin/true); look for 1 .. 5000";
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", script]).stdout(Stdio::null());
    let observation = observe_with(&mut command, &dir, &object);
    assert!(
        (1..1000).contains(&observation.noted),
        "{}",
        observation.noted
    );
    for name in ["none", "no"] {
        let mut events = observation.events.iter();
        assert!(events.any(|event| *event.path == dir.join(name)), "{name}");
    }
}

#[cfg(preload)]
#[test]
fn names_of_plain_files_come_and_go_without_being_announced() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    let elsewhere = tempfile::tempdir().unwrap();
    let source = "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n\
        int main(void) { char n[9]; int i; close(open(\"own\", O_CREAT | O_WRONLY | O_TRUNC, 0644)); \
        for (i = 0; i < 1000; i++) { sprintf(n, \"n%d\", i); if (link(\"own\", n)) return 1; } \
        for (i = 0; i < 1000; i++) { sprintf(n, \"n%d\", i); if (unlink(n)) return 2; } return unlink(\"own\"); }";
    compile(elsewhere.path(), "names", source, &[]);
    let mut command = Command::new(elsewhere.path().join("names"));
    let observation = observe_with(&mut command, &dir, &object);
    assert!(observation.announced < 200, "{}", observation.announced);
    let of = |name: &str| {
        let path = dir.join(name);
        let events = observation.events.iter();
        let events = events.filter(|event| *event.real == path);
        let seen: Vec<_> = events
            .map(|event| {
                (
                    event.access,
                    event.found.map(|found| found.size),
                    event.failed,
                )
            })
            .collect();
        seen
    };
    for number in [0, 500, 999] {
        let (made, removed) = (
            (Access::Create, None, false),
            (Access::Alter, Some(0), false),
        );
        assert_eq!(of(&format!("n{number}")), [made, removed], "{number}");
    }
    let own = of("own");
    let made = (Access::Write { fresh: true }, None, false);
    assert_eq!(own.first(), Some(&made), "{own:?}");
    assert_eq!(own.last(), Some(&(Access::Alter, Some(0), false)));
}

#[cfg(preload)]
#[test]
fn what_was_looked_at_may_go_while_the_observer_follows_looks() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let object = object(elsewhere.path());
    // One makes files, looks at them, and removes them; the other has the observer take in what was noted.
    let source = "#include <fcntl.h>\n#include <stdio.h>\n#include <sys/stat.h>\n#include <unistd.h>\n\
        int main(void) { char n[9]; struct stat s; int i, j; for (i = 0; i < 20000; i++) { \
        sprintf(n, \"%d\", i); close(open(n, O_CREAT | O_WRONLY, 0644)); \
        if (stat(n, &s) || lstat(n, &s) || access(n, R_OK)) return 1; \
        for (j = 0; j < i; j++) __asm__ volatile(\"\"); if (unlink(n)) return 2; } return 0; }";
    compile(elsewhere.path(), "cc1", source, &[]);
    let script = "(while :; do : >busy; done) & \"$0\"; kill $!";
    let mut command = Command::new("/bin/sh");
    command.current_dir(&dir).args(["-c", script]);
    command.arg(elsewhere.path().join("cc1"));
    let observation = observe_with(&mut command, dir.path(), &object);
    assert!(observation.noted > 60_000, "{}", observation.noted);
}

#[cfg(preload)]
#[test]
fn what_was_answered_before_is_known_again_when_a_directory_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    // Who has removed it calls for nothing more, and the other one looks.
    let script = "sub look { -e q(none) and die } mkdir q(d); rmdir q(d) or die; if (fork) { wait; exit } \
        look; system q(/bin/true); look for 1 .. 5000";
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", script]).stdout(Stdio::null());
    let observation = observe_with(&mut command, &dir, &object);
    assert!(observation.noted < 1000, "{}", observation.noted);
}

#[cfg(preload)]
#[test]
fn what_comes_and_goes_by_others_is_noted_again() {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    // In each round it is looked for again and again, and then somebody else makes or removes it.
    let script = "for i in 1 2 3 4; do for j in 1 2 3; do [ -e late ] && [ $((i % 2)) = 0 ] \
        || [ $((i % 2)) = 1 ]; [ -e late ] && . ./late; /bin/true; done; echo; read -r x; done";
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let late = dir.join("late");
    let (status, (), observation) = spawn(
        &mut command,
        Some(&dir),
        Depth::Tree,
        Some(Object::from(&*object)),
        |child| {
            let (stdin, stdout) = (child.stdin.as_mut(), child.stdout.as_mut());
            let (stdin, stdout) = (stdin.unwrap(), stdout.unwrap());
            for round in 1..=4 {
                stdout.read_exact(&mut [0]).unwrap();
                if round % 2 == 1 {
                    std::fs::write(&late, format!("X={round}\n")).unwrap();
                } else {
                    std::fs::remove_file(&late).unwrap();
                }
                stdin.write_all(b"\n").unwrap();
            }
        },
    )
    .unwrap();
    assert!(status.unwrap().success());
    assert_eq!(observation.missed, None);
    let looks = observation.events.iter();
    let looks = looks.filter(|event| *event.path == late && event.access == Access::Stat);
    let found: Vec<bool> = looks.map(|event| event.found.is_some()).collect();
    assert_eq!(found, [false, true, false, true]);
}

#[cfg(preload)]
#[test]
fn nobody_sees_the_object_in_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    let script = "env | grep -c LD_PRELOAD; echo \"<$LD_PRELOAD>\"; \
        perl -e 'print grep /PRELOAD/, %ENV; print `env | grep LD_PRELOAD`'; \
        python3 -c 'import os, subprocess; print(os.environ.get(\"LD_PRELOAD\")); \
        subprocess.run([\"sh\", \"-c\", \"echo =$LD_PRELOAD; env | grep LD_PRE\"])'; \
        LD_TRACE_LOADED_OBJECTS=1 /bin/bash | grep -c object; LD_DEBUG=files sh -c : 2>&1 | grep object.so; \
        LD_PRELOAD=libm.so.6 sh -c 'echo \"<$LD_PRELOAD>\"'; env -i sh -c env | grep LD_PRE; true";
    let (_, announced) = seen_below(&dir, &format!("set +e; {script}"), None);
    let (_, noted) = seen_below(&dir, &format!("set +e; {script}"), Some(&object));
    let text = String::from_utf8(noted.clone()).unwrap();
    assert_eq!(announced, noted, "{text}");
    assert!(text.starts_with("0\n<>\n"), "{text}");
}

#[cfg(preload)]
#[test]
fn a_shell_with_children_is_not_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    let script = "n=0; while [ $n -lt 300 ]; do (exit 0) & [ -e /etc/passwd ] || exit 1; \
        read -r x </etc/passwd; echo $x >f; n=$((n + 1)); done; wait";
    let mut command = Command::new("/bin/dash");
    command.args(["-c", script]).stdout(Stdio::null());
    observe_with(&mut command, &dir, &object);
}

#[cfg(preload)]
#[test]
fn signals_do_not_interrupt_a_program_of_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let object = object(elsewhere.path());
    let source = "#include <signal.h>\n#include <sys/stat.h>\n#include <sys/time.h>\n\
        static void nothing(int signal) {}\n\
        int main(void) { struct sigaction a = {.sa_handler = nothing}; struct stat s; int failed = 0;\
        struct itimerval t = {{0, 1000}, {0, 1000}}; sigaction(SIGALRM, &a, 0);\
        setitimer(ITIMER_REAL, &t, 0);\
        for (int i = 0; i < 20000; i++) failed += stat(\"/etc/passwd\", &s) != 0; return failed != 0; }";
    compile(elsewhere.path(), "generate", source, &[]);
    let script = format!("{}/generate; [ -e none ]", elsewhere.path().display());
    let (seen, _) = seen_below(&dir, &format!("{script} || true"), Some(&object));
    assert!(seen.iter().any(|line| line.contains("none")), "{seen:?}");
}

/// Compiles a program, and gives it a name for which the object is loaded, or another.
#[cfg(preload)]
pub(super) fn compile(dir: &Path, name: &str, source: &str, flags: &[&str]) {
    let from = dir.join(format!("{name}.c"));
    std::fs::write(&from, source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-w", "-o"]).arg(dir.join(name)).arg(&from);
    assert!(gcc.args(flags).status().unwrap().success(), "{source}");
    std::fs::remove_file(from).unwrap();
}

/// What a program prints is the same with the object.
#[cfg(preload)]
#[track_caller]
fn prints_the_same(main: &str, before: &str, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let object = object(elsewhere.path());
    let headers = "#define _GNU_SOURCE\n#include <dirent.h>\n#include <errno.h>\n#include <fcntl.h>\n\
        #include <limits.h>\n#include <pthread.h>\n#include <signal.h>\n#include <spawn.h>\n\
        #include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n\
        #include <sys/wait.h>\n#include <unistd.h>\n";
    let library = format!("{headers}{before}\nvoid of_library(void) {{}}");
    compile(
        elsewhere.path(),
        "libbefore.so",
        &library,
        &["-shared", "-fPIC"],
    );
    let program =
        format!("{headers}{before}\nint main(void) {{ of_library(); {main}; return 0; }}");
    let library_path = format!("-L{0} -Wl,-rpath,{0}", elsewhere.path().display());
    let mut flags: Vec<&str> = library_path.split(' ').collect();
    flags.extend(["-lbefore", "-lpthread"]);
    compile(elsewhere.path(), "x-perl", &program, &flags);
    let script = format!(
        "{}/x-perl || echo \"ended with $?\"",
        elsewhere.path().display()
    );
    for object in [None, Some(&*object)] {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &script]).stdout(Stdio::piped());
        let (_, printed, _) = spawn(
            &mut command,
            Some(&dir),
            Depth::Tree,
            object.map(Object::from),
            |child| std::io::read_to_string(child.stdout.take().unwrap()).unwrap(),
        )
        .unwrap();
        let printed = printed.replace(dir.to_str().unwrap(), "<dir>");
        assert_eq!(printed, expected, "{main} {object:?}");
    }
}

#[cfg(preload)]
#[test]
fn what_a_library_does_before_the_object_begins() {
    let constructor = "__attribute__((constructor)) static void early(void) {\
        FILE *f = fopen(\"/etc/passwd\", \"r\"); DIR *d = opendir(\"/etc\"); pid_t p; int s;\
        char *real = realpath(\"/etc/..\", 0), *words[] = {\"true\", 0};\
        if (getenv(\"AGAIN\")) return; setenv(\"AGAIN\", \"1\", 1);\
        int e = posix_spawnp(&p, \"true\", 0, 0, words, environ); waitpid(p, &s, 0);\
        printf(\"%d%d%d%d%s \", f != 0, d != 0, e, s, real); }";
    prints_the_same("puts(\"main\")", constructor, "1100/ main\n");
}

#[cfg(preload)]
#[test]
fn functions_fail_as_they_would() {
    // How far it came is left in the buffer.
    let real = "char b[PATH_MAX] = \"?\"; char *r = realpath(\"none/x\", b); printf(\"%p %d %s\", r, errno, b)";
    prints_the_same(real, "", "(nil) 2 <dir>/none");
    let names = "int a; mkdir(\"d\", 0755); a = link(\"none\", \"x\"); printf(\"%d %d\", a, errno); \
        a = unlink(0); printf(\" %d %d\", a, errno); a = unlink(\"d\"); printf(\" %d %d\", a, errno); \
        a = link(\"d\", \"e\"); printf(\" %d %d\", a, errno); a = unlinkat(-5, \"x\", 0); printf(\" %d %d\", a, errno); \
        a = linkat(AT_FDCWD, \"\", AT_FDCWD, \"x\", 0); printf(\" %d %d\", a, errno); \
        a = unlinkat(AT_FDCWD, \"d\", AT_REMOVEDIR); printf(\" %d\", a)";
    prints_the_same(names, "", "-1 2 -1 14 -1 21 -1 1 -1 9 -1 2 0");
    let pipe = "char *words[] = {\"cc\", 0}; mkfifo(\"cc\", 0755); alarm(9); execv(\"./cc\", words); \
        printf(\"%d\", errno)";
    prints_the_same(pipe, "", "13");
    // There is no environment to find the program by.
    let cleared = "char *words[] = {\"sh\", \"-c\", \"echo $A\", 0}, *env[] = {\"A=1\", 0}; pid_t p; clearenv(); \
        int e = posix_spawnp(&p, \"sh\", 0, 0, words, env); waitpid(p, 0, 0); printf(\"%d\", e)";
    prints_the_same(cleared, "", "1\n0");
}

/// Who forbids itself calls that its own functions do not make is not ended for those that the object would make.
#[cfg(preload)]
#[test]
fn a_program_may_restrict_itself() {
    let restrict = "#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <stddef.h>\n\
        #include <sys/prctl.h>\n#include <sys/syscall.h>\nstatic void forbid(int number) { struct sock_filter f[] = {\
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),\
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),\
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}; struct sock_fprog p = {4, f}; prctl(PR_SET_SECCOMP, 2, &p); }";
    let main = "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); forbid(SYS_getpid); forbid(SYS_gettid); forbid(SYS_getcwd); \
        forbid(SYS_rt_sigprocmask); forbid(SYS_faccessat); int fd = open(\"/etc/passwd\", O_RDONLY); struct stat s; \
        printf(\"%d %d\", fd >= 0, stat(\"none\", &s))";
    prints_the_same(main, restrict, "1 -1");
}

/// A script says by way of `env` which program runs it.
#[cfg(preload)]
#[test]
fn the_object_is_passed_on_by_way_of_env() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let object = object(elsewhere.path());
    let script = elsewhere.path().join("script");
    let text = "#!/usr/bin/env perl\nfor (1 .. 3000) { -e qq(none$_) and die }";
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("/bin/bash");
    command.arg("-c").arg(format!("{}; true", script.display()));
    let observation = observe_with(&mut command, &dir, &object);
    assert!(observation.noted >= 3000, "{}", observation.noted);
}

#[cfg(preload)]
#[test]
fn a_thread_that_waits_for_a_pipe_can_be_cancelled() {
    let open = "static void *wait_for_it(void *p) { open(\"fifo\", O_RDONLY); return 0; }";
    let main = "pthread_t t; void *r; mkfifo(\"fifo\", 0600); pthread_create(&t, 0, wait_for_it, 0); \
        usleep(200000); pthread_cancel(t); alarm(9); pthread_join(t, &r); \
        printf(\"%d\", r == PTHREAD_CANCELED)";
    prints_the_same(main, open, "1");
}

#[cfg(preload)]
#[test]
fn a_small_stack_and_a_large_environment() {
    let start = "static void *start(void *p) { char *words[] = {\"sh\", \"-c\", \"echo $V599\", 0};\
        pid_t k = vfork(); if (!k) { execvp(\"sh\", words); _exit(3); }\
        waitpid(k, 0, 0); char *real = realpath(\"/etc/..\", 0); printf(\"%s\", real); return 0; }";
    let main = "pthread_t t; pthread_attr_t a; pthread_attr_init(&a); \
        pthread_attr_setstacksize(&a, PTHREAD_STACK_MIN); char n[9]; \
        for (int i = 0; i < 600; i++) { sprintf(n, \"V%d\", i); setenv(n, \"1\", 1); } \
        pthread_create(&t, &a, start, 0); pthread_join(t, 0)";
    prints_the_same(main, start, "1\n/");
}

#[cfg(preload)]
#[test]
fn a_link_that_leads_elsewhere_after_it_was_looked_through_is_told() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().canonicalize().unwrap();
    let object = object(&dir);
    for name in ["old", "new"] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("f"), name).unwrap();
    }
    let main = "char c; open(\"now/f\", O_RDONLY); write(1, \"1\", 1); read(0, &c, 1);";
    let source = format!("#include <fcntl.h>\n#include <unistd.h>\nint main(void) {{ {main} }}");
    compile(&dir, "x-perl", &source, &[]);
    for changes in [false, true] {
        let _ = std::fs::remove_file(dir.join("now"));
        symlink("old", dir.join("now")).unwrap();
        let mut command = Command::new(dir.join("x-perl"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (looked, is_looked) = std::sync::mpsc::channel();
        let (done, is_done) = std::sync::mpsc::channel();
        let change = || {
            // The kernel's clock for files ticks slowly.
            std::thread::sleep(std::time::Duration::from_millis(30));
            symlink("new", dir.join("next")).unwrap();
            std::fs::rename(dir.join("next"), dir.join("now")).unwrap();
        };
        let observation = std::thread::scope(|scope| {
            // On a thread that is not observed, as the one is that has the child.
            scope.spawn(move || {
                is_looked.recv().unwrap();
                changes.then(change);
                done.send(()).unwrap();
            });
            let with_child = move |child: &mut std::process::Child| {
                let mut said = [0];
                child.stdout.take().unwrap().read_exact(&mut said).unwrap();
                looked.send(()).unwrap();
                is_done.recv().unwrap();
                child.stdin.take().unwrap().write_all(b"1").unwrap();
            };
            let (dir, object) = (Some(&*dir), Some(Object::from(&*object)));
            let spawned = spawn(&mut command, dir, Depth::Tree, object, with_child);
            spawned.unwrap().2
        });
        let missed = observation.missed;
        assert_eq!(missed.is_some(), changes, "{missed:?}");
    }
}
