//! Says what is copied to a candidate before any user sees it, and what its answers were worth beside stable's.
//! Takes no release back: copies see other data than the requests they are copies of. They hold it, or they are only told.

use crate::names::{Millis, Weight};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a candidate is tried with copies of safe requests before it gets any of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mirror {
    pub copies: Copies,
    pub during: Millis,
    pub differing: Differing,
    /// Share of the compared answers that may differ, a fraction of one.
    pub tolerated: f64,
}

/// Which requests are copied, and what of their answers is compared besides the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Copies {
    /// Of the GET and HEAD requests without a body.
    pub share: Weight,
    /// Route templates whose answers' bodies are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bodies: Vec<String>,
    /// Route templates that are not copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
}

/// What follows when more of the answers differ than is tolerated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Differing {
    /// The rollout waits for an operator, or for its deadline.
    #[default]
    Hold,
    /// It goes on, and says so.
    Report,
}

/// Differences told one by one; more say nothing more.
pub const DIFFERENCES_MAX: usize = 3;

/// Answers compared before a difference among them speaks; at the end fewer are enough.
const COMPARED_MIN: u64 = 20;

/// What became of copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MirrorCounts {
    /// Copies that have two answers to compare.
    pub compared: u64,
    /// Of these: the candidate answered with another status, or not at all.
    pub status: u64,
    /// Of these: the same status with another body.
    pub body: u64,
    /// Not compared: stable, asked once more, did not repeat its own answer.
    #[serde(default)]
    pub unsteady: u64,
    /// Not compared: the client went away, the answer had no end, or too many copies were on their way.
    #[serde(default)]
    pub dropped: u64,
    /// Of the compared: the candidate took at least twice as long as stable, and ten milliseconds more.
    #[serde(default)]
    pub slower: u64,
    /// Of the compared: stable took so much longer than the candidate.
    #[serde(default)]
    pub faster: u64,
    /// Some of those that differ, without anything that could name a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One request that the two versions answered differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    pub method: String,
    /// The route's template, or the path with everything that may name a person replaced by `{…}`.
    pub route: String,
    pub stable: u16,
    /// None: there was no answer.
    pub candidate: Option<u16>,
}

impl MirrorCounts {
    pub fn add(&mut self, more: &Self) {
        let sums = [
            (&mut self.compared, more.compared),
            (&mut self.status, more.status),
            (&mut self.body, more.body),
            (&mut self.unsteady, more.unsteady),
            (&mut self.dropped, more.dropped),
            (&mut self.slower, more.slower),
            (&mut self.faster, more.faster),
        ];
        sums.into_iter().for_each(|(sum, count)| *sum = sum.saturating_add(count));
        let room = DIFFERENCES_MAX.saturating_sub(self.differences.len());
        self.differences.extend(more.differences.iter().take(room).cloned());
    }

    /// Counts the answers that differ.
    pub fn different(&self) -> u64 {
        self.status.saturating_add(self.body)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Says what speaks against the candidate; None while nothing does. `over`: no more copies will be compared.
    pub fn objection(&self, mirror: &Mirror, over: bool) -> Option<String> {
        let enough = over || self.compared >= COMPARED_MIN;
        let share = self.different() as f64 / self.compared.max(1) as f64;
        (enough && self.different() > 0 && share > mirror.tolerated).then(|| {
            let (different, compared) = (self.different(), self.compared);
            let example = self.differences.first().map_or(String::new(), |first| format!(" ({first})"));
            format!(
                "the candidate answers {different} of {compared} copied requests otherwise than stable{example}: \
                 `medeclipse promote` goes on, `medeclipse abort` takes it back"
            )
        })
    }
}

impl fmt::Display for MirrorCounts {
    /// Writes a clause without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.compared == 0 {
            return f.write_str("no copied request could be compared");
        }
        write!(f, "{} copied request(s) compared", self.compared)?;
        match self.different() {
            0 => f.write_str(", none answered otherwise")?,
            different => write!(f, ", {different} answered otherwise")?,
        }
        if let Some(first) = self.differences.first() {
            write!(f, " ({first})")?;
        }
        if self.slower + self.faster > 0 {
            write!(f, ", {} much slower and {} much faster", self.slower, self.faster)?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.method, self.route)?;
        match self.candidate {
            None => write!(f, "no answer, stable {}", self.stable),
            Some(same) if same == self.stable => write!(f, "{same} with another body"),
            Some(other) => write!(f, "{other}, stable {}", self.stable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(tolerated: f64) -> Mirror {
        let copies = Copies { share: Weight::FULL, bodies: Vec::new(), never: Vec::new() };
        Mirror { copies, during: Millis::seconds(60), differing: Differing::Hold, tolerated }
    }

    fn counts(compared: u64, status: u64, body: u64) -> MirrorCounts {
        MirrorCounts { compared, status, body, ..MirrorCounts::default() }
    }

    #[test]
    fn differences_speak_once_there_are_enough_answers_or_there_will_be_no_more() {
        let few = counts(19, 19, 0);

        assert_eq!(few.objection(&mirror(0.01), false), None);
        assert!(few.objection(&mirror(0.01), true).is_some());
        assert!(counts(20, 1, 0).objection(&mirror(0.01), false).is_some());
    }

    #[test]
    fn what_is_tolerated_does_not_speak_against_it() {
        assert_eq!(counts(1_000, 5, 5).objection(&mirror(0.01), true), None);
        assert!(counts(1_000, 5, 6).objection(&mirror(0.01), true).is_some());
        assert_eq!(counts(1_000, 0, 0).objection(&mirror(0.0), true), None);
        assert!(counts(1_000_000, 1, 0).objection(&mirror(0.0), true).is_some());
    }

    #[test]
    fn what_is_said_names_a_request_and_what_to_do() {
        let mut counts = counts(40, 2, 0);
        let difference = |route: &str| Difference {
            method: "GET".to_owned(),
            route: route.to_owned(),
            stable: 200,
            candidate: Some(500),
        };
        for route in ["/a", "/b", "/c", "/d"] {
            let more = MirrorCounts { differences: vec![difference(route)], ..MirrorCounts::default() };
            counts.add(&more);
        }

        let said = counts.objection(&mirror(0.0), false).unwrap();

        assert!(
            said.contains("2 of 40 copied requests") && said.contains("GET /a: 500, stable 200"),
            "{said}"
        );
        assert!(said.contains("promote") && said.contains("abort"), "{said}");
        assert_eq!(counts.differences.len(), DIFFERENCES_MAX);
    }
}
