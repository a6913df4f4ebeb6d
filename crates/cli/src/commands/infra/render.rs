//! `infra render`: writes Terraform, task definitions, compose and workflow; never over what somebody changed by hand.

use super::{disk, plan_of, refused};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::output;
use infra::lock::{self, Lock, Standing, State};
use infra::render::{Files, render};
use infra::tree::Tree;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Write the infrastructure of an environment as Terraform, and what the repository needs beside it.
///
/// Files go to OUT/ENVIRONMENT/aws (and azure, cloudflare), OUT/bootstrap/aws and OUT/repository. A file that was changed by
/// hand is never overwritten unless it is named with --overwrite.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: medeclipse infra render --env production --out infrastructure\n          medeclipse infra render --env production --out infrastructure --check\n\n\
                  Exit codes: 0 written, 3 somebody changed a file by hand. With --check: 0 the folder is as rendered,\n1 it differs, 2 it could not be checked."
)]
pub struct Args {
    /// The folder to write to.
    #[arg(long, value_name = "DIR", default_value = "infrastructure")]
    out: PathBuf,
    /// Write nothing; say what differs from the folder.
    #[arg(long)]
    check: bool,
    /// A file changed by hand that may be overwritten; may be repeated.
    #[arg(long, value_name = "PATH")]
    overwrite: Vec<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let plan = plan_of(&context.manifest)?;
    let started = Instant::now();
    let files = render(&plan, &context.environment).map_err(|refusal| refused(&[refusal]))?;
    let took = started.elapsed();
    let lock = read_lock(&args.out)?;
    let paths: BTreeSet<String> = files.keys().cloned().chain(lock.paths().map(str::to_owned)).collect();
    let there = disk::read(&args.out, paths)?;
    let standings = lock.standings(&files, &there, &context.environment);
    if args.check {
        return Ok(told(args, context, &standings, &files, &there));
    }
    let edited: Vec<&str> = standings
        .iter()
        .filter(|it| it.state == State::Edited && !args.overwrite.contains(&it.path))
        .map(|it| it.path.as_str())
        .collect();
    if !edited.is_empty() {
        return Err(Failure::new(exit::REFUSED, format!("overwrite {}", edited.join(", ")))
            .because("changed by hand since it was rendered, or never rendered")
            .then("move the change to the manifest or to a custom_*.tf beside it; or name the file with --overwrite PATH"));
    }
    write(args, lock, &standings, &files)?;
    let written = standings.iter().filter(|it| !matches!(it.state, State::Same | State::Abandoned)).count();
    if context.json {
        output::json(&serde_json::json!({
            "environment": context.environment, "out": args.out, "files": standings, "render_ms": took.as_secs_f64() * 1000.0,
        }));
    } else {
        output::line(&format!(
            "{} files, {written} written to {}, rendered in {:.1} ms",
            files.len(),
            args.out.display(),
            took.as_secs_f64() * 1000.0
        ));
        for it in standings.iter().filter(|it| it.state == State::Abandoned) {
            output::line(&format!(
                "left alone: {} is not rendered any more, and was changed by hand",
                it.path
            ));
        }
    }
    Ok(exit::DONE)
}

fn read_lock(out: &Path) -> Result<Lock, Failure> {
    let there = disk::read(out, [lock::NAME.to_owned()])?;
    let Some(bytes) = there.get(lock::NAME) else { return Ok(Lock::default()) };
    Lock::read(&String::from_utf8_lossy(bytes)).map_err(|line| {
        disk::unreadable(&out.join(lock::NAME), format!("line {line} is not `SHA256  PATH`"))
            .then("restore it from your repository; without it every file counts as changed by hand")
    })
}

fn write(args: &Args, mut lock: Lock, standings: &[Standing], files: &Files) -> Result<(), Failure> {
    for it in standings {
        match it.state {
            State::Missing | State::Stale | State::Edited => {
                disk::write(&args.out, &it.path, &files[&it.path])?
            }
            State::Obsolete => disk::remove(&args.out, &it.path)?,
            State::Same | State::Abandoned => {}
        }
        match files.get(&it.path) {
            Some(text) => lock.wrote(&it.path, text),
            None => lock.forget(&it.path),
        }
    }
    disk::write(&args.out, lock::NAME, &lock.text())
}

/// Says what differs, with the lines; returns the exit code of a check.
fn told(args: &Args, context: &Context, standings: &[Standing], files: &Files, there: &Tree) -> u8 {
    let differing: Vec<&Standing> = standings.iter().filter(|it| it.state != State::Same).collect();
    let code = if differing.is_empty() { exit::DONE } else { exit::FINDINGS };
    if context.json {
        output::json(
            &serde_json::json!({ "environment": context.environment, "out": args.out, "files": standings }),
        );
        return code;
    }
    for it in &differing {
        output::line(&format!("{}: {}", it.path, meaning(it.state)));
        let new = files.get(&it.path).map_or("", String::as_str);
        let old =
            there.get(&it.path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        if matches!(it.state, State::Stale | State::Edited) {
            let diff = similar::TextDiff::from_lines(old.as_str(), new);
            for line in
                diff.unified_diff().context_radius(2).header("on disk", "rendered").to_string().lines()
            {
                output::line(&format!("  {line}"));
            }
        }
    }
    if differing.is_empty() {
        output::line(&format!("{} is as rendered: {} files", args.out.display(), files.len()));
    }
    code
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Same => "as rendered",
        State::Missing => "missing",
        State::Stale => "stale: the manifest has changed since it was rendered",
        State::Edited => "edited by hand",
        State::Obsolete => "not rendered any more",
        State::Abandoned => "not rendered any more, and edited by hand",
    }
}
