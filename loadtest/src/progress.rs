//! How far a run is, on standard error: a bar where that is a terminal, else a line for each stage.
//!
//! Without: results, which go to standard output. With `--json` and no terminal it says nothing.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second: more costs the generator's core.
const DRAWS_PER_SECOND: u8 = 4;

/// Says how far a run is.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// No terminal: a line at each stage's beginning.
    lines: bool,
}

impl Progress {
    /// `json`: standard output is for programs, so only a person at a terminal is told.
    pub(crate) fn new(json: bool) -> Progress {
        Progress::with(io::stderr().is_terminal(), json)
    }

    fn with(terminal: bool, json: bool) -> Progress {
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3} %  {msg}").expect("the template is right");
        bar.set_style(style.progress_chars("=> "));
        Progress { bar, lines: !terminal && !json }
    }

    /// A stage begins, of so many steps.
    pub(crate) fn stage(&self, what: &str, steps: u64) {
        if self.lines {
            eprintln!("{what} ...");
        }
        self.bar.set_length(steps);
        self.bar.set_position(0);
        self.bar.set_message("");
        self.bar.set_prefix(what.to_owned());
    }

    /// So many of the stage's steps are done. `said`: what can be told by now.
    pub(crate) fn at(&self, step: u64, said: impl FnOnce() -> String) {
        self.bar.set_position(step);
        if !self.bar.is_hidden() {
            self.bar.set_message(said());
        }
    }
}

impl Drop for Progress {
    /// Results stand alone.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_nothing_and_files_get_lines() {
        assert!(!Progress::with(false, true).lines, "--json in a pipe is quiet");
        assert!(!Progress::with(true, false).lines, "a terminal has a bar in their place");
        let piped = Progress::with(false, false);
        assert!(piped.lines && piped.bar.is_hidden());
        piped.stage("measuring", 10);
        piped.at(5, || panic!("nobody looks at a hidden bar"));
        assert_eq!((piped.bar.position(), piped.bar.length()), (5, Some(10)));
    }
}
