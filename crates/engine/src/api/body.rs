//! Reads the body of a command: JSON of the type that is wanted, or an error in three parts. Never plain text.

use super::wire::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

/// A body that could be read.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| unreadable("read the request", error.body_text()))?;
        decode(&bytes).map(Self)
    }
}

/// Reads a body that has come whole.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable("understand the request", error.to_string()))
}

fn unreadable(error: &str, cause: String) -> ApiError {
    ApiError {
        error: error.to_owned(),
        cause: Some(cause),
        next: Some("send the JSON that `medeclipse` of the engine's version sends".to_owned()),
        exit: 2,
    }
}
