//! Says in an answer what went wrong, why, and what to do. Says nothing about the inside of the clinic.

use crate::store::StoreError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer that is not what the client hoped for.
pub struct Problem {
    status: StatusCode,
    what: &'static str,
    why: String,
    next: String,
}

impl Problem {
    pub fn new(
        status: StatusCode,
        what: &'static str,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { status, what, why: why.into(), next: next.into() }
    }

    /// A request that can never succeed as it is.
    pub fn invalid(why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "accept the request", why, next)
    }

    pub fn missing(id: i64) -> Self {
        let next = "list what there is with GET /api/appointments";
        Self::new(StatusCode::NOT_FOUND, "find the appointment", format!("there is none with id {id}"), next)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "use the store", error.to_string(), error.next())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "cannot": self.what, "cause": self.why, "next": self.next } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Answers for the fault of failing.
pub fn failing() -> Response {
    let why = "the fault CLINIC_FAIL_PERCENT is on";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "answer", why, "unset it").into_response()
}

pub fn not_found() -> Response {
    let why = "there is nothing at this path";
    Problem::new(StatusCode::NOT_FOUND, "find the page", why, "start at /").into_response()
}

pub fn wrong_method() -> Response {
    let why = "this path has other methods";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "answer", why, "see the Allow header").into_response()
}
