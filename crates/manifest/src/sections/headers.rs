//! Reads `[service.NAME.headers]`: the security headers of a service's answers. Writes none that is not asked for.

use super::Absent::{Is, Means};
use super::{Section, Shape, key, text};
use crate::read::Fields;
use rollout::guard::HeaderSettings;
use rollout::names::Millis;

/// Two years, what browsers' preload lists ask for at most.
const HSTS_MAX: Millis = Millis::seconds(2 * 365 * 86_400);

pub(crate) static HEADERS: Section = Section {
    name: "service.NAME.headers",
    doc: "Security headers of the service's answers. What the service says itself stays, unless `overwrite` is true.",
    keys: &[
        key(
            "preset",
            Shape::Choice(&["strict"]),
            Means("only the headers that are written"),
            "`strict`: HSTS for a year, nosniff, a referrer policy, no camera, microphone or location, framing by the same origin only; what is written beside it replaces its part.",
        ),
        key(
            "hsts",
            Shape::Duration { min: Millis(0), max: HSTS_MAX },
            Means("no such header"),
            "How long browsers ask only over TLS; sent only on answers that go over TLS.",
        ),
        key(
            "content_security_policy",
            Shape::Text(&text::HEADER_VALUE),
            Means("no such header"),
            "What pages may load; yours to write, no preset can know it.",
        ),
        key(
            "frame_ancestors",
            Shape::Text(&text::HEADER_VALUE),
            Means("everybody may frame pages"),
            "Who may frame pages, as `'none'` or `'self'`; added to the policy.",
        ),
        key(
            "referrer_policy",
            Shape::Text(&text::HEADER_VALUE),
            Means("no such header"),
            "How much of an address is told to other sites.",
        ),
        key(
            "permissions_policy",
            Shape::Text(&text::HEADER_VALUE),
            Means("no such header"),
            "Which features of browsers pages may use.",
        ),
        key("overwrite", Shape::Flag, Is("false"), "Whether these replace what the service says itself."),
    ],
};

pub(crate) fn read(fields: &Fields<'_>) -> HeaderSettings {
    let strict = fields.choice::<String>("preset").is_some();
    let text = |name: &str, preset: &str| {
        let written = fields.text(name).map(|at| at.value);
        written.or_else(|| (strict && !fields.has(name)).then(|| preset.to_owned()))
    };
    let mut always = Vec::new();
    let mut add =
        |name: &str, value: Option<String>| always.extend(value.map(|value| (name.to_owned(), value)));
    add("x-content-type-options", strict.then(|| "nosniff".to_owned()));
    add("referrer-policy", text("referrer_policy", "strict-origin-when-cross-origin"));
    add("permissions-policy", text("permissions_policy", "camera=(), microphone=(), geolocation=()"));
    let ancestors = text("frame_ancestors", "'self'").map(|who| format!("frame-ancestors {who}"));
    let policy = fields.text("content_security_policy").map(|at| at.value);
    let policy: Vec<String> = policy.into_iter().chain(ancestors).collect();
    add("content-security-policy", (!policy.is_empty()).then(|| policy.join("; ")));
    let hsts = fields.duration("hsts").map(|at| at.value);
    let hsts = hsts.or_else(|| (strict && !fields.has("hsts")).then(|| Millis::seconds(365 * 86_400)));
    let hsts = hsts.map(|age| ("strict-transport-security".to_owned(), format!("max-age={}", age.0 / 1000)));
    let overwrite = fields.flag("overwrite").is_some_and(|at| at.value);
    HeaderSettings { always, over_tls: hsts.into_iter().collect(), overwrite }
}
