//! `explain`: why a deployment ended as it did, with the numbers; replayed on the way, so that what is shown is what was.

use super::replay;
use crate::client::{Client, encoded, with_query};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::explain::{Explanation, explain};
use crate::output;
use crate::render::explain::{Style, explanation};
use bytes::Bytes;
use engine::api::wire::DeploymentView;
use rollout::bundle::Bundle;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the evidence may take: a day of seconds is some 50 MB.
const DEADLINE: Duration = Duration::from_secs(60);
/// The largest bundle read.
const BUNDLE_BYTES_MAX: usize = 256 << 20;
/// Columns when nobody says how many, and at most: longer lines are hard to follow.
const WIDTH_DEFAULT: usize = 80;
const WIDTH_MAX: usize = 120;
const WIDTH_MIN: usize = 40;

/// Show why a deployment ended as it did: the decision, the numbers, what was left out, and what happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse explain d-7 --save d-7.json\n\
    What is saved holds no value of the environment and no secret argument; `medeclipse replay d-7.json` judges it again.")]
pub struct Args {
    /// The deployment, as `medeclipse history` names it; left out: the last one.
    pub deployment: Option<String>,
    /// The service; may be left out when there is only one.
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Write everything the verdict rests on to this file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Draw with ASCII only.
    #[arg(long)]
    pub ascii: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let client = context.client().within(context.timeout.unwrap_or(DEADLINE)).reading(BUNDLE_BYTES_MAX);
    let service = service(&args, context).await?;
    let target = context.target(&service).to_string();
    let deployment = match &args.deployment {
        Some(named) => named.clone(),
        None => last(&client, &target, context).await?,
    };
    let path = format!("/v1/deployments/{}/{}/evidence", encoded(&target), encoded(&deployment));
    let text = client.get_text(&path).await.map_err(|error| context.explain(error))?;
    if let Some(file) = &args.save {
        save(file, &text, context)?;
    }
    let bundle = replay::read(&text, &path)?;
    let explained = explained(&bundle)?;
    if context.json {
        output::json(&explained);
    } else {
        output::line(explanation(&explained, style(args.ascii)).trim_end());
    }
    Ok(exit::DONE)
}

async fn service(args: &Args, context: &Context) -> Result<String, Failure> {
    let chosen = context.service(args.service.as_deref()).await;
    chosen.map_err(|failure| match failure.exit {
        exit::BAD_INPUT => failure.then("name it, as in `medeclipse explain --service NAME`"),
        _ => failure,
    })
}

async fn last(client: &Client, target: &str, context: &Context) -> Result<String, Failure> {
    let path = with_query(
        "/v1/deployments",
        &[("target", Some(target.to_owned())), ("limit", Some("1".to_owned()))],
    );
    let rows: Vec<DeploymentView> = client.get(&path).await.map_err(|error| context.explain(error))?;
    rows.first().map(|row| row.deployment.to_string()).ok_or_else(|| {
        Failure::new(exit::BAD_INPUT, "explain the last deployment")
            .because(format!("nothing was deployed to {target} yet"))
            .then("deploy something with `medeclipse deploy`; `medeclipse history` shows what was")
    })
}

fn explained(bundle: &Bundle) -> Result<Explanation, Failure> {
    explain(bundle, bundle.replay()).ok_or_else(|| {
        Failure::new(exit::BUG, format!("explain {}", bundle.deployment))
            .because("its evidence does not hold its request")
            .then("report it with the file that --save writes")
    })
}

fn save(file: &Path, text: &Bytes, context: &Context) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        Failure::new(exit::BAD_INPUT, format!("write the evidence to {}", file.display()))
            .because(error)
            .then("name a file in a folder that can be written, with --save FILE")
    })?;
    if !context.json && !context.quiet {
        output::aside(&format!("saved to {}", file.display()));
    }
    Ok(())
}

/// Returns how wide, and with what, this terminal can show it.
fn style(ascii: bool) -> Style {
    let stdout = std::io::stdout();
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    let terminal = terminal.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    let width = terminal.or(asked).unwrap_or(WIDTH_DEFAULT).clamp(WIDTH_MIN, WIDTH_MAX);
    Style { width, ascii: ascii || !speaks_utf8() }
}

/// Tells whether the locale says that the terminal knows Unicode.
fn speaks_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
    let locale = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
