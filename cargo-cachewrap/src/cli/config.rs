//! `config`: the settings and where they come from.

use std::io::Write as _;

use cache_core::Config;
use cache_core::config::{Loaded, Origin, SettingName, UnknownName};
use serde_json::{Map, Value, json};

use super::args::ConfigArgs;
use super::context::Context;
use super::output::Failure;

pub(super) fn run(cx: &mut Context, args: &ConfigArgs) -> Result<(), Failure> {
    let Loaded {
        config,
        problems,
        unknown,
        ..
    } = Config::load(&cx.env);
    if args.json {
        let json = Value::Object(as_json(&config));
        writeln!(cx.out, "{json:#}")?;
    } else {
        for entry in config.entries() {
            let key = cx.out.bold(format!("{:<17}", entry.name.key()));
            let value = if entry.value.is_empty() {
                "(none)"
            } else {
                &entry.value
            };
            writeln!(cx.out, "{key} {value:<28} {}", entry.origin)?;
        }
    }
    for name in &unknown {
        eprintln!("warning: {}", said_of(name));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Failure::Usage(problems.join("\nerror: ")))
}

/// Less alike than this, a name is somebody else's rather than a typing mistake.
const ALIKE: f64 = 0.6;

/// What is said of a name that means nothing: which setting may be meant.
pub(super) fn said_of(unknown: &UnknownName) -> String {
    let (name, column): (&str, fn(SettingName) -> &'static str) = match unknown {
        UnknownName::Variable(name) => (name, SettingName::variable),
        UnknownName::Key { key, .. } => (key, SettingName::key),
        _ => return unknown.to_string(),
    };
    // Of variables, without what all of them begin with, and of keys the same.
    let plain = |name: &str| {
        let name = name.to_ascii_lowercase().replace('-', "_");
        name.strip_prefix("cachewrap_").unwrap_or(&name).to_owned()
    };
    let wanted = plain(name);
    let known = SettingName::ALL.iter().map(|known| {
        let known = column(*known);
        let plain = plain(known);
        // `CACHEWRAP_LOG_LEVEL`, `CACHEWRAP_DIRECTORY`.
        if plain.len() >= 3 && wanted.starts_with(&plain) {
            return (known, 1.0);
        }
        let alike = strsim::normalized_damerau_levenshtein(&wanted, &plain);
        (known, alike)
    });
    match known.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((known, alike)) if alike >= ALIKE => {
            format!("{unknown}, which has no effect; did you mean `{known}`?")
        }
        _ => format!("{unknown}, which has no effect"),
    }
}

fn as_json(config: &Config) -> Map<String, Value> {
    let entries = config.entries().into_iter().map(|entry| {
        let origin = match &entry.origin {
            Origin::Default => json!({ "kind": "default" }),
            Origin::File(path) => json!({ "kind": "file", "path": path.display().to_string() }),
            Origin::Variable(name) => json!({ "kind": "variable", "name": name }),
        };
        let value = json!({
            "value": entry.value,
            "origin": origin,
            "variable": entry.name.variable(),
        });
        (entry.name.key().to_owned(), value)
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_told_from_other_peoples_names() {
        let said = |name: &str| said_of(&UnknownName::Variable(format!("CACHEWRAP_{name}")));
        for (name, meant) in [
            ("MAXSIZE", "MAX_SIZE"),
            ("MAX_SISE", "MAX_SIZE"),
            ("DIRECTORY", "DIR"),
            ("READONLY", "READ_ONLY"),
            ("DISABLED", "DISABLE"),
            ("LOG_LEVEL", "LOG"),
        ] {
            let meant = format!("did you mean `CACHEWRAP_{meant}`?");
            assert!(said(name).ends_with(&meant), "{}", said(name));
        }
        for name in [
            "VERSION",
            "IMAGE",
            "URL",
            "SHA256",
            "TAG",
            "BUILD_WITHOUT_OBSERVER",
        ] {
            assert!(said(name).ends_with("no effect"), "{}", said(name));
        }
        let path = "/c.toml".into();
        let key = UnknownName::Key {
            key: "max_sise".to_owned(),
            path,
        };
        assert_eq!(
            said_of(&key),
            "unknown key `max_sise` in /c.toml, which has no effect; did you mean `max-size`?"
        );
    }
}
