//! Lets another release answer for a hashed file that the drawn one does not have: a page of one release asks for its own
//! files while both are alive. Refuses everything whose name has no hash in it; draws nothing, counts nothing.

use crate::body::{Progress, Upload};
use crate::exchange::{self, Exchanged, Order};
use crate::headers::Upgrade;
use crate::limits;
use crate::route::{ArmRoutes, TargetRoutes};
use crate::worker::Worker;
use http::{Method, StatusCode};

/// Characters of a hash at least: Vite and esbuild write eight, others more.
const HASH_MIN: usize = 8;

/// Asks the other releases that are alive. None: none of them has it, and the first answer stays.
pub(crate) async fn elsewhere<'t>(
    worker: &Worker,
    target: &'t TargetRoutes,
    drawn: &ArmRoutes,
    order: &mut Order<'_>,
    first: StatusCode,
) -> Option<(Exchanged, &'t ArmRoutes)> {
    let misses = first == StatusCode::NOT_FOUND || first == StatusCode::GONE;
    let safe = order.method == Method::GET || order.method == Method::HEAD;
    let asks = misses && safe && order.upgrade == Upgrade::None && target.routes().assets;
    if !asks || !is_hashed(order.path.path()) {
        return None;
    }
    for arm in target.alive().filter(|arm| arm.revision != drawn.revision) {
        order.revision = arm.revision;
        // It carries no body, so nothing of the client's can stall it.
        let progress = Progress::watching(None);
        // Beside the request's future, not in it: few ask a second time.
        let asked = Box::pin(exchange::exchange(worker, order, Upload::Empty, &progress, |_| {}));
        let answer = tokio::time::timeout(limits::ASSET_HEAD, asked).await;
        if let Ok(Ok(exchanged)) = answer
            && (exchanged.response.status().is_success()
                || exchanged.response.status() == StatusCode::NOT_MODIFIED)
        {
            return Some((exchanged, arm));
        }
    }
    order.revision = drawn.revision;
    None
}

/// Whether the name of a file has a hash in it, as bundlers write them: `main.4f3c2a1b.js`, `index-DiwrgTda.css`.
pub(crate) fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    if extension.is_empty() || !extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let mut parts = stem.split(['.', '-', '_', '~']);
    parts.any(|part| part.len() >= HASH_MIN && is_hash(part)) || ends_with_hash(stem)
}

/// Eight characters of URL-safe base64 may hold `-` and `_` themselves.
fn ends_with_hash(stem: &str) -> bool {
    let Some(at) = stem.len().checked_sub(HASH_MIN) else { return false };
    let Some((before, hash)) = stem.split_at_checked(at) else { return false };
    before.ends_with(['.', '-', '_']) && is_hash(hash)
}

fn is_hash(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    legal && (has(u8::is_ascii_digit) || mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o15_names_as_bundlers_write_them_have_a_hash() {
        for path in [
            "/assets/main.4f3c2a1b.js",
            "/assets/index-DiwrgTda.css",
            "/assets/index-Bq-s9x_k.js",
            "/chunk-5KJ2XQ3A.js",
            "/_next/static/chunks/117-8f2b9d1c0a3e4f56.js",
            "/assets/application-908e25f4bf641868d8683022a5b62f54.css",
            "/static/css/base.55e7cbb9ba48.css",
            "/4f3c2a1b9e.woff2",
        ] {
            assert!(is_hashed(path), "{path}");
        }
    }

    #[test]
    fn o15_other_names_have_none() {
        for path in [
            "/",
            "/index.html",
            "/api/patients/12345678",
            "/main.js",
            "/a.b",
            "/robots.txt",
            "/deadbeef",
            "/x.",
        ] {
            assert!(!is_hashed(path), "{path}");
        }
    }
}
