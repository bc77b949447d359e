//! Reading the settings from the environment and the file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use toml::Value;

use super::values;
use super::{Config, ConfigProblem, Loaded, Origin, SettingName, UnknownName};
use crate::os::env::Environment;
use crate::os::fs;

/// The one variable that has no counterpart in the file.
const CONFIG_VARIABLE: &str = "CACHEWRAP_CONFIG";

/// The table that settings may stand in.
const REMOTE: &str = "remote";

impl Config {
    /// Loads the settings; never fails, see the module's documentation.
    ///
    /// ```
    /// use cache_core::{Config, Environment};
    /// use cache_core::config::Origin;
    /// let env: Environment = [("HOME", "/nonexistent"), ("CACHEWRAP_MAX_SIZE", "2G")]
    ///     .into_iter()
    ///     .collect();
    /// let loaded = Config::load(&env);
    /// assert!(loaded.problems.is_empty());
    /// assert_eq!(*loaded.config.max_size, 2_000_000_000);
    /// assert_eq!(loaded.config.max_size.origin, Origin::Variable("CACHEWRAP_MAX_SIZE"));
    /// ```
    pub fn load(env: &Environment) -> Loaded {
        let home = absolute(env, "HOME");
        let caches = absolute(env, "XDG_CACHE_HOME");
        let caches = caches.or_else(|| Some(home.as_ref()?.join(".cache")));
        let mut loader = Loader {
            loaded: Loaded {
                config: Config::new(caches.map_or_else(PathBuf::new, |dir| dir.join("cachewrap"))),
                problems: Vec::new(),
                unknown: Vec::new(),
            },
            home,
        };
        loader.file(env);
        loader.environment(env);
        let Loaded {
            config, problems, ..
        } = &mut loader.loaded;
        if config.dir.as_os_str().is_empty() {
            config.disable.value = true;
            problems.push(ConfigProblem::NoDir);
        }
        loader.loaded
    }
}

struct Loader {
    loaded: Loaded,
    home: Option<PathBuf>,
}

impl Loader {
    fn file(&mut self, env: &Environment) {
        let named = env.get_nonempty(CONFIG_VARIABLE);
        let path = match named {
            Some(text) => values::path(text, self.home.as_deref()),
            None => absolute(env, "XDG_CONFIG_HOME")
                .or_else(|| Some(self.home.as_ref()?.join(".config")))
                .map(|dir| dir.join("cachewrap/config.toml")),
        };
        let Some(path) = path else {
            if let Some(value) = named {
                self.bad_value(CONFIG_VARIABLE.into(), SettingName::Dir, value);
            }
            return;
        };
        match fs::read(&path) {
            Ok(bytes) => self.toml(&path, &bytes),
            Err(e) if e.is_not_found() && named.is_none() => {}
            Err(e) => self.loaded.problems.push(e.into()),
        }
    }

    fn toml(&mut self, path: &Path, bytes: &[u8]) {
        let table = std::str::from_utf8(bytes)
            .map_err(|e| e.to_string())
            .and_then(|text| text.parse::<toml::Table>().map_err(|e| e.to_string()));
        let table = match table {
            Ok(table) => table,
            Err(reason) => {
                let path = path.to_owned();
                let reason = reason.trim_end().to_owned();
                let problem = ConfigProblem::NotToml { path, reason };
                return self.loaded.problems.push(problem);
            }
        };
        for (key, value) in in_one_table(table) {
            let spelled = key.replace('_', "-");
            let Some(name) = SettingName::ALL
                .iter()
                .copied()
                .find(|name| name.key() == spelled)
            else {
                let path = path.to_owned();
                self.loaded.unknown.push(UnknownName::Key { key, path });
                continue;
            };
            let what = format!("{key} in {}", path.display());
            match plain_text(&value) {
                Some(text) => self.apply(name, OsStr::new(&text), &Origin::File(path.into()), what),
                None => self.bad_value(what, name, OsStr::new(&value.to_string())),
            }
        }
    }

    fn environment(&mut self, env: &Environment) {
        let ours = env
            .iter()
            .filter(|(name, _)| name.as_bytes().starts_with(b"CACHEWRAP_"));
        for (variable, value) in ours {
            let known = SettingName::ALL
                .iter()
                .copied()
                .find(|name| name.variable() == variable);
            match known {
                Some(name) if !value.is_empty() => {
                    let variable = name.variable();
                    self.apply(name, value, &Origin::Variable(variable), variable.into());
                }
                Some(_) => {}
                None if variable == CONFIG_VARIABLE => {}
                None => {
                    let name = variable.to_string_lossy().into_owned();
                    self.loaded.unknown.push(UnknownName::Variable(name));
                }
            }
        }
    }

    fn apply(&mut self, name: SettingName, value: &OsStr, origin: &Origin, what: String) {
        let home = self.home.as_deref();
        let config = &mut self.loaded.config;
        if config.set(name, value, home, origin).is_none() {
            self.bad_value(what, name, value);
        }
    }

    fn bad_value(&mut self, what: String, name: SettingName, value: &OsStr) {
        let value = if name.is_secret() {
            "(not shown)".to_owned()
        } else {
            value.to_string_lossy().into_owned()
        };
        self.loaded.problems.push(ConfigProblem::BadValue {
            what,
            value,
            accepted: name.accepted(),
        });
    }
}

/// The table with what is in its `[remote]` under the names of settings.
fn in_one_table(table: toml::Table) -> Vec<(String, Value)> {
    let mut flat = Vec::with_capacity(table.len());
    for (key, value) in table {
        match value {
            Value::Table(inner) if key == REMOTE => {
                flat.extend(inner.into_iter().map(|(key, value)| match key.as_str() {
                    "url" => (REMOTE.to_owned(), value),
                    key => (format!("{REMOTE}-{key}"), value),
                }));
            }
            value => flat.push((key, value)),
        }
    }
    flat
}

/// The value as it would be written in a variable.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(n) => Some(n.to_string()),
        Value::Boolean(b) => Some(b.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn absolute(env: &Environment, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env.get_nonempty(name)?);
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::DEFAULT_MAX_SIZE;

    fn load(vars: &[(&str, &str)]) -> Loaded {
        Config::load(&vars.iter().copied().collect())
    }

    fn load_with_file(content: &str, vars: &[(&str, &str)]) -> (Loaded, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, content.as_bytes()).unwrap();
        let mut env: Environment = vars.iter().copied().collect();
        env.set("HOME", "/home/u");
        env.set(CONFIG_VARIABLE, &path);
        (Config::load(&env), path)
    }

    fn messages(loaded: &Loaded) -> Vec<String> {
        loaded.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_follow_xdg() {
        let loaded = load(&[("HOME", "/h")]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        assert_eq!(*loaded.config.dir, Path::new("/h/.cache/cachewrap"));
        assert_eq!(*loaded.config.max_size, 10_000_000_000);

        let loaded = load(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(*loaded.config.dir, Path::new("/x/cachewrap"));
        let loaded = load(&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")]);
        assert_eq!(*loaded.config.dir, Path::new("/h/.cache/cachewrap"));
    }

    #[test]
    fn without_a_home_the_cache_is_disabled() {
        let loaded = load(&[]);
        assert!(*loaded.config.disable);
        assert!(matches!(loaded.problems[..], [ConfigProblem::NoDir]));
        let loaded = load(&[("CACHEWRAP_DIR", "/c")]);
        assert!(!*loaded.config.disable);
        assert!(loaded.problems.is_empty());
    }

    #[test]
    fn the_environment_beats_the_file() {
        let file = "max-size = \"2GiB\"\nread_only = true\nenv = [\"B\", \"A\"]\ndir = \"~/c\"\n";
        let (loaded, path) = load_with_file(file, &[("CACHEWRAP_MAX_SIZE", "5M")]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let config = loaded.config;
        assert_eq!(*config.max_size, 5_000_000);
        assert_eq!(
            config.max_size.origin,
            Origin::Variable("CACHEWRAP_MAX_SIZE")
        );
        assert!(*config.read_only);
        assert_eq!(config.read_only.origin, Origin::File(path));
        assert_eq!(*config.env, ["A", "B"]);
        assert_eq!(*config.dir, Path::new("/home/u/c"));
        assert_eq!(config.gc.origin, Origin::Default);
    }

    #[test]
    fn several_paths_may_be_given() {
        let file = "tool-caches = [\"/a\", \"~/b\"]\n";
        let (loaded, _) = load_with_file(file, &[]);
        let expected = [Path::new("/a"), Path::new("/home/u/b")];
        assert_eq!(*loaded.config.tool_caches, expected);
        let loaded = load(&[("HOME", "/h"), ("CACHEWRAP_TOOL_CACHES", "/a:~/b,/c")]);
        let expected = [Path::new("/a"), Path::new("/h/b"), Path::new("/c")];
        assert_eq!(*loaded.config.tool_caches, expected);
        let loaded = load(&[("HOME", "/h"), ("CACHEWRAP_TOOL_CACHES", "/a:b")]);
        assert_eq!(loaded.problems.len(), 1);
    }

    #[test]
    fn problems_say_what_is_accepted() {
        let loaded = load(&[
            ("HOME", "/nonexistent"),
            ("CACHEWRAP_DIR", "relative"),
            ("CACHEWRAP_GC", "sometimes"),
            ("CACHEWRAP_MAX_SIZE", "0"),
        ]);
        let messages = messages(&loaded);
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert_eq!(
            messages[0],
            "CACHEWRAP_DIR is `relative`; expected an absolute path, or one that starts with ~/"
        );
        assert_eq!(
            messages[1],
            "CACHEWRAP_GC is `sometimes`; expected auto or off"
        );
        assert!(messages[2].contains("such as 10G"));
        assert_eq!(*loaded.config.max_size, DEFAULT_MAX_SIZE);
    }

    #[test]
    fn unknown_names_are_no_problems() {
        let file = "maxsize = 1\nmax_size = \"1G\"\n";
        let (loaded, path) = load_with_file(file, &[("CACHEWRAP_VERSION", "1")]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let key = "maxsize".to_owned();
        let variable = UnknownName::Variable("CACHEWRAP_VERSION".to_owned());
        assert_eq!(loaded.unknown, [UnknownName::Key { key, path }, variable]);
        assert_eq!(*loaded.config.max_size, 1_000_000_000);
    }

    #[test]
    fn problems_of_the_file_name_it() {
        let (loaded, path) = load_with_file("max-size = []\ngc = 3\nlog = 1.5\n", &[]);
        let messages = messages(&loaded);
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(
            messages
                .iter()
                .all(|message| message.contains(&path.display().to_string()))
        );
        let (loaded, _) = load_with_file("max-size = ", &[]);
        assert!(matches!(
            loaded.problems[..],
            [ConfigProblem::NotToml { .. }]
        ));
    }

    #[test]
    fn a_named_file_must_exist() {
        let loaded = load(&[("HOME", "/h"), (CONFIG_VARIABLE, "/nonexistent/c.toml")]);
        assert!(matches!(
            loaded.problems[..],
            [ConfigProblem::Unreadable(_)]
        ));
    }

    #[test]
    fn empty_variables_count_as_unset() {
        let names = SettingName::ALL.iter();
        let vars: Vec<_> = names.map(|name| (name.variable(), "")).collect();
        let mut env: Environment = vars.into_iter().collect();
        env.set("HOME", "/nonexistent");
        let loaded = Config::load(&env);
        assert!(loaded.problems.is_empty());
        let entries = loaded.config.entries();
        assert!(entries.iter().all(|entry| entry.origin == Origin::Default));
    }

    proptest! {
        #[test]
        fn no_file_makes_loading_panic(content in "[a-z-]{1,8} = .{0,20}\n") {
            let _ = load_with_file(&content, &[]);
        }

        #[test]
        fn no_variable_makes_loading_panic(name in 0_usize..11, value in "[^\0]{0,20}") {
            let variable = SettingName::ALL[name].variable();
            let loaded = load(&[("HOME", "/nonexistent"), (variable, &value)]);
            // Either the value was taken or a problem tells why not.
            let entry = &loaded.config.entries()[name];
            let taken = entry.origin == Origin::Variable(variable);
            prop_assert_eq!(taken || value.is_empty(), loaded.problems.is_empty());
        }
    }
}
