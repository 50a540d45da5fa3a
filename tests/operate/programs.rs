//! Foreign programs that judge: found, run, and what they said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::skipped;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The gateway.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A path of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// The first of a program's places where it is; None, told, where it is at none and nobody promised it.
pub(crate) fn program(test: &str, name: &str, others: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|directory| directory.join(name)).chain(others.iter().cloned());
    let found = places.into_iter().find(|place| place.exists());
    if found.is_none() {
        let must = ["TIDEGATE_TEST_PARTS", "CI"].iter().any(|promise| std::env::var_os(promise).is_some());
        assert!(!must, "{name} is not installed; scripts/install-test-parts installs it");
        skipped(test, &format!("{name} is not installed (scripts/test installs it)"));
    }
    found
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"))
}

/// What it said, all of it; it must have succeeded.
pub(crate) fn said(command: &mut Command) -> String {
    let output = run(command);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}
