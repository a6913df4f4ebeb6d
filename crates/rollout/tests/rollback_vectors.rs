//! Reproduces every test vector of the decision procedure, and says so when one was not used.
//! The vectors were computed by an implementation independent of this one.

use rollout::judge::Counts;
use rollout::judge::policy::{Pair, Pairs, Policy};
use rollout::judge::process::{Acting, Reference, Test};
use rollout::judge::ripr::{Alternative, Factors, Margin, ripr, ripr_accept};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the last three are not used yet")]
struct Vectors {
    #[serde(rename = "about")]
    _about: String,
    bucket: Vec<(f64, i32)>,
    ripr: Vec<Ripr>,
    ripr_accept: Vec<RiprAccept>,
    alternative: Vec<Looked>,
    streams: Vec<Stream>,
    safety: Vec<SafetyStream>,
    calibration: Vec<serde_json::Value>,
    probe: Vec<serde_json::Value>,
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
        let alternative = match (of.odds, of.absolute) {
            (Some(times), None) => Alternative::Odds(times),
            (None, Some(rate)) => Alternative::Absolute(rate),
            other => panic!("an alternative is one of two: {other:?}"),
        };
        assert_near("alternative", alternative.rate(of.u), of.p1c);
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
