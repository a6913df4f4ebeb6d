//! Declares the command line: global options and verbs. A verb's own arguments lie beside the verb, in `commands`.

use crate::commands;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// What stands under the verbs.
const BEGIN: &str = "Start here:  medeclipse init && medeclipse up --detach && medeclipse deploy\n\
                  In trouble:  medeclipse status      what serves, and what is being waited for\n\
                  \x20            medeclipse explain     why the last deployment ended as it did\n\
                  \x20            medeclipse rollback    back to the last proven release\n\n\
                  Global options can be set as MEDECLIPSE_MANIFEST, _STATE, _ENV, _JSON, _QUIET and _TIMEOUT.";

/// Ships a web service without dropping a request, judges the new release on real traffic, and takes it back by
/// itself.
#[derive(Debug, Parser)]
#[command(
    name = "medeclipse",
    version,
    infer_long_args = false,
    disable_help_subcommand = true,
    after_long_help = format!("{BEGIN}\n\n{}", crate::exit::help()),
    after_help = BEGIN
)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The manifest.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MEDECLIPSE_MANIFEST",
        hide_env = true,
        default_value = "./medeclipse.toml"
    )]
    pub manifest: PathBuf,
    /// Where the environment keeps its state.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MEDECLIPSE_STATE",
        hide_env = true,
        default_value = "./.medeclipse"
    )]
    pub state: PathBuf,
    /// The environment of the manifest.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MEDECLIPSE_ENV",
        hide_env = true,
        default_value = "local"
    )]
    pub env: String,
    /// Write JSON for programs.
    #[arg(long, global = true, env = "MEDECLIPSE_JSON", hide_env = true, value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Show no progress.
    #[arg(long, global = true, env = "MEDECLIPSE_QUIET", hide_env = true, value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// Stop waiting after this long: 30s, 10m.
    #[arg(long, global = true, value_name = "DURATION", env = "MEDECLIPSE_TIMEOUT", hide_env = true, value_parser = crate::units::duration)]
    pub timeout: Option<Duration>,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(commands::up::Args),
    Down(commands::down::Args),
    Upgrade(commands::upgrade::Args),
    Plan(commands::plan::Args),
    Deploy(commands::deploy::Args),
    Status(commands::status::Args),
    Rollback(commands::rollback::Args),
    Promote(commands::operate::PromoteArgs),
    Abort(commands::operate::AbortArgs),
    Pause(commands::operate::PauseArgs),
    Resume(commands::operate::ResumeArgs),
    Maintenance(commands::maintenance::Args),
    Scale(commands::scale::Args),
    History(commands::history::Args),
    Explain(commands::explain::Args),
    Replay(commands::replay::Args),
    Logs(commands::logs::Args),
    Simulate(commands::simulate::Args),
    Lint(commands::lint::Args),
    Doctor(commands::doctor::Args),
    Infra(commands::infra::Args),
    Init(commands::init::Args),
    Completions(commands::completions::Args),
    Demo(crate::demo::Args),
    Load(commands::load::Args),
    #[command(hide = true)]
    Internal(commands::internal::Args),
}
