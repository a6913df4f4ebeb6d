//! Compares what was recorded with what is computed, numbers bit for bit. Forgives nothing: a last bit is a difference.

use crate::event::Event;
use crate::judge::{Evidence, Finding};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// A value that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub field: String,
    pub recorded: String,
    pub computed: String,
}

/// Collects differences.
#[derive(Default)]
pub(super) struct Differences(pub Vec<Difference>);

impl Differences {
    pub fn value<T: PartialEq + Debug>(&mut self, field: &str, recorded: &T, computed: &T) -> &mut Self {
        if recorded != computed {
            self.0.push(Difference {
                field: field.to_owned(),
                recorded: format!("{recorded:?}"),
                computed: format!("{computed:?}"),
            });
        }
        self
    }

    fn number(&mut self, field: &str, recorded: f64, computed: f64) -> &mut Self {
        if recorded.to_bits() != computed.to_bits() {
            self.0.push(Difference {
                field: field.to_owned(),
                // The shortest text that is this number and no other.
                recorded: format!("{recorded:?}"),
                computed: format!("{computed:?}"),
            });
        }
        self
    }

    fn maybe(&mut self, field: &str, recorded: Option<f64>, computed: Option<f64>) -> &mut Self {
        match (recorded, computed) {
            (Some(recorded), Some(computed)) => self.number(field, recorded, computed),
            (recorded, computed) => self.value(field, &recorded, &computed),
        }
    }

    pub fn evidence(&mut self, recorded: &Evidence, computed: &Evidence) -> &mut Self {
        // Every field by name: a new one does not compile until it is compared.
        let Evidence {
            rule,
            metric,
            window_seconds,
            candidate_requests,
            candidate_errors,
            stable_requests,
            stable_errors,
            limit,
            score,
            log_m,
            threshold,
            p_value,
            alternative,
            slower_than_ms,
            weight,
            cold,
            warm_up_seconds,
            shared_seconds,
            probes,
            failures,
        } = recorded;
        self.value("rule", rule, &computed.rule)
            .value("metric", metric, &computed.metric)
            .value("window_seconds", window_seconds, &computed.window_seconds)
            .value("candidate_requests", candidate_requests, &computed.candidate_requests)
            .value("candidate_errors", candidate_errors, &computed.candidate_errors)
            .value("stable_requests", stable_requests, &computed.stable_requests)
            .value("stable_errors", stable_errors, &computed.stable_errors)
            .number("limit", *limit, computed.limit)
            .number("score", *score, computed.score)
            .number("log_m", *log_m, computed.log_m)
            .number("threshold", *threshold, computed.threshold)
            .maybe("p_value", *p_value, computed.p_value)
            .maybe("alternative", *alternative, computed.alternative)
            .maybe("slower_than_ms", *slower_than_ms, computed.slower_than_ms)
            .value("weight", weight, &computed.weight)
            .value("cold", cold, &computed.cold)
            .value("warm_up_seconds", warm_up_seconds, &computed.warm_up_seconds)
            .value("shared_seconds", shared_seconds, &computed.shared_seconds)
            .value("probes", probes, &computed.probes)
            .value("failures", failures, &computed.failures)
    }

    pub fn finding(&mut self, recorded: &Finding, computed: Option<&Finding>) -> &mut Self {
        let Some(computed) = computed else {
            return self.value("finding", &Some(recorded), &None);
        };
        let Finding { what, candidate_requests, candidate_count, stable_requests, stable_count, p_value } =
            recorded;
        self.value("what", what, &computed.what)
            .value("candidate_requests", candidate_requests, &computed.candidate_requests)
            .value("candidate_count", candidate_count, &computed.candidate_count)
            .value("stable_requests", stable_requests, &computed.stable_requests)
            .value("stable_count", stable_count, &computed.stable_count)
            .number("p_value", *p_value, computed.p_value)
    }

    pub fn event(&mut self, recorded: &Event, computed: Option<&Event>) -> &mut Self {
        self.value("event", &Some(recorded), &computed)
    }
}
