//! The token that a command shows to a gateway that asks for one: from a file, or from the environment; never from the command line, which
//! every process of the machine can read, and the shell's history keeps.
//!
//! Without: what a token says; that is the gateway's to judge.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

/// Where a token is looked for without `--token-file`.
const VARIABLE: &str = "TIDEGATE_TOKEN";
/// The gateway's own bound may be less: `token_bytes_max`.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// What a command takes that connects to a gateway.
#[derive(Debug, Default, Args)]
pub(super) struct TokenArgs {
    /// File with a token (JWT) for a gateway that asks for one; without it TIDEGATE_TOKEN of the environment, where that is set
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Where a token comes from. A file is read anew for each connection: whoever issues short tokens writes them there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum TokenSource {
    /// None is shown.
    #[default]
    None,
    /// This file's only line.
    File(PathBuf),
    /// What the environment holds.
    Environment(String),
}

/// Why there is no token to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("the token's file {} cannot be read ({source}); check its path and its permissions", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{place} holds no token; it must hold one, as visible ASCII characters without spaces, and nothing else")]
    Unusable { place: String },
}

impl TokenArgs {
    /// As the command line and the environment have it. A variable that is empty is none.
    pub(super) fn source(&self) -> TokenSource {
        match (&self.token_file, std::env::var(VARIABLE)) {
            (Some(file), _) => TokenSource::File(file.clone()),
            (None, Ok(token)) if !token.trim().is_empty() => TokenSource::Environment(token),
            _ => TokenSource::None,
        }
    }
}

impl TokenSource {
    /// Whether there is one to show.
    pub(super) fn is_some(&self) -> bool {
        *self != TokenSource::None
    }

    /// The token, as it is now.
    ///
    /// # Errors
    /// Its file cannot be read, or what is there is no token.
    pub(super) fn read(&self) -> Result<Option<String>, TokenFault> {
        let (text, place) = match self {
            TokenSource::None => return Ok(None),
            TokenSource::Environment(text) => (text.clone(), VARIABLE.to_owned()),
            TokenSource::File(file) => {
                let unreadable = |source| TokenFault::Unreadable { file: file.clone(), source };
                (read_bounded(file).map_err(unreadable)?, format!("the token's file {}", file.display()))
            }
        };
        let token = text.trim();
        // Whatever else stood in the request's head would be the sender's own words there.
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(Some(token.to_owned())) } else { Err(TokenFault::Unusable { place }) }
    }
}

/// No more than a token can have: a wrong path may lead to something endless.
fn read_bounded(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)?.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Without the token itself.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::None => f.write_str("None"),
            TokenSource::File(file) => write!(f, "File({file:?})"),
            TokenSource::Environment(_) => f.write_str("Environment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_its_file_is_read_each_time() {
        let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
        let file = directory.path().join("token");
        let source = TokenSource::File(file.clone());
        let said = source.read().expect_err("it is not there").to_string();
        assert!(said.contains("cannot be read") && said.contains("token"), "{said}");
        for (text, token) in
            [("a.b.c\n", Some("a.b.c")), (" d.e.f\r\n", Some("d.e.f")), ("", None), ("a b", None), ("a\nb", None), ("é", None)]
        {
            std::fs::write(&file, text).expect("it can be written");
            let read = source.read();
            assert_eq!(read.as_ref().ok().and_then(|token| token.as_deref()), token, "{text:?}: {read:?}");
            if let Err(fault) = read {
                assert!(fault.to_string().contains("holds no token"), "{fault}");
            }
        }
        assert_eq!(TokenSource::None.read().expect("none is asked for"), None);
        let held = TokenSource::Environment("x.y.z".into());
        assert!(!format!("{held:?}").contains("x.y.z") && held.is_some() && !TokenSource::None.is_some());
    }
}
