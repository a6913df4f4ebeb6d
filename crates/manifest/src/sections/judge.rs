//! Reads `judge`: from where on a difference between candidate and stable is harmful.

use super::Absent::{Is, Means};
use super::{Section, Shape, key, later};
use crate::read::Fields;
use rollout::plan::JudgeSettings;

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
        later("latency", "remove it; only errors and health decide meanwhile"),
        later("false_rollback", "remove it; the judge has a fixed rule meanwhile"),
        later("user", "remove it; every request counts by itself meanwhile"),
        later("probes", "remove it; a check with a `url` asks the candidate meanwhile"),
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

pub(crate) fn read(fields: &Fields<'_>) -> JudgeSettings {
    let otherwise = JudgeSettings::default();
    let Some(errors) = fields.table("errors") else { return otherwise };
    JudgeSettings {
        error_margin: errors.percent("margin").map_or(otherwise.error_margin, |at| at.value),
        error_floor: errors.percent("floor").map_or(otherwise.error_floor, |at| at.value),
        ..otherwise
    }
}
