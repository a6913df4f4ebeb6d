//! `completions`: the script that lets a shell complete our verbs and options.

use crate::args::Cli;
use crate::exit;
use clap::CommandFactory;

/// Write the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse completions bash > /etc/bash_completion.d/medeclipse")]
pub struct Args {
    pub shell: clap_complete::Shell,
}

pub fn run(args: Args) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "medeclipse", &mut script);
    crate::output::line(String::from_utf8_lossy(&script).trim_end());
    exit::DONE
}
