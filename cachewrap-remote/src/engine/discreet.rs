//! No secret in what is said.
//!
//! Texts of libraries may quote what they were given, an address with a signature in it say. So whatever an engine says is
//! searched for the values of the variables in which its credentials are, and for what looks like a signature.

use std::os::unix::ffi::OsStrExt as _;

use cache_core::Environment;
use cache_core::remote::{Condition, Engine, EngineError, Listed, Object, Written};

/// What the names of variables contain whose values are secret.
const SECRET: &[&str] = &[
    "KEY",
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "SAS",
    "CREDENTIAL",
    "CONNECTION_STRING",
];

/// Options of addresses that are signatures, or parts of one.
const SIGNED: &[&str] = &[
    "sig=",
    "X-Amz-Signature=",
    "X-Amz-Security-Token=",
    "X-Goog-Signature=",
];

/// Values shorter than this are words that occur by chance.
const SHORTEST: usize = 4;

/// What is said in the place of a secret.
const HIDDEN: &str = "***";

/// An engine whose errors hold no secret.
pub(super) struct Discreet {
    engine: Box<dyn Engine>,
    secrets: Vec<String>,
}

impl Discreet {
    pub(super) fn new(engine: Box<dyn Engine>, env: &Environment) -> Self {
        let is_secret = |name: &str| SECRET.iter().any(|part| name.contains(part));
        let mut secrets: Vec<String> = env
            .iter()
            .filter(|(name, _)| std::str::from_utf8(name.as_bytes()).is_ok_and(is_secret))
            .filter_map(|(_, value)| Some(value.to_str()?.to_owned()))
            .filter(|value| value.len() >= SHORTEST)
            .collect();
        // One may be the beginning of another.
        secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { engine, secrets }
    }

    fn clean(&self, mut error: EngineError) -> EngineError {
        for secret in &self.secrets {
            if error.what.contains(secret.as_str()) {
                error.what = error.what.replace(secret.as_str(), HIDDEN);
            }
        }
        for name in SIGNED {
            error.what = without_values(&error.what, name);
        }
        error
    }
}

/// A text without what follows a name, as far as it may be a value of an address.
fn without_values(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_value = |c: char| !c.is_whitespace() && !"&\"')".contains(c);
        clean.extend([name, HIDDEN, part.trim_start_matches(is_value)]);
    }
    clean
}

impl Engine for Discreet {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        self.engine.get(name, most).map_err(|e| self.clean(e))
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        self.engine.has(name).map_err(|e| self.clean(e))
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        let written = self.engine.put(name, bytes, condition);
        written.map_err(|e| self.clean(e))
    }

    fn gathers(&self) -> bool {
        self.engine.gathers()
    }

    fn begin(&self) {
        self.engine.begin();
    }

    fn finish(&self, is_used: &dyn Fn(&str) -> bool) -> Result<(), EngineError> {
        self.engine.finish(is_used).map_err(|e| self.clean(e))
    }

    fn list(&self, below: &str) -> Result<Option<Vec<Listed>>, EngineError> {
        self.engine.list(below).map_err(|e| self.clean(e))
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        self.engine.remove(name).map_err(|e| self.clean(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::remote::Trouble;

    #[test]
    fn secrets_are_hidden() {
        let mut env = Environment::default();
        env.set("AWS_SECRET_ACCESS_KEY", "abcdef");
        env.set("REDIS_PASSWORD", "abcdefgh");
        env.set("HOME", "/home/me");
        let error = EngineError::new(
            Trouble::Denied,
            "abcdefgh, abcdef and /home/me: http://h/x?sv=1&sig=s%2Fx&se=2 (sig=y)",
        );
        let unusable = Box::new(super::super::Unusable(error));
        let said = Discreet::new(unusable, &env).has("x").unwrap_err();
        let clean = "***, *** and /home/me: http://h/x?sv=1&sig=***&se=2 (sig=***)";
        assert_eq!((said.trouble, said.what.as_str()), (Trouble::Denied, clean));
    }
}
