//! Carries out verbs. Each has a file with one rhythm: arguments, call, render, exit code.

pub mod completions;
pub mod deploy;
pub mod doctor;
pub mod down;
pub mod dry_run;
pub mod explain;
pub mod history;
pub mod infra;
pub mod init;
pub mod internal;
pub mod lint;
pub mod load;
pub mod logs;
pub mod maintenance;
pub mod operate;
pub mod plan;
pub mod replay;
pub mod rollback;
pub mod scale;
pub mod simulate;
pub mod status;
pub mod up;
pub mod upgrade;

use crate::args::Verb;
use crate::context::Context;
use crate::exit::Failure;

/// Carries out a verb; returns the exit code.
pub async fn run(verb: Verb, context: &Context) -> Result<u8, Failure> {
    match verb {
        Verb::Up(args) => up::run(args, context).await,
        Verb::Upgrade(args) => upgrade::run(args, context).await,
        Verb::Down(args) => down::run(args, context).await,
        Verb::Deploy(args) => deploy::run(args, context).await,
        Verb::Status(args) => status::run(args, context).await,
        Verb::Rollback(args) => rollback::run(args, context).await,
        Verb::Promote(args) => operate::promote(args, context).await,
        Verb::Abort(args) => operate::abort(args, context).await,
        Verb::Pause(args) => operate::pause(args, context).await,
        Verb::Resume(args) => operate::resume(args, context).await,
        Verb::Maintenance(args) => maintenance::run(args, context).await,
        Verb::Scale(args) => scale::run(args, context).await,
        Verb::History(args) => history::run(args, context).await,
        Verb::Explain(args) => explain::run(args, context).await,
        Verb::Replay(args) => replay::run(&args, context),
        Verb::Lint(args) => lint::run(&args, context),
        Verb::Logs(args) => logs::run(args, context).await,
        Verb::Plan(args) => plan::run(args, context).await,
        Verb::Simulate(args) => simulate::run(args, context).await,
        Verb::Doctor(args) => doctor::run(args, context).await,
        Verb::Infra(args) => infra::run(args, context),
        Verb::Init(args) => init::run(args, context),
        Verb::Completions(args) => Ok(completions::run(args)),
        Verb::Demo(args) => crate::demo::run(args, context.json, context.quiet).await,
        Verb::Load(args) => load::run(args, context).await,
        Verb::Internal(_) => unreachable!("BUG: internal verbs are carried out before there is a context"),
    }
}
