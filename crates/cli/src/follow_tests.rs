use super::*;
use fake_engine::{FakeEngine, Reply, Then};
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "../tests/support/fake_engine.rs"]
mod fake_engine;
#[path = "../tests/support/script.rs"]
mod script;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn follow(&self, patience: Duration) -> (Result<(), Failure>, Report) {
        let client = Client::new(&self.socket(), Duration::from_secs(5));
        let mut progress = Progress::Quiet;
        let accepted = script::accepted(None);
        let mut follower = Follower::new(client, &accepted, DeploymentId::new("d-7"), &mut progress);
        follower.patience = patience;
        let followed = runtime().block_on(follower.run());
        (followed, follower.report)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn following_ends_with_the_deployment_and_knows_who_serves() {
    let place = Place::new();
    let _engine = FakeEngine::start(&place.socket(), script::with_events(script::promoted()));

    let (followed, report) = place.follow(PATIENCE);

    followed.unwrap();
    assert_eq!(report.outcome, Some(Outcome::Promoted));
    assert_eq!(report.release.as_deref(), Some("abcdef012345 (v3)"));
    assert_eq!(report.served_by.unwrap().revision, Revision(3));
    assert!(report.logs.is_empty());
}

#[test]
fn following_starts_at_the_event_that_answered_the_request() {
    let place = Place::new();
    let engine = FakeEngine::start(&place.socket(), script::with_events(script::promoted()));

    place.follow(PATIENCE).0.unwrap();

    let asked: Vec<String> = engine.seen().into_iter().map(|request| request.path).collect();
    assert!(asked.contains(&"/v1/events?after=web@local:39&target=web@local".to_owned()), "{asked:?}");
}

#[test]
fn r23_a_failed_deployment_is_reported_with_evidence_and_the_candidates_last_lines() {
    let place = Place::new();
    let _engine = FakeEngine::start(&place.socket(), script::with_events(script::rolled_back()));

    let (followed, report) = place.follow(PATIENCE);

    followed.unwrap();
    assert_eq!(report.outcome, Some(Outcome::RolledBack));
    assert_eq!(report.evidence.unwrap().candidate_errors, 31);
    assert_eq!(report.logs[0].lines[1], "panicked at appointments.rs");
}

#[test]
fn an_engine_that_restarts_in_the_middle_is_followed_from_the_last_event_on() {
    let place = Place::new();
    let connections = AtomicUsize::new(0);
    let engine = FakeEngine::start(&place.socket(), move |request| {
        if !request.path.starts_with("/v1/events") {
            return script::usual(request);
        }
        let events = script::promoted();
        match connections.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Events(events[..2].to_vec(), Then::Close),
            1 => Reply::Hangup,
            _ => Reply::Events(events[2..].to_vec(), Then::Stay),
        }
    });

    let (followed, report) = place.follow(PATIENCE);

    followed.unwrap();
    assert_eq!(report.outcome, Some(Outcome::Promoted));
    let after: Vec<String> = engine
        .seen()
        .into_iter()
        .filter(|request| request.path.starts_with("/v1/events"))
        .map(|request| request.path.replace("&target=web@local", ""))
        .collect();
    assert_eq!(
        after,
        ["/v1/events?after=web@local:39", "/v1/events?after=web@local:41", "/v1/events?after=web@local:41"]
    );
}

#[test]
fn an_engine_that_does_not_come_back_ends_following_with_seven() {
    let place = Place::new();
    let engine = FakeEngine::start(&place.socket(), |request| match request.path.as_str() {
        path if path.starts_with("/v1/events") => {
            Reply::Events(script::promoted()[..2].to_vec(), Then::Close)
        }
        _ => script::usual(request),
    });
    let gone = std::thread::spawn(move || {
        engine.await_request("/v1/events");
        drop(engine);
    });

    let (followed, report) = place.follow(Duration::from_millis(300));

    gone.join().unwrap();
    let failure = followed.unwrap_err();
    assert_eq!(failure.exit, exit::UNREACHABLE);
    assert!(failure.next.unwrap().contains("medeclipse up"));
    assert_eq!(report.outcome, None);
}

#[test]
fn events_of_a_newer_kind_are_passed_over() {
    let place = Place::new();
    let mut events = script::promoted();
    let unknown = events[1].1.replace("candidate_ready", "candidate_polished");
    events.insert(2, ("web@local:41".into(), unknown));
    let _engine = FakeEngine::start(&place.socket(), script::with_events(events));

    let (followed, report) = place.follow(PATIENCE);

    followed.unwrap();
    assert_eq!(report.outcome, Some(Outcome::Promoted));
}

#[test]
fn a_timeout_leaves_the_deployment_alone() {
    let place = Place::new();
    let _engine = FakeEngine::start(&place.socket(), script::usual);
    let client = Client::new(&place.socket(), Duration::from_secs(5));

    let followed = runtime().block_on(async {
        let mut stop = Stop::until(Some(Instant::now() + Duration::from_millis(50))).unwrap();
        deployment(client, &script::accepted(None), &mut Progress::Quiet, &mut stop).await
    });

    assert!(matches!(followed, Ok(Followed::Stopped(Stopped::TimedOut))));
}
