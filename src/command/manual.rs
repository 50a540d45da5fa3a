//! What an installation puts beside the binary: completions for shells, and the manual's pages.
//!
//! Both are made of the command line's own definition, so that they tell of nothing else. Without: where they belong, which
//! scripts/install knows.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, CommandError, print};

const NAME: &str = "tidegate";

/// When what the pages say last changed: a page is to bear a date, and the same source gives the same bytes.
const DATE: &str = "2026-11-22";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Writes the pages of all commands into this directory, in place of printing the first
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// The script that has a shell complete the command line.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print(&text(script))
}

/// The manual, as roff.
pub(super) fn man(args: &ManArgs) -> Result<(), CommandError> {
    // `help` repeats what each page says.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let pages = pages(NAME, &command);
    let Some(directory) = &args.directory else { return print(&pages[0].1) };
    for (name, page) in pages {
        let file = directory.join(format!("{name}.1"));
        fs::write(&file, page).map_err(|source| CommandError::Unwritable { what: "a page of the manual", file, source })?;
    }
    Ok(())
}

/// The pages of a command and of all below it, by their names: `tidegate`, `tidegate-serve`.
fn pages(name: &str, command: &clap::Command) -> Vec<(String, String)> {
    let page = Man::new(command.clone()).title(name).date(DATE).source(concat!("tidegate ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    page.manual("tidegate").render(&mut roff).expect("a Vec takes every write");
    let below = command.get_subcommands().flat_map(|below| pages(&format!("{name}-{}", below.get_name()), below));
    std::iter::once((name.to_owned(), text(roff))).chain(below).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("what is made of text is text")
}
