//! Reads `rollout`: steps, how long each is watched, what ends it.
//! Rules across its keys are here too: steps fit the strategy, the deadline leaves time for the bakes.

use super::Absent::{Is, Means, Refused};
use super::{Section, Shape, checks, key, mirror, monitor, text};
use crate::error::{Kind, Mistake};
use crate::read::{At, Fields};
use crate::units::duration_text;
use rollout::names::{Millis, Weight};
use rollout::plan::{JudgeSettings, Readiness, RolloutSettings, Strategy, Unproven};
use rollout::routes::{Allow, Connections, RouteConnections, Shield, Sticky};

const DAY: u64 = 86_400;

/// A bake: nothing to watch, up to a week.
const BAKE: Shape = Shape::Duration { min: Millis(0), max: Millis::seconds(7 * DAY) };

/// Three times the longest bake, as when nothing is written.
const BAKE_MAX: Millis = Millis::seconds(21 * DAY);

/// Longer than all bakes of the most steps.
const DEADLINE_MAX: Millis = Millis::seconds(90 * DAY);

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
            "How long the last step is watched; then the candidate is promoted, or watched on in doubt.",
        ),
        key("step_bake", BAKE, Is("\"2m\""), "How long every other step is watched."),
        key(
            "bake_min",
            BAKE,
            Means("two minutes, or the bake where that is shorter"),
            "After how long a step may end early, when the candidate is proven safe; at most `bake`.",
        ),
        key(
            "bake_max",
            Shape::Duration { min: Millis(0), max: BAKE_MAX },
            Means("three times `bake`"),
            "How far doubt may extend the last step, and the others in proportion; at least `bake`.",
        ),
        key(
            "hold_back",
            Shape::Share { max: 50 },
            Means("`\"5%\"` for canary, `\"off\"` for blue-green"),
            "What stays on stable during the last step, to compare with, and moves with the promotion; off for services that cannot run two versions.",
        ),
        key(
            "unproven",
            Shape::Choice(&["promote", "hold", "return"]),
            Is("\"promote\""),
            "What becomes of a candidate about which too little is known after `bake_max`: promoted and called unproven, held until the deadline, or returned.",
        ),
        key(
            "drain",
            Shape::Duration { min: Millis(0), max: Millis::seconds(3600) },
            Is("\"30s\""),
            "How long the requests of a revision that leaves may go on.",
        ),
        key(
            "deadline",
            Shape::Duration { min: Millis::seconds(1), max: DEADLINE_MAX },
            Means("every bake extended as far as may be, and ten minutes"),
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
        key(
            "monitor",
            Shape::Table(&monitor::MONITOR),
            Means("no such checks"),
            "Named checks asked again and again while the candidate is watched.",
        ),
        key(
            "mirror",
            Shape::Table(&mirror::MIRROR),
            Means("nothing is copied"),
            "Copies of requests to the candidate before any user sees it.",
        ),
        key(
            "readiness",
            Shape::Table(&READINESS),
            Means("its defaults"),
            "How it is kept known whether a rollback could start what it would go back to.",
        ),
        key(
            "shield",
            Shape::Choice(&["idempotent", "off"]),
            Is("\"idempotent\""),
            "Whether a GET or HEAD that failed on the candidate is sent once more, to stable; it counts against the candidate all the same.",
        ),
        key(
            "shield_statuses",
            Shape::Statuses { max: 16 },
            Is("[500, 502, 503, 504]"),
            "Which answers of the candidate are failures for the shield; connections that break always are.",
        ),
        key(
            "assets",
            Shape::Choice(&["hashed", "off"]),
            Is("\"hashed\""),
            "Whether a file with a hash in its name, which the release that was drawn does not have (404), is asked of the others that are alive: the candidate, stable, and the one before until `keep_hot` ends.",
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

pub(crate) static READINESS: Section = Section {
    name: "service.NAME.rollout.readiness",
    doc: "The release a rollback would start is checked: stored and unchanged, and started now and then in a spare slot that gets no requests.",
    keys: &[
        key(
            "every",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(3600) },
            Is("\"30s\""),
            "Between looks at the stored artefact.",
        ),
        key(
            "spare",
            Shape::OneOf(&[
                Shape::Duration { min: Millis::seconds(10), max: Millis::seconds(7 * DAY) },
                Shape::Choice(&["off"]),
            ]),
            Is("\"6h\""),
            "Between starts of one replica in a spare slot, the first when the release no longer runs hot; `off` where a second copy must not run. Needs a free port and memory.",
        ),
    ],
};

/// A connection that lives longer than a day has outlived its release.
const CEILING: Shape = Shape::Duration { min: Millis(0), max: Millis::seconds(DAY) };

const ENDING: Shape = Shape::Choice(&["keep", "drain", "cut"]);

pub(crate) static CONNECTIONS: Section = Section {
    name: "service.NAME.rollout.connections",
    doc: "When long connections of a draining revision end: `keep` after the ceiling, `drain` one after the other while requests drain, `cut` at once. WebSockets are told (1001), event streams when to come back.",
    keys: &[
        key("websocket", ENDING, Is("\"keep\""), "When WebSocket connections end."),
        key("sse", ENDING, Is("\"drain\""), "When event streams end; browsers reconnect by themselves."),
        key("ceiling", CEILING, Is("\"10m\""), "How long `keep` keeps."),
    ],
};

pub(crate) static ROUTE_CONNECTIONS: Section = Section {
    name: "service.NAME.route.connections",
    doc: "When long connections of one route end, where that differs from the service's others.",
    keys: &[
        key("websocket", ENDING, Means("as the service's"), "When WebSocket connections end."),
        key("sse", ENDING, Means("as the service's"), "When event streams end."),
        key("ceiling", CEILING, Means("as the service's"), "How long `keep` keeps."),
    ],
};

/// Reads what the routes say of their long connections; what they leave out is as the service has it.
pub(crate) fn read_route_connections(service: &Fields<'_>, otherwise: &Connections) -> Vec<RouteConnections> {
    let routes = service.tables("route");
    let read = |route: &Fields<'_>| {
        let connections = route.table("connections")?;
        Some(RouteConnections {
            template: route.text("path")?.value,
            websocket: connections.choice("websocket").map_or(otherwise.websocket, |at| at.value),
            sse: connections.choice("sse").map_or(otherwise.sse, |at| at.value),
            ceiling: connections.duration("ceiling").map_or(otherwise.ceiling, |at| at.value),
        })
    };
    routes.iter().filter_map(read).collect()
}

/// Reads a rollout; `judge` is a section of its own.
pub(crate) fn read(fields: &Fields<'_>, judge: JudgeSettings) -> RolloutSettings {
    let paced = read_pace(fields, judge);
    RolloutSettings {
        drain: fields.duration("drain").map_or(paced.drain, |at| at.value),
        keep_hot: fields.duration("keep_hot").map_or(paced.keep_hot, |at| at.value),
        candidate_replicas: fields.count("candidate_replicas").map(|at| at.value),
        sticky: fields.table("sticky").and_then(|sticky| read_sticky(&sticky)),
        allow: fields.table("allow").and_then(|allow| read_allow(&allow)),
        connections: fields.table("connections").map(|table| read_connections(&table)).unwrap_or_default(),
        shield: read_shield(fields),
        assets: fields.choice::<String>("assets").is_none_or(|word| word.value != "off"),
        hooks: fields.table("hooks").map(|hooks| checks::read_hooks(&hooks)).unwrap_or_default(),
        checks: checks::read_checks(&fields.tables("checks")),
        unproven: fields.choice::<Unproven>("unproven").map_or(paced.unproven, |at| at.value),
        monitor: fields.table("monitor").map(|monitor| monitor::read(&monitor)),
        readiness: fields.table("readiness").map(|table| read_readiness(&table)).unwrap_or_default(),
        ..paced
    }
}

fn read_shield(fields: &Fields<'_>) -> Option<Shield> {
    let statuses = fields.statuses("shield_statuses");
    let on = fields.choice::<String>("shield").is_none_or(|word| word.value != "off");
    on.then(|| statuses.map_or_else(Shield::default, |at| Shield { statuses: at.value }))
}

fn read_readiness(fields: &Fields<'_>) -> Readiness {
    let otherwise = Readiness::default();
    let spare = || fields.duration("spare").map_or(otherwise.spare, |at| Some(at.value));
    Readiness {
        every: fields.duration("every").map_or(otherwise.every, |at| at.value),
        spare: if fields.is_off("spare") { None } else { spare() },
    }
}

/// Reads what the deadline depends on, and the deadline; everything else has its default.
fn read_pace(fields: &Fields<'_>, judge: JudgeSettings) -> RolloutSettings {
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
    settings.judge = judge;
    settings.mirror = fields.table("mirror").and_then(|table| mirror::read(&table));
    read_hold_back(fields, &mut settings, steps.is_some());
    // A rule about values that were refused would only confuse.
    let bake_is_sure = !fields.refused("bake", &bake);
    read_bake_bounds(fields, &mut settings, bake.as_ref().filter(|_| bake_is_sure), bake_is_sure);
    let sure = steps.is_some() && bake_is_sure && !fields.refused("step_bake", &step_bake);
    match deadline {
        Some(deadline) => {
            settings.deadline = deadline.value;
            if sure {
                require_time(fields, &settings, &deadline, [&bake, &step_bake]);
            }
        }
        None => settings.deadline = deadline_enough(&settings),
    }
    settings
}

/// Reads what stays on stable during the last step; no step before it may give the candidate more than it does.
fn read_hold_back(fields: &Fields<'_>, settings: &mut RolloutSettings, steps_are_sure: bool) {
    let share = fields.share("hold_back");
    let refused = fields.refused("hold_back", &share);
    settings.hold_back = share.map_or(settings.hold_back, |at| at.value);
    let last = settings.hold_back.rest();
    let before = settings.steps.iter().rev().find(|weight| **weight < Weight::FULL).copied();
    let Some(before) = before.filter(|before| *before > last && steps_are_sure && !refused) else { return };
    let what = format!("`{}` has a step above the last one", fields.path_of("steps"));
    let why = format!("{before}, but the hold-back of {} leaves the last step {last}", settings.hold_back);
    let mistake = Mistake::at(Kind::Rule, fields.value_span("steps"), what).why(why);
    let mistake = match fields.has("hold_back") {
        true => mistake.also(fields.value_span("hold_back"), "stays on stable"),
        false => mistake,
    };
    let enough = before.rest().percent();
    fields.note(
        mistake.help(format!("write `hold_back = \"{enough}%\"` or \"off\", or smaller steps before 100")),
    );
}

/// Reads how early and how late a bake may end; both are bounded by the bake, written or not.
fn read_bake_bounds(
    fields: &Fields<'_>,
    settings: &mut RolloutSettings,
    bake: Option<&At<Millis>>,
    sure: bool,
) {
    let min = fields.duration("bake_min");
    let max = fields.duration("bake_max");
    let length = duration_text(settings.bake);
    let rule = |at: &At<Millis>, key: &str, wrong: &str, help: String| {
        let what = format!("`{}` is {wrong} than `bake`", fields.path_of(key));
        let by_default = if bake.is_some() { "" } else { ", by default" };
        let why = format!("{}, but the last step is watched {length}{by_default}", duration_text(at.value));
        let mistake = Mistake::at(Kind::Rule, at.span.clone(), what).why(why).help(help);
        fields.note(bake.iter().fold(mistake, |mistake, bake| mistake.also(bake.span.clone(), "the bake")));
    };
    if let Some(min) = min.as_ref().filter(|min| sure && min.value > settings.bake) {
        rule(min, "bake_min", "longer", format!("write \"{length}\" or less, or a longer `bake`"));
    }
    if let Some(max) = max.as_ref().filter(|max| sure && max.value < settings.bake) {
        rule(max, "bake_max", "shorter", format!("write \"{length}\" or more, or a shorter `bake`"));
    }
    settings.bake_min = min.map(|at| at.value);
    settings.bake_max = max.map(|at| at.value);
}

/// Returns the deadline of those who write none: time for the first look and for every bake at its longest.
pub(crate) fn deadline_enough(settings: &RolloutSettings) -> Millis {
    settings.deadline_enough().plus(first_look(settings))
}

/// Returns the least a deadline must leave time for.
pub(crate) fn least_time(settings: &RolloutSettings) -> Millis {
    settings.least_time().plus(first_look(settings))
}

fn first_look(settings: &RolloutSettings) -> Millis {
    settings.judge.first_look.unwrap_or(Millis(0))
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
    let least = least_time(settings);
    if deadline.value >= least {
        return;
    }
    let what = format!("`{}` is over before the bakes are", fields.path_of("deadline"));
    let why = format!("{}, but the bakes alone take {}", duration_text(deadline.value), duration_text(least));
    let enough = deadline_enough(settings).min(DEADLINE_MAX);
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
        routes: Vec::new(),
    }
}
