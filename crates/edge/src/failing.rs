//! Draws a few of the failing requests of a second, each with the same chance whatever came first or on which worker.
//! Keeps nothing that could name a person or open a door: see `redact`. Counts nothing.

use crate::limits;
use meter::wire::FailingRequest;

/// The failing requests with the smallest numbers drawn: an even sample, also of samples put together.
/// Source: bottom-k sampling, Cohen and Kaplan, "Summarizing data using bottom-k sketches", 2007.
#[derive(Debug, Default)]
pub(crate) struct Sample(Vec<(u64, FailingRequest)>);

impl Sample {
    /// Offers a request with a number drawn at random; `failing` is asked only if it is kept.
    pub(crate) fn offer(&mut self, chance: u64, failing: impl FnOnce() -> FailingRequest) {
        let place = self.0.partition_point(|(other, _)| *other <= chance);
        if place < limits::FAILURES_OF_ARM {
            self.0.insert(place, (chance, failing()));
            self.0.truncate(limits::FAILURES_OF_ARM);
        }
    }

    /// Makes the two samples the sample of all their requests.
    pub(crate) fn merge(&mut self, other: Sample) {
        for (chance, failing) in other.0 {
            self.offer(chance, || failing);
        }
    }

    /// Returns what was drawn, in the order it came.
    pub(crate) fn drawn(self) -> impl Iterator<Item = FailingRequest> {
        let mut failing: Vec<FailingRequest> = self.0.into_iter().map(|(_, failing)| failing).collect();
        failing.sort_by_key(|failing| failing.at_ms);
        failing.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn failing(at_ms: u64) -> FailingRequest {
        FailingRequest { at_ms, ..FailingRequest::default() }
    }

    #[test]
    fn a_sample_is_bounded_even_over_all_and_asks_only_for_what_it_keeps() {
        let (random, mut drawn, mut asked) = (Random::seeded(), [0u32; 100], 0);

        for _ in 0..2000 {
            let mut samples = [Sample::default(), Sample::default()];
            for at_ms in 0..100u64 {
                let on = &mut samples[usize::from(at_ms < 90)];
                on.offer(random.next(), || {
                    asked += 1;
                    failing(at_ms)
                });
            }
            let [mut all, rest] = samples;
            all.merge(rest);
            let kept: Vec<u64> = all.drawn().map(|failing| failing.at_ms).collect();
            assert!(kept.len() == limits::FAILURES_OF_ARM && kept.is_sorted());
            kept.iter().for_each(|at_ms| drawn[*at_ms as usize] += 1);
        }

        // 60 of each are expected; six standard deviations are 46.
        assert!(drawn.iter().all(|count| (14..=106).contains(count)), "{drawn:?}");
        assert!(asked < 2000 * 30, "{asked}");
    }
}
