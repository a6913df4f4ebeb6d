//! Serves the page and its script, whose name carries a hash of its content, as built front ends do. Two versions
//! have two names: a page of one asks for a file the other does not have.

use super::problem;
use crate::app::App;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use std::sync::Arc;

/// The script of this version.
pub struct Asset {
    name: String,
    content: String,
}

impl Asset {
    pub fn new(version: &HeaderValue) -> Self {
        let version = version.to_str().expect("BUG: the version was checked to be ASCII");
        // JSON's quoting is JavaScript's, so no version can end the string.
        let quoted = serde_json::Value::from(version).to_string();
        let content = format!("document.getElementById('version').textContent = {quoted};\n");
        Self { name: format!("app-{:016x}.js", fnv_1a(content.as_bytes())), content }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every machine and in every build; no secret depends on it.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub async fn page(State(app): State<Arc<App>>) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Clinic</title>\n\
         <h1>Clinic</h1><p>Version <span id=\"version\">?</span>. See <a href=\"/api/appointments\">appointments</a> \
         and <a href=\"/api/health\">health</a>.</p>\n<script src=\"/assets/{}\"></script>\n</html>\n",
        app.asset.name
    ))
}

pub async fn script(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    if name != app.asset.name {
        return problem::not_found();
    }
    // Another content would have another name, so this one may be kept for ever.
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, app.asset.content.clone()).into_response()
}
