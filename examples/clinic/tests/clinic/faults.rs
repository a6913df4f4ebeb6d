//! Tests that each fault does what its name says, and nothing else.

use super::support::{Clinic, Link, appointment, command};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tempfile::tempdir;

#[tokio::test]
async fn a_share_of_requests_fails_evenly_on_a_connection_that_stays() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[("CLINIC_FAIL_PERCENT", "25"), ("CLINIC_VERSION", "v3")]);
    let mut link = Link::open(clinic.address).await.unwrap();
    let mut statuses = Vec::new();
    for number in 0..40 {
        let answer = link.send("POST", "/api/appointments", &appointment(number)).await.unwrap();
        assert_eq!(answer.header("x-clinic-version"), "v3");
        statuses.push(answer.status.as_u16());
    }

    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 10, "{statuses:?}");
    assert!(statuses.chunks(4).all(|four| four == [201, 201, 201, 500]), "{statuses:?}");
    for path in ["/api/health", "/api/health/live", "/api/health/ready", "/api/health/deep", "/"] {
        for _ in 0..8 {
            assert_eq!(link.send("GET", path, "").await.unwrap().status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn failing_may_start_late_and_keep_to_one_route() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(
        folder.path(),
        &[
            ("CLINIC_FAIL_PERCENT", "100"),
            ("CLINIC_FAIL_AFTER_MS", "700"),
            ("CLINIC_FAIL_ROUTE", "/api/slots"),
        ],
    );
    let begun = Instant::now();

    let first = clinic.get("/api/slots").await.status;
    // On a machine so slow that the time has passed already, the first answer proves nothing.
    assert!(first == 200 || begun.elapsed() > Duration::from_millis(300), "{first}");
    clinic.until("/api/slots", 500).await;

    assert_eq!(clinic.get("/api/appointments").await.status, 200);
}

#[tokio::test]
async fn slowness_touches_requests_and_spares_health() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[("CLINIC_SLOW_MS", "400")]);

    let timed = async |path| {
        let begun = Instant::now();
        assert_eq!(clinic.get(path).await.status, 200);
        begun.elapsed()
    };

    assert!(timed("/api/slots").await >= Duration::from_millis(400));
    let mut health = Vec::new();
    for _ in 0..5 {
        health.push(timed("/api/health/live").await);
    }
    assert!(health.iter().min().unwrap() < &Duration::from_millis(400), "{health:?}");
}

#[tokio::test]
async fn a_clinic_may_never_become_ready_or_stop_being_alive() {
    let folder = tempdir().unwrap();
    let never = Clinic::with_file(folder.path(), &[("CLINIC_NEVER_READY", "1")]);
    let dying = Clinic::with_file(folder.path(), &[("CLINIC_LIVE_FAIL_AFTER_MS", "400")]);

    assert_eq!(never.get("/api/health/ready").await.status, 503);
    assert_eq!(never.get("/api/health/live").await.status, 200);
    assert_eq!(never.get("/api/slots").await.status, 200);

    dying.until("/api/health/live", 503).await;
    assert_eq!(dying.get("/api/health/ready").await.status, 200);
}

#[test]
fn a_clinic_may_crash_or_start_late() {
    let folder = tempdir().unwrap();
    let begun = Instant::now();
    let mut crashing =
        Clinic::with_file(folder.path(), &[("CLINIC_CRASH_AFTER_MS", "100"), ("CLINIC_START_MS", "300")]);
    assert!(begun.elapsed() >= Duration::from_millis(300), "it listened too early");
    assert_eq!(crashing.process.ended().code(), Some(1));
}

#[test]
fn a_clinic_that_starts_late_can_be_told_to_stop_before() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("clinic.db");
    let settings = [("CLINIC_START_MS", "600000"), ("CLINIC_DB", file.to_str().unwrap())];
    let mut clinic = super::support::Process(command(&settings).spawn().unwrap());
    let deadline = Instant::now() + super::support::PATIENCE;
    // The file appears after the signals are listened for.
    while !file.exists() {
        assert!(Instant::now() < deadline, "no file appeared");
        std::thread::sleep(Duration::from_millis(2));
    }

    clinic.signal(Signal::TERM);

    assert_eq!(clinic.ended().code(), Some(0));
}
