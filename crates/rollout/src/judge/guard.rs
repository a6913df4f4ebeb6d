//! Compares the share of failing requests, candidate against stable, over four windows. Latency it does not judge.
//! A plain guard with a minimum sample: its false alarms are not bounded over a whole watch; the sequential test will do that.

use super::{Evidence, Record, Verdict};
use crate::event::VerdictWord;
use crate::plan::JudgeSettings;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Windows looked at, in records (one a second): a gross failure, a fault, a small difference, and little traffic.
const WINDOWS: [usize; 4] = [3, 15, 60, 300];
/// Records kept; the longest window.
const RECORDS_MAX: usize = 300;
/// Candidate requests a window must hold before it says anything.
pub const SAMPLE_MIN: u64 = 20;
/// Candidate errors it must hold before it says `worse`: a handful may be anything.
const ERRORS_MIN: u64 = 5;
/// Distance from the limit, in standard errors, that counts as worse. Five, because some hundred looks are taken.
const SCORE_WORSE: f64 = 5.0;
/// What stable is believed to be before it was watched, and how many requests that belief is worth (rollback.md 3.2, 3.6).
const PRIOR_RATE: f64 = 0.001;
const PRIOR_REQUESTS: f64 = 2000.0;
/// Margin without a concurrent stable: room for the error of a reference from another time (rollback.md 3.2).
const ALONE_MARGIN: f64 = 0.4;
/// With fewer of stable's requests than this and none of its own time, only a gross failure is called worse …
const REFERENCE_MIN: u64 = 1000;
/// … and this share of failing requests is the least that is gross.
const GROSS_RATE: f64 = 0.05;
/// From here on what was seen of stable counts more than the belief.
const SEEN_MIN: u64 = 100;
/// Distance from the limit that forbids to call the whole watch as good as stable.
const SCORE_DOUBT: f64 = 3.0;

/// Seconds after one in which stable was not well that say nothing either: versions do not recover in the same second.
const EXCUSED_SECONDS: u64 = 3;

/// What was seen of the watched candidate and of stable beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    recent: VecDeque<Record>,
    /// All of stable's requests since the deployment began: the reference when it gets none any more.
    reference_requests: u64,
    reference_errors: u64,
    /// All of the candidate's since its watch began.
    candidate_requests: u64,
    candidate_errors: u64,
    /// Seconds without a report, up to the last record.
    silent_seconds: u64,
    /// Seconds to come that say nothing, unless the candidate is without fault in them.
    #[serde(default)]
    excused: u64,
}

impl Guard {
    /// Folds one second into what is known.
    pub fn add(&mut self, record: &Record) {
        if record.missing {
            self.silent_seconds = self.silent_seconds.saturating_add(1);
            return;
        }
        self.silent_seconds = 0;
        if self.excuses(record) {
            return;
        }
        self.reference_requests = self.reference_requests.saturating_add(record.stable_requests);
        self.reference_errors = self.reference_errors.saturating_add(record.stable_errors);
        self.candidate_requests = self.candidate_requests.saturating_add(record.candidate_requests);
        self.candidate_errors = self.candidate_errors.saturating_add(record.candidate_errors);
        if self.recent.len() == RECORDS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(*record);
    }

    /// Tells whether a record says nothing: without stable's requests beside it, what failed may have failed for both.
    fn excuses(&mut self, record: &Record) -> bool {
        let left = if record.unwell { EXCUSED_SECONDS } else { self.excused.saturating_sub(1) };
        let before = std::mem::replace(&mut self.excused, left);
        record.candidate_errors > 0 && record.stable_requests < SAMPLE_MIN && (record.unwell || before > 0)
    }

    /// Tells whether a second of the last few said nothing because stable was not well either.
    pub fn is_excused(&self) -> bool {
        self.excused > 0
    }

    /// Starts the watch anew for a candidate whose share of errors so far becomes the reference.
    pub fn promoted(&self) -> Guard {
        Guard {
            reference_requests: self.reference_requests,
            reference_errors: self.reference_errors,
            ..Guard::default()
        }
    }

    pub fn candidate_requests(&self) -> u64 {
        self.candidate_requests
    }

    pub fn candidate_errors(&self) -> u64 {
        self.candidate_errors
    }

    pub fn stable_requests(&self) -> u64 {
        self.reference_requests
    }

    pub fn stable_errors(&self) -> u64 {
        self.reference_errors
    }

    /// Returns how many seconds the last reports have been missing.
    pub fn silent_seconds(&self) -> u64 {
        self.silent_seconds
    }

    /// Says what the windows say; the worst of them counts.
    pub fn verdict(&self, settings: &JudgeSettings) -> Verdict {
        self.verdict_of(&WINDOWS, settings)
    }

    /// Says what all that is kept says: versions neither fall nor recover in the same second.
    pub fn verdict_of_the_longest(&self, settings: &JudgeSettings) -> Verdict {
        self.verdict_of(&WINDOWS[WINDOWS.len() - 1..], settings)
    }

    /// Tells whether candidate and stable fail at the same time: then it is not only the release's fault.
    /// Looks at the two shortest windows in which both were asked often enough: it is about now.
    pub fn stable_fails_too(&self, settings: &JudgeSettings) -> bool {
        let limit = PRIOR_RATE * (1.0 + ALONE_MARGIN) + settings.error_floor;
        let fails = |errors: u64, requests: u64| {
            errors >= ERRORS_MIN
                && errors.saturating_mul(10) >= requests
                && score(errors, requests, limit, PRIOR_REQUESTS) >= SCORE_WORSE
        };
        let asked = WINDOWS
            .iter()
            .map(|seconds| self.counts(*seconds))
            .filter(|counts| counts.stable_requests >= SAMPLE_MIN && counts.candidate_requests >= SAMPLE_MIN);
        asked.take(2).any(|counts| {
            fails(counts.stable_errors, counts.stable_requests)
                && fails(counts.candidate_errors, counts.candidate_requests)
        })
    }

    /// Forgets the seconds kept, not the sums: they were of a time that says nothing about the release.
    pub fn begin_anew(&mut self) {
        self.recent.clear();
    }

    fn verdict_of(&self, windows: &[usize], settings: &JudgeSettings) -> Verdict {
        let evidence = windows.iter().map(|seconds| self.window(*seconds, settings));
        // Where nothing stands out the longest window is shown.
        let worst = evidence.reduce(|worst, next| if next.score >= worst.score { next } else { worst });
        let evidence = worst.expect("BUG: there is at least one window");
        Verdict { word: self.word(&evidence, settings), evidence }
    }

    fn word(&self, evidence: &Evidence, settings: &JudgeSettings) -> VerdictWord {
        if evidence.score >= SCORE_WORSE {
            VerdictWord::Worse
        } else if self.candidate_requests >= SAMPLE_MIN && !self.is_doubtful(settings) {
            VerdictWord::BetterOrEqual
        } else {
            VerdictWord::NotEnoughEvidence
        }
    }

    /// Tells whether the candidate's whole watch looks worse than stable's, if not surely.
    fn is_doubtful(&self, settings: &JudgeSettings) -> bool {
        let Reference { limit, requests } = self.past(settings);
        self.candidate_errors > 1
            && score(self.candidate_errors, self.candidate_requests, limit, requests) >= SCORE_DOUBT
    }

    fn counts(&self, seconds: usize) -> Counts {
        let mut sum = Counts::default();
        for record in self.recent.iter().rev().take(seconds) {
            sum.candidate_requests = sum.candidate_requests.saturating_add(record.candidate_requests);
            sum.candidate_errors = sum.candidate_errors.saturating_add(record.candidate_errors);
            sum.stable_requests = sum.stable_requests.saturating_add(record.stable_requests);
            sum.stable_errors = sum.stable_errors.saturating_add(record.stable_errors);
            if record.stable_requests > 0 {
                let share = record.stable_errors as f64 / record.stable_requests as f64;
                sum.beside += record.candidate_requests as f64;
                sum.expected += record.candidate_requests as f64 * share;
            }
        }
        sum
    }

    fn window(&self, seconds: usize, settings: &JudgeSettings) -> Evidence {
        let counts = self.counts(seconds);
        let Reference { limit, requests } =
            if counts.has_control() { counts.reference(settings) } else { self.past_alone(settings) };
        let enough = counts.candidate_requests >= SAMPLE_MIN && counts.candidate_errors >= ERRORS_MIN;
        let score = score(counts.candidate_errors, counts.candidate_requests, limit, requests);
        Evidence {
            rule: "share of failing requests".to_owned(),
            metric: "errors".to_owned(),
            window_seconds: seconds.min(self.recent.len()) as u64,
            candidate_requests: counts.candidate_requests,
            candidate_errors: counts.candidate_errors,
            stable_requests: counts.stable_requests,
            stable_errors: counts.stable_errors,
            limit: rounded(limit, 1e6),
            score: if enough { rounded(score, 1e3) } else { 0.0 },
        }
    }

    /// Returns the reference from stable's own past: wider, because it is of another time.
    fn past(&self, settings: &JudgeSettings) -> Reference {
        let (errors, requests) = (self.reference_errors, self.reference_requests);
        let seen = requests >= SEEN_MIN || errors >= ERRORS_MIN;
        let belief = if seen { (errors as f64 + 0.5) / (requests as f64 + 1.0) } else { PRIOR_RATE };
        let rate = believed(belief, errors, requests).max(believed(PRIOR_RATE, errors, requests));
        let limit = rate * (1.0 + settings.error_margin.max(ALONE_MARGIN)) + settings.error_floor;
        Reference { limit: limit.min(1.0), requests: PRIOR_REQUESTS + requests as f64 }
    }

    /// Returns the same, wide enough to take a candidate back with nothing beside it.
    fn past_alone(&self, settings: &JudgeSettings) -> Reference {
        let past = self.past(settings);
        let least = if self.reference_requests < REFERENCE_MIN { GROSS_RATE } else { 0.0 };
        Reference { limit: past.limit.max(least), ..past }
    }
}

/// What the candidate is compared with.
struct Reference {
    /// Share of failing requests up to which a candidate is harmless.
    limit: f64,
    /// How many requests that rests on.
    requests: f64,
}

/// What a window holds.
#[derive(Default)]
struct Counts {
    candidate_requests: u64,
    candidate_errors: u64,
    stable_requests: u64,
    stable_errors: u64,
    /// The candidate's requests in seconds in which stable had some too …
    beside: f64,
    /// … and how many of them would have failed at stable's share of the same second.
    expected: f64,
}

impl Counts {
    /// Tells whether stable was asked at the same time. A handful of requests is no control, nor is what it answered
    /// before the candidate got everything.
    fn has_control(&self) -> bool {
        self.stable_requests >= SAMPLE_MIN && self.beside * 2.0 >= self.candidate_requests as f64
    }

    /// Returns the reference of the same seconds. Stable's own share counts undiluted once it is worse than the belief:
    /// a fault both versions share must not be blamed on one of them. It is taken second by second, because the
    /// candidate may have got most of its requests in the seconds of the fault (a weight that was just raised).
    fn reference(&self, settings: &JudgeSettings) -> Reference {
        let share = self.stable_errors as f64 / self.stable_requests as f64;
        let concurrent = if self.beside > 0.0 { self.expected / self.beside } else { 0.0 };
        let rate = believed(PRIOR_RATE, self.stable_errors, self.stable_requests).max(share).max(concurrent);
        let limit = rate * (1.0 + settings.error_margin) + settings.error_floor;
        Reference { limit: limit.min(1.0), requests: self.stable_requests as f64 }
    }
}

/// Cuts a number to digits people read; so few that it is the same after it was written down and read again.
fn rounded(number: f64, per_unit: f64) -> f64 {
    (number * per_unit).round() / per_unit
}

fn believed(belief: f64, errors: u64, requests: u64) -> f64 {
    (belief * PRIOR_REQUESTS + errors as f64) / (PRIOR_REQUESTS + requests as f64)
}

/// Returns how far `errors` of `requests` lie above `limit`, in standard errors of the difference
/// between two shares, the other of which rests on `against` requests.
fn score(errors: u64, requests: u64, limit: f64, against: f64) -> f64 {
    if requests == 0 {
        return 0.0;
    }
    let requests = requests as f64;
    let share = errors as f64 / requests;
    let pooled = (errors as f64 + limit * against) / (requests + against);
    let variance = pooled * (1.0 - pooled) * (1.0 / requests + 1.0 / against);
    if variance <= 0.0 {
        return 0.0;
    }
    (share - limit) / libm::sqrt(variance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn second(nc: u64, kc: u64, nb: u64, kb: u64) -> Record {
        Record {
            candidate_requests: nc,
            candidate_errors: kc,
            stable_requests: nb,
            stable_errors: kb,
            ..Record::default()
        }
    }

    fn after(records: &[Record]) -> Guard {
        let mut guard = Guard::default();
        records.iter().for_each(|record| guard.add(record));
        guard
    }

    fn word(records: &[Record]) -> VerdictWord {
        after(records).verdict(&JudgeSettings::default()).word
    }

    #[test]
    fn what_fails_while_stable_is_not_well_either_says_nothing_nor_do_the_seconds_of_recovery() {
        let unwell = Record { unwell: true, ..second(200, 200, 0, 0) };
        let outage = [second(0, 0, 200, 0), unwell, unwell, second(200, 40, 0, 0), second(200, 10, 0, 0)];
        assert_ne!(word(&outage), VerdictWord::Worse);

        let stays_bad = [&outage[..], &[second(200, 200, 0, 0); 2]].concat();
        assert_eq!(word(&stays_bad), VerdictWord::Worse);
    }

    #[test]
    fn a_candidate_that_fails_everything_is_worse_after_one_second() {
        assert_eq!(word(&[second(50, 50, 50, 0)]), VerdictWord::Worse);
    }

    #[test]
    fn a_candidate_that_fails_everything_is_worse_also_without_a_concurrent_stable() {
        assert_eq!(word(&[second(0, 0, 200, 0), second(200, 200, 0, 0)]), VerdictWord::Worse);
    }

    #[test]
    fn below_the_minimum_sample_nothing_is_said() {
        assert_eq!(word(&[second(SAMPLE_MIN - 1, SAMPLE_MIN - 1, 100, 0)]), VerdictWord::NotEnoughEvidence);
    }

    #[test]
    fn a_fault_both_versions_share_is_not_blamed_on_the_candidate() {
        let records = [second(50, 50, 50, 50); 10];

        assert_eq!(word(&records), VerdictWord::BetterOrEqual);
        assert!(after(&records).stable_fails_too(&JudgeSettings::default()));
    }

    #[test]
    fn four_errors_are_never_enough_to_take_back_nor_to_call_it_as_good() {
        assert_eq!(word(&[second(20, 4, 20, 0)]), VerdictWord::NotEnoughEvidence);
    }

    #[test]
    fn three_percent_against_a_tenth_of_a_percent_is_worse_within_a_minute() {
        let records: Vec<_> =
            (0..60).map(|t| second(30, u64::from(t % 2 == 0), 300, u64::from(t % 3 == 0))).collect();

        assert_eq!(word(&records), VerdictWord::Worse);
    }

    #[test]
    fn missing_seconds_are_counted_and_are_no_evidence() {
        let missing = Record { missing: true, ..Record::default() };
        let guard = after(&[second(30, 0, 30, 0), missing, missing]);

        assert_eq!(guard.silent_seconds(), 2);
        assert_eq!(guard.candidate_requests(), 30);
    }

    /// A deterministic source of Bernoulli draws, so that the bound below is one number.
    fn draws(seed: u64) -> impl FnMut(f64) -> bool {
        let mut x = seed;
        move |rate| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((x >> 33) as f64) / ((1u64 << 31) as f64) < rate
        }
    }

    #[test]
    fn identical_versions_are_taken_back_in_at_most_one_of_a_hundred_ten_minute_watches() {
        let mut wrong = 0;
        for seed in 0..300 {
            let mut draw = draws(seed);
            let mut guard = Guard::default();
            let mut flagged = false;
            for _ in 0..600 {
                let kc = (0..20).filter(|_| draw(0.005)).count() as u64;
                let kb = (0..80).filter(|_| draw(0.005)).count() as u64;
                guard.add(&second(20, kc, 80, kb));
                flagged |= guard.verdict(&JudgeSettings::default()).word == VerdictWord::Worse;
            }
            wrong += u32::from(flagged);
        }
        assert!(wrong <= 3, "{wrong} of 300 watches of a healthy candidate were taken back");
    }

    proptest! {
        #[test]
        fn a_verdict_is_a_function_of_the_records(records in prop::collection::vec((0u64..500, 0u64..500, 0u64..500, 0u64..500), 0..90)) {
            let records: Vec<_> = records.iter().map(|r| second(r.0.max(r.1), r.1, r.2.max(r.3), r.3)).collect();
            let first = after(&records);
            let kept: Guard = serde_json::from_str(&serde_json::to_string(&first).expect("writes")).expect("reads");

            prop_assert_eq!(first.verdict(&JudgeSettings::default()), kept.verdict(&JudgeSettings::default()));
        }
    }
}
