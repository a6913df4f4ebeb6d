//! Reads `hooks` and `checks` of a rollout: commands around a deployment, questions asked of the candidate.

use super::Absent::{Is, Means, Refused};
use super::{Section, Shape, key, text};
use crate::error::{Kind, Mistake};
use crate::read::{At, Fields};
use rollout::names::Millis;
use rollout::plan::{Ask, Check, Hooks, When};

pub(crate) static HOOKS: Section = Section {
    name: "service.NAME.rollout.hooks",
    doc: "Commands around a deployment, run in the folder of the manifest.",
    keys: &[
        key(
            "before_deploy",
            Shape::Command { empty: true },
            Is("[]"),
            "Run before anything else; when it fails, the deployment does not begin.",
        ),
        key(
            "after_deploy",
            Shape::Command { empty: true },
            Is("[]"),
            "Run after a promotion is proved, before the deployment ends; when it fails, that is recorded.",
        ),
    ],
};

pub(crate) static CHECK: Section = Section {
    name: "service.NAME.rollout.checks",
    doc: "Questions asked of the candidate. When one fails, traffic goes back.",
    keys: &[
        key("name", Shape::Text(&text::NAME), Refused, "How events call it."),
        key(
            "command",
            Shape::Command { empty: false },
            Means("`url` must be there"),
            "A program and its arguments; exit code 0 passes. Either this or `url`.",
        ),
        key(
            "url",
            Shape::Text(&text::QUERY_PATH),
            Means("`command` must be there"),
            "A path asked of the candidate itself; an answer from 200 to 399 passes. Either this or `command`.",
        ),
        key(
            "when",
            Shape::Choice(&["before", "after"]),
            Is("\"before\""),
            "Before the candidate gets any request, or after the last step.",
        ),
        key(
            "deadline",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(3600) },
            Is("\"30s\""),
            "How long it may take.",
        ),
    ],
};

pub(crate) fn read_hooks(fields: &Fields<'_>) -> Hooks {
    let command = |name| fields.command(name).map(|at| at.value).unwrap_or_default();
    Hooks { before_deploy: command("before_deploy"), after_deploy: command("after_deploy") }
}

/// Reads a list of checks; their names must differ.
pub(crate) fn read_checks(list: &[Fields<'_>]) -> Vec<Check> {
    let mut names: Vec<At<String>> = Vec::new();
    let mut checks = Vec::new();
    for fields in list {
        let name = fields.text("name");
        if let Some(name) = &name {
            if TAKEN.contains(&name.value.as_str()) {
                fields.note(taken(name));
            }
            require_own_name(fields, name, &mut names);
        }
        let when = fields.choice::<When>("when").map_or(When::Before, |at| at.value);
        let deadline = fields.duration("deadline").map_or(Millis::seconds(30), |at| at.value);
        if let (Some(name), Some(ask)) = (name, read_ask(fields)) {
            checks.push(Check { name: name.value, when, deadline, ask });
        }
    }
    checks
}

/// A check runs a program or asks for a path: exactly one of them.
fn read_ask(fields: &Fields<'_>) -> Option<Ask> {
    let command = fields.command("command");
    let url = fields.text("url");
    let rule = |span, why: &str, help: &str| {
        let what = "a check has exactly one of `command` and `url`";
        fields.note(Mistake::at(Kind::Rule, span, what).why(why).help(help));
    };
    match (fields.has("command"), fields.has("url")) {
        (true, true) => {
            rule(fields.key_span("url"), "`command` is there too", "remove one, or make two checks")
        }
        (false, false) if !fields.has_unknown() => {
            rule(
                fields.span.clone(),
                "neither is there",
                "write `url = \"/api/health\"` or `command = [\"./smoke.sh\"]`",
            );
        }
        _ => {}
    }
    command.map(|at| Ask::Command(at.value)).or(url.map(|at| Ask::Url(at.value)))
}

/// Hooks and the migration of a deployment go by these names in its events.
const TAKEN: [&str; 3] = ["before_deploy", "after_deploy", "expand"];

fn taken(name: &At<String>) -> Mistake {
    Mistake::at(Kind::Rule, name.span.clone(), format!("no check can be called `{}`", name.value))
        .why("events call something else by this name")
        .help("give the check another name")
}

/// Notes a name that is among those before it; adds it otherwise.
pub(crate) fn require_own_name(fields: &Fields<'_>, name: &At<String>, before: &mut Vec<At<String>>) {
    match before.iter().find(|other| other.value == name.value) {
        Some(first) => fields.note(twin(name, first)),
        None => before.push(name.clone()),
    }
}

fn twin(name: &At<String>, first: &At<String>) -> Mistake {
    Mistake::at(Kind::Rule, name.span.clone(), format!("two checks are called `{}`", name.value))
        .why("this one")
        .also(first.span.clone(), "and this one")
        .help("give each check a name of its own")
}
