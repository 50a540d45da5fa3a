//! `tidegate-loadtest report`: runs that were saved with `--json`, on one page.

use std::io;
use std::path::{Path, PathBuf};

use crate::figures::Figures;

/// What to put on a page.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs as --json prints them, one a line; a file may hold many. Runs of one scenario with the same parameters stand side by
    /// side, by label; of several with the same label the median stands
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Where to write the page
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its heading
    #[arg(long, default_value = "Load test")]
    title: String,
    /// A sentence below the heading, as which machine it was
    #[arg(long)]
    note: Option<String>,
}

/// Writes the page; says where.
pub(crate) fn run(arguments: &Arguments) -> io::Result<String> {
    let mut runs = Vec::new();
    for path in &arguments.runs {
        let text = std::fs::read_to_string(path).map_err(|error| about(path, &error))?;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("{}, line {}", path.display(), index + 1);
            let figures: Figures = serde_json::from_str(line)
                .map_err(|error| io::Error::other(format!("{}: not a run as --json prints it: {error}", place())))?;
            runs.push(figures);
        }
    }
    write(&arguments.out, &runs, &arguments.title, arguments.note.as_deref())?;
    Ok(format!("{} runs on {}", runs.len(), arguments.out.display()))
}

/// Writes the page of these runs.
pub(crate) fn write(out: &Path, runs: &[Figures], title: &str, note: Option<&str>) -> io::Result<()> {
    std::fs::write(out, super::render(runs, title, note)).map_err(|error| about(out, &error))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
