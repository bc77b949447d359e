//! The helper's program, asked over its socket as a wrapper asks. The engine is a listener in the test, which counts what
//! it is asked and takes its time; engines themselves are tested with real servers, see `tests/remote` at the top.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_core::Digest;
use cache_core::entry::ManifestKey;
use cache_core::remote::{Answer, Asked, Hello, read_message, write_message};

/// A helper with a store of its own.
struct Case {
    dir: tempfile::TempDir,
    helper: Child,
}

impl Case {
    fn new(remote: &str, below: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let helper = Self::start(dir.path(), remote, below);
        Self { dir, helper }
    }

    fn start(dir: &Path, remote: &str, below: &str) -> Child {
        let sockets = dir.join(below);
        std::fs::create_dir_all(&sockets).unwrap();
        Command::new(env!("CARGO_BIN_EXE_cachewrap-remote"))
            .arg("serve")
            .arg(sockets.join("x.sock"))
            .env_clear()
            .env("HOME", dir)
            .env("CACHEWRAP_DIR", dir.join("store"))
            .env("CACHEWRAP_REMOTE", remote)
            .env("CACHEWRAP_REMOTE_TRUST", "bucket")
            .env("AWS_ACCESS_KEY_ID", "somebody")
            .env("AWS_SECRET_ACCESS_KEY", "somebodys")
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn socket(&self, below: &str) -> PathBuf {
        self.dir.path().join(below).join("x.sock")
    }

    /// Begins a talk.
    fn meet(&self, build: Option<u32>) -> UnixStream {
        let socket = self.socket("");
        let mut stream = soon(|| UnixStream::connect(&socket).ok());
        write_message(&mut stream, &Hello { build, dir: None }).unwrap();
        stream
    }

    /// Waits until it has ended.
    fn end(mut self) {
        let status = soon(|| self.helper.try_wait().unwrap());
        assert!(status.success());
        assert!(!self.socket("").exists());
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "nothing happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server that has nothing, and says so after a while; counts what it is asked.
fn slow_server(pause: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("s3://b?endpoint=http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.unwrap(), count.clone());
            std::thread::spawn(move || {
                let mut head = [0; 16384];
                while stream.read(&mut head).is_ok_and(|length| length > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(pause);
                    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(answer).unwrap();
                }
            });
        }
    });
    (remote, asked)
}

fn key(of: &str) -> Asked {
    Asked::Offers(ManifestKey(Digest::of(of.as_bytes())))
}

/// Asks, and returns the answer and how often it was said that it takes a while.
fn ask(stream: &mut UnixStream, asked: &Asked) -> (Answer, usize) {
    write_message(stream, asked).unwrap();
    let mut signs = 0;
    loop {
        match read_message(stream).unwrap().unwrap() {
            Answer::Working => signs += 1,
            answer => return (answer, signs),
        }
    }
}

#[test]
fn what_several_ask_for_is_fetched_once() {
    let (remote, asked) = slow_server(Duration::from_millis(600));
    let case = Case::new(&remote, "");
    let mut streams: Vec<UnixStream> = (0..8).map(|_| case.meet(None)).collect();
    std::thread::scope(|scope| {
        for stream in &mut streams {
            scope.spawn(|| {
                let (answer, signs) = ask(stream, &key("same"));
                assert_eq!(answer, Answer::Missing);
                assert!(signs >= 1, "{signs}");
            });
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(ask(&mut streams[0], &key("another")).0, Answer::Missing);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    drop(streams);
    case.end();
}

#[test]
fn what_makes_no_sense_ends_one_connection() {
    let (remote, _) = slow_server(Duration::ZERO);
    let case = Case::new(&remote, "");
    let mut good = case.meet(None);
    let mode = std::fs::metadata(case.socket("")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o077, 0);
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096]] {
        let mut bad = case.meet(None);
        bad.write_all(nonsense).unwrap();
        let mut rest = Vec::new();
        // It may end before it has read all.
        let _ = bad.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    assert_eq!(ask(&mut good, &key("x")).0, Answer::Missing);
    drop(good);
    case.end();
}

#[test]
fn it_lives_as_long_as_the_build() {
    let (remote, _) = slow_server(Duration::ZERO);
    let mut case = Case::new(&remote, "");
    let mut build = Command::new("sleep").arg("60").spawn().unwrap();
    let mut stream = case.meet(Some(build.id()));
    assert_eq!(ask(&mut stream, &key("x")).0, Answer::Missing);
    drop(stream);
    // Longer than it waits for the next where no build is known.
    std::thread::sleep(Duration::from_millis(3500));
    assert!(case.helper.try_wait().unwrap().is_none());
    // What has ended and was not waited for, has ended.
    build.kill().unwrap();
    case.end();
    build.wait().unwrap();
}

#[test]
fn one_listens_and_what_a_killed_one_left_is_replaced() {
    let (remote, _) = slow_server(Duration::ZERO);
    let mut case = Case::new(&remote, "");
    let mut first = case.meet(Some(std::process::id()));
    let mut second = Case::start(case.dir.path(), &remote, "");
    // It sees that there is another.
    assert!(!second.wait().unwrap().success());
    assert_eq!(ask(&mut first, &key("x")).0, Answer::Missing);
    case.helper.kill().unwrap();
    case.helper.wait().unwrap();
    assert!(case.socket("").exists());
    case.helper = Case::start(case.dir.path(), &remote, "");
    let mut third = soon(|| UnixStream::connect(case.socket("")).ok());
    write_message(
        &mut third,
        &Hello {
            build: None,
            dir: None,
        },
    )
    .unwrap();
    assert_eq!(ask(&mut third, &key("x")).0, Answer::Missing);
    drop(third);
    case.end();
}

#[test]
fn a_socket_may_lie_deep() {
    let (remote, _) = slow_server(Duration::ZERO);
    let below = "deep/".repeat(40);
    let case = Case::new(&remote, &below);
    let dir = case.dir.path().join(&below);
    soon(|| dir.join("x.sock").exists().then_some(()));
    std::os::unix::fs::symlink(&dir, case.dir.path().join("short")).unwrap();
    let mut stream = soon(|| UnixStream::connect(case.socket("short")).ok());
    write_message(
        &mut stream,
        &Hello {
            build: None,
            dir: None,
        },
    )
    .unwrap();
    assert_eq!(ask(&mut stream, &key("x")).0, Answer::Missing);
}

#[test]
fn what_is_set_wrongly_is_said_to_who_asks() {
    let case = Case::new("azblob://container", "");
    let mut stream = case.meet(None);
    let (answer, _) = ask(&mut stream, &key("x"));
    let Answer::Failed(trouble, what) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(trouble, "confused");
    assert!(what.contains("`account`"), "{what}");
}
