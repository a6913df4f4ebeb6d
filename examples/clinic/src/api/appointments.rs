//! Answers for appointments: when and with whom, never for whom. Checks what comes in; the store keeps it.

use super::problem::Problem;
use crate::app::App;
use crate::store::{Appointment, Draft};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Longest name of a practitioner.
const PRACTITIONER_MAX: usize = 64;
const SLOT_FORM: &str = "write the slot as 2027-01-31T09:30, on a quarter of an hour";
/// Minutes of an appointment that does not say.
const DURATION_MIN_DEFAULT: i32 = 15;

/// What a client sends to make an appointment. Unknown fields are refused: they might say something of a patient.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    slot: String,
    practitioner: String,
    duration_min: Option<i32>,
}

/// Lists the newest 50.
pub async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if let Some(cache) = &app.cache
        && let Some(text) = cache.list().await
    {
        return Ok(json_text(text, "hit"));
    }
    let appointments = app.store.list().await?;
    let text = json!({ "appointments": appointments }).to_string();
    if let Some(cache) = &app.cache {
        cache.keep_list(&text).await;
    }
    Ok(json_text(text, "miss"))
}

pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Appointment>, Problem> {
    let id = parse_id(&id)?;
    app.store.get(id).await?.map(Json).ok_or_else(|| Problem::missing(id))
}

pub async fn create(
    State(app): State<Arc<App>>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(wish) = wish.map_err(refuse)?;
    let appointment = app.store.create(check(wish)?).await?;
    if let Some(cache) = &app.cache {
        cache.forget_list().await;
    }
    let place = format!("/api/appointments/{}", appointment.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(appointment)).into_response())
}

pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = parse_id(&id)?;
    if !app.store.remove(id).await? {
        return Err(Problem::missing(id));
    }
    if let Some(cache) = &app.cache {
        cache.forget_list().await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the quarter hours of a working day.
pub async fn slots() -> Json<serde_json::Value> {
    let slots: Vec<String> =
        (0..40).map(|quarter| format!("{:02}:{:02}", 8 + quarter / 4, quarter % 4 * 15)).collect();
    Json(json!({ "slots": slots }))
}

fn parse_id(text: &str) -> Result<i64, Problem> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| {
        Problem::invalid("the id is not a positive whole number", "take one from GET /api/appointments")
    })
}

fn refuse(rejection: JsonRejection) -> Problem {
    let next = r#"send {"slot":"2027-01-31T09:30","practitioner":"dr-costa"} as application/json"#;
    Problem::new(rejection.status(), "accept the request", rejection.body_text(), next)
}

fn check(wish: Wish) -> Result<Draft, Problem> {
    check_slot(&wish.slot)?;
    let name = &wish.practitioner;
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '\'' | ' ');
    if name.trim().is_empty() || name.chars().count() > PRACTITIONER_MAX || !name.chars().all(plain) {
        let next = format!("write a name of up to {PRACTITIONER_MAX} letters, digits, spaces, - . '");
        return Err(Problem::invalid("the practitioner is not a name", next));
    }
    let duration_min = wish.duration_min.unwrap_or(DURATION_MIN_DEFAULT);
    if !(5..=480).contains(&duration_min) {
        return Err(Problem::invalid("duration_min is out of bounds", "write between 5 and 480 minutes"));
    }
    Ok(Draft { slot: wish.slot, practitioner: wish.practitioner, duration_min })
}

/// Checks `YYYY-MM-DDTHH:MM`: a real day, a quarter of an hour.
fn check_slot(slot: &str) -> Result<(), Problem> {
    let wrong = || Problem::invalid("the slot is not a quarter hour of a day", SLOT_FORM);
    let form = "dddd-dd-ddTdd:dd";
    let fits = slot.len() == form.len()
        && slot.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            separator => byte == separator,
        });
    if !fits {
        return Err(wrong());
    }
    let number =
        |range: std::ops::Range<usize>| slot[range].parse::<u32>().expect("BUG: digits were checked");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let (hour, minute) = (number(11..13), number(14..16));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    if (1..=days).contains(&day) && hour < 24 && minute < 60 && minute.is_multiple_of(15) {
        return Ok(());
    }
    Err(wrong())
}

fn json_text(text: String, cache: &'static str) -> Response {
    let json = HeaderValue::from_static("application/json");
    (
        [
            (header::CONTENT_TYPE, json),
            ("x-cache".parse().expect("BUG: a fixed name"), HeaderValue::from_static(cache)),
        ],
        text,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_quarter_hour_of_a_real_day() {
        for good in ["2027-01-31T09:30", "2028-02-29T00:00", "2000-02-29T23:45"] {
            assert!(check_slot(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2027-02-29T09:30",
            "2100-02-29T09:30",
            "2027-13-01T09:30",
            "2027-00-01T09:30",
            "2027-01-00T09:30",
            "2027-01-01T24:00",
            "2027-01-01T09:31",
            "2027-01-01 09:30",
            "2027-01-01T09:30Z",
            "２027-01-01T09:3",
        ] {
            assert!(check_slot(bad).is_err(), "{bad}");
        }
    }
}
