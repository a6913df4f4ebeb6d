//! `deploy --dry-run`: says what would be deployed. Changes nothing and needs no engine.

use super::deploy::Args;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, render};
use engine::api::wire::Status;
use manifest::service::ServiceConfig;
use rollout::names::Weight;

/// Shows each service as it would be deployed, beside what serves now.
pub async fn show(context: &Context, args: &Args, services: &[ServiceConfig]) -> Result<u8, Failure> {
    if context.json {
        output::json(&serde_json::json!({ "dry_run": true, "label": args.version, "services": services }));
        return Ok(exit::DONE);
    }
    let status: Option<Status> = context.client().get("/v1/status").await.ok();
    for service in services {
        let serves = status.as_ref().map(|status| serving(status, &service.name));
        for line in lines(args, service, serves) {
            output::line(&line);
        }
    }
    output::line("nothing was changed; leave out --dry-run to deploy");
    Ok(exit::DONE)
}

fn serving(status: &Status, name: &str) -> String {
    let stable = status.services.iter().find(|service| service.service == name);
    match stable.and_then(|service| service.stable.as_ref()) {
        Some(stable) => format!(
            "revision {}, release {}",
            stable.revision,
            render::release(&stable.release, stable.label.as_ref())
        ),
        None => "nothing yet".to_owned(),
    }
}

fn lines(args: &Args, service: &ServiceConfig, serves: Option<String>) -> Vec<String> {
    let rollout = &service.rollout;
    let steps: Vec<String> = rollout.steps.iter().map(Weight::to_string).collect();
    let bakes = match rollout.steps.len() {
        0 | 1 => format!("watched {}", rollout.bake),
        _ => format!("watched {} each, the last {}", rollout.step_bake, rollout.bake),
    };
    let mut lines = vec![format!("{}: would be deployed", service.name)];
    if let Some(label) = &args.version {
        lines.push(format!("  label     {label}"));
    }
    if let Some(artifact) = &service.artifact {
        lines.push(format!("  artefact  {}", artifact.display()));
    }
    lines.push(format!("  command   {}", service.command.join(" ")));
    lines.push(format!("  steps     {}: {bakes}", steps.join(", ")));
    lines.push(format!("  replicas  {} to {}", service.target.replicas.min, service.target.replicas.max));
    lines.push(format!("  deadline  {}, then stable serves again", rollout.deadline));
    lines.push(match serves {
        Some(serves) => format!("  serves    {serves}"),
        None => "  serves    unknown: no engine answers; `medeclipse up --detach` first".to_owned(),
    });
    lines
}
