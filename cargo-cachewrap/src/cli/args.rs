//! The arguments, and the manual that `--help` prints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::config::parse_size;
use clap::{Args, Parser};
use clap_complete::Shell;

const AFTER_HELP: &str = "\
Getting started:
  cargo cachewrap setup --global      let cargo use the cache for every project
  cargo build                         the first build fills the cache
  cargo cachewrap stats               what it did

  RUSTC_WRAPPER=cachewrap cargo build uses the cache without changing any file.

Settings are environment variables, or keys in config.toml; `cargo cachewrap config`
shows them with their present values, `cargo cachewrap help config` explains them.

Exit status: 0 if all went well, 1 if something could not be done or is not in order,
2 if the arguments or the settings are wrong.";

const CONFIG_HELP: &str = "\
Shows every setting, its value, and where the value comes from: the default, the
configuration file, or an environment variable. The environment beats the file.

The file is $XDG_CONFIG_HOME/cachewrap/config.toml (or ~/.config/cachewrap/config.toml),
or what CACHEWRAP_CONFIG names. Its keys are those shown here, for instance:

    max-size = \"20G\"
    env = [\"DATABASE_URL\"]";

/// The manual of `config`: a paragraph for each setting, made of its row.
fn config_help() -> String {
    use std::fmt::Write as _;
    let mut text = CONFIG_HELP.to_owned();
    for name in cache_core::config::SettingName::ALL {
        let _ = write!(text, "\n\n  {}, {}\n", name.key(), name.variable());
        let mut width = 0;
        for word in name.help().split(' ') {
            let separator = if width == 0 || width + word.len() > 80 {
                width = 0;
                if text.ends_with('\n') {
                    "      "
                } else {
                    "\n      "
                }
            } else {
                " "
            };
            let _ = write!(text, "{separator}{word}");
            width += word.len() + 1;
        }
    }
    text
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "cargo-cachewrap",
    bin_name = "cargo cachewrap",
    version,
    about = "Looks after the compilation cache that RUSTC_WRAPPER=cachewrap fills",
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) subcommand: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Show hits, misses, bypasses, time saved, and the size of the cache
    ///
    /// Counted is since the cache was made or --zero. In Prometheus' format --zero does not show, so that what
    /// is counted never decreases.
    Stats(StatsArgs),
    /// Tell how much of the last build was served from the cache, and why the rest was not
    ///
    /// The last build is the last one in which cargo asked for a unit. With UNIT, units of any build
    /// whose name contains it; the reasons are those that `stats` counts.
    Explain(ExplainArgs),
    /// Write a page that shows the last builds: what was served or run, when and why
    ///
    /// One HTML file that asks for nothing else, so that it can be kept, sent and printed: units over time, the
    /// critical path, why units were not served, what cost most, how builds compare, and what is in the cache. It
    /// holds names, paths and reasons of the builds, and values of variables where one changed.
    Report(ReportArgs),
    /// Remove entries until the cache is small enough
    ///
    /// Entries that were never hit go first, then those not used for the longest time.
    /// Before any entry goes to make room, outputs are compressed, which costs a later hit a
    /// little. Results whose files are missing, and files that nothing refers to, go as well.
    ///
    /// Without options what the settings say is done (max-size, max-age, toolchain-max-age and
    /// keep-free-space), as the cache does by itself in the background. What is told of each rule is
    /// how many results it removed, and their size.
    Prune(PruneArgs),
    /// Remove everything in the cache, and the counters
    ///
    /// Only a directory that cachewrap made is cleared, and only what this release stored there.
    Clear,
    /// Show the settings and where they come from
    #[command(long_about = config_help())]
    Config(ConfigArgs),
    /// Read everything in the cache and report what is damaged
    ///
    /// Damaged entries are never served: each is checked when it is used, and only costs a
    /// compile. The exit status is 1 if something was found and not repaired.
    Verify(VerifyArgs),
    /// Serve metrics for Prometheus, and whether the cache is in order, over HTTP
    ///
    /// /metrics is what `stats --format prometheus` prints; /healthz tells in JSON whether the cache can be
    /// written to, what space is left and when it was last collected, with status 503 if builds cannot
    /// store. There is nothing else, and whoever reaches the address may read it. Ends at SIGTERM and
    /// SIGINT.
    Serve(ServeArgs),
    /// Share results with other machines: keys, and how it goes
    ///
    /// Where results are shared is set by `CACHEWRAP_REMOTE` or in the configuration file; docs/remote.md says how.
    #[command(subcommand)]
    Remote(RemoteArgs),
    /// Send to the remote what is still to be sent
    ///
    /// What was made here is sent while builds go on. A machine that ends with its build, as in continuous
    /// integration, runs this last. The exit status is 1 if something is left.
    Push,
    /// Fetch from the remote what a build here will most likely need
    ///
    /// What builds with the same Cargo.lock needed, else builds of the same workspace, is known to the remote since
    /// a machine that builds it ran `push`. A build does not need this: it asks for what it needs. Fetching
    /// everything at once is faster where the remote is far away.
    Pull(PullArgs),
    /// Check that everything is in place: wrapper, directory, toolchain, system
    ///
    /// The exit status is 1 if the cache cannot work as things are.
    Doctor,
    /// Let cargo use the cache, by `build.rustc-wrapper` in a cargo configuration file
    ///
    /// Without --global or --path the file is .cargo/config.toml in the root of the current
    /// workspace. Comments and formatting of the file stay.
    Setup(SetupArgs),
    /// Print a completion script for a shell
    ///
    /// For bash: cargo cachewrap completions bash > ~/.local/share/bash-completion/completions/cargo-cachewrap
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// How to print it; `prometheus` is the text format that Prometheus reads
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
    /// Let the counters begin at zero again after showing them; the cache stays
    #[arg(long)]
    pub(super) zero: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Json,
    Prometheus,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A crate or package, or a part of its name
    pub(super) unit: Option<String>,
    /// Tell of all builds that are remembered, the last 200
    #[arg(long, conflicts_with = "unit")]
    pub(super) all: bool,
    /// Show each argument, variable and other part of a key in which a unit differs from the last time
    #[arg(long)]
    pub(super) diff: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Show the page in a browser, if the system has a program for that
    #[arg(long, conflicts_with = "json")]
    pub(super) open: bool,
    /// How many builds to show, the newest ones; 200 are remembered
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) last: u16,
    /// Where to write it; - is standard output [default: cachewrap/report.html in the target directory, or
    /// cachewrap-report.html where there is none; of JSON, standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Print JSON with the same content; docs/report.schema.json describes it
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The size to come down to, such as 10G, 512MiB or 0
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max: Option<u64>,
    /// Remove entries not used for so long, such as 30d, 12h or "2weeks 1day"
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<Duration>,
    /// Remove what this toolchain produced: a part of its version or directory, such as 1.85.0
    /// or nightly, or the beginning of its digest, as `stats` shows them; may be repeated
    #[arg(long, value_name = "TOOLCHAIN")]
    pub(super) toolchain: Vec<String>,
    /// Remove from the remote what was written there so long ago, instead of from the cache here
    ///
    /// For engines that nobody else empties: directories, and buckets without rules of their own. Redis, memcached and the
    /// like remove by themselves what they have no room for. What is still needed is made again.
    #[arg(long, requires = "older_than", conflicts_with_all = ["max", "toolchain"])]
    pub(super) remote: bool,
    /// Only tell what would be done; what compressing would save is estimated
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Remove what is damaged
    #[arg(long)]
    pub(super) repair: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9187", value_parser = address)]
    pub(super) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// How much to fetch at most, such as 2G; by default half of the cache's bound
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum RemoteArgs {
    /// Make a key that signs what is sent, and say what to set
    ///
    /// Results are taken only if they are signed by a key that is trusted. A machine that sends has the
    /// secret key, in a file; those that read name the public one.
    Keygen(KeygenArgs),
    /// Show what is set, and what the remote was good for
    ///
    /// The exit status is 1 if nothing can be taken from it as things are.
    Status(RemoteStatusArgs),
    /// Write and read a small object, and show how long each step takes
    Probe,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// The file for the secret key, which must not be there yet
    /// [default: cachewrap/remote-sign.key in the directory of configurations]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RemoteStatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// Undo an earlier setup of the same file
    #[arg(long)]
    pub(super) undo: bool,
    /// Edit the configuration in cargo's home, which holds for all projects of this user
    #[arg(long, conflicts_with = "path")]
    pub(super) global: bool,
    /// Edit this configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) path: Option<PathBuf>,
    /// Replace another wrapper that is set; --undo puts it back
    #[arg(long, conflicts_with = "undo")]
    pub(super) force: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected an address and a port, such as 127.0.0.1:9187 or [::1]:9187";
    text.parse().map_err(|_| expected.to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as 10G, 512MiB or 1.5T".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_setting_is_explained() {
        let help = config_help();
        for name in cache_core::config::SettingName::ALL {
            let title = format!("  {}, {}", name.key(), name.variable());
            assert!(help.lines().any(|line| line == title), "{name:?}");
        }
        assert!(help.lines().all(|line| line.len() <= 88), "{help}");
    }
}
