//! Reproduces every test vector of the decision procedure, and says so when one was not used.
//! The vectors were computed by an implementation independent of this one.

use rollout::judge::Counts;
use rollout::judge::buckets;
use rollout::judge::calibrate::{Question, Trial};
use rollout::judge::calibration::{Block, ShareCalibration, calibrate};
use rollout::judge::policy::{Pair, Pairs, Policy, arms};
use rollout::judge::probes::{Answer, Probe, Probed};
use rollout::judge::process::{Acting, Reference, Test};
use rollout::judge::ripr::{Alternative, Answers, Factors, Margin, ripr, ripr_accept};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: String,
    bucket: Vec<(f64, i32)>,
    ripr: Vec<Ripr>,
    ripr_accept: Vec<RiprAccept>,
    alternative: Vec<Looked>,
    streams: Vec<Stream>,
    safety: Vec<SafetyStream>,
    calibration: Vec<Calibrated>,
    probe: Vec<Round>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ripr {
    p1c: f64,
    p1b: f64,
    rho: f64,
    delta: f64,
    s: f64,
    factors: [f64; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RiprAccept {
    p: f64,
    rho_h: f64,
    delta_h: f64,
    s: f64,
    factors: [f64; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Looked {
    u: f64,
    odds: Option<f64>,
    absolute: Option<f64>,
    p1c: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    name: String,
    #[serde(rename = "note")]
    _note: String,
    setup: Setup,
    set_weight: Vec<Change>,
    decided_after_seconds: Option<u64>,
    records: Vec<Row>,
    log_m: Vec<f64>,
    log_m_absolute: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    w: f64,
    p_ref: f64,
    eta: Option<f64>,
    cap: Option<f64>,
    pl_ref: Option<[f64; 4]>,
    record_seconds: Option<u32>,
    record_lengths: Option<Vec<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    before_record: usize,
    w: f64,
    eta: Option<f64>,
    cap: Option<f64>,
}

/// `[nc, kc, nb, kb]`, or the same with slow requests.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Errors(u64, u64, u64, u64),
    Slow(u64, u64, u64, u64, [u64; 4], [u64; 4]),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SafetyStream {
    name: String,
    w: f64,
    p_ref: f64,
    eta: f64,
    records: Vec<Row>,
    log_a: Vec<f64>,
    log_gross: Vec<f64>,
    safe_after_seconds: Option<u64>,
    gross_after_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calibrated {
    name: String,
    kind: Kind,
    one_sample: bool,
    nc: Column,
    kc: Column,
    nb: Column,
    kb: Column,
    p_ref: f64,
    pc0: f64,
    share: f64,
    cap_limit: f64,
    kappa_s: f64,
    both_arms_above_unshifted: Option<u64>,
    chosen: Vec<Chosen>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Errors,
    Latency,
}

/// One number for every block, or the same for all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Column {
    Same(u32),
    Each(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    odds: Option<f64>,
    absolute: Option<f64>,
    p1c: f64,
    factors: [f64; 4],
    eta: f64,
    cap: f64,
    pairs: Vec<Tried>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    eta: f64,
    cap: f64,
    #[serde(rename = "G")]
    growth: f64,
    left_hand_sides: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Round {
    #[serde(flatten)]
    probed: Probed,
    answer: Answer,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("data/rollback-vectors.json")).expect("the vectors are JSON")
}

#[track_caller]
fn assert_near(what: &str, got: f64, wanted: f64) {
    assert!((got - wanted).abs() <= TOLERANCE, "{what}: {got} instead of {wanted}");
}

#[track_caller]
fn assert_factors(what: &str, got: Factors, wanted: [f64; 4]) {
    let got = [got.candidate_error, got.candidate_success, got.stable_error, got.stable_success];
    for (got, wanted) in got.into_iter().zip(wanted) {
        assert_near(what, got, wanted);
    }
}

fn alternative(odds: Option<f64>, absolute: Option<f64>) -> Alternative {
    match (odds, absolute) {
        (Some(times), None) => Alternative::Odds(times),
        (None, Some(rate)) => Alternative::Absolute(rate),
        other => panic!("an alternative is one of two: {other:?}"),
    }
}

fn uniform(eta: Option<f64>, cap: Option<f64>) -> Pairs {
    Pairs::uniform(Pair { eta: eta.unwrap_or(1.0), cap: cap.unwrap_or(8.5) })
}

fn counts(row: &Row, second: u64, length: u32) -> Counts {
    let (errors, slow) = match *row {
        Row::Errors(nc, kc, nb, kb) => ((nc, kc, nb, kb), None),
        Row::Slow(nc, kc, nb, kb, xc, xb) => ((nc, kc, nb, kb), Some((xc, xb))),
    };
    let counts = Counts { length, ..Counts::errors(second, (errors.0, errors.1), (errors.2, errors.3)) };
    match slow {
        None => counts,
        Some((candidate_slow, stable_slow)) => Counts { candidate_slow, stable_slow, ..counts },
    }
}

impl Stream {
    fn begin(&self) -> Test {
        let reference = Reference { slow_rates: self.setup.pl_ref, ..Reference::errors(self.setup.p_ref) };
        Test::new(Policy::default(), reference, self.setup.w, &uniform(self.setup.eta, self.setup.cap))
    }

    fn length(&self, record: usize) -> u32 {
        let lengths = self.setup.record_lengths.as_ref();
        lengths.map_or(self.setup.record_seconds.unwrap_or(1), |lengths| lengths[record])
    }

    fn add(&self, test: &mut Test, record: usize) {
        for change in self.set_weight.iter().filter(|change| change.before_record == record) {
            let eta = change.eta.or(self.setup.eta);
            let cap = change.cap.or(self.setup.cap);
            test.set_weight(change.w, &uniform(eta, cap));
        }
        let second = test.seconds();
        test.add(&counts(&self.records[record], second, self.length(record)));
    }
}

#[test]
fn the_projections_are_those_of_the_vectors() {
    let vectors = vectors();
    for of in &vectors.ripr {
        let margin = Margin { ratio: of.rho, difference: of.delta };
        assert_factors(&format!("ripr {} {}", of.p1c, of.s), ripr(of.p1c, of.p1b, margin, of.s), of.factors);
    }
    for of in &vectors.ripr_accept {
        let margin = Margin { ratio: of.rho_h, difference: of.delta_h };
        assert_factors(&format!("accept {} {}", of.p, of.s), ripr_accept(of.p, margin, of.s), of.factors);
    }
    for of in &vectors.alternative {
        assert_near("alternative", alternative(of.odds, of.absolute).rate(of.u), of.p1c);
    }
    assert_eq!((vectors.ripr.len(), vectors.ripr_accept.len(), vectors.alternative.len()), (7, 4, 3));
}

#[test]
fn the_evidence_of_every_stream_is_that_of_the_vectors_at_every_second() {
    let streams = vectors().streams;
    let mut compared = (0, 0);
    for stream in &streams {
        let mut test = stream.begin();
        let mut decided = None;
        for (record, wanted) in stream.log_m.iter().enumerate() {
            stream.add(&mut test, record);

            assert_near(&format!("{} record {record}", stream.name), test.log_m(), *wanted);
            compared.0 += 1;
            if let Some(absolute) = &stream.log_m_absolute {
                assert_near(&format!("{} absolute", stream.name), test.log_m_absolute(), absolute[record]);
                compared.1 += 1;
            }
            if decided.is_none() && test.is_decided() {
                decided = Some(test.seconds());
            }
        }
        assert_eq!(stream.log_m.len(), stream.records.len(), "{}", stream.name);
        assert_eq!(decided, stream.decided_after_seconds, "{}", stream.name);
        assert!(!test.is_broken(), "{}", stream.name);
    }
    assert_eq!((streams.len(), compared), (24, (5770, 1130)));
}

#[test]
fn a_watch_that_was_written_down_and_read_again_goes_on_with_the_same_bits() {
    for stream in vectors().streams {
        let mut kept = stream.begin();
        let mut read = kept.clone();
        for record in 0..stream.records.len() {
            let text = serde_json::to_string(&read).expect("a watch is JSON");
            read = serde_json::from_str(&text).expect("and is read again");
            assert_eq!(read, kept, "{} before record {record}", stream.name);
            stream.add(&mut kept, record);
            stream.add(&mut read, record);
        }
        assert_eq!(read.log_m().to_bits(), kept.log_m().to_bits(), "{}", stream.name);
        assert_eq!(read.safety().log_safe().to_bits(), kept.safety().log_safe().to_bits());
    }
}

#[test]
fn only_the_absolute_components_act_where_that_was_said() {
    for stream in vectors().streams.iter().filter(|stream| stream.log_m_absolute.is_some()) {
        let mut test = stream.begin();
        test.set_acting(Acting::Absolute);
        for record in 0..stream.records.len() {
            stream.add(&mut test, record);
            let crossed = test.log_m_absolute() >= libm::log(200.0);
            assert_eq!(test.is_decided(), crossed, "{} record {record}", stream.name);
        }
    }
}

#[test]
fn the_safety_evidence_is_that_of_the_vectors_at_every_second() {
    let streams = vectors().safety;
    let mut compared = 0;
    for stream in &streams {
        let pairs = uniform(Some(stream.eta), None);
        let mut test = Test::new(Policy::default(), Reference::errors(stream.p_ref), stream.w, &pairs);
        let (mut safe, mut gross) = (None, None);
        for (second, row) in (0..).zip(&stream.records) {
            test.add(&counts(row, second, 1));

            let at = second as usize;
            assert_near(&format!("{} safe {at}", stream.name), test.safety().log_safe(), stream.log_a[at]);
            assert_near(
                &format!("{} gross {at}", stream.name),
                test.safety().log_gross(),
                stream.log_gross[at],
            );
            compared += 1;
            safe = safe.or(test.safety().is_safe().then_some(second + 1));
            gross = gross.or(test.safety().excludes_gross_failure().then_some(second + 1));
        }
        assert_eq!(safe, stream.safe_after_seconds, "{}", stream.name);
        assert_eq!(gross, stream.gross_after_seconds, "{}", stream.name);
    }
    assert_eq!((streams.len(), compared), (5, 840));
}

#[test]
fn buckets_and_probes_are_those_of_the_vectors() {
    let vectors = vectors();
    for (milliseconds, index) in &vectors.bucket {
        assert_eq!(buckets::formula(*milliseconds), *index, "{milliseconds} ms");
    }
    let mut probe = Probe::default();
    for (round, of) in vectors.probe.iter().enumerate() {
        assert_eq!(probe.add(of.probed), of.answer, "round {round}");
    }
    assert_eq!((vectors.bucket.len(), vectors.probe.len()), (7, 10));
}

impl Column {
    fn at(&self, block: usize) -> u32 {
        match self {
            Column::Same(number) => *number,
            Column::Each(numbers) => numbers[block],
        }
    }

    fn len(&self) -> Option<usize> {
        match self {
            Column::Same(_) => None,
            Column::Each(numbers) => Some(numbers.len()),
        }
    }
}

impl Calibrated {
    fn len(&self) -> usize {
        self.kc.len().expect("hits are given by block")
    }

    fn answers(&self) -> Vec<Answers> {
        let answers = |block| Answers {
            candidate_requests: f64::from(self.nc.at(block)),
            candidate_hits: f64::from(self.kc.at(block)),
            stable_requests: f64::from(self.nb.at(block)),
            stable_hits: f64::from(self.kb.at(block)),
        };
        (0..self.len()).map(answers).collect()
    }

    fn question<'a>(&self, blocks: &'a [Answers], chosen: &Chosen) -> Question<'a> {
        let (policy, arms) = (Policy::default(), arms(self.share));
        assert_eq!(arms == rollout::judge::ripr::Arms::Alone, self.one_sample, "{}", self.name);
        Question {
            blocks,
            rate: self.p_ref,
            candidate_rate: self.pc0,
            alternative: alternative(chosen.odds, chosen.absolute),
            margin: if self.kind == Kind::Errors { policy.error_margin(arms) } else { policy.latency },
            arms,
            strictness: self.kappa_s,
            cap_max: if chosen.absolute.is_some() { 8.5 } else { self.cap_limit },
        }
    }

    /// The same blocks as a whole reference: of errors, or of the first latency threshold.
    fn blocks(&self) -> Vec<Block> {
        let block = |block| {
            let (kc, kb) = (self.kc.at(block), self.kb.at(block));
            let requests = Block {
                candidate_requests: self.nc.at(block),
                stable_requests: self.nb.at(block),
                ..Block::default()
            };
            match self.kind {
                Kind::Latency => {
                    Block { candidate_slow: [kc, 0, 0, 0], stable_slow: [kb, 0, 0, 0], ..requests }
                }
                Kind::Errors => Block {
                    candidate_errors: kc,
                    candidate_errors_once: kc,
                    stable_errors: kb,
                    stable_errors_once: kb,
                    ..requests
                },
            }
        };
        (0..self.len()).map(block).collect()
    }

    fn calibrate_whole(&self) -> ShareCalibration {
        let mut policy = Policy::default();
        policy.calibration.hours_min = 0.0;
        calibrate(&policy, &self.blocks(), self.both_arms_above_unshifted.map(|slow| [slow; 4]), self.share)
    }
}

/// Sums up to 1e80 cannot agree to 1e-9; from a thousand on they do to 1e-12 of themselves.
#[track_caller]
fn assert_near_relatively(what: &str, got: f64, wanted: f64) {
    assert!((got - wanted).abs() <= TOLERANCE.max(1e-12 * wanted.abs()), "{what}: {got} instead of {wanted}");
}

#[test]
fn every_calibration_is_that_of_the_vectors_with_every_left_hand_side() {
    let calibrations = vectors().calibration;
    let (mut chosen, mut sides) = (0, 0);
    for of in &calibrations {
        let blocks = of.answers();
        for wanted in &of.chosen {
            let name = format!("{} {:?} {:?}", of.name, wanted.odds, wanted.absolute);
            let trial = Trial::new(of.question(&blocks, wanted));
            assert_near(&name, trial.alternative_rate(), wanted.p1c);
            assert_factors(&name, trial.factors(), wanted.factors);
            assert_eq!(trial.choose(), Pair { eta: wanted.eta, cap: wanted.cap }, "{name}");
            chosen += 1;
            for tried in &wanted.pairs {
                let pair = Pair { eta: tried.eta, cap: tried.cap };
                assert_near(&name, trial.growth(pair), tried.growth);
                let got = trial.left_hand_sides(pair);
                assert_eq!(got.len(), tried.left_hand_sides.len(), "{name}");
                for (got, wanted) in got.into_iter().zip(&tried.left_hand_sides) {
                    assert_near_relatively(&name, got, *wanted);
                    sides += 1;
                }
            }
        }
    }
    assert_eq!((calibrations.len(), chosen, sides), (14, 51, 1154));
}

#[test]
fn a_whole_reference_is_calibrated_to_the_same_pairs() {
    for of in vectors().calibration {
        let share = of.calibrate_whole();
        for wanted in &of.chosen {
            let alternative = alternative(wanted.odds, wanted.absolute);
            let policy = Policy::default();
            let place = |of: &[Alternative]| {
                of.iter().position(|one| *one == alternative).expect("it is in the grid")
            };
            let got = match of.kind {
                Kind::Errors => share.pairs.errors[place(&policy.error_alternatives())],
                Kind::Latency => share.pairs.latency[0][place(&policy.latency_alternatives())],
            };
            assert_eq!(got, Pair { eta: wanted.eta, cap: wanted.cap }, "{} {alternative:?}", of.name);
        }
    }
}
