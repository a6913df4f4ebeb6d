//! Reads `rollout`: steps, how long each is watched, what ends it.
//! Rules across its keys are here too: steps fit the strategy, the deadline leaves time for the bakes.

use super::Absent::{Is, Means, Refused};
use super::{Section, Shape, checks, key, later, text};
use crate::error::{Kind, Mistake};
use crate::read::{At, Fields};
use crate::units::duration_text;
use rollout::names::{Millis, Weight};
use rollout::plan::{JudgeSettings, RolloutSettings, Strategy};
use rollout::routes::{Allow, Connections, Sticky};

const DAY: u64 = 86_400;

/// A bake: nothing to watch, up to a week.
const BAKE: Shape = Shape::Duration { min: Millis(0), max: Millis::seconds(7 * DAY) };

/// More steps than this is a slope, and each costs a bake.
const STEPS_MAX: usize = 10;

pub(crate) static ROLLOUT: Section = Section {
    name: "service.NAME.rollout",
    doc: "How a release reaches its users: steps, how long each is watched, what ends it.",
    keys: &[
        key(
            "strategy",
            Shape::Choice(&["blue-green", "canary"]),
            Is("\"blue-green\""),
            "`blue-green` moves all traffic at once, `canary` in steps.",
        ),
        key(
            "steps",
            Shape::Weights { max: STEPS_MAX },
            Means("`[5, 25, 100]` for canary, `[100]` for blue-green"),
            "The candidate's share of traffic in percent, step by step.",
        ),
        key(
            "bake",
            BAKE,
            Is("\"10m\""),
            "How long the last step is watched; then the candidate is promoted.",
        ),
        key("step_bake", BAKE, Is("\"2m\""), "How long every other step is watched."),
        key(
            "drain",
            Shape::Duration { min: Millis(0), max: Millis::seconds(3600) },
            Is("\"30s\""),
            "How long the requests of a revision that leaves may go on.",
        ),
        key(
            "deadline",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(90 * DAY) },
            Means("twice the bakes, and ten minutes"),
            "How long a deployment may take by the clock on the wall; then traffic goes back.",
        ),
        key(
            "keep_hot",
            Shape::Duration { min: Millis(0), max: Millis::seconds(7 * DAY) },
            Is("\"10m\""),
            "How long the former release stays running after a promotion: rollback is one flip.",
        ),
        key(
            "candidate_replicas",
            Shape::Integer { min: 1, max: 64 },
            Means("what the weight needs"),
            "Replicas of the candidate before it has full weight.",
        ),
        key(
            "sticky",
            Shape::Table(&STICKY),
            Means("every request is drawn by itself"),
            "Keeps a client on one side.",
        ),
        key(
            "allow",
            Shape::Table(&ALLOW),
            Means("nobody"),
            "Requests that always see the candidate and are never judged.",
        ),
        key(
            "connections",
            Shape::Table(&CONNECTIONS),
            Means("its defaults"),
            "What happens to long connections of a revision that drains.",
        ),
        key("hooks", Shape::Table(&checks::HOOKS), Means("none"), "Commands around a deployment."),
        key(
            "checks",
            Shape::Tables { of: &checks::CHECK, max: 32 },
            Is("[]"),
            "Questions asked of the candidate.",
        ),
        later("bake_min", "remove it; every step is watched for its whole bake meanwhile"),
        later("bake_max", "remove it; `bake` and `deadline` bound the time meanwhile"),
        later("hold_back", "remove it; the last step has all traffic meanwhile"),
        later("unproven", "remove it; a step without a verdict against it is promoted meanwhile"),
        key(
            "shield",
            Shape::Only("off", "write \"off\" or remove it; a failed request is not sent again meanwhile"),
            Is("\"off\""),
            "Whether a request that failed on the candidate is sent again to stable; only `off` yet.",
        ),
    ],
};

pub(crate) static STICKY: Section = Section {
    name: "service.NAME.rollout.sticky",
    doc: "Keeps a client on one side for the whole rollout.",
    keys: &[key(
        "cookie",
        Shape::Text(&text::COOKIE),
        Refused,
        "The cookie the edge sets to remember the side.",
    )],
};

pub(crate) static ALLOW: Section = Section {
    name: "service.NAME.rollout.allow",
    doc: "Requests with this header and one of these values always see the candidate; they are never counted by the judge.",
    keys: &[
        key("header", Shape::Text(&text::HEADER), Refused, "The header's name."),
        key(
            "values",
            Shape::Texts { of: &text::PLAIN, min: 1, max: 64 },
            Refused,
            "The values that count, exactly as sent.",
        ),
    ],
};

const ENDING: Shape = Shape::Choice(&["keep", "drain", "cut"]);

pub(crate) static CONNECTIONS: Section = Section {
    name: "service.NAME.rollout.connections",
    doc: "When long connections of a draining revision end: `keep` after the ceiling, `drain` with the other requests, `cut` at once.",
    keys: &[
        key("websocket", ENDING, Is("\"keep\""), "When WebSocket connections end."),
        key("sse", ENDING, Is("\"drain\""), "When event streams end; browsers reconnect by themselves."),
        key(
            "ceiling",
            Shape::Duration { min: Millis(0), max: Millis::seconds(DAY) },
            Is("\"10m\""),
            "How long `keep` keeps.",
        ),
    ],
};

/// Reads a rollout; `judge` is a section of its own.
pub(crate) fn read(fields: &Fields<'_>, judge: JudgeSettings) -> RolloutSettings {
    let paced = read_pace(fields);
    RolloutSettings {
        drain: fields.duration("drain").map_or(paced.drain, |at| at.value),
        keep_hot: fields.duration("keep_hot").map_or(paced.keep_hot, |at| at.value),
        candidate_replicas: fields.count("candidate_replicas").map(|at| at.value),
        sticky: fields.table("sticky").and_then(|sticky| read_sticky(&sticky)),
        allow: fields.table("allow").and_then(|allow| read_allow(&allow)),
        connections: fields.table("connections").map(|table| read_connections(&table)).unwrap_or_default(),
        judge,
        hooks: fields.table("hooks").map(|hooks| checks::read_hooks(&hooks)).unwrap_or_default(),
        checks: checks::read_checks(&fields.tables("checks")),
        ..paced
    }
}

/// Reads what the deadline depends on, and the deadline; everything else has its default.
fn read_pace(fields: &Fields<'_>) -> RolloutSettings {
    let (strategy, steps) = read_steps(fields);
    let bake = fields.duration("bake");
    let step_bake = fields.duration("step_bake");
    let deadline = fields.duration("deadline");
    let otherwise = RolloutSettings::default();
    let mut settings = RolloutSettings::with_bakes(
        strategy.unwrap_or(otherwise.strategy),
        steps.clone().unwrap_or_else(|| otherwise.steps.clone()),
        bake.as_ref().map_or(otherwise.bake, |at| at.value),
        step_bake.as_ref().map_or(otherwise.step_bake, |at| at.value),
    );
    // A rule about values that were refused would only confuse.
    let sure = steps.is_some() && !fields.refused("bake", &bake) && !fields.refused("step_bake", &step_bake);
    if let Some(deadline) = deadline {
        settings.deadline = deadline.value;
        if sure {
            require_time(fields, &settings, &deadline, [&bake, &step_bake]);
        }
    }
    settings
}

/// Returns the default steps of a strategy.
pub(crate) fn default_steps(strategy: Strategy) -> Vec<Weight> {
    match strategy {
        Strategy::BlueGreen => vec![Weight::FULL],
        Strategy::Canary => {
            let weight = |percent| Weight::new(percent).expect("BUG: a default weight is a percentage");
            vec![weight(5), weight(25), Weight::FULL]
        }
    }
}

/// Returns strategy and steps; None where they were refused.
fn read_steps(fields: &Fields<'_>) -> (Option<Strategy>, Option<Vec<Weight>>) {
    let chosen = fields.choice::<Strategy>("strategy");
    let strategy = match (&chosen, fields.has("strategy")) {
        (Some(chosen), _) => Some(chosen.value),
        (None, true) => None,
        (None, false) => Some(Strategy::BlueGreen),
    };
    let steps = fields.weights("steps");
    if fields.refused("steps", &steps) {
        return (strategy, None);
    }
    let Some(steps) = steps else { return (strategy, strategy.map(default_steps)) };

    let path = fields.path_of("steps");
    if steps.value.last() != Some(&Weight::FULL) {
        let what = format!("`{path}` does not end with 100");
        let mistake = Mistake::at(Kind::Rule, steps.span.clone(), what).why("the last step has all traffic");
        fields.note(mistake.help("add 100 at the end"));
    } else if strategy == Some(Strategy::BlueGreen) && steps.value.len() > 1 {
        let what = format!("`{path}` has several steps, but the strategy is blue-green");
        let mistake = Mistake::at(Kind::Rule, steps.span.clone(), what).why("blue-green is one step of 100");
        let mistake = mistake.help("write `strategy = \"canary\"`, or remove `steps`");
        fields.note(match chosen {
            Some(chosen) => mistake.also(chosen.span, "the strategy"),
            None => mistake,
        });
    }
    (strategy, Some(steps.value))
}

/// The deadline must leave time for the bakes alone.
fn require_time(
    fields: &Fields<'_>,
    settings: &RolloutSettings,
    deadline: &At<Millis>,
    bakes: [&Option<At<Millis>>; 2],
) {
    let least = settings.least_time();
    if deadline.value >= least {
        return;
    }
    let what = format!("`{}` is over before the bakes are", fields.path_of("deadline"));
    let why = format!("{}, but the bakes alone take {}", duration_text(deadline.value), duration_text(least));
    let enough = settings.deadline_enough();
    let help = format!("write \"{}\" or more, shorten the bakes, or remove it", duration_text(enough));
    let mistake = Mistake::at(Kind::Rule, deadline.span.clone(), what).why(why).help(help);
    let mistake = bakes.into_iter().flatten().fold(mistake, |mistake, bake| {
        mistake.also(bake.span.clone(), format!("a bake of {}", duration_text(bake.value)))
    });
    fields.note(mistake);
}

fn read_sticky(fields: &Fields<'_>) -> Option<Sticky> {
    Some(Sticky { cookie: fields.text("cookie")?.value })
}

fn read_allow(fields: &Fields<'_>) -> Option<Allow> {
    let header = fields.text("header");
    let values = fields.texts("values");
    let values = values?.value.into_iter().map(|at| at.value).collect();
    Some(Allow { header: header?.value.to_ascii_lowercase(), values })
}

fn read_connections(fields: &Fields<'_>) -> Connections {
    let otherwise = Connections::default();
    Connections {
        websocket: fields.choice("websocket").map_or(otherwise.websocket, |at| at.value),
        sse: fields.choice("sse").map_or(otherwise.sse, |at| at.value),
        ceiling: fields.duration("ceiling").map_or(otherwise.ceiling, |at| at.value),
    }
}
