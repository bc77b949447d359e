//! `cargo cachewrap report`, on records of builds that never were.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cache_core::Digest;
use serde_json::{Value, json};

use super::{Cli, ran};

const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!--\u{2028}{{data}}";

/// A line of a record, as a wrapper writes it.
fn line(unit: &Value) -> Vec<u8> {
    let json = unit.to_string();
    let check = &Digest::of(json.as_bytes()).to_hex()[..8];
    format!("{check} {json}\n").into_bytes()
}

fn unit(name: &str, started_us: u64, outcome: &Value) -> Value {
    json!({
        "time": 1, "started_us": started_us, "took_us": 10, "dir": "/ws", "unit": name, "kind": "compilation",
        "outcome": outcome, "result": name,
    })
}

fn hit(name: &str, started_us: u64) -> Value {
    unit(name, started_us, &json!({ "event": "hit" }))
}

fn record(cli: &Cli, process: &str, lines: &[Vec<u8>]) {
    cli.cache.store.prepare().unwrap();
    let dir = cli.cache.store.layout().part("builds");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(process), lines.concat()).unwrap();
}

/// A build of which most was served, one unit ahead.
pub(crate) fn build(cli: &Cli) {
    let ahead = json!({
        "time": 1, "started_us": 5, "took_us": 10, "saved_us": 2_500_000, "dir": "", "unit": "a (lib)",
        "kind": "compilation", "outcome": { "event": "ahead" },
    });
    let missed =
        json!({ "event": "miss", "reason": "no-entry", "change": null, "not_stored": null });
    let units = [ahead, hit("b (lib)", 9), unit("c (bin)", 20, &missed)];
    record(cli, "1-1", &units.each_ref().map(line));
}

/// The data within a page.
fn data(page: &str) -> Value {
    let (_, rest) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn page(cli: &Cli) -> String {
    cli.ok(&["report", "--out", "-"])
}

#[test]
fn a_page_and_json_say_the_same() {
    let cli = Cli::new().filled();
    record(
        &cli,
        "1-1",
        &[line(&hit("a (lib)", 5)), line(&hit("b (lib)", 9))],
    );
    let mut json = cli.json(&["report", "--json"]);
    assert_eq!(json["builds"][0]["sums"]["served"], 2);
    assert_eq!(json["builds"][0]["took_us"], 14);
    assert_eq!(json["store"]["results"], 3);
    let crates: Vec<&str> = json["store"]["crates"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(crates.len(), 3);
    // The newest use is known, and in the first group of ages.
    assert_eq!(json["store"]["ages"][0]["results"], 2);
    assert_eq!(json["store"]["ages"][3]["results"], 1);
    let mut same = data(&page(&cli));
    for told in [&mut json, &mut same] {
        told["made"].take();
    }
    assert_eq!(same, json);
}

#[test]
fn names_are_text_and_nothing_is_loaded() {
    let cli = Cli::new();
    let outcome = json!({
        "event": "miss", "reason": HOSTILE, "said": HOSTILE, "not_stored": HOSTILE, "about": HOSTILE,
        "change": { "what": HOSTILE, "old": HOSTILE, "new": HOSTILE },
    });
    let mut hostile = unit(HOSTILE, 5, &outcome);
    hostile["dir"] = HOSTILE.into();
    record(&cli, "1-1", &[line(&hostile)]);
    let page = page(&cli);
    assert_eq!(page.matches("<img").count(), 0, "{page}");
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page.matches('\u{2028}').count(), 0);
    assert_eq!(data(&page)["builds"][0]["units"][0]["name"], HOSTILE);
    // What the page itself names is its own policy, and the names of SVG's elements.
    let addresses = page.matches("http").count() - page.matches("http-equiv").count();
    assert_eq!(
        (
            addresses,
            page.matches("http://www.w3.org/2000/svg").count()
        ),
        (1, 1)
    );
    assert!(
        page.contains("content=\"default-src 'none'; script-src 'nonce-"),
        "{page}"
    );
    // Nobody can know beforehand what may run.
    let nonce = |page: &str| {
        page.split("'nonce-")
            .nth(1)
            .map(|rest| rest[..32].to_owned())
    };
    assert_ne!(nonce(&page), nonce(&self::page(&cli)));
}

#[test]
fn whatever_records_hold_is_told_as_far_as_it_can_be_read() {
    let cli = Cli::new();
    let good = line(&hit("a (lib)", 5));
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    let cut = good[..good.len() / 2].to_vec();
    let later = line(&json!({ "time": 1, "outcome": { "event": "of another release" } }));
    let invalid = b"01234567 \xff\xfe\n".to_vec();
    record(&cli, "1-1", &[flipped, later, invalid, good, cut]);
    let mut endless = hit("endless (lib)", u64::MAX);
    endless["took_us"] = u64::MAX.into();
    endless["saved_us"] = u64::MAX.into();
    endless["future"] = json!({ "field": 1 });
    record(
        &cli,
        "2-1",
        &[line(&endless), line(&endless), line(&hit("first (lib)", 0))],
    );
    record(&cli, "3-1", &[]);
    record(&cli, "4-1", &[b"\n\n".to_vec()]);
    let mut question = hit("query", 7);
    question["kind"] = "query".into();
    record(&cli, "5-1", &[line(&question)]);
    let told = cli.json(&["report", "--json"]);
    let builds = told["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 2, "{told:#}");
    let of = |id: &str| builds.iter().find(|build| build["id"] == id).unwrap();
    assert_eq!(
        (&of("1-1")["unread"], &of("1-1")["sums"]["units"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(of("2-1")["took_us"], u64::MAX);
    assert!(page(&cli).len() > 1000);
    assert!(cli.ok(&["stats"]).starts_with("Last build: "));
}

#[test]
fn the_last_builds_are_told_and_no_more_units_than_a_page_can_show() {
    let cli = Cli::new();
    for n in 1..=5 {
        let units: Vec<_> = (0..9000)
            .map(|i| line(&hit(&format!("c{i} (lib)"), n * 1_000_000)))
            .collect();
        record(&cli, &format!("{n}-1"), &units);
    }
    let told = cli.json(&["report", "--json", "--last", "4"]);
    let builds = told["builds"].as_array().unwrap();
    let ids: Vec<&str> = builds
        .iter()
        .map(|build| build["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["5-1", "4-1", "3-1", "2-1"]);
    let are_told: Vec<bool> = builds
        .iter()
        .map(|build| build["units"].is_array())
        .collect();
    assert_eq!(are_told, [true, true, false, false]);
    assert_eq!(builds[3]["sums"]["served"], 9000);
}

#[test]
fn it_is_written_where_people_look_for_it() {
    let cli = Cli::new().filled();
    let said = cli.ok(&["report"]);
    assert!(
        said.starts_with("No build is known\nReport of 0 builds: "),
        "{said}"
    );
    assert!(
        data(&fs::read_to_string(cli.path("cachewrap-report.html")).unwrap())["builds"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    record(&cli, "1-1", &[line(&hit("a (lib)", 5))]);
    let project = cli.path("a project");
    fs::create_dir_all(project.join("src")).unwrap();
    fs::create_dir(project.join("target")).unwrap();
    fs::write(
        project.join("Cargo.toml"),
        "[package]\nname = \"p\"\n[workspace]\n",
    )
    .unwrap();
    fs::write(project.join("src/lib.rs"), "").unwrap();
    let run = |args: &[&OsStr]| {
        ran(cli
            .command()
            .arg("report")
            .args(args)
            .current_dir(project.join("src"))
            .output()
            .unwrap())
    };
    let said = run(&[]).stdout;
    assert!(said.starts_with("Report of 1 build: '/"), "{said}");
    assert!(
        said.ends_with("/a project/target/cachewrap/report.html'\n"),
        "{said}"
    );
    assert!(project.join("target/cachewrap/report.html").is_file());
    let odd = OsStr::from_bytes(b"made/of \xff/x.html");
    assert_eq!(run(&["--out".as_ref(), odd]).status, 0);
    assert!(project.join("src").join(odd).is_file());
    let json = OsStr::new("--json");
    assert_eq!(run(&[json, "--out".as_ref(), "x.json".as_ref()]).status, 0);
    assert!(
        fs::read_to_string(project.join("src/x.json"))
            .unwrap()
            .starts_with('{')
    );
    cli.fails(
        &["report", "--out", "."],
        2,
        "is a directory; --out names a file",
    );
    cli.fails(&["report", "--last", "0"], 2, "--last");
    cli.fails(
        &["report", "--open", "--out", "-"],
        2,
        "--open shows a file",
    );
    // Cargo makes the target directory itself.
    fs::remove_dir_all(project.join("target")).unwrap();
    assert!(
        run(&[])
            .stdout
            .ends_with("/a project/src/cachewrap-report.html'\n")
    );
    assert!(!project.join("target").exists());
    let nowhere = Path::new("/proc/nothing/x.html");
    cli.fails(
        &["report", "--out", nowhere.to_str().unwrap()],
        1,
        "/proc/nothing",
    );
}

#[test]
fn it_is_opened_if_the_system_can() {
    let cli = Cli::new();
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let without = cli.run(&["report", "--open", "--out", "x.html"]);
    assert_eq!(without.status, 0, "{without:?}");
    assert!(without.stdout.contains("/x.html"), "{without:?}");
    assert!(
        without.stderr.contains("open the file above in a browser"),
        "{without:?}"
    );
    let program = cli.programs().join(opener);
    let write = |script: &str| {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("echo \"opened $1\"");
    let with = cli.run(&["report", "--open", "--out", "x.html"]);
    assert!(
        with.stdout.contains("opened /") && with.stderr.is_empty(),
        "{with:?}"
    );
    write("exit 3");
    let failing = cli.run(&["report", "--open", "--out", "x.html"]);
    assert_eq!(failing.status, 0);
    assert!(failing.stderr.contains("could not open it"), "{failing:?}");
}

#[test]
fn a_cache_that_is_read_only_or_not_there_can_be_reported() {
    let cli = Cli::new().filled().with("CACHEWRAP_READ_ONLY", "1");
    assert_eq!(cli.json(&["report", "--json"])["store"]["results"], 3);
    let missing = cli.path("missing").display().to_string();
    let cli = cli.with("CACHEWRAP_DIR", missing);
    assert_eq!(cli.json(&["report", "--json"])["store"]["results"], 0);
}
