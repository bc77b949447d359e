//! `config`: the settings and where they come from.

use std::io::Write as _;

use cache_core::Config;
use cache_core::config::{Loaded, Origin};
use serde_json::{Map, Value, json};

use super::args::ConfigArgs;
use super::context::Context;
use super::output::Failure;

pub(super) fn run(cx: &mut Context, args: &ConfigArgs) -> Result<(), Failure> {
    let Loaded { config, problems } = Config::load(&cx.env);
    if args.json {
        let json = Value::Object(as_json(&config));
        writeln!(cx.out, "{json:#}")?;
    } else {
        for entry in config.entries() {
            let key = cx.out.bold(format!("{:<13}", entry.name.key()));
            let value = if entry.value.is_empty() {
                "(none)"
            } else {
                &entry.value
            };
            writeln!(cx.out, "{key} {value:<28} {}", entry.origin)?;
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Failure::Usage(problems.join("\nerror: ")))
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
