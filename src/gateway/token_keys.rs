//! The files of keys that tokens are signed with, read at start.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::admission::{Key, KeyError, Keys};
use crate::config::Config;

/// Why a key cannot be used: which file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// A file that cannot be read.
    #[error("the token key {} cannot be read ({error}); check its path and its permissions", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that was read and cannot be used.
    #[error("the token key {} {error}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// Why.
        error: KeyError,
    },
}

/// Reads all keys that the configuration names.
///
/// # Errors
/// The first that cannot be used.
pub(crate) fn load(config: &Config) -> Result<Keys, TokenKeyError> {
    let read = |key: &crate::config::TokenKey| {
        let file = &key.file;
        let bytes = fs::read(file).map_err(|error| TokenKeyError::Unreadable { file: file.clone(), error })?;
        let unusable = |error| TokenKeyError::Unusable { file: file.clone(), error };
        Key::read(key.algorithm, key.kid.as_deref(), &bytes).map_err(unusable)
    };
    config.tokens.keys.iter().map(read).collect()
}
