//! `cargo cachewrap serve`: two pages, for clients of all kinds.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Cli;

/// Connections that are served at one time.
const MOST: usize = 16;

/// A server that is stopped when it goes out of scope.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(cli: &Cli) -> Self {
        let child = cli
            .command()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let (_, address) = line.trim_end().rsplit_once("http://").unwrap();
        let address = address.strip_suffix("/healthz").unwrap().to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// The whole answer to these bytes.
    fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // What is sent after an error may meet a connection that is closed.
        let _ = stream.write_all(request);
        Answer::read(stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    /// Tells the server to end, as service managers do.
    fn end(mut self, signal: &str) -> ExitStatus {
        let kill = format!("kill -{signal} {}", self.child.id());
        let killed = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(killed.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[test]
fn the_two_pages() {
    let cli = Cli::new().filled();
    cli.cache.store.count(&[("hit", 3)]).unwrap();
    let serving = Serving::start(&cli);

    let metrics = serving.get("/metrics");
    assert_eq!(metrics.status, 200);
    let of_type = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
    assert!(metrics.head.contains(of_type), "{metrics:?}");
    let printed = cli.ok(&["stats", "--format", "prometheus"]);
    // Space comes and goes.
    let steady = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("free_bytes "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(steady(&metrics.body), steady(&printed));
    // What counts is told at once.
    cli.cache.store.count(&[("hit", 1)]).unwrap();
    let counted = "cachewrap_hits_total{kind=\"compilation\"} 4\n";
    assert!(serving.get("/metrics?x=1").body.contains(counted));

    let health = serving.get("/healthz");
    assert_eq!(health.status, 200);
    assert!(health.head.contains("application/json"), "{health:?}");
    let health = health.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["writable"], true);
    assert!(health["free_bytes"].as_u64().is_some());
    assert_eq!(health["last_collection"], Value::Null);
    cli.ok(&["prune"]);
    let last = &serving.get("/healthz").json()["last_collection"];
    assert!(last["size_bytes"].as_u64() > Some(300_000), "{last}");

    for path in ["/", "/metric", "/metrics/", "/../etc/passwd", "*"] {
        assert_eq!(serving.get(path).status, 404, "{path}");
    }
    let head = serving.ask(b"HEAD /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = serving.ask(b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nhits");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("\r\nAllow: GET, HEAD"), "{post:?}");
}

#[test]
fn health_tells_that_nothing_can_be_stored() {
    let cli = Cli::new();
    let serving = Serving::start(&cli);
    // It is made when it is needed.
    assert_eq!(serving.get("/healthz").status, 200);
    let dir = cli.path(".cache/cachewrap");
    std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
    std::fs::write(&dir, "").unwrap();
    let health = serving.get("/healthz");
    assert_eq!(health.status, 503);
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["writable"]),
        (&"failing".into(), &false.into())
    );
    let problem = health["problems"][0].as_str().unwrap();
    assert!(problem.ends_with("is not a directory"), "{problem}");
}

#[test]
fn clients_that_are_broken_or_slow_keep_nobody_from_being_served() {
    let cli = Cli::new().filled();
    let serving = Serving::start(&cli);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(
        serving
            .ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03")
            .status,
        400
    );
    assert_eq!(serving.ask(long.as_bytes()).status, 431);
    assert_eq!(serving.ask(many.as_bytes()).status, 431);
    for half in [&b""[..], b"GET", b"GET /metrics HTTP/1.1\r\nHost:"] {
        let mut stream = serving.connect();
        stream.write_all(half).unwrap();
        drop(stream);
        let mut stream = serving.connect();
        stream.write_all(half).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Answer::read(stream).status, 0);
    }
    // A request may come in pieces.
    let mut stream = serving.connect();
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(Answer::read(stream).status, 200);

    // Clients that say nothing, until no more are served at one time.
    let mut idle = Vec::new();
    let refused = loop {
        match serving.get("/healthz").status {
            200 => idle.push(serving.connect()),
            refused => break refused,
        }
        assert!(idle.len() <= 10 * MOST, "never too many");
    };
    // A client that is still writing may see no more than that the connection has ended.
    assert!([503, 0].contains(&refused), "{refused}");
    // Their time is over some day, though they stay.
    let served = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        serving.get("/healthz").status == 200
    });
    assert!(served);
    for stream in idle {
        let told = Answer::read(stream).status;
        assert!([408, 503].contains(&told), "{told}");
    }
}

#[test]
fn it_ends_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let cli = Cli::new();
        let serving = Serving::start(&cli);
        assert_eq!(serving.get("/healthz").status, 200);
        assert_eq!(serving.end(signal).code(), Some(0), "{signal}");
    }
}

#[test]
fn an_address_that_is_taken_or_wrong_is_said() {
    let cli = Cli::new();
    let serving = Serving::start(&cli);
    let address = serving.address.as_str();
    let said = format!("failed to listen at {address}: Address already in use");
    cli.fails(&["serve", "--listen", address], 1, &said);
    cli.fails(&["serve", "--listen", "9187"], 2, "such as 127.0.0.1:9187");
    let cli = Cli::new().with("CACHEWRAP_GC", "perhaps");
    cli.fails(&["serve"], 2, "expected auto or off");
}
