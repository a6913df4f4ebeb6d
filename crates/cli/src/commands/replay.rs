//! `replay`: judges a saved bundle again, offline, and says where the verdict is another one. Asks no engine.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::explain::Verified;
use crate::render::explain::verified;
use crate::{output, units};
use rollout::bundle::{Bundle, Compared, Decision, Difference, FORMAT};
use rollout::names::{DeploymentId, Target};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file read.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

/// Judge again what `explain --save` saved, and compare bit for bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse replay d-7.json\n\
    Exit code 0: the same; 1: it differs, and where; 2: no bundle, or one of another format.")]
pub struct Args {
    /// The file that `medeclipse explain --save FILE` wrote.
    pub bundle: PathBuf,
}

/// `replay --json`.
#[derive(Serialize)]
struct Told<'a> {
    target: &'a Target,
    deployment: &'a DeploymentId,
    /// Of the program that wrote the bundle, and of this one.
    written_by: &'a str,
    replayed_by: &'static str,
    #[serde(flatten)]
    verified: Verified,
    /// What the judge says at the end.
    end: &'a Compared,
    decisions: &'a [Decision],
}

pub fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let text = contents(&args.bundle)?;
    let bundle = read(&text, &args.bundle.display().to_string())?;
    let replayed = bundle.replay();
    let found = Verified::of(&replayed);
    if context.json {
        output::json(&Told {
            target: &bundle.target,
            deployment: &bundle.deployment,
            written_by: &bundle.version,
            replayed_by: env!("CARGO_PKG_VERSION"),
            verified: found,
            end: &replayed.compared,
            decisions: &replayed.decisions,
        });
    } else {
        output::line(&format!("{} of {}: {}", bundle.deployment, bundle.target, verified(found)));
        if !context.quiet || !found.identical {
            for line in replayed.decisions.iter().flat_map(decision) {
                output::line(&line);
            }
            compared("at the end", &replayed.compared).iter().for_each(|line| output::line(line));
        }
    }
    Ok(if found.identical { exit::DONE } else { exit::FINDINGS })
}

fn decision(of: &Decision) -> Vec<String> {
    compared(&format!("{} {}", units::clock(of.at), of.kind), &of.compared)
}

fn compared(what: &str, compared: &Compared) -> Vec<String> {
    match compared {
        Compared::Same => vec![format!("  {what}: same")],
        Compared::NotComputed { why } => vec![format!("  {what}: recorded, not computed ({why})")],
        Compared::Differs { fields } => {
            let each = |field: &Difference| {
                format!("    {}: recorded {}, computed {}", field.field, field.recorded, field.computed)
            };
            std::iter::once(format!("  {what}: DIFFERS")).chain(fields.iter().map(each)).collect()
        }
    }
}

fn contents(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(exit::COULD_NOT_CHECK, format!("read the bundle {}", file.display()))
            .because(error)
            .then("name a file that `medeclipse explain --save FILE` wrote")
    };
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(BUNDLE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Reads a bundle of a format that is known.
pub fn read(text: &[u8], from: &str) -> Result<Bundle, Failure> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let no_bundle = |error: serde_json::Error| {
        Failure::new(exit::COULD_NOT_CHECK, format!("read {from} as a bundle"))
            .because(error)
            .then("write it anew with `medeclipse explain --save FILE`")
    };
    let head: Head = serde_json::from_slice(text).map_err(no_bundle)?;
    if head.format != FORMAT {
        return Err(Failure::new(exit::COULD_NOT_CHECK, format!("read {from} as a bundle"))
            .because(format!("it has format {}, and this medeclipse knows format {FORMAT}", head.format))
            .then("use the medeclipse that wrote it"));
    }
    serde_json::from_slice(text).map_err(no_bundle)
}
