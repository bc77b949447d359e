//! What every subcommand starts from.

use std::path::PathBuf;
use std::time::Duration;

use cache_core::config::Loaded;
use cache_core::{Config, Environment, Store};

use super::output::{Failure, Out};

/// The process's surroundings, read once.
pub(super) struct Context {
    pub(super) env: Environment,
    pub(super) cwd: PathBuf,
    /// The program itself, where the system tells.
    pub(super) program: Option<PathBuf>,
    pub(super) out: Out,
}

impl Context {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the process"
    )]
    pub(super) fn of_process() -> Result<Self, Failure> {
        let env = Environment::of_process();
        let cwd = std::env::current_dir();
        Ok(Self {
            cwd: cwd.map_err(|e| Failure::Failed(format!("no current directory: {e}")))?,
            program: std::env::current_exe().ok(),
            out: Out::of_process(&env),
            env,
        })
    }

    /// The settings; what is wrong with them is an error here. Of names that mean nothing only `config`
    /// and `doctor` speak.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let Loaded {
            config, problems, ..
        } = Config::load(&self.env);
        if problems.is_empty() {
            return Ok(config);
        }
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Err(Failure::Usage(problems.join("\nerror: ")))
    }
}

/// For how long what was compiled just now may be on its way into the store.
const KEEPING: Duration = Duration::from_secs(10);

/// The store that the settings name, with what was compiled up to now in it.
pub(super) fn store(config: &Config) -> Store {
    let store = Store::new(&*config.dir, *config.read_only);
    if !store.wait_for_keepers(KEEPING) {
        eprintln!("note: what was compiled last is still being stored, and may be missing here");
    }
    store
}
