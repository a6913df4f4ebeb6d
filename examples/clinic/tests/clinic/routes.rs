//! Tests what each route answers.

use super::support::{Clinic, Link, appointment, command};
use serde_json::json;
use tempfile::tempdir;

#[tokio::test]
async fn an_appointment_is_made_found_listed_and_removed() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[]);

    let made = clinic.post("/api/appointments", &appointment(1)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_i64().unwrap();
    assert_eq!(made.header("location"), format!("/api/appointments/{id}"));

    let found = clinic.get(made.header("location")).await;
    assert_eq!(found.json(), made.json());
    assert_eq!(found.json()["duration_min"], 15);
    assert_eq!(clinic.get("/api/appointments").await.json(), json!({ "appointments": [made.json()] }));

    assert_eq!(clinic.send("DELETE", made.header("location"), "").await.status, 204);
    assert_eq!(clinic.send("DELETE", made.header("location"), "").await.status, 404);
    assert_eq!(clinic.get(made.header("location")).await.status, 404);
}

#[tokio::test]
async fn the_list_shows_the_newest_fifty() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[]);
    let mut link = Link::open(clinic.address).await.unwrap();
    for number in 0..60 {
        assert_eq!(link.send("POST", "/api/appointments", &appointment(number)).await.unwrap().status, 201);
    }

    let list = clinic.get("/api/appointments").await.json();

    let ids: Vec<i64> =
        list["appointments"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (11..=60).rev().collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_bad_request_says_what_is_wrong_and_what_to_send_instead() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[]);
    let long = "x".repeat(20_000);
    let cases = [
        ("POST", "/api/appointments", r#"{"slot":"2027-02-30T09:30","practitioner":"dr-costa"}"#, 400),
        ("POST", "/api/appointments", r#"{"slot":"2027-02-01T09:30","practitioner":"<b>"}"#, 400),
        (
            "POST",
            "/api/appointments",
            r#"{"slot":"2027-02-01T09:30","practitioner":"d","duration_min":0}"#,
            400,
        ),
        ("POST", "/api/appointments", r#"{"slot":"2027-02-01T09:30","practitioner":"d","patient":"X"}"#, 422),
        ("POST", "/api/appointments", "{", 400),
        ("POST", "/api/appointments", long.as_str(), 413),
        ("GET", "/api/appointments/zero", "", 400),
        ("GET", "/api/appointments/99", "", 404),
        ("GET", "/api/slow?ms=soon", "", 400),
        ("PUT", "/api/appointments", "", 405),
        ("GET", "/nowhere", "", 404),
    ];

    for (method, path, body, status) in cases {
        let answer = clinic.send(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        for part in ["cannot", "cause", "next"] {
            assert!(answer.json()["error"][part].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
        }
        assert_eq!(answer.header("x-clinic-version"), env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(clinic.get("/api/appointments").await.json(), json!({ "appointments": [] }));
}

#[tokio::test]
async fn every_answer_carries_the_version_and_health_tells_it() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v2")]);

    for path in
        ["/", "/api/health", "/api/health/live", "/api/health/ready", "/api/health/deep", "/api/slots"]
    {
        let answer = clinic.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-clinic-version")), (200, "v2"), "{path}");
    }
    let health = clinic.get("/api/health").await.json();
    assert_eq!((health["status"].as_str(), health["version"].as_str()), (Some("ok"), Some("v2")));
    assert!(health["uptime_s"].is_u64());
    assert_eq!((&health["checks"][0]["name"], &health["checks"][0]["ok"]), (&json!("sqlite"), &json!(true)));
}

#[tokio::test]
async fn the_script_of_a_version_has_a_name_of_its_own() {
    let folder = tempdir().unwrap();
    let one = Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v1")]);
    let two = Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v2")]);
    let name = |page: &str| page.split('"').find(|part| part.starts_with("/assets/app-")).unwrap().to_owned();
    let (first, second) = (name(&one.get("/").await.text), name(&two.get("/").await.text));

    let script = one.get(&first).await;

    assert_ne!(first, second);
    assert!(
        script.text.contains(r#""v1""#) && script.header("cache-control").contains("immutable"),
        "{script:?}"
    );
    assert_eq!(one.get(&second).await.status, 404);
}

#[tokio::test]
async fn an_echo_streams_more_than_it_could_keep() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[]);
    let body = "0123456789abcdef".repeat(512 * 1024);

    let answer = clinic.post("/api/echo", &body).await;

    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert!(answer.text == body, "the echo differs");
}

#[tokio::test]
async fn a_slow_answer_takes_as_long_as_it_was_told() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[]);
    let begun = std::time::Instant::now();

    let answer = clinic.get("/api/slow?ms=120").await;

    assert_eq!(answer.json(), json!({ "waited_ms": 120 }));
    assert!(begun.elapsed().as_millis() >= 120);
}

#[tokio::test]
async fn the_probe_ends_with_zero_only_while_the_clinic_is_alive() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("probe.db").display().to_string();
    let clinic = Clinic::with_file(folder.path(), &[]);
    let port = clinic.address.port().to_string();
    let probe = || command(&[("CLINIC_DB", &file), ("PORT", &port)]).arg("probe").output().unwrap();

    assert_eq!(probe().status.code(), Some(0));
    drop(clinic);

    let dead = probe();
    assert_eq!(dead.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&dead.stderr).contains("cannot ask the clinic on 127.0.0.1"));
}
