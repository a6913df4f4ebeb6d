//! `infra diff`: says what a change of the manifest does to the infrastructure, in words and in money.

use super::{disk, plan_of, refused};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::output;
use infra::config::{Root, from_tree};
use infra::diff::{Change, Diff, Kind, Prices, diff};
use infra::model::Plan;
use infra::tree::Tree;
use std::path::{Path, PathBuf};

/// Say what the manifest changes in the infrastructure, compared with an older one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: git show HEAD:medeclipse.toml > old.toml && medeclipse infra diff --env production --from old.toml --prices prices.toml"
)]
pub struct Args {
    /// The older manifest.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Monthly prices: `[[price]] type = "aws_db_instance" when = { instance_class = "db.m7g.large" } month = 123.4`.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let prices = match &args.prices {
        None => Prices::default(),
        Some(path) => read_prices(path)?,
    };
    let before = roots(&plan_of(&args.from)?, &context.environment)?;
    let after = roots(&plan_of(&context.manifest)?, &context.environment)?;
    let found = diff(&before, &after, &prices);
    match context.json {
        true => output::json(&found),
        false => told(&found, args.prices.is_some()),
    }
    Ok(exit::DONE)
}

fn read_prices(path: &Path) -> Result<Prices, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| disk::unreadable(path, error))?;
    let read: Result<Prices, _> = toml::from_str(&text);
    read.map_err(|error| {
        disk::unreadable(path, error).then(
            "write rows as `[[price]]` with `type`, `month` and, if need be, `when = { argument = value }`",
        )
    })
}

fn roots(plan: &Plan, environment: &str) -> Result<Vec<Root>, Failure> {
    let files = infra::render::render(plan, environment).map_err(|refusal| refused(&[refusal]))?;
    let tree: Tree = files.iter().map(|(path, text)| (path.clone(), text.as_bytes().into())).collect();
    Ok(from_tree(&tree).unwrap_or_else(|errors| panic!("BUG: what is rendered can be read: {errors:?}")))
}

fn told(found: &Diff, priced: bool) {
    for change in &found.changes {
        output::line(&format!(
            "{} {}/{}{}",
            verb(change.kind),
            change.root,
            change.address,
            money(change, &found.currency)
        ));
        for line in &change.what {
            output::line(&format!("    {line}"));
        }
    }
    if found.changes.is_empty() {
        return output::line("nothing changes");
    }
    if priced {
        output::line(&format!(
            "together {:+.2} {} a month, where there is a price",
            found.month, found.currency
        ));
        if !found.unpriced.is_empty() {
            output::line(&format!("no price: {}", found.unpriced.join(", ")));
        }
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Made => "made",
        Kind::Replaced => "REPLACED (removed and made anew)",
        Kind::Changed => "changed",
        Kind::Removed => "REMOVED",
    }
}

fn money(change: &Change, currency: &str) -> String {
    match (change.before, change.after) {
        (None, None) => String::new(),
        (before, after) => {
            format!(", {:+.2} {currency} a month", after.unwrap_or(0.0) - before.unwrap_or(0.0))
        }
    }
}
