//! Reads `monitor`: named checks asked again and again while a candidate is watched, and the rule over them.
//! Asks nothing itself. Checks that are asked once are in `checks`.

use super::Absent::{Is, Means, Refused};
use super::{Section, Shape, checks, key, text};
use crate::error::{Kind, Mistake};
use crate::read::{At, Fields};
use rollout::names::Millis;
use rollout::plan::{Monitor, MonitorAsk, MonitorCheck};

/// More questions than this would be load by themselves.
const CHECKS_MAX: usize = 16;

pub(crate) static MONITOR: Section = Section {
    name: "service.NAME.rollout.monitor",
    doc: "Named checks asked of the candidate and of stable while the candidate is watched; traffic goes back when enough of them fail at the same time.",
    keys: &[
        key(
            "every",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(600) },
            Is("\"30s\""),
            "How often every check is asked.",
        ),
        key(
            "during",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(7 * 86_400) },
            Means("as long as the candidate is watched"),
            "How long they are asked, from the candidate's first request on.",
        ),
        key(
            "failing",
            Shape::Integer { min: 1, max: CHECKS_MAX as u64 },
            Is("1"),
            "How many must fail at the same time; with 1, every check acts alone.",
        ),
        key(
            "attribute",
            Shape::Flag,
            Is("true"),
            "Whether a check that fails on stable too is not blamed on the candidate; the rollout is held then.",
        ),
        key(
            "checks",
            Shape::Tables { of: &CHECK, max: CHECKS_MAX },
            Refused,
            "What is asked; each has a name of its own.",
        ),
    ],
};

pub(crate) static CHECK: Section = Section {
    name: "service.NAME.rollout.monitor.checks",
    doc: "One named check: a path or a share of failed requests.",
    keys: &[
        key("name", Shape::Text(&text::NAME), Refused, "How events call it."),
        key(
            "url",
            Shape::Text(&text::QUERY_PATH),
            Means("`error_rate` must be there"),
            "A path asked of a replica; an answer from 200 to 399 passes. Either this or `error_rate`.",
        ),
        key(
            "error_rate",
            Shape::Percent { min: 0.0, max: 0.99 },
            Means("`url` must be there"),
            "Fails when more than this share of the last minute's requests failed, of 20 or more. Either this or `url`.",
        ),
        key(
            "deadline",
            Shape::Duration { min: Millis(100), max: Millis::seconds(60) },
            Is("\"5s\""),
            "How long an answer may take.",
        ),
        key(
            "failures",
            Shape::Integer { min: 1, max: 20 },
            Is("3"),
            "How many failures in a row make it failing; one success ends that.",
        ),
    ],
};

pub(crate) fn read(fields: &Fields<'_>) -> Monitor {
    let every = fields.duration("every").map_or(Millis::seconds(30), |at| at.value);
    let during = fields.duration("during").map(|at| at.value);
    let failing = fields.count("failing");
    let attribute = fields.flag("attribute").is_none_or(|at| at.value);
    let tables = fields.tables("checks");
    require_enough(fields, failing.as_ref());
    let failing = failing.map_or(1, |at| at.value);
    Monitor { every, during, failing, attribute, checks: read_checks(&tables) }
}

fn read_checks(tables: &[Fields<'_>]) -> Vec<MonitorCheck> {
    let mut names = Vec::new();
    let mut read = Vec::new();
    for fields in tables {
        let name = fields.text("name");
        if let Some(name) = &name {
            checks::require_own_name(fields, name, &mut names);
        }
        let deadline = fields.duration("deadline").map_or(Millis::seconds(5), |at| at.value);
        let failures = fields.count("failures").map_or(3, |at| at.value);
        if let (Some(name), Some(ask)) = (name, read_ask(fields)) {
            read.push(MonitorCheck { name: name.value, ask, deadline, failures });
        }
    }
    read
}

/// A check asks for a path or looks at a share: exactly one of them.
fn read_ask(fields: &Fields<'_>) -> Option<MonitorAsk> {
    let url = fields.text("url");
    let error_rate = fields.percent("error_rate");
    let rule = |span, why: &str, help: &str| {
        let what = "a check of the monitor has exactly one of `url` and `error_rate`";
        fields.note(Mistake::at(Kind::Rule, span, what).why(why).help(help));
    };
    match (fields.has("url"), fields.has("error_rate")) {
        (true, true) => {
            rule(fields.key_span("error_rate"), "`url` is there too", "remove one, or make two checks");
        }
        (false, false) if !fields.has_unknown() => {
            let help = "write `url = \"/api/health\"` or `error_rate = \"5%\"`";
            rule(fields.span.clone(), "neither is there", help);
        }
        _ => {}
    }
    url.map(|at| MonitorAsk::Url(at.value)).or(error_rate.map(|at| MonitorAsk::ErrorRate(at.value)))
}

/// More checks than there are can never fail at the same time.
fn require_enough(fields: &Fields<'_>, failing: Option<&At<u32>>) {
    let Some(checks) = fields.list_len("checks").filter(|checks| *checks <= CHECKS_MAX) else { return };
    if checks == 0 {
        let what = format!("`{}` is empty", fields.path_of("checks"));
        let mistake =
            Mistake::at(Kind::Rule, fields.value_span("checks"), what).why("nothing would be asked");
        let help =
            "write `checks = [{ name = \"ready\", url = \"/api/health/ready\" }]`, or remove `monitor`";
        return fields.note(mistake.help(help));
    }
    let Some(failing) = failing.filter(|failing| failing.value as usize > checks) else { return };
    let what = format!("`{}` is more than there are checks", fields.path_of("failing"));
    let why = format!("{} must fail, but there {}", failing.value, counted(checks));
    let mistake = Mistake::at(Kind::Rule, failing.span.clone(), what).why(why);
    fields.note(mistake.help(format!("write {checks} or less, or add checks")));
}

fn counted(checks: usize) -> String {
    match checks {
        1 => "is 1 check".to_owned(),
        _ => format!("are {checks} checks"),
    }
}
