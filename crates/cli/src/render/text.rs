//! Words what people read: status, history, events, results. Pure: takes values, returns text.

use super::release;
use crate::follow::Report;
use crate::units;
use comfy_table::{Table, presets};
use engine::api::wire::{
    DeploymentView, GuardStatus, LeaseStatus, LogLines, RevisionStatus, ServiceStatus, Status,
};
use engine::leader::short;
use rollout::event::{Event, EventRecord, Outcome};
use rollout::guard::GuardMode;

/// Words one event: time, service, deployment, and the event's own line.
pub fn event(record: &EventRecord) -> String {
    let deployment = record.deployment.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    // The request names its deployment itself.
    let deployment =
        if matches!(record.event, Event::DeploymentRequested(_)) { String::new() } else { deployment };
    format!("{} {}{deployment} {}", units::clock(record.at), record.target.service, record.event)
}

/// Words where a service is, in one line.
pub fn now(service: &ServiceStatus) -> String {
    let parts = [stage(service), verdict(service), waiting(service)];
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}: {}", service.service, said.join("; "))
}

/// Words the phase with everything that stops its clock.
pub fn stage(service: &ServiceStatus) -> String {
    let mut words = service.phase.clone();
    if let Some(deployment) = &service.deployment {
        words = format!("{deployment} {words}");
    }
    if service.paused {
        words.push_str(", paused");
    }
    if let Some(why) = &service.held {
        words.push_str(&format!(", held: {why}"));
    }
    if service.maintenance {
        words.push_str(", maintenance: requests wait");
    }
    words
}

/// Words the verdict so far with the counts of both sides; empty when nothing is judged.
pub fn verdict(service: &ServiceStatus) -> String {
    let Some(verdict) = &service.verdict else { return String::new() };
    let p_value = verdict.p_value.map(|p| format!(", p {p:.3}")).unwrap_or_default();
    format!(
        "{}: candidate {} of {} failed, stable {} of {}{p_value}",
        verdict.state, verdict.errors, verdict.requests, verdict.stable_errors, verdict.stable_requests
    )
}

pub fn waiting(service: &ServiceStatus) -> String {
    let Some(what) = service.waiting_for.as_deref() else { return String::new() };
    // What holds a rollout is said with its phase already.
    let said = service.held.as_ref().and_then(|why| what.strip_suffix(&format!(": {why}")));
    format!("waiting for {}", said.unwrap_or(what))
}

/// Words the whole status.
pub fn status(status: &Status) -> String {
    let mut text = match &status.edge {
        Some(edge) => format!("{} on {}", status.environment, edge.listen.join(", ")),
        None => format!("{}: the edge does not answer", status.environment),
    };
    let leads = status.engine.lease_until.map(|until| format!(", leads until {} UTC", units::clock(until)));
    text.push_str(&format!(
        "   api {}   engine {}{}{}\n",
        status.api,
        status.engine.pid,
        leads.unwrap_or_default(),
        versions(status)
    ));
    for certificate in
        status.edge.iter().filter_map(|edge| edge.tls.as_ref()).flat_map(|tls| &tls.certificates)
    {
        if let Some(problem) = &certificate.problem {
            text.push_str(&format!("certificate {}: {problem}\n", certificate.source));
        }
    }
    if status.services.is_empty() {
        text.push_str("\nno service yet: deploy one with `medeclipse deploy`\n");
    }
    for service in &status.services {
        text.push_str(&one_service(service));
    }
    for repaired in &status.repaired {
        text.push_str(&format!("\nrepaired  {}: {}", repaired.file, repaired.text));
    }
    if !status.repaired.is_empty() {
        text.push('\n');
    }
    text
}

/// Words the versions that run; empty where nobody says. The supervisor is of the engine's.
fn versions(status: &Status) -> String {
    let engine = &status.engine.version;
    match status.edge.as_ref().map(|edge| &edge.version) {
        Some(edge) if edge != engine => format!("   version {engine}, edge {edge}"),
        _ if engine.is_empty() => String::new(),
        _ => format!("   version {engine}"),
    }
}

fn one_service(service: &ServiceStatus) -> String {
    let mut text = format!("\n{}   {}\n", service.service, stage(service));
    for line in [waiting(service), verdict(service)] {
        if !line.is_empty() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    let candidate_weight = if service.candidate.is_some() { service.weight } else { 0 };
    let sides = [
        ("stable", &service.stable, Some(100 - candidate_weight.min(100))),
        ("candidate", &service.candidate, Some(candidate_weight)),
        ("hot", &service.hot, None),
    ];
    let mut table = plain_table(&["", "REVISION", "RELEASE", "READY", "WEIGHT"]);
    for (side, revision, weight) in sides {
        if let Some(revision) = revision {
            table.add_row(revision_row(side, revision, weight));
        }
    }
    if !table.is_empty() {
        text.push_str(&format!("{}\n", table.trim_fmt()));
    } else if service.damage.is_none() && service.lease.as_ref().is_none_or(|lease| lease.ours) {
        text.push_str(&format!("  nothing serves yet: `medeclipse deploy {}`\n", service.service));
    }
    let ready = if service.rollback_ready { "ready" } else { "not possible" };
    let checked = service.rollback_checked_at.map(|at| format!(" (checked {})", units::clock(at)));
    text.push_str(&format!(
        "  rollback {ready}: {}{}\n",
        service.rollback_reason,
        checked.unwrap_or_default()
    ));
    if let Some(LeaseStatus { epoch, owner, until, .. }) = &service.lease {
        text.push_str(&format!(
            "  led by {} until {} UTC, epoch {epoch}\n",
            short(owner),
            units::clock(*until)
        ));
    }
    for rule in &service.guard {
        text.push_str(&guard(rule));
    }
    for alarm in &service.alarms {
        text.push_str(&format!("  alarm {alarm}\n"));
    }
    if let Some(damage) = &service.damage {
        text.push_str(&format!("  damaged: {damage}\n"));
    }
    text
}

/// Words one rule of the guard: what it does, what it said, what is wrong with it.
fn guard(rule: &GuardStatus) -> String {
    let mut said = match rule.mode {
        GuardMode::Block => format!("{} refused", rule.blocked),
        GuardMode::Count => format!("{} would have been refused (mode count)", rule.counted),
    };
    if rule.unknown > 0 {
        said.push_str(&format!(", {} not known", rule.unknown));
    }
    if let Some(trouble) = &rule.trouble {
        said.push_str(&format!("; it does nothing: {trouble}"));
    }
    format!("  guard {}: {said}\n", rule.rule)
}

fn revision_row(side: &str, revision: &RevisionStatus, weight: Option<u8>) -> Vec<String> {
    vec![
        side.to_owned(),
        revision.revision.to_string(),
        release(&revision.release, revision.label.as_ref()),
        format!("{}/{}", revision.replicas.ready, revision.replicas.wanted),
        weight.map(|weight| format!("{weight} %")).unwrap_or_default(),
    ]
}

/// Words the history as a table.
pub fn history(rows: &[DeploymentView]) -> String {
    if rows.is_empty() {
        return "nothing was deployed yet".to_owned();
    }
    let mut table = plain_table(&[
        "DEPLOYMENT",
        "SERVICE",
        "KIND",
        "RELEASE",
        "REV",
        "REQUESTED (UTC)",
        "TOOK",
        "BY",
        "OUTCOME",
    ]);
    for row in rows {
        let took = row.finished_at.map(|end| end.since(row.requested_at).to_string());
        let outcome = match (&row.outcome, &row.reason) {
            (Some(outcome), Some(reason)) => format!("{outcome}: {reason}"),
            (Some(outcome), None) => outcome.to_string(),
            (None, _) => "running".to_owned(),
        };
        table.add_row(vec![
            row.deployment.to_string(),
            row.target.service.to_string(),
            row.kind.clone(),
            release(&row.release, row.label.as_ref()),
            row.revision.to_string(),
            units::date_time(row.requested_at),
            took.unwrap_or_default(),
            row.actor.clone(),
            outcome,
        ]);
    }
    table.trim_fmt()
}

pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|cell| (*cell).to_owned()));
    table
}

/// Words a deployment that serves now.
pub fn success(report: &Report) -> String {
    let outcome = report.outcome.unwrap_or(Outcome::Promoted);
    let what = report.release.as_deref().unwrap_or_default();
    let mut text =
        format!("{}: {outcome} {what} in {}", report.target.service, units::spoken(report.elapsed));
    if let Some(proof) = &report.served_by {
        text.push_str(&format!("; revision {} answers, proven by replica {}", proof.revision, proof.replica));
    }
    if let (Outcome::PromotedUnproven, Some(reason)) = (outcome, &report.reason) {
        text.push_str(&format!("\n  unproven: {reason}"));
    }
    text
}

/// Words a rollback or an abort that succeeded.
pub fn went_back(report: &Report) -> String {
    let outcome = report.outcome.unwrap_or(Outcome::Aborted);
    let what = match outcome {
        Outcome::Unchanged => "nothing to do, it serves already".to_owned(),
        outcome if outcome.exit_code() == 0 => {
            format!("back on {}", report.release.as_deref().unwrap_or("the last proven release"))
        }
        outcome => format!("{} {outcome}; stable gets every request", report.deployment),
    };
    let proof = report.served_by.as_ref();
    let proof = proof
        .map(|proof| format!("; revision {} answers, proven by replica {}", proof.revision, proof.replica));
    format!(
        "{}: {what}, after {}{}",
        report.target.service,
        units::spoken(report.elapsed),
        proof.unwrap_or_default()
    )
}

/// Words why a deployment failed, with the numbers.
pub fn cause(report: &Report) -> Option<String> {
    let why = report.why.as_ref().map(ToString::to_string);
    // The reason is the longer sentence where it holds the other.
    let mut lines: Vec<String> = match (&report.reason, why) {
        (Some(reason), Some(why)) if reason.contains(&why) => vec![reason.clone()],
        (Some(reason), Some(why)) if !why.contains(reason.as_str()) => vec![reason.clone(), why],
        (reason, why) => why.or_else(|| reason.clone()).into_iter().collect(),
    };
    lines.extend(report.evidence.as_ref().map(ToString::to_string));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Words what helps to understand a failed deployment: what the failed check and the candidate's replicas wrote.
pub fn failure_details(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((name, ended, output)) = &report.failed_task {
        lines.push(format!("what {name} wrote before it ended ({ended}):"));
        lines.extend(output.lines().map(|line| format!("  {line}")));
    }
    for log in &report.logs {
        lines.extend(log_tail(log));
    }
    lines
}

fn log_tail(log: &LogLines) -> Vec<String> {
    let mut lines = vec![format!("last lines of {} ({}):", log.replica, log.path)];
    lines.extend(log.lines.iter().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
