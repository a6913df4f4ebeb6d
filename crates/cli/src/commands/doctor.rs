//! `doctor`: looks for what is missing on this machine, and says how to get it. Changes nothing, needs no engine.
//! Ends like a linter: 0 clean, 1 findings, 2 could not check.

use crate::checkup::{self, Finding};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::output;

/// Look for what is missing on this machine, and say how to get it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse doctor")]
pub struct Args {}

pub async fn run(_args: Args, context: &Context) -> Result<u8, Failure> {
    let checks = checkup::run(context);
    let code = code(&checks);
    if context.json {
        output::json(&checks);
        return Ok(code);
    }
    for check in &checks {
        for line in check.lines() {
            output::line(&line);
        }
    }
    let found = checks.iter().filter(|check| check.result == checkup::Result::Finding).count();
    output::line(&match (found, code) {
        (0, exit::COULD_NOT_CHECK) => "nothing found, but not everything could be checked".to_owned(),
        (0, _) => "nothing is missing".to_owned(),
        (found, _) => format!("{found} finding(s)"),
    });
    Ok(code)
}

fn code(checks: &[Finding]) -> u8 {
    let any = |result| checks.iter().any(|check| check.result == result);
    if any(checkup::Result::Finding) {
        return exit::FINDINGS;
    }
    if any(checkup::Result::NotChecked) { exit::COULD_NOT_CHECK } else { exit::DONE }
}
