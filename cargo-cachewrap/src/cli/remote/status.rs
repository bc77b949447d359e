//! `remote status`: what is set, and how it went.

use std::io::Write as _;

use cache_core::config::format_size;
use cache_core::remote::{Mode, Remote, Scheme, Trouble, Trust};

use super::super::context::{Context, store};
use super::super::output::{Failure, counted, human_duration};
use super::{helper, settings};

pub(super) fn run(cx: &mut Context, json: bool) -> Result<(), Failure> {
    let config = cx.config()?;
    let settings = settings(&config)?;
    let store = store(&config);
    let counters = store.counters()?;
    let count = |name: &str| counters.get(name).copied().unwrap_or(0);
    let down = Remote::why_left_alone(&store, &settings);
    let needs_helper = settings.address.scheme != Scheme::Directory;
    let has_helper = helper(cx).is_some();
    let queued = store.queue_length() as u64;
    let trusted: Vec<String> = match &settings.trust {
        Trust::Keys(keys) => keys.iter().map(ToString::to_string).collect(),
        Trust::Bucket => Vec::new(),
    };
    let is_usable = settings.trust.admits_anybody() && (has_helper || !needs_helper);
    if json {
        let object = serde_json::json!({
            "url": settings.address.to_string(),
            "mode": settings.address.mode.name(),
            "trust": if settings.trust == Trust::Bucket { "bucket" } else { "keys" },
            "trusted": trusted,
            "signs_as": settings.key.as_ref().map(|key| key.public().to_string()),
            "helper": helper(cx).map(|path| path.display().to_string()),
            "left_alone": down,
            "queued": queued,
            "hits": count("remote.hit"),
            "misses": count("remote.miss"),
            "fetched_bytes": count("remote.fetched_bytes"),
            "waited_us": count("remote.waited_us"),
            "saved_us": count("remote.saved_us"),
            "sent": count("remote.sent"),
            "sent_bytes": count("remote.sent_bytes"),
        });
        writeln!(cx.out, "{object:#}")?;
    } else {
        let mut row = |label: &str, value: &str| writeln!(cx.out, "{label:<10} {value}");
        row("remote", &settings.address.to_string())?;
        row("takes", &takes(&settings.trust, &trusted))?;
        row("sends", &sends(&settings))?;
        if needs_helper && !has_helper {
            row(
                "helper",
                "cachewrap-remote is not installed, and the remote is not used without it",
            )?;
        }
        match down {
            Some(why) => row("state", &why)?,
            None => row(
                "state",
                "no trouble is known; `cargo cachewrap remote probe` tries it",
            )?,
        }
        let hits = counted(count("remote.hit"), "hit");
        let misses = format!("{} not there", count("remote.miss"));
        row(
            "asked",
            &format!(
                "{hits}, {misses}, {} fetched",
                format_size(count("remote.fetched_bytes"))
            ),
        )?;
        let waited = human_duration(count("remote.waited_us"));
        row(
            "time",
            &format!(
                "waited {waited}, saved {}",
                human_duration(count("remote.saved_us"))
            ),
        )?;
        let sent = counted(count("remote.sent"), "result");
        row(
            "sent",
            &format!(
                "{sent}, {}; {queued} waiting",
                format_size(count("remote.sent_bytes"))
            ),
        )?;
        for trouble in Trouble::ALL {
            let times = count(&format!("remote.error.{}", trouble.name()));
            if times > 0 {
                row(
                    "trouble",
                    &format!("{}: {}", trouble.name(), counted(times, "time")),
                )?;
            }
        }
    }
    if is_usable {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

fn takes(trust: &Trust, trusted: &[String]) -> String {
    match trust {
        Trust::Bucket => "results of everybody who can write there".to_owned(),
        Trust::Keys(_) if trusted.is_empty() => {
            "nothing: name keys in CACHEWRAP_REMOTE_TRUSTED, or set CACHEWRAP_REMOTE_TRUST=bucket"
                .to_owned()
        }
        Trust::Keys(_) => format!("results signed by {}", trusted.join(", ")),
    }
}

fn sends(settings: &cache_core::remote::Settings) -> String {
    match (&settings.key, settings.address.mode) {
        (_, Mode::Read) => "nothing: mode=read".to_owned(),
        (Some(key), Mode::Write) => format!("what is made here, signed by {}", key.public()),
        (None, Mode::Write) => {
            "what is made here, unsigned: only those who trust everybody there take it".to_owned()
        }
    }
}
