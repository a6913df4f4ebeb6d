//! Reads `rollout.mirror`: which requests are copied to a candidate before any user sees it, and what follows.

use super::Absent::Is;
use super::{Section, Shape, key};
use crate::read::Fields;
use rollout::mirror::{Copies, Mirror};
use rollout::names::{Millis, Weight};

/// Copies of `10%` see enough and double nothing.
const SHARE: u8 = 10;
const DURING: Millis = Millis::seconds(60);
const TOLERATED: f64 = 0.01;

pub(crate) static MIRROR: Section = Section {
    name: "service.NAME.rollout.mirror",
    doc: "Copies of GET and HEAD requests go to the candidate before any user sees it; its answers are compared with stable's and thrown away. An answer counts as different only when stable, asked once more, repeats its own.",
    keys: &[
        key(
            "share",
            Shape::Share { max: 100 },
            Is("\"10%\""),
            "Of those requests; the candidate sees them with the header `X-MedEclipse-Mirrored`.",
        ),
        key(
            "during",
            Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(3600) },
            Is("\"1m\""),
            "How long, after the checks and before the first step.",
        ),
        key(
            "tolerated",
            Shape::Percent { min: 0.0, max: 0.5 },
            Is("\"1%\""),
            "Share of the compared answers that may differ.",
        ),
        key(
            "differing",
            Shape::Choice(&["hold", "report"]),
            Is("\"hold\""),
            "What follows when more of them do: the rollout waits for `medeclipse promote` or `abort`, or until its deadline; or goes on and says so.",
        ),
    ],
};

/// What is compared of a route's answers.
pub(crate) const OF_ROUTE: Shape = Shape::Choice(&["status", "body", "off"]);

/// Reads the settings; None: nothing is copied.
pub(crate) fn read(fields: &Fields<'_>) -> Option<Mirror> {
    let otherwise = Weight::new(SHARE).expect("BUG: the default share is a percentage");
    let share = fields.share("share").map_or(otherwise, |at| at.value);
    (share > Weight::NONE).then(|| Mirror {
        copies: Copies { share, bodies: Vec::new(), never: Vec::new() },
        during: fields.duration("during").map_or(DURING, |at| at.value),
        tolerated: fields.percent("tolerated").map_or(TOLERATED, |at| at.value),
        differing: fields.choice("differing").map(|at| at.value).unwrap_or_default(),
    })
}

/// Reads which routes' bodies are compared, and which routes are not copied.
pub(crate) fn read_routes(service: &Fields<'_>, copies: &mut Copies) {
    for route in service.tables("route") {
        let Some(template) = route.text("path") else { continue };
        match route.choice::<String>("mirror").map(|at| at.value).as_deref() {
            Some("body") => copies.bodies.push(template.value),
            Some("off") => copies.never.push(template.value),
            _ => {}
        }
    }
}
