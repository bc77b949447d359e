//! What is told to Prometheus, with Prometheus itself where it is installed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cache_core::store::stats;
use serde_json::Value;

use super::serve::Serving;
use super::{Cli, ran};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// A cache of which all there is to tell can be told.
fn counted() -> Cli {
    let cli = Cli::new().filled();
    let counts = [(stats::HIT, 30), (stats::MISS, 10), ("miss.env", 10)];
    cli.cache.store.count(&counts).unwrap();
    cli.ok(&["prune"]);
    cli
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c));
    let ours = words.filter(|word| {
        word.strip_prefix("cachewrap_")
            .is_some_and(|rest| !rest.is_empty())
    });
    ours.map(str::to_owned).collect()
}

/// The questions of the dashboard, as Grafana asks them.
fn questions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(
                    fields
                        .get("expr")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard = serde_json::from_str(&document("monitoring/dashboard.json")).unwrap();
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    assert!(found.len() > 15, "{found:?}");
    let asked = found.iter().map(|question| {
        let question = question.replace("$__rate_interval", "5m");
        let question = question.replace("$__range", "1h");
        question.replace("$instance", ".*")
    });
    asked.collect()
}

/// Whether both programs are there.
fn has_prometheus() -> bool {
    let found = ["promtool", "prometheus"].iter().all(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if !found {
        eprintln!("skipped: promtool and prometheus are not installed");
    }
    found
}

#[track_caller]
fn promtool(args: &[&str], stdin: &str) -> String {
    let mut child = Command::new("promtool");
    let child = child.args(args).current_dir(repository());
    let child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // It reads its standard input only for some of its commands.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.status, 0, "promtool {args:?}: {ran:?}");
    ran.stdout + &ran.stderr
}

#[test]
fn every_metric_is_documented_and_what_is_asked_for_is_there() {
    let told = names(&counted().ok(&["stats", "--format", "prometheus"]));
    let rows = document("monitoring.md");
    let rows = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `cachewrap_"));
    let documented = rows.filter_map(|row| Some(format!("cachewrap_{}", row.split('`').next()?)));
    assert_eq!(documented.collect::<BTreeSet<_>>(), told);
    for asking in [
        questions().join("\n"),
        document("monitoring/alerts.yml"),
        document("monitoring.md"),
    ] {
        let unknown: Vec<_> = names(&asking).difference(&told).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    if !has_prometheus() {
        return;
    }
    let metrics = counted().ok(&["stats", "--format", "prometheus"]);
    assert_eq!(promtool(&["check", "metrics"], &metrics), "");
    promtool(&["check", "config", "docs/monitoring/prometheus.yml"], "");
    promtool(&["check", "rules", "docs/monitoring/alerts.yml"], "");
    promtool(&["test", "rules", "tests/monitoring/alerts_test.yml"], "");
}

/// Prometheus, with the documented rules, looking at one server.
struct Prometheus {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Prometheus {
    fn start(serving: &Serving) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = document("monitoring/prometheus.yml");
        let config = config
            .replace("30s", "1s")
            .replace("exporter:9187", &serving.address);
        std::fs::write(data.path().join("prometheus.yml"), config).unwrap();
        let rules = document("monitoring/alerts.yml");
        std::fs::write(data.path().join("alerts.yml"), rules).unwrap();
        // Free now, and hopefully a moment later.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new("prometheus")
            .current_dir(data.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stderr(std::fs::File::create(data.path().join("log")).unwrap())
            .spawn();
        Self {
            child: child.unwrap(),
            url: format!("http://{address}"),
            _data: data,
        }
    }

    /// What it says to a question; `None` while it cannot be asked or has no answer.
    fn ask(&self, question: &str) -> Option<String> {
        let asked = Command::new("promtool")
            .args(["query", "instant", &self.url, question])
            .output();
        let asked = ran(asked.unwrap());
        (asked.status == 0 && !asked.stdout.trim().is_empty()).then_some(asked.stdout)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_reads_what_is_served() {
    if !has_prometheus() {
        return;
    }
    let cli = counted();
    let serving = Serving::start(&cli);
    let prometheus = Prometheus::start(&serving);
    let question = "cachewrap_hits_total{kind=\"compilation\"}";
    let answer = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        prometheus.ask(question)
    });
    let answer = answer.unwrap();
    let (series, value) = answer.split_once(" => ").unwrap();
    assert!(
        series.contains(&format!("instance=\"{}\"", serving.address)),
        "{answer}"
    );
    assert!(value.starts_with("30 @"), "{answer}");
    for question in questions() {
        promtool(&["query", "instant", &prometheus.url, &question], "");
    }
    let size = prometheus.ask("cachewrap_store_size_bytes / cachewrap_store_max_size_bytes > 0");
    assert!(size.is_some());
    assert_eq!(prometheus.ask("ALERTS{alertstate=\"firing\"}"), None);
}
