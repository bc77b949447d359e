//! Tools of an embedder's own are cached by what they are seen to read.

#![cfg(observer)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{BypassReason, Config, Environment, NotStored, Outcome, Request, SystemRunner};

struct Scene {
    dir: tempfile::TempDir,
    config: Config,
    env: Environment,
}

/// What a run left and said.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    said: String,
    complained: String,
    files: Vec<(String, String)>,
}

impl Scene {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory should be creatable");
        let config = Config::new(dir.path().join("cache"));
        fs::create_dir(dir.path().join("work")).expect("the file system should do that");
        let env = [("PATH", "/usr/bin:/bin")].into_iter().collect();
        let scene = Self { dir, config, env };
        scene.write("tool", &format!("#!/bin/sh\nset -e\n{script}\n"));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(scene.work().join("tool"), executable)
            .expect("the file system should do that");
        scene
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.work().join(name), text).expect("the file system should do that");
        // Who changes a file twice in one tick of the clock does not show it.
        std::thread::sleep(Duration::from_millis(50));
    }

    fn request<'a>(&'a self, argv: &'a [OsString], work: &'a Path) -> Request<'a> {
        Request::new(argv, &self.env, work, &self.config, &SystemRunner)
    }

    /// Runs the tool in a new directory.
    fn run(&self, out: &str) -> (Outcome, Made) {
        let (work, out_dir) = (self.work(), self.dir.path().join(out));
        fs::create_dir(&out_dir).expect("the file system should do that");
        let argv = ["./tool".into(), out_dir.clone().into()];
        let mut request = self.request(&argv, &work);
        request.out_dir = Some(&out_dir);
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let mut stdout = |piece: &[u8]| said.extend_from_slice(piece);
        let mut stderr = |line: &[u8]| complained.extend_from_slice(line);
        let outcome =
            cache_core::run(&request, &mut stdout, &mut stderr).expect("the tool should start");
        let read = |bytes| {
            String::from_utf8(bytes)
                .expect("text")
                .replace(out, "<out>")
        };
        let mut files: Vec<(String, String)> = fs::read_dir(&out_dir)
            .expect("the file system should do that")
            .map(|entry| {
                let entry = entry.expect("the file system should do that");
                let name = entry.file_name().into_string().expect("text");
                (
                    name,
                    read(fs::read(entry.path()).expect("the file system should do that")),
                )
            })
            .collect();
        files.sort();
        let (said, complained) = (read(said), read(complained));
        let made = Made {
            said,
            complained,
            files,
        };
        (outcome, made)
    }

    #[track_caller]
    fn misses(&self, out: &str) -> Made {
        let (outcome, made) = self.run(out);
        let is_stored = matches!(
            outcome,
            Outcome::Miss {
                not_stored: None,
                ..
            }
        );
        assert!(is_stored, "{outcome:?}");
        made
    }

    #[track_caller]
    fn hits(&self, out: &str, expected: &Made) {
        let (outcome, made) = self.run(out);
        assert_eq!(outcome, Outcome::Hit { status: 0 });
        assert_eq!(made, *expected);
    }
}

#[test]
fn a_tool_is_run_again_when_what_it_read_changes() {
    let script = "cat data; ls parts >$1/list; echo \"made in $1\" >$1/place; \
                  echo ${FLAVOUR-none}; [ -e none ] || echo warning >&2";
    let mut scene = Scene::new(script);
    fs::create_dir(scene.work().join("parts")).unwrap();
    scene.write("data", "one\n");
    let first = scene.misses("o1");
    assert_eq!(first.said, "one\nnone\n");
    assert_eq!(first.complained, "warning\n");
    assert_eq!(first.files.len(), 2);
    assert!(first.files[1].1.ends_with("<out>\n"), "{first:?}");
    scene.hits("o2", &first);
    scene.write("other", "");
    scene.hits("o3", &first);
    scene.write("data", "two\n");
    assert_eq!(scene.misses("o4").said, "two\nnone\n");
    scene.write("parts/new", "");
    assert_eq!(scene.misses("o5").files[0].1, "new\n");
    scene.env.set("FLAVOUR", "sweet");
    let sweet = scene.misses("o6");
    assert_eq!(sweet.said, "two\nsweet\n");
    scene.env.set("IRRELEVANT", "1");
    scene.hits("o7", &sweet);
    scene.write("none", "");
    assert_eq!(scene.misses("o8").complained, "");
}

#[test]
fn what_a_hit_could_not_do_is_not_stored() {
    for (script, why) in [
        ("echo x >$1/../elsewhere", NotStored::SideEffect),
        ("exit 3", NotStored::Failed),
        ("rmdir $1; ln -s / $1", NotStored::UnknownOutput),
    ] {
        let scene = Scene::new(script);
        for out in ["o1", "o2"] {
            let out_dir = scene.dir.path().join(out);
            fs::create_dir(&out_dir).unwrap();
            let (argv, work) = (["./tool".into(), out_dir.clone().into()], scene.work());
            let mut request = scene.request(&argv, &work);
            request.out_dir = Some(&out_dir);
            let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ()).unwrap();
            let Outcome::Miss { not_stored, .. } = outcome else {
                panic!("{script}: {outcome:?}");
            };
            assert_eq!(not_stored.map(|refusal| refusal.why), Some(why), "{script}");
        }
    }
}

#[test]
fn a_directory_that_is_not_empty_and_a_tool_that_is_not_there_are_left_alone() {
    let scene = Scene::new("exit 0");
    let (argv, work) = (["./tool".into()], scene.work());
    let mut request = scene.request(&argv, &work);
    request.out_dir = Some(&work);
    let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ()).unwrap();
    let why = |outcome: Outcome| match outcome {
        Outcome::Bypass(bypass) => bypass.why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(outcome), BypassReason::UsedOutDir);
    let argv = ["no-such-tool".into()];
    let out_dir = scene.dir.path().join("out");
    fs::create_dir(&out_dir).unwrap();
    let mut request = scene.request(&argv, &work);
    request.out_dir = Some(&out_dir);
    let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ()).unwrap();
    assert_eq!(why(outcome), BypassReason::NoCompiler);
}
