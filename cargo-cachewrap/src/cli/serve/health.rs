//! `/healthz`: whether builds can store what they make.

use cache_core::remote::{Remote, Settings};
use cache_core::{Config, Store};
use serde_json::json;

use super::super::doctor::{Verdict, directory};
use super::super::stats::{finished, free_space};
use super::http::{Page, Status};

/// With less space than this, hardly anything can be stored, bytes.
const LEAST_FREE: u64 = 64_000_000;

pub(super) fn page(store: &Store, config: &Config) -> Page {
    let mut problems = Vec::new();
    if let Verdict::Bad(found) = directory(config) {
        problems.push(found.what);
    }
    let writable = problems.is_empty() && !*config.read_only;
    let free = free_space(config);
    if writable && free.is_some_and(|free| free < LEAST_FREE) {
        problems.push("there is hardly any space left".to_owned());
    }
    let (status, word) = if problems.is_empty() {
        (Status::Ok, "ok")
    } else {
        (Status::Unavailable, "failing")
    };
    let last = store
        .last_collection()
        .map(|last| json!({ "finished": finished(&last), "size_bytes": last.size }));
    // Builds go on without it.
    let remote = Settings::of(config).ok().flatten().map(|settings| {
        let left_alone = Remote::why_left_alone(store, &settings);
        json!({ "url": settings.address.to_string(), "left_alone": left_alone })
    });
    let health = json!({
        "status": word,
        "problems": problems,
        "directory": config.dir.display().to_string(),
        "writable": writable,
        "read_only": *config.read_only,
        "free_bytes": free,
        "last_collection": last,
        "remote": remote,
    });
    Page::text(status, format!("{health:#}\n")).of_type("application/json")
}
