//! Reads `health`: how a replica is asked whether it is well.

use super::Absent::{Is, Means};
use super::{Section, Shape, key, text};
use crate::read::Fields;
use rollout::names::Millis;
use rollout::release::Health;

pub(crate) static HEALTH: Section = Section {
    name: "service.NAME.health",
    doc: "How a replica is asked whether it is well. An answer from 200 to 399 is well.",
    keys: &[
        key(
            "live",
            Shape::Text(&text::PATH),
            Means("a listening socket is enough"),
            "Path that says whether the process still works; when it fails for long, the replica is replaced.",
        ),
        key(
            "ready",
            Shape::Text(&text::PATH),
            Means("a listening socket is enough"),
            "Path that says whether the replica may get requests.",
        ),
        key(
            "interval",
            Shape::Duration { min: Millis(100), max: Millis::seconds(300) },
            Is("\"1s\""),
            "How often both are asked, once the replica is ready.",
        ),
        key(
            "timeout",
            Shape::Duration { min: Millis(10), max: Millis::seconds(60) },
            Is("\"500ms\""),
            "How long an answer may take.",
        ),
        key(
            "start",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(3600) },
            Is("\"60s\""),
            "How long a replica may take until it is first ready.",
        ),
    ],
};

pub(crate) fn read(fields: &Fields<'_>) -> Health {
    let otherwise = Health::default();
    Health {
        live: fields.text("live").map(|at| at.value),
        ready: fields.text("ready").map(|at| at.value),
        interval: fields.duration("interval").map_or(otherwise.interval, |at| at.value),
        timeout: fields.duration("timeout").map_or(otherwise.timeout, |at| at.value),
        start: fields.duration("start").map_or(otherwise.start, |at| at.value),
        // Belongs to the service as a whole.
        protocol: otherwise.protocol,
    }
}
