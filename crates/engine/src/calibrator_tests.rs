//! The calibrator on its own: seconds go in, a calibration comes out when a deployment needs one.

use super::*;
use meter::wire::{ArmRow, BucketRow, CountRow};
use rollout::event::{DeploymentKind, Event, Requested};
use rollout::names::{Label, Millis, Release, Revision, Target};
use rollout::plan::Strategy;
use rollout::release::{Health, Placed, ReleaseSpec};

fn placed(revision: u64) -> Placed {
    Placed {
        revision: Revision(revision),
        release: Release::new(format!("release-{revision}")),
        label: Some(Label::new(format!("v{revision}"))),
        spec: ReleaseSpec {
            artifact: None,
            command: vec!["serve".to_owned()],
            env: BTreeMap::new(),
            resources: None,
            health: Health::default(),
            expand: Vec::new(),
        },
    }
}

fn state(deploys: bool) -> Arc<State> {
    let mut state = State::new(Target::new("web", "local"));
    state.stable = Some(placed(1));
    if deploys {
        let bakes = (Millis::seconds(600), Millis::seconds(120));
        let steps = [5, 25, 100].map(|percent| Weight::new(percent).unwrap()).to_vec();
        let requested = Requested {
            deployment: "d-2".into(),
            key: "key".to_owned(),
            of: DeploymentKind::Deploy,
            candidate: placed(2),
            settings: RolloutSettings::with_bakes(Strategy::Canary, steps, bakes.0, bakes.1),
            folder: ".".to_owned(),
            reason: None,
        };
        state.apply(&Event::DeploymentRequested(Box::new(requested)), 1, Millis(1000));
    }
    Arc::new(state)
}

/// A second of 100 requests over all arm buckets, one in a thousand failing, 20 to 119 ms.
fn second(second: u64) -> SecondRecord {
    let mut row = CountRow {
        target: "web@local".to_owned(),
        revision: 1,
        route: "/api/appointments/{id}".to_owned(),
        requests: 100,
        ..CountRow::default()
    };
    row.errors.status = u64::from(second.is_multiple_of(10));
    let mut buckets = Vec::new();
    for bucket in 0..100u8 {
        let mut of = BucketRow { bucket, requests: 1, ..BucketRow::default() };
        of.errors = u64::from(second.is_multiple_of(10) && u64::from(bucket) == second / 10 % 100);
        let latency = 20.0 + f64::from((u32::from(bucket) * 37 + second as u32 * 13) % 100);
        of.latency.record(latency);
        row.latency.record(latency);
        buckets.push(of);
    }
    let arms = vec![ArmRow { target: "web@local".to_owned(), revision: 1, buckets }];
    SecondRecord { epoch: 1, seq: second, second, rows: vec![row], arms, ..SecondRecord::default() }
}

struct Bench {
    told: mpsc::Sender<Told>,
    state: watch::Sender<Arc<State>>,
    mailbox: mpsc::Receiver<Message>,
    folder: tempfile::TempDir,
}

fn begin() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (told, inbox) = mpsc::channel(SECONDS_MAX);
    let (state, seen) = watch::channel(state(false));
    let (sender, mailbox) = mpsc::channel(64);
    let calibrator = Calibrator {
        path: Reference::path(folder.path(), &Target::new("web", "local")),
        inbox,
        state: seen,
        mailbox: sender,
        clock: Arc::new(Clock::start()),
    };
    tokio::spawn(calibrator.run());
    Bench { told, state, mailbox, folder }
}

impl Bench {
    async fn feed(&self, seconds: std::ops::Range<u64>) {
        for each in seconds {
            self.told.send(Told::Second(Arc::new(second(1_000_000 + each)))).await.unwrap();
        }
    }

    /// Returns when everything that was told before has been counted.
    async fn counted(&self) {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.told.send(Told::Traffic(Vec::new(), reply)).await.unwrap();
        answer.await.unwrap();
    }

    async fn calibrated(&mut self) -> Calibration {
        let message = tokio::time::timeout(Duration::from_secs(60), self.mailbox.recv()).await;
        match message.expect("in time").expect("it lives") {
            Message::Calibrated(calibration) => *calibration,
            _ => panic!("a calibrator says nothing else"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_told_what_is_known_and_told_again_when_there_are_thresholds() {
    let mut bench = begin();
    bench.state.send_replace(state(true));
    bench.feed(0..6).await;
    let blind = bench.calibrated().await;
    assert!(blind.latency.is_none() && blind.shares.is_empty());

    bench.feed(6..30).await;
    let with_latency = bench.calibrated().await;

    let thresholds = with_latency.latency.expect("a thousand requests were seen");
    let [p50, _, p99, _] = thresholds.boundaries.milliseconds();
    assert!((60.0..=80.0).contains(&p50) && (110.0..=125.0).contains(&p99), "{p50} {p99}");
    assert!(with_latency.shares.is_empty(), "half a minute is a cold start");
    assert_eq!(with_latency.routes[0].template, "/api/appointments/{id}");
    assert!(with_latency.error_rate < 0.01);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hours_of_reference_calibrate_every_weight_of_the_rollout() {
    let mut bench = begin();
    bench.feed(0..4 * 3600 + 30).await;
    bench.counted().await;
    bench.state.send_replace(state(true));
    bench.feed(4 * 3600 + 30..4 * 3600 + 32).await;

    let calibration = bench.calibrated().await;

    let weights: Vec<_> = calibration.shares.iter().map(|share| (share.weight * 100.0).round()).collect();
    assert_eq!(weights, [5.0, 25.0, 95.0, 100.0], "{calibration}");
    assert!(
        calibration.shares.iter().all(|share| share.pairs.errors[2].eta > 0.0),
        "{:?}",
        calibration.shares[0]
    );
    assert!((0.0009..0.0011).contains(&calibration.error_rate), "{}", calibration.error_rate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_survives_a_stop() {
    let bench = begin();
    bench.feed(0..100).await;
    let (reply, stopped) = tokio::sync::oneshot::channel();
    bench.told.send(Told::Stop(reply)).await.unwrap();
    stopped.await.unwrap();

    let target = Target::new("web", "local");
    let path = Reference::path(bench.folder.path(), &target);
    let reference = Reference::open(&path, &target, Thresholds::default());
    assert!(reference.tally().requests >= 9_000, "{}", reference.tally().requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_under_a_revision_that_is_gone_is_not_held_for_the_present_one() {
    let mut bench = begin();
    for each in 0..300 {
        let mut bad = second(1_000_000 + each);
        bad.rows[0].errors.status = 20;
        bad.arms[0].buckets.iter_mut().take(20).for_each(|bucket| bucket.errors = 1);
        bench.told.send(Told::Second(Arc::new(bad))).await.unwrap();
    }
    bench.counted().await;
    let mut next = (*state(true)).clone();
    next.stable = Some(placed(3));
    bench.state.send_replace(Arc::new(next));
    bench.feed(300..301).await;

    let calibration = bench.calibrated().await;

    assert!(calibration.error_rate <= 0.001, "{}", calibration.error_rate);
    let alone = calibration.seasons.expect("errors are known").rate(0);
    assert!(alone.is_some_and(|rate| rate > 0.1), "{alone:?}");
}
