//! The files of the admin port's keys, read at start and at each reload.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::certificates::warn_of_readers;
use crate::admin::{Key, KeyFault, Keys};
use crate::config::Config;

/// Why a key of the admin port cannot be used: which file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("the file {} of the admin.key {name:?} cannot be read ({error}); check its path and its permissions", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Whose.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// It was read and is none.
    #[error("the file {} of the admin.key {name:?} {fault}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// Whose.
        name: String,
        /// Why.
        fault: KeyFault,
    },
}

/// Reads the files of all keys. With what is risky about them, one sentence each.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn load(config: &Config) -> Result<(Keys, Vec<String>), SecretError> {
    let (mut keys, mut warnings) = (Vec::new(), Vec::new());
    for settings in &config.admin.keys {
        let (file, name) = (settings.secret_file.clone(), settings.name.clone());
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => return Err(SecretError::Unreadable { file, name, error }),
        };
        // A hash is no secret.
        if !text.starts_with("sha256:") {
            warn_of_readers("The key of the admin port", &file, &mut warnings);
        }
        keys.push(Key::new(settings, &text).map_err(|fault| SecretError::Unusable { file, name, fault })?);
    }
    Ok((Keys::new(keys), warnings))
}
