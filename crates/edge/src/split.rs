//! Draws the arm of a request: by weight, by a sticky cookie, or by the allow list. Knows no replica and no socket.
//! The draw never looks at the outcome of a request: the judge's bound on false rollbacks rests on that (rollback.md, 3.1).

use crate::limits::STICKY_MAX_AGE_SECONDS;
use crate::random::{Random, mix};
use crate::route::{ArmRoutes, TargetRoutes};
use crate::seal::Seal;
use http::{HeaderMap, HeaderValue, header};
use rollout::names::Target;

/// The outcome of the draw.
pub(crate) struct Draw<'t> {
    /// None: this share of the traffic belongs to stable, and nothing is stable yet.
    pub(crate) arm: Option<&'t ArmRoutes>,
    /// 0–99, drawn also without a candidate.
    pub(crate) bucket: u8,
    pub(crate) allowed: bool,
    /// A new sticky cookie for the answer.
    pub(crate) cookie: Option<HeaderValue>,
}

/// Draws the arm for a request with these headers.
pub(crate) fn draw<'t>(
    target: &'t TargetRoutes,
    headers: &HeaderMap,
    random: &Random,
    seal: &Seal,
) -> Draw<'t> {
    let routes = target.routes();
    let (bucket, cookie) = match &routes.sticky {
        None => (random.percent(), None),
        Some(sticky) => {
            let brought = find_cookie(headers, &sticky.cookie);
            match brought.and_then(|value| seal.verified(&routes.target, value)) {
                Some(key) => (sticky_bucket(&routes.target, key), None),
                None => {
                    let key = format!("{:016x}", random.next());
                    let signed = seal.sign(&routes.target, &key);
                    (sticky_bucket(&routes.target, key.as_bytes()), set_cookie(&sticky.cookie, &signed))
                }
            }
        }
    };
    let allowed = target.candidate.is_some() && is_allowed(target, headers);
    let weight = routes.candidate.as_ref().map_or(0, |candidate| candidate.weight.percent());
    let arm = if allowed || bucket < weight { &target.candidate } else { &target.stable };
    Draw { arm: arm.as_ref(), bucket, allowed, cookie }
}

/// Returns the arm that answers most users now: the candidate at full weight, else stable.
pub(crate) fn serving(target: &TargetRoutes) -> Option<&ArmRoutes> {
    let full = target.routes().candidate.as_ref().is_some_and(|candidate| candidate.weight.percent() == 100);
    if full { target.candidate.as_ref() } else { target.stable.as_ref() }
}

/// Places a key among 100 buckets: the same one on every worker and in every life of the edge. The target is part of the
/// key, so that a person who is early for one service is not early for all. FNV-1a, finished so that low bits are even.
pub(crate) fn sticky_bucket(target: &Target, key: &[u8]) -> u8 {
    let parts = [target.service.as_str().as_bytes(), b"@", target.environment.as_bytes(), b"=", key];
    let hash = parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (mix(hash) % 100) as u8
}

fn is_allowed(target: &TargetRoutes, headers: &HeaderMap) -> bool {
    target.routes().allow.as_ref().is_some_and(|allow| {
        let named =
            |value: &HeaderValue| allow.values.iter().any(|named| named.as_bytes() == value.as_bytes());
        headers.get_all(allow.header.as_str()).iter().any(named)
    })
}

/// Returns the first value of a cookie that is not empty.
pub(crate) fn find_cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

fn set_cookie(name: &str, key: &str) -> Option<HeaderValue> {
    let text = format!("{name}={key}; Path=/; HttpOnly; SameSite=Lax; Max-Age={STICKY_MAX_AGE_SECONDS}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Registry;
    use proptest::prelude::*;
    use rollout::names::Revision;
    use std::sync::Arc;

    fn target(weight: u8, sticky: bool) -> TargetRoutes {
        let arm =
            |revision: u64| serde_json::json!({ "revision": revision, "release": "ab", "replicas": [] });
        let json = serde_json::json!({
            "generation": { "epoch": 1, "seq": 1 },
            "routes": {
                "target": "web@local",
                "stable": arm(1),
                "candidate": { "arm": arm(2), "weight": weight },
                "sticky": sticky.then(|| serde_json::json!({ "cookie": "me_rev" })),
                "allow": { "header": "x-canary", "values": ["team"] },
            },
        });
        TargetRoutes::new(serde_json::from_value(json).unwrap(), &mut Registry::default(), Arc::default())
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    fn revision(draw: &Draw<'_>) -> Revision {
        draw.arm.unwrap().revision
    }

    #[test]
    fn e16_the_allow_list_sees_the_candidate_at_any_weight() {
        let (target, random) = (target(0, false), Random::seeded());

        let allowed = draw(&target, &with("x-canary", "team"), &random, &Seal::known());
        let other = draw(&target, &with("x-canary", "teams"), &random, &Seal::known());

        assert_eq!((revision(&allowed), allowed.allowed), (Revision(2), true));
        assert_eq!((revision(&other), other.allowed), (Revision(1), false));
    }

    #[test]
    fn a_cookie_is_found_among_others_and_only_by_its_whole_name() {
        assert_eq!(find_cookie(&with("cookie", "a=1; me_rev=k=2;b=3"), "me_rev"), Some(&b"k=2"[..]));
        assert_eq!(find_cookie(&with("cookie", "xme_rev=1; me_rev="), "me_rev"), None);
    }

    #[test]
    fn a_new_client_gets_the_cookie_that_leads_to_the_same_bucket() {
        let (target, random) = (target(50, true), Random::seeded());

        let first = draw(&target, &HeaderMap::new(), &random, &Seal::known());
        let cookie = first.cookie.as_ref().unwrap().to_str().unwrap().to_owned();
        let pair = cookie.split(';').next().unwrap();
        let second = draw(&target, &with("cookie", pair), &random, &Seal::known());

        assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age="), "{cookie}");
        assert_eq!(first.bucket, second.bucket);
        assert!(second.cookie.is_none());
    }

    #[test]
    fn r17_a_cookie_nobody_signed_chooses_no_side() {
        let (target, random) = (target(50, true), Random::seeded());

        let drawn = draw(&target, &with("cookie", "me_rev=mine"), &random, &Seal::known());

        assert!(drawn.cookie.is_some_and(|cookie| !cookie.to_str().unwrap().contains("mine")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn e16_the_share_of_the_candidate_is_its_weight(weight in 0u8..=100, sticky: bool) {
            let (target, random) = (target(weight, sticky), Random::seeded());
            let draws = 20_000u32;

            let hits = (0..draws).filter(|_| revision(&draw(&target, &HeaderMap::new(), &random, &Seal::known())) == Revision(2));
            let share = f64::from(u32::try_from(hits.count()).unwrap()) / f64::from(draws);

            // Six standard deviations of a binomial share.
            let wanted = f64::from(weight) / 100.0;
            let bound = 6.0 * (wanted * (1.0 - wanted) / f64::from(draws)).sqrt() + 1e-9;
            prop_assert!((share - wanted).abs() <= bound, "{share} at weight {weight}");
        }

        #[test]
        fn e16_a_sticky_client_never_leaves_the_candidate_while_its_weight_grows(key in "[a-z0-9]{1,40}") {
            let (headers, random) = (with("cookie", &format!("me_rev={}", Seal::known().sign(&Target::new("web", "local"), &key))), Random::seeded());
            let seen: Vec<u64> = (0..=100).map(|weight| revision(&draw(&target(weight, true), &headers, &random, &Seal::known())).0).collect();

            prop_assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]), "{seen:?}");
            prop_assert_eq!((seen[0], seen[100]), (1, 2));
        }
    }
}
