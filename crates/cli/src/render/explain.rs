//! Words an explanation for a tired person: first the two sentences, then the numbers, the charts, and what happened.
//! Finds nothing out itself; see `explain`.

use super::numbers::{chance, count, percent, share};
use super::watch;
use crate::explain::{CheckTally, Explanation, Happened, Known, LeftOut, Verified};
use crate::units::{clock, date_time};
use rollout::event::DeploymentKind;
use rollout::judge::{Evidence, FailingRequest};
use rollout::names::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Lines of the timeline shown: half of them from its beginning, half from its end.
const TIMELINE_LINES_MAX: usize = 80;
/// Columns of what a number is called.
const NAME_COLUMNS: usize = 20;

/// How it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub width: usize,
    /// Only characters every terminal knows.
    pub ascii: bool,
}

pub fn explanation(of: &Explanation, style: Style) -> String {
    let mut text = head(of);
    for sentence in &of.summary {
        text.push_str(&wrapped(sentence, style.width));
    }
    section(&mut text, "The numbers", of.evidence.as_ref().map(numbers).unwrap_or_default());
    section(&mut text, "Left out", left_out(&of.left_out));
    section(&mut text, "Known before", known(&of.known));
    section(&mut text, "", watch::charts(&of.points, style.width));
    section(&mut text, "Findings", of.findings.iter().map(ToString::to_string).collect());
    section(&mut text, "Named checks", of.checks.iter().map(check).collect());
    section(&mut text, "Some of the requests that failed on the candidate", failures(&of.failures));
    section(&mut text, "What happened (UTC)", timeline(&of.timeline));
    section(&mut text, "Replay", replay(of));
    if style.ascii { plain(&text) } else { text }
}

fn head(of: &Explanation) -> String {
    let verb = match of.kind {
        DeploymentKind::Deploy => "deploy of",
        DeploymentKind::Rollback => "roll back to",
        DeploymentKind::Return => "return to",
    };
    let release = super::release(&of.release, of.label.as_ref());
    let took = of.finished_at.map(|end| end.since(of.requested_at));
    let ended = match (of.outcome, took) {
        (Some(outcome), Some(took)) => format!("{outcome} after {took}"),
        _ => "running".to_owned(),
    };
    format!(
        "{} of {}: {verb} {release} as revision {}, by {}\nrequested {} UTC, {ended}\n\n",
        of.deployment,
        of.target,
        of.revision,
        of.actor,
        date_time(of.requested_at)
    )
}

fn section(text: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    text.push('\n');
    if !title.is_empty() {
        text.push_str(&format!("{title}\n"));
    }
    for line in lines {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
}

fn named(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name:NAME_COLUMNS$}{value}")
}

fn numbers(of: &Evidence) -> Vec<String> {
    let did =
        of.slower_than_ms.map_or("failed".to_owned(), |limit| format!("took longer than {limit:.1} ms"));
    let side = |requests, hits| {
        format!("{} of {} requests {did}, {}", count(hits), count(requests), share(hits, requests))
    };
    let mut lines = vec![
        named("compared", &of.metric),
        named("candidate", side(of.candidate_requests, of.candidate_errors)),
        named("stable", side(of.stable_requests, of.stable_errors)),
        named("harmless up to", percent(of.limit)),
    ];
    let rate = |hits: u64, requests: u64| hits as f64 / requests.max(1) as f64;
    let (candidate, stable) =
        (rate(of.candidate_errors, of.candidate_requests), rate(of.stable_errors, of.stable_requests));
    if stable > 0.0 && candidate > 0.0 {
        lines.push(named("effect", format!("{:.1} times stable's share", candidate / stable)));
    }
    if let Some(alternative) = of.alternative.filter(|_| of.log_m > 0.0) {
        lines.push(named("explained best by", format!("a candidate with {}", percent(alternative))));
    }
    if of.threshold > 0.0 {
        lines.push(named(
            "evidence (log M)",
            format!("{:.2}, and {:.2} takes it back", of.log_m, of.threshold),
        ));
    }
    lines.extend(of.p_value.map(|p_value| named("p", chance(p_value))));
    lines.push(named("rule", &of.rule));
    let weight =
        of.weight.map(|weight| format!(", at last with {weight} of the requests")).unwrap_or_default();
    lines.push(named("watched", format!("{} s{weight}", count(of.window_seconds))));
    lines
}

fn left_out(of: &LeftOut) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seconds = |number: u64, what: &str| {
        if number > 0 {
            lines.push(format!("{} s {what}", count(number)));
        }
    };
    seconds(of.warm_up_seconds, "of warm-up: latencies only");
    seconds(of.shared_seconds, "in which stable failed as well, or had just failed");
    seconds(of.missing_seconds, "nobody reported: neither health nor failure");
    if of.probes.asked > 0 {
        let (asked, failed) = (count(of.probes.asked), count(of.probes.failed));
        lines.push(format!(
            "{asked} synthetic requests, {failed} failed: counted apart, for gross failures only"
        ));
    }
    if let Some(header) = &of.allow {
        lines.push(format!("requests that asked for the candidate by the header {header}"));
    }
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines
}

fn known(of: &Known) -> Vec<String> {
    let mut lines = vec![if of.calibrated {
        format!("calibrated on {:.1} h of stable's own traffic", of.hours)
    } else {
        format!("cold start: {:.1} h of stable's traffic were known; cautious constants are used", of.hours)
    }];
    if !of.insensitive.is_empty() {
        lines.push(format!("stable itself varies too much to find soon: {}", of.insensitive.join(", ")));
    }
    lines
}

fn check(of: &CheckTally) -> String {
    let why = if of.why.is_empty() { String::new() } else { format!("; last: {}", of.why) };
    format!(
        "{}: asked {} times, failed {} on the candidate and {} on stable{why}",
        of.check,
        count(of.asked),
        count(of.candidate_failed),
        count(of.stable_failed)
    )
}

/// Counts those that failed in the same way, the most frequent first.
fn failures(of: &[FailingRequest]) -> Vec<String> {
    let mut ways: BTreeMap<(&str, &str, &str), Vec<&FailingRequest>> = BTreeMap::new();
    for failure in of {
        ways.entry((&failure.method, &failure.route, &failure.failure)).or_default().push(failure);
    }
    let mut ways: Vec<_> = ways.into_iter().collect();
    ways.sort_by_key(|(_, same)| std::cmp::Reverse(same.len()));
    let line = |((method, route, failure), same): ((&str, &str, &str), Vec<&FailingRequest>)| {
        let slowest = same.iter().map(|failure| failure.latency_ms).max().unwrap_or_default();
        let replicas: BTreeSet<&str> = same.iter().map(|failure| failure.replica.as_str()).collect();
        let last = same.iter().map(|failure| failure.second).max().unwrap_or_default();
        format!(
            "{} × {method} {route}: {failure} within {slowest} ms, replica {}, last at {}",
            same.len(),
            replicas.into_iter().collect::<Vec<_>>().join(" and "),
            clock(Millis(last.saturating_mul(1000)))
        )
    };
    ways.into_iter().map(line).collect()
}

fn timeline(of: &[Happened]) -> Vec<String> {
    let line = |happened: &Happened| match happened {
        Happened::Event { at, text, actor, .. } => {
            let by = actor.as_ref().map(|actor| format!(" (by {actor})")).unwrap_or_default();
            format!("{} {text}{by}", clock(*at))
        }
        Happened::Counted { at, seconds, candidate, stable } => format!(
            "{}   {} s counted: {} of {} failed on the candidate, {} of {} on stable",
            clock(*at),
            count(*seconds),
            count(candidate[1]),
            count(candidate[0]),
            count(stable[1]),
            count(stable[0])
        ),
    };
    let mut lines: Vec<String> = of.iter().map(line).collect();
    if lines.len() > TIMELINE_LINES_MAX {
        let half = TIMELINE_LINES_MAX / 2;
        let left_out = lines.len() - TIMELINE_LINES_MAX;
        lines.splice(half..half + left_out, [format!("… {left_out} more: --json shows them all")]);
    }
    lines
}

fn replay(of: &Explanation) -> Vec<String> {
    let mut lines = vec![format!("here, from the recorded counts: {}", verified(of.replay))];
    if let Some(cut) = of.cut {
        lines.push(format!("{} events are too many for one bundle and were left out", count(cut.events)));
    }
    let (id, service) = (&of.deployment, &of.target.service);
    lines.push(format!(
        "anywhere: medeclipse explain {id} --service {service} --save {id}.json && medeclipse replay {id}.json"
    ));
    lines
}

/// Words what a replay found.
pub fn verified(of: Verified) -> String {
    let not = match of.not_computed {
        0 => String::new(),
        number => format!("; {number} recorded, not computed: no count decided"),
    };
    if of.differ > 0 {
        return format!("{} DIFFER, {} the same to the last bit{not}", of.differ, of.same);
    }
    match of.same {
        0 => format!("nothing was judged{not}"),
        same => format!("{same} judgements, the same to the last bit{not}"),
    }
}

/// Breaks a sentence into lines.
fn wrapped(sentence: &str, width: usize) -> String {
    let (mut text, mut columns) = (String::new(), 0);
    for word in sentence.split(' ') {
        let letters = word.chars().count();
        if columns > 0 && columns + 1 + letters > width {
            text.push('\n');
            columns = 0;
        }
        if columns > 0 {
            text.push(' ');
            columns += 1;
        }
        text.push_str(word);
        columns += letters;
    }
    text.push('\n');
    text
}

/// Writes what a terminal without Unicode can show.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '…' => plain.push_str("..."),
            '│' => plain.push('|'),
            '─' | '–' | '╌' => plain.push('-'),
            '└' => plain.push('+'),
            '●' => plain.push('*'),
            '·' => plain.push('.'),
            '×' => plain.push('x'),
            letter if letter.is_ascii() => plain.push(letter),
            _ => plain.push('?'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree\n");
        assert_eq!(wrapped("unbreakable", 3), "unbreakable\n");
    }

    #[test]
    fn a_terminal_without_unicode_gets_ascii_only() {
        assert_eq!(plain("│ ●·… é"), "| *.... ?");
    }
}
