//! What is set about a remote.

use super::address::{Address, Mode};
use super::trust::{SecretKey, Trust};
use crate::config::Config;
use crate::error::PathError;
use crate::formats::digest::Digest;
use crate::os::fs;

/// What an object of ours holds by which it is told whether anything can be read and written.
pub const MARK: &[u8] = b"cachewrap\n";

/// What is set about a remote.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// Whom results are taken from.
    pub trust: Trust,
    /// What is sent is signed with this.
    pub key: Option<SecretKey>,
    /// The longest result that is taken, bytes.
    pub room: u64,
}

/// Why a remote that is set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file with the key cannot be read.
    #[error("failed to {0}")]
    Unreadable(#[from] PathError),
    /// There is no key in it.
    #[error("{0} does not hold a key that `cargo cachewrap remote keygen` made")]
    NoKey(String),
}

impl Settings {
    /// What is set; `None` if no remote is. Reads the file with the key if there is one, and what is
    /// made here is sent.
    pub fn of(config: &Config) -> Result<Option<Self>, SettingsError> {
        let Some(address) = config.remote.value.clone() else {
            return Ok(None);
        };
        let mut key = config.remote_sign_key.value.clone();
        if key.is_none()
            && address.mode == Mode::Write
            && let Some(path) = &config.remote_sign_key_file.value
        {
            let text = fs::read(path)?;
            let read = std::str::from_utf8(&text).ok().and_then(SecretKey::parse);
            key = Some(read.ok_or_else(|| SettingsError::NoKey(path.display().to_string()))?);
        }
        let mut keys = config.remote_trusted.value.clone();
        // What was made here is trusted here.
        keys.extend(key.as_ref().map(SecretKey::public));
        Ok(Some(Self {
            trust: if *config.remote_trust {
                Trust::Bucket
            } else {
                Trust::Keys(keys)
            },
            address,
            key,
            room: *config.max_size / 4,
        }))
    }

    /// The name of the object that holds [`MARK`].
    pub fn mark(&self) -> String {
        format!("cw1/{}/probe", self.address.namespace)
    }

    /// What the place is called in the store: a few digits, whatever may be done there and for whom.
    pub fn name(&self) -> String {
        let mut place = self.address.clone();
        (place.mode, place.namespace) = (Mode::Read, String::new());
        let mut hex = Digest::of(place.to_string().as_bytes()).to_hex();
        hex.truncate(16);
        hex
    }
}
