//! What the process works with: its environment, the store, and what is set about the remote.

use cache_core::remote::{Mode, Settings};
use cache_core::{Config, Environment, Store};

/// Read once, where a command begins.
pub(crate) struct Context {
    pub(crate) env: Environment,
    pub(crate) store: Store,
    pub(crate) settings: Settings,
}

impl Context {
    /// Reads what the wrapper reads; otherwise says what is missing.
    pub(crate) fn load() -> Result<Self, String> {
        let env = Environment::of_process();
        let config = Config::load(&env).config;
        let settings = Settings::of(&config).map_err(|e| e.to_string())?;
        let settings = settings.ok_or("no remote is set: see CACHEWRAP_REMOTE")?;
        if *config.read_only {
            return Err("the cache is read-only (CACHEWRAP_READ_ONLY)".to_owned());
        }
        let store = Store::new(&config.dir.value, false);
        Ok(Self {
            env,
            store,
            settings,
        })
    }

    /// The same for a command that writes to the remote.
    pub(crate) fn for_writing() -> Result<Self, String> {
        let context = Self::load()?;
        if context.settings.address.mode != Mode::Write {
            return Err("the remote is only read: its URL has no mode=write".to_owned());
        }
        Ok(context)
    }
}
