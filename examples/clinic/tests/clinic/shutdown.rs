//! Tests the end of a clinic's life: nothing that was begun is lost.

use super::support::{Clinic, Link, appointment};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::tempdir;

#[tokio::test]
async fn stopping_under_load_loses_no_request() {
    let folder = tempdir().unwrap();
    let mut clinic = Clinic::with_file(folder.path(), &[]);
    let address = clinic.address;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let answered = answered.clone();
        clients.spawn(async move {
            let mut link = Link::open(address).await.unwrap();
            loop {
                let (method, body) =
                    if number % 2 == 0 { ("GET", String::new()) } else { ("POST", appointment(number)) };
                // Whatever was sent is answered; the last answer asks for the end.
                let answer = link.send(method, "/api/appointments", &body).await.unwrap();
                assert!(answer.status.is_success(), "{answer:?}");
                answered.fetch_add(1, Ordering::SeqCst);
                if answer.header("connection") == "close" {
                    return;
                }
            }
        });
    }
    while answered.load(Ordering::SeqCst) < 500 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    clinic.process.signal(Signal::TERM);

    clients.join_all().await;
    assert_eq!(clinic.process.ended().code(), Some(0));
}

#[tokio::test]
async fn requests_in_flight_finish_while_readiness_is_already_gone() {
    let folder = tempdir().unwrap();
    let mut clinic = Clinic::with_file(folder.path(), &[("CLINIC_LINGER_MS", "600")]);
    let mut slow = Link::open(clinic.address).await.unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = begun.clone();
    let answer = tokio::spawn(async move {
        slow.send("GET", "/api/health/live", "").await.unwrap();
        seen.store(true, Ordering::SeqCst);
        slow.send("GET", "/api/slow?ms=1500", "").await.unwrap()
    });
    while !begun.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    clinic.process.signal(Signal::TERM);

    let ready = clinic.until("/api/health/ready", 503).await;
    assert_eq!((ready.json()["status"].as_str(), ready.header("connection")), (Some("draining"), "close"));
    assert_eq!(clinic.get("/api/health/live").await.status, 200, "draining is no reason to be restarted");
    assert_eq!(answer.await.unwrap().status, 200);
    assert_eq!(clinic.process.ended().code(), Some(0));
}

#[tokio::test]
async fn draining_is_bounded() {
    let folder = tempdir().unwrap();
    let mut clinic =
        Clinic::with_file(folder.path(), &[("CLINIC_DRAIN_MS", "300"), ("CLINIC_LINGER_MS", "50")]);
    let mut slow = Link::open(clinic.address).await.unwrap();
    slow.send("GET", "/api/health/live", "").await.unwrap();
    let answer = tokio::spawn(async move { slow.send("GET", "/api/slow?ms=30000", "").await });
    let begun = Instant::now();

    clinic.process.signal(Signal::TERM);

    assert_eq!(clinic.process.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn an_idle_clinic_stops_at_once() {
    let folder = tempdir().unwrap();
    let mut clinic = Clinic::with_file(folder.path(), &[("CLINIC_LINGER_MS", "10000")]);

    clinic.process.signal(Signal::INT);

    let begun = Instant::now();
    assert_eq!(clinic.process.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
