//! Remembers for ten seconds who met an error where, so that one user's retries are not many failures.
//! Knows no user: a header or cookie named in the table becomes a number under a key drawn at the start of the process,
//! and the address is never part of it, because behind a proxy that would hide a failing release.

use crate::count::Subject;
use crate::limits;
use crate::split::find_cookie;
use http::HeaderMap;
use rollout::routes::UserKey;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The errors of the last seconds by user and endpoint, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    key: RandomState,
    counted: Mutex<Counted>,
}

/// Each entry stands once in both; the oldest is in front.
#[derive(Debug, Default)]
struct Counted {
    known: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Repeats {
    /// Returns the number of a request's user; None where the table does not tell users apart, or the request names none.
    pub(crate) fn user(&self, key: Option<&UserKey>, headers: &HeaderMap) -> Option<u64> {
        let value = match key? {
            UserKey::Header(name) => headers.get(name.as_str())?.as_bytes(),
            UserKey::Cookie(name) => find_cookie(headers, name)?,
        };
        (!value.is_empty()).then(|| self.key.hash_one(value))
    }

    /// Notes an error and tells whether its user had one counted on this endpoint less than ten seconds before.
    pub(crate) fn note(&self, user: u64, subject: &Subject, endpoint: (&str, &str), now: Instant) -> bool {
        let whose = (user, &*subject.target, subject.revision.0, subject.allowed, endpoint);
        let entry = self.key.hash_one(whose);
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).note(entry, now)
    }
}

impl Counted {
    fn note(&mut self, entry: u64, now: Instant) -> bool {
        while let Some((since, _)) = self.order.front()
            && now.saturating_duration_since(*since) >= limits::REPEAT
        {
            self.forget_oldest();
        }
        if self.known.contains(&entry) {
            return true;
        }
        if self.order.len() >= limits::REPEATS {
            self.forget_oldest();
        }
        self.known.insert(entry);
        self.order.push_back((now, entry));
        false
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.pop_front() {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::names::Revision;
    use std::time::Duration;

    fn subject(revision: u64) -> Subject {
        Subject {
            target: "web@local".into(),
            revision: Revision(revision),
            replica: None,
            bucket: 0,
            allowed: false,
            route: None,
        }
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
    }

    #[test]
    fn an_error_counts_again_after_ten_seconds_on_another_endpoint_or_another_revision() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let note = |user: u64, revision: u64, path: &str, seconds: u64| {
            repeats.note(user, &subject(revision), ("GET", path), after(seconds))
        };

        assert!(!note(1, 1, "/a", 0));
        assert!(note(1, 1, "/a", 9));
        assert!(!note(1, 1, "/b", 9));
        assert!(!note(1, 2, "/a", 9));
        assert!(!note(2, 1, "/a", 9));
        // Ten seconds after the one that counted, not after the last one.
        assert!(!note(1, 1, "/a", 10));
        assert!(note(1, 1, "/a", 11));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let (mut counted, now) = (Counted::default(), Instant::now());

        for entry in 0..=limits::REPEATS as u64 {
            assert!(!counted.note(entry, now));
        }

        assert!(counted.known.len() == limits::REPEATS && counted.order.len() == limits::REPEATS);
        assert!(counted.note(1, now));
        assert!(!counted.note(0, now));
    }

    #[test]
    fn users_are_told_apart_by_what_the_table_names_and_by_nothing_else() {
        let repeats = Repeats::default();
        let user = |key: &UserKey, headers: &HeaderMap| repeats.user(Some(key), headers);
        let by_header = UserKey::Header("x-user".to_owned());
        let by_cookie = UserKey::Cookie("session".to_owned());

        let alice = user(&by_header, &headers("x-user", "alice"));
        assert!(alice.is_some() && alice == user(&by_cookie, &headers("cookie", "a=b; session=alice")));
        assert_ne!(alice, user(&by_header, &headers("x-user", "bob")));
        assert_ne!(alice, Repeats::default().user(Some(&by_header), &headers("x-user", "alice")));
        for nobody in [headers("x-user", ""), headers("x-forwarded-for", "192.0.2.1"), HeaderMap::new()] {
            assert_eq!(user(&by_header, &nobody), None);
        }
        assert_eq!(repeats.user(None, &headers("x-user", "alice")), None);
    }
}
