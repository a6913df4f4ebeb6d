//! Reads `judge`: from where on a difference between candidate and stable is harmful, and how sure one must be of it.

use super::Absent::{Is, Means, Refused};
use super::{Section, Shape, key, text};
use crate::error::{Kind, Mistake};
use crate::read::Fields;
use rollout::names::Millis;
use rollout::plan::{JudgeSettings, LatencySettings, Probes, RolloutSettings};
use rollout::routes::UserKey;

pub(crate) static JUDGE: Section = Section {
    name: "service.NAME.judge",
    doc: "When a difference between the candidate and stable is harmful, and traffic goes back.",
    keys: &[
        key(
            "errors",
            Shape::Table(&ERRORS),
            Means("its defaults"),
            "Up to where a larger share of failed requests is harmless.",
        ),
        key(
            "latency",
            Shape::OneOf(&[Shape::Table(&LATENCY), Shape::Choice(&["off"])]),
            Means("its defaults"),
            "Up to where slower answers are harmless; `\"off\"`: they are not judged.",
        ),
        key(
            "false_rollback",
            Shape::Fraction { min: 0.0001, max: 0.1, example: 0.01 },
            Is("0.01"),
            "Bound on the probability that a release no worse than stable is taken back, over all tests of a deployment; smaller takes longer.",
        ),
        key(
            "user",
            Shape::Table(&USER),
            Means("every failed request counts"),
            "Tells users apart, so that failures of one user on one route within 10s count once.",
        ),
        key(
            "probes",
            Shape::Table(&PROBES),
            Means("only real requests"),
            "Requests of our own where traffic is thin; marked, and never mixed in with real ones.",
        ),
        key(
            "first_look",
            Shape::Duration { min: Millis(0), max: Millis::seconds(300) },
            Is("\"0s\""),
            "How long the candidate has one percent of the requests before the first step, which must be larger; 0s: no such look.",
        ),
    ],
};

pub(crate) static ERRORS: Section = Section {
    name: "service.NAME.judge.errors",
    doc: "The candidate's share of errors may reach stable's, times one plus the margin, plus the floor.",
    keys: &[
        key(
            "margin",
            Shape::Percent { min: 0.0, max: 10.0 },
            Is("\"20%\""),
            "Relative to stable's share: with 20%, an error share of 1% may become 1.2%.",
        ),
        key(
            "floor",
            Shape::Percent { min: 0.0, max: 1.0 },
            Is("\"0.01%\""),
            "Added to that, in points, so that a stable release without errors leaves some room.",
        ),
    ],
};

pub(crate) static LATENCY: Section = Section {
    name: "service.NAME.judge.latency",
    doc: "The candidate's answers may be slower than stable's by the margin, at every quantile.",
    keys: &[
        key(
            "quantiles",
            Shape::Quantiles { max: 4 },
            Is("[0.5, 0.9, 0.99, 0.999]"),
            "Which latencies of stable become thresholds: 0.99 is the one 99 of 100 requests stay below.",
        ),
        key(
            "margin",
            Shape::Buckets { max: 32 },
            Is("\"4.4%\""),
            "Harmless slowness, rounded to whole histogram buckets of 2.2%, 32 to a doubling: 4.4% is two of them, 10% becomes 9.1%.",
        ),
        key(
            "warm_up",
            Shape::Duration { min: Millis(0), max: Millis::seconds(600) },
            Is("\"0s\""),
            "How long the latencies of a starting candidate are left out, for programs that are slow at first; its errors count.",
        ),
    ],
};

pub(crate) static USER: Section = Section {
    name: "service.NAME.judge.user",
    doc: "Where a request says whose it is: exactly one of both. Never the address, which a proxy shares.",
    keys: &[
        key("header", Shape::Text(&text::USER_HEADER), Means("`cookie` must be there"), "A header's name."),
        key("cookie", Shape::Text(&text::USER_COOKIE), Means("`header` must be there"), "A cookie's name."),
    ],
};

pub(crate) static PROBES: Section = Section {
    name: "service.NAME.judge.probes",
    doc: "Requests of our own to the candidate and to stable, where traffic is thin.",
    keys: &[
        key("path", Shape::Text(&text::QUERY_PATH), Refused, "The path asked for; it should change nothing."),
        key(
            "every",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(300) },
            Is("\"5s\""),
            "How often each side is asked.",
        ),
    ],
};

pub(crate) fn read(fields: &Fields<'_>) -> JudgeSettings {
    let otherwise = JudgeSettings::default();
    let errors = fields.table("errors");
    let share = |name| errors.as_ref().and_then(|errors| errors.percent(name)).map(|at| at.value);
    JudgeSettings {
        error_margin: share("margin").unwrap_or(otherwise.error_margin),
        error_floor: share("floor").unwrap_or(otherwise.error_floor),
        latency: read_latency(fields),
        false_rollback: fields.fraction("false_rollback").map_or(otherwise.false_rollback, |at| at.value),
        user: fields.table("user").and_then(|user| read_user(&user)),
        probes: fields.table("probes").and_then(|probes| read_probes(&probes)),
        first_look: fields.duration("first_look").map(|at| at.value).filter(|look| *look > Millis(0)),
    }
}

fn read_latency(fields: &Fields<'_>) -> LatencySettings {
    let otherwise = LatencySettings::default();
    if fields.is_off("latency") {
        return LatencySettings { quantiles: Vec::new(), ..otherwise };
    }
    let Some(latency) = fields.table("latency") else { return otherwise };
    LatencySettings {
        quantiles: latency.quantiles("quantiles").map_or(otherwise.quantiles, |at| at.value),
        margin_buckets: latency.buckets("margin").map_or(otherwise.margin_buckets, |at| at.value),
        warm_up: latency.duration("warm_up").map_or(otherwise.warm_up, |at| at.value),
    }
}

/// A user is known by a header or a cookie: exactly one of them.
fn read_user(fields: &Fields<'_>) -> Option<UserKey> {
    let header = fields.text("header");
    let cookie = fields.text("cookie");
    let what = "a user is told by exactly one of `header` and `cookie`";
    match (fields.has("header"), fields.has("cookie")) {
        (true, true) => {
            let mistake =
                Mistake::at(Kind::Rule, fields.key_span("cookie"), what).why("`header` is there too");
            let mistake = mistake.also(fields.key_span("header"), "the header");
            fields.note(mistake.help("remove one; what environments differ in stands only under them"));
        }
        (false, false) if !fields.has_unknown() => {
            let mistake = Mistake::at(Kind::Rule, fields.span.clone(), what).why("neither is there");
            fields.note(mistake.help("write `cookie = \"sid\"` or `header = \"X-User\"`"));
        }
        _ => {}
    }
    let header = header.map(|at| UserKey::Header(at.value.to_ascii_lowercase()));
    header.or(cookie.map(|at| UserKey::Cookie(at.value)))
}

/// A first step of one percent is that look already; a second one would be left out without a word.
pub(crate) fn require_look_below_steps(fields: &Fields<'_>, rollout: &RolloutSettings) {
    let smallest = rollout.steps.first().is_some_and(|first| first.percent() <= 1);
    if smallest && rollout.judge.first_look.is_some() {
        let what = format!("`{}` comes before a step that is no larger", fields.path_of("first_look"));
        let mistake = Mistake::at(Kind::Rule, fields.value_span("first_look"), what);
        let mistake = mistake.why("it has 1 %, and so has the first of `steps`");
        fields.note(mistake.help("remove it, or begin `steps` above 1"));
    }
}

fn read_probes(fields: &Fields<'_>) -> Option<Probes> {
    let every = fields.duration("every").map_or(Millis::seconds(5), |at| at.value);
    Some(Probes { path: fields.text("path")?.value, every })
}
