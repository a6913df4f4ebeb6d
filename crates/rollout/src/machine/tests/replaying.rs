//! O17: what was judged is judged again from its bundle, after JSON, to the last bit; and what was changed is noticed.

use super::proving::{calibration, monitor};
use super::random::{Move, a_move};
use super::sim::{Sim, blue_green, canary};
use crate::bundle::{Bundle, Compared, EVENTS_MAX, FORMAT, Recorder, Replayed, Search};
use crate::event::{DeploymentKind, EVENT_VERSION, Event, EventRecord};
use crate::judge::FailingRequest;
use crate::machine::{OperatorCommand, State};
use crate::names::{Actor, DeploymentId, Millis, ReplicaId, Revision};
use crate::plan::{Ask, Check, Hooks, Probes, RolloutSettings, When};
use crate::routes::Allow;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Returns the journal of a life as the controller writes it.
pub fn records(sim: &Sim) -> Vec<EventRecord> {
    let mut state = State::new(sim.state.target.clone());
    let told = sim.journal.iter().map(|entry| {
        let record = EventRecord {
            v: EVENT_VERSION,
            seq: entry.seq,
            at: entry.at,
            target: sim.state.target.clone(),
            deployment: state.deployment_of(&entry.event),
            actor: Actor::from("engine"),
            event: entry.event.clone(),
            prev_hash: String::new(),
            hash: String::new(),
        };
        state.apply(&entry.event, entry.seq, entry.at);
        record
    });
    told.collect()
}

/// Exports one deployment as the engine does, through JSON as a file does.
pub fn bundle(records: &[EventRecord], deployment: &DeploymentId) -> Bundle {
    let target = records[0].target.clone();
    let mut search = Search::new(&target, deployment);
    let told = records.iter().filter(|record| record.event.kind() != "evidence_added");
    let start = told.into_iter().find_map(|record| search.look(record)).unwrap();
    let mut recorder = Recorder::new(&target, deployment, &start);
    let from = records.iter().skip_while(|record| record.seq < start.seq).cloned();
    let events = from.filter_map(|record| recorder.take(record)).collect();
    let (cut, said) = recorder.end();
    let bundle = Bundle {
        format: FORMAT,
        version: "test".to_owned(),
        target,
        deployment: deployment.clone(),
        before: start.before,
        events,
        cut,
        said,
    };
    let text = serde_json::to_string(&bundle).unwrap();
    let read: Bundle = serde_json::from_str(&text).unwrap();
    assert_eq!(read, bundle);
    read
}

/// Returns the bundles of every deployment of a life.
fn bundles(sim: &Sim) -> Vec<Bundle> {
    let records = records(sim);
    let requested = records.iter().filter(|record| matches!(record.event, Event::DeploymentRequested(_)));
    requested.map(|record| bundle(&records, record.deployment.as_ref().unwrap())).collect()
}

/// What the replays of many bundles found the same.
#[derive(Debug, Default)]
struct Tally {
    bundles: usize,
    verdicts: usize,
    returns: usize,
    bakes: usize,
    findings: usize,
    not_computed: usize,
    said: usize,
}

impl Tally {
    fn add(&mut self, bundle: &Bundle, replayed: &Replayed) {
        self.bundles += 1;
        self.said += usize::from(replayed.compared == Compared::Same);
        for decision in &replayed.decisions {
            assert!(
                !matches!(decision.compared, Compared::Differs { .. }),
                "{decision:#?}\n{}",
                tell(bundle)
            );
            if decision.compared != Compared::Same {
                self.not_computed += 1;
                continue;
            }
            match decision.kind.as_str() {
                "verdict_reached" => self.verdicts += 1,
                "deployment_requested" => self.returns += 1,
                "finding_reported" => self.findings += 1,
                _ => self.bakes += 1,
            }
        }
        assert!(replayed.is_identical(), "{:#?}\n{}", replayed.compared, tell(bundle));
    }
}

fn tell(bundle: &Bundle) -> String {
    let told = bundle.events.iter().filter(|entry| entry.event.kind() != "evidence_added");
    told.map(|entry| format!("{} {}\n", entry.seq, entry.event)).collect()
}

/// What a life is made of, beside what operators and machines do.
#[derive(Debug, Clone)]
struct Life {
    plan: u8,
    per_second: u64,
    per_mille: u64,
    later: bool,
    slowness: f64,
    not_found: f64,
    calibrated: bool,
    probes: u64,
    checks: bool,
    moves: Vec<Move>,
}

fn a_life() -> impl Strategy<Value = Life> {
    let share = prop_oneof![2 => Just(0u64), 1 => 1..10u64, 1 => 10..100u64, 2 => 100..=1000u64];
    let slowness = prop_oneof![3 => Just(1.0), 1 => 1.0..4.0f64];
    let not_found = prop_oneof![3 => Just(0.0), 1 => 0.0..0.5f64];
    let numbers = (0..4u8, 0..400u64, share, slowness, not_found, 0..3u64);
    let options = (any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, options, prop::collection::vec(a_move(), 0..12)).prop_map(
        |((plan, per_second, per_mille, slowness, not_found, probes), (later, calibrated, checks), moves)| {
            Life {
                plan,
                per_second,
                per_mille,
                later,
                slowness,
                not_found,
                calibrated,
                probes,
                checks,
                moves,
            }
        },
    )
}

/// Lives it: v1 serves, v2 comes and may fail, at once or when it has been promoted; and whatever else happens.
fn lived(life: &Life) -> Sim {
    let mut sim = Sim::serving_v1();
    sim.plan = match life.plan {
        0 => blue_green(),
        1 => RolloutSettings { bake_max: None, ..canary(&[5, 50, 100]) },
        2 => canary(&[20, 100]),
        _ => RolloutSettings { judge: looking(), ..canary(&[5, 100]) },
    };
    if life.checks {
        sim.plan.monitor = Some(monitor(2, 2, true));
        let fails = |check: &str| (check.to_owned(), "v2".to_owned());
        sim.scripts
            .failing_checks
            .extend([fails("database"), fails("redis")].into_iter().take(1 + life.moves.len() % 2));
    }
    sim.requests_per_second = life.per_second;
    sim.probes = life.probes;
    sim.scripts.slowness.insert("v2".to_owned(), life.slowness);
    sim.scripts.not_found.insert("v2".to_owned(), life.not_found);
    let errors = life.per_mille as f64 / 1000.0;
    if !life.later {
        sim.scripts.errors.insert("v2".to_owned(), errors);
    }
    sim.deploy("v2");
    if life.calibrated {
        sim.calibrate(calibration());
    }
    sim.until(3000, "the end of the deployment", |sim| sim.state.deployment.is_none());
    sim.scripts.errors.insert("v2".to_owned(), errors);
    sim.run(10_000);
    life.moves.iter().for_each(|action| sim.act(action));
    sim.run(5_000);
    sim
}

fn looking() -> crate::plan::JudgeSettings {
    crate::plan::JudgeSettings {
        first_look: Some(Millis::seconds(3)),
        ..crate::plan::JudgeSettings::default()
    }
}

#[test]
fn o17_a_hundred_bundles_and_more_are_judged_again_to_the_last_bit() {
    let mut runner = TestRunner::deterministic();
    let mut tally = Tally::default();
    while tally.verdicts < 100 {
        let life = a_life().new_tree(&mut runner).unwrap().current();
        for bundle in bundles(&lived(&life)) {
            tally.add(&bundle, &bundle.replay());
        }
        assert!(tally.bundles < 2_000, "{tally:?}");
    }
    println!("{tally:?}");
    assert!(tally.returns > 0 && tally.findings > 0 && tally.bakes > 100 && tally.said > 75, "{tally:?}");
}

fn the(bundles: Vec<Bundle>, of: DeploymentKind) -> Bundle {
    let mut wanted = bundles.into_iter().rev();
    wanted.find(|bundle| bundle.requested().unwrap().1.of == of).unwrap()
}

fn failed_in_its_bake() -> Bundle {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v2".to_owned(), 0.3);
    sim.ship("v2");
    the(bundles(&sim), DeploymentKind::Deploy)
}

#[test]
fn o17_one_changed_count_is_noticed_wherever_it_is() {
    let bundle = failed_in_its_bake();
    assert!(bundle.replay().is_identical());
    let mut changed = 0;
    for place in 0..bundle.events.len() {
        let mut tampered = bundle.clone();
        let Event::EvidenceAdded { record } = &mut tampered.events[place].event else { continue };
        if record.missing {
            continue;
        }
        record.stable_requests += 1;

        assert!(!tampered.replay().is_identical(), "event {place} was changed unnoticed");
        changed += 1;
    }
    assert!(changed > 2, "{changed}");
}

#[test]
fn o17_a_changed_verdict_is_noticed_and_says_where() {
    let mut bundle = failed_in_its_bake();
    let verdict = bundle.events.iter_mut().find_map(|entry| match &mut entry.event {
        Event::VerdictReached { evidence, .. } => Some(evidence),
        _ => None,
    });
    let evidence = verdict.unwrap();
    evidence.log_m = f64::from_bits(evidence.log_m.to_bits() + 1);

    let replayed = bundle.replay();

    let decision = replayed.decisions.iter().find(|decision| decision.kind == "verdict_reached").unwrap();
    let Compared::Differs { fields } = &decision.compared else { panic!("{decision:?}") };
    assert_eq!(fields.iter().map(|field| field.field.as_str()).collect::<Vec<_>>(), ["log_m"]);
    assert_eq!(replayed.compared, Compared::Same, "what the judge says at the end was not touched");
}

#[test]
fn o17_a_return_rests_on_the_watch_over_the_release_it_takes_back() {
    let mut sim = Sim::serving_v2();
    sim.scripts.errors.insert("v2".to_owned(), 0.5);
    sim.until(60, "a return", |sim| sim.answering() == Some("v1"));
    sim.finish();

    let bundle = the(bundles(&sim), DeploymentKind::Return);
    let replayed = bundle.replay();

    assert_eq!(bundle.judged().unwrap().1.candidate.release.as_str(), "v2");
    assert_eq!(bundle.requested().unwrap().1.candidate.release.as_str(), "v1");
    let decision =
        replayed.decisions.iter().find(|decision| decision.kind == "deployment_requested").unwrap();
    assert_eq!(decision.compared, Compared::Same);
    assert!(replayed.points.last().unwrap().candidate_errors > 0);
}

#[test]
fn what_no_count_decided_is_called_recorded_and_not_replayed() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.kill("v2");
    sim.finish();

    let replayed = the(bundles(&sim), DeploymentKind::Deploy).replay();

    let decision = replayed.decisions.iter().find(|decision| decision.kind == "verdict_reached").unwrap();
    assert_eq!(decision.compared, Compared::NotComputed { why: "candidate lost".to_owned() });
    assert!(replayed.is_identical());
}

#[test]
fn a_first_release_is_judged_against_nothing_and_says_so() {
    let sim = Sim::serving_v1();

    let replayed = bundles(&sim)[0].replay();

    let not = Compared::NotComputed { why: "nothing was judged".to_owned() };
    assert!(!replayed.decisions.is_empty());
    assert!(replayed.decisions.iter().all(|decision| decision.compared == not), "{:?}", replayed.decisions);
    assert_eq!((replayed.compared, replayed.points.len()), (not, 0));
}

#[test]
fn seconds_beyond_the_bound_are_cut_and_what_rests_on_them_is_not_judged_again() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v2".to_owned(), 0.3);
    sim.ship("v2");
    let mut records = records(&sim);
    let second = records.iter().rposition(|record| record.event.kind() == "evidence_added").unwrap();
    let many = std::iter::repeat_n(records[second].clone(), EVENTS_MAX);
    records.splice(second..second, many);

    let bundle = bundle(&records, &DeploymentId::new("d-2"));
    let replayed = bundle.replay();

    assert!(bundle.events.len() < EVENTS_MAX + 20, "{}", bundle.events.len());
    assert!(bundle.cut.unwrap().events > 0);
    assert_eq!(bundle.events.last().unwrap().event.kind(), records.last().unwrap().event.kind());
    assert_eq!(replayed.compared, Compared::NotComputed { why: "seconds were cut".to_owned() });
}

#[test]
fn a_deployment_that_still_runs_is_told_so_far() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.run(3_000);

    let bundle = the(bundles(&sim), DeploymentKind::Deploy);
    let replayed = bundle.replay();

    assert_eq!(replayed.compared, Compared::Same);
    let judge = sim.state.judge().unwrap().verdict();
    assert_eq!(replayed.said.unwrap().evidence, judge.evidence);
    assert!(replayed.points.len() >= 3, "{}", replayed.points.len());
}

/// Stands in every place that may hold a secret; no part of it may come out.
const SENTINEL: &str = "s3ntinel-hunter2";

#[test]
fn o17_no_secret_comes_out_of_the_environment_of_arguments_of_outputs_or_of_failing_requests() {
    let mut sim = Sim::serving_v1();
    let command = || {
        vec![
            "./run".to_owned(),
            format!("--token={SENTINEL}"),
            "--key".to_owned(),
            SENTINEL.to_owned(),
            SENTINEL.to_owned(),
        ]
    };
    let check = |name: &str, ask| Check {
        name: name.to_owned(),
        when: When::Before,
        deadline: Millis::seconds(5),
        ask,
    };
    sim.plan.hooks = Hooks { before_deploy: command(), after_deploy: command() };
    sim.plan.checks =
        vec![check("run", Ask::Command(command())), check("ask", Ask::Url(format!("/ready?key={SENTINEL}")))];
    sim.plan.allow = Some(Allow { header: "x-canary".to_owned(), values: vec![SENTINEL.to_owned()] });
    sim.plan.monitor = Some(monitor(1, 1, true));
    sim.plan.judge.probes = Some(Probes { path: format!("/probe/{SENTINEL}"), every: Millis::seconds(1) });
    sim.scripts.errors.insert("v2".to_owned(), 0.3);
    sim.expand = command();
    let mut intent = sim.intent("v2");
    intent.key = SENTINEL.to_owned();
    intent.folder = format!("/home/{SENTINEL}");
    intent.spec.command = command();
    intent.spec.env.insert("DATABASE_URL".to_owned(), format!("postgres://clinic:{SENTINEL}@db/clinic"));
    intent.spec.health.ready = Some(format!("/ready/{SENTINEL}"));
    sim.command(OperatorCommand::Deploy(Box::new(intent))).unwrap();
    sim.finish();
    let mut records = records(&sim);
    for record in &mut records {
        match &mut record.event {
            Event::HookRan { output, .. } | Event::CheckRan { output, .. } => {
                *output = format!("token is {SENTINEL}")
            }
            Event::EvidenceAdded { record } => record.failures = vec![failing(record.second)],
            Event::VerdictReached { evidence, .. } => evidence.failures = vec![failing(1)],
            Event::ChecksAnswered { round } => round.answers[0].why = format!("sent key={SENTINEL}"),
            _ => {}
        }
    }

    let bundle =
        bundle(&records, records.iter().rev().find_map(|record| record.deployment.as_ref()).unwrap());

    let text = serde_json::to_string(&bundle).unwrap();
    for secret in [SENTINEL, "hunter2", "s3ntinel"] {
        let place = text.find(secret).map(|place| &text[place.saturating_sub(80)..place + 20]);
        assert_eq!(place, None);
    }
    for kept in [
        "DATABASE_URL",
        "--token=…",
        "x-canary",
        "before_deploy",
        "/api/appointments/{…}",
        "\"actor\":\"engine\"",
    ] {
        assert!(text.contains(kept), "{kept} is gone");
    }
    assert!(bundle.replay().points.len() > 1);
}

fn failing(second: u64) -> FailingRequest {
    FailingRequest {
        second,
        revision: Revision(2),
        replica: ReplicaId::new("web-2-1"),
        method: "GET".to_owned(),
        route: format!("/api/appointments/{SENTINEL}?name={SENTINEL}"),
        failure: "500".to_owned(),
        latency_ms: 3,
    }
}
