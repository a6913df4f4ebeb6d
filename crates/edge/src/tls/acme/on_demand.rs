//! Lets the first handshake for a name that no service has wait until its certificate is there, if it is allowed.
//! Remembers what was said of names, and bounds everything strangers can make it do: names, questions, orders, waiting clients.

use super::ask::{Said, ask};
use super::pace;
use crate::limits;
use crate::random::Random;
use crate::tls::Problem;
use manifest::edge::OnDemandState;
use manifest::tls::OnDemand as Settings;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};

/// Names that no service has.
#[derive(Debug)]
pub(crate) struct OnDemand {
    pub(super) settings: Settings,
    book: Mutex<Book>,
    queue: mpsc::Sender<Demand>,
    /// Taken by the one who meets demands.
    demands: Mutex<Option<mpsc::Receiver<Demand>>>,
    waiting: Semaphore,
    /// After the first failure of an order.
    pause: Duration,
}

/// A name somebody waits for. They are woken when it is dropped.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) name: String,
    _waiting: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    names: HashMap<String, Entry>,
    asked: u64,
    allowed: u64,
    refused: u64,
    problem: Option<Problem>,
}

/// What is known of a name that has no certificate.
#[derive(Debug, Default)]
struct Entry {
    /// Ends when its demand has been met, or cannot be.
    underway: Option<watch::Receiver<()>>,
    /// Whether it is allowed, and until when that holds.
    said: Option<(bool, Instant)>,
    /// An order failed: none before.
    rests_until: Option<Instant>,
    failures: u32,
}

impl Entry {
    fn underway(&self) -> Option<&watch::Receiver<()>> {
        self.underway.as_ref().filter(|underway| underway.has_changed().is_ok())
    }

    /// Until when it is worth remembering.
    fn until(&self) -> Option<Instant> {
        self.said.map(|(_, until)| until).max(self.rests_until)
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
            || self.said.is_some_and(|(allowed, until)| !allowed && now < until)
    }
}

impl Book {
    /// Returns the entry of a name, making room for it: what is known of another one is lost rather than to grow.
    fn entry(&mut self, name: &str, now: Instant) -> &mut Entry {
        if !self.names.contains_key(name) && self.names.len() >= limits::ON_DEMAND_NAMES {
            self.names.retain(|_, entry| {
                entry.underway().is_some() || entry.until().is_some_and(|until| now < until)
            });
            let idle = self.names.iter().filter(|(_, entry)| entry.underway().is_none());
            let next = idle.min_by_key(|(_, entry)| entry.until()).map(|(name, _)| name.clone());
            if self.names.len() >= limits::ON_DEMAND_NAMES
                && let Some(next) = next
            {
                self.names.remove(&next);
            }
        }
        self.names.entry(name.to_owned()).or_default()
    }
}

impl OnDemand {
    pub(super) fn new(settings: Settings, pause: Duration) -> Self {
        let (queue, demands) = mpsc::channel(limits::ON_DEMAND_QUEUE);
        let waiting = Semaphore::new(limits::ON_DEMAND_WAITING);
        Self { settings, book: Mutex::default(), queue, demands: Mutex::new(Some(demands)), waiting, pause }
    }

    /// Returns what is demanded, once.
    pub(super) fn demands(&self) -> Option<mpsc::Receiver<Demand>> {
        self.demands.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is decided whether a name gets a certificate; the caller bounds how long. Returns at once where it is
    /// known that it gets none.
    pub(crate) async fn decided(&self, name: &str) {
        if !may_be_ordered(name) {
            return;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            self.book().refused += 1;
            return;
        };
        if let Some(mut underway) = self.begin(name) {
            // Nothing is ever sent: it ends when the other side is dropped.
            let _met = underway.changed().await;
        }
    }

    /// Demands a name, unless somebody has, or it is known that it gets no certificate.
    fn begin(&self, name: &str) -> Option<watch::Receiver<()>> {
        let (now, mut book) = (Instant::now(), self.book());
        let entry = book.entry(name, now);
        if let Some(underway) = entry.underway() {
            return Some(underway.clone());
        }
        if entry.is_refused(now) {
            return None;
        }
        let (sender, receiver) = watch::channel(());
        entry.underway = Some(receiver.clone());
        let demand = Demand { name: name.to_owned(), _waiting: sender };
        if self.queue.try_send(demand).is_err() {
            book.refused += 1;
            return None;
        }
        Some(receiver)
    }

    /// Whether it is known that a name is allowed.
    pub(super) fn is_allowed(&self, name: &str) -> bool {
        let known = self.book().names.get(name).and_then(|entry| entry.said);
        known.is_some_and(|(allowed, until)| allowed && Instant::now() < until)
    }

    /// Asks whether a name is allowed.
    pub(super) async fn ask(&self, name: &str) -> Said {
        ask(&self.settings.allow, name).await
    }

    /// Words that nobody said whether a name is allowed.
    pub(super) fn unanswered(&self, name: &str, why: &str) -> Problem {
        let next = "check `allow` in `acme.on_demand` of the manifest, and whoever answers there";
        Problem::new(format!("ask {} about {name}", self.settings.allow), why, next)
    }

    /// Remembers what was said of a name.
    pub(super) fn note_said(&self, name: &str, said: &Said) {
        let (now, mut book) = (Instant::now(), self.book());
        let (allowed, holds) = match said {
            Said::Yes => (true, limits::ON_DEMAND_ALLOWED),
            Said::No => (false, limits::ON_DEMAND_REFUSED),
            Said::Nothing(_) => (false, limits::ON_DEMAND_SILENT),
        };
        book.entry(name, now).said = Some((allowed, now + holds));
        book.asked += 1;
        book.allowed += u64::from(allowed);
        book.problem = match said {
            Said::Nothing(why) => Some(self.unanswered(name, why)),
            Said::Yes | Said::No => None,
        };
    }

    /// Lets a name rest until a moment; other names may have their turn.
    pub(super) fn note_full(&self, name: &str, rest: Duration, problem: Problem) {
        let (now, mut book) = (Instant::now(), self.book());
        book.entry(name, now).rests_until = Some(now + rest);
        book.refused += 1;
        book.problem = Some(problem);
    }

    /// Lets a name whose order failed rest, longer each time.
    pub(super) fn note_failed(&self, name: &str, problem: Problem) -> u32 {
        let (now, mut book) = (Instant::now(), self.book());
        let entry = book.entry(name, now);
        entry.failures = entry.failures.saturating_add(1);
        entry.rests_until =
            Some(now + Duration::from_millis(pace::pause(self.pause, entry.failures, &Random::seeded()).0));
        let failures = entry.failures;
        book.problem = Some(problem);
        failures
    }

    /// Returns how many orders for a name failed in a row.
    pub(super) fn failures(&self, name: &str) -> u32 {
        self.book().names.get(name).map_or(0, |entry| entry.failures)
    }

    /// Forgets what was known of a name: it has its certificate now.
    pub(super) fn note_got(&self, name: &str) {
        let mut book = self.book();
        book.names.remove(name);
        book.problem = None;
    }

    pub(super) fn state(&self, certificates: usize) -> OnDemandState {
        let book = self.book();
        OnDemandState {
            certificates: certificates as u64,
            asked: book.asked,
            allowed: book.allowed,
            refused: book.refused,
            problem: book.problem.as_ref().map(Problem::words),
        }
    }
}

/// Whether a server could sign it: a name of the DNS below another one, nothing that could be a path, no address.
fn may_be_ordered(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_demand() -> OnDemand {
        OnDemand::new(Settings { allow: "http://127.0.0.1:1/".to_owned(), orders: 1 }, limits::ACME_PAUSE)
    }

    #[test]
    fn e18_only_names_of_the_dns_are_asked_about() {
        for name in ["a.example", "x-1.b.example", "xn--bcher-kva.example"] {
            assert!(may_be_ordered(name), "{name}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for name in [
            "localhost",
            "127.0.0.1",
            "a..example",
            ".example",
            "a.example.",
            "../x.pem",
            "a_b.example",
            &long,
        ] {
            assert!(!may_be_ordered(name), "{name}");
        }
    }

    #[test]
    fn e18_who_comes_while_a_name_is_decided_waits_for_the_same_answer_and_it_is_remembered() {
        let on_demand = on_demand();
        let mut demands = on_demand.demands().unwrap();

        let first = on_demand.begin("a.example").unwrap();
        let second = on_demand.begin("a.example").unwrap();
        let demand = demands.try_recv().unwrap();
        assert_eq!(demand.name, "a.example");
        assert!(demands.try_recv().is_err(), "it was demanded twice");

        on_demand.note_said("a.example", &Said::No);
        drop(demand);
        assert!(first.has_changed().is_err() && second.has_changed().is_err(), "they still wait");
        assert!(on_demand.begin("a.example").is_none());
        assert!(demands.try_recv().is_err(), "it was asked about again");
        // A name that is allowed and whose order failed rests too, and is not asked about again.
        drop((on_demand.begin("b.example"), demands.try_recv()));
        on_demand.note_said("b.example", &Said::Yes);
        on_demand.note_failed("b.example", Problem::new("x", "y", "z"));
        assert!(on_demand.begin("b.example").is_none() && on_demand.is_allowed("b.example"));
    }

    #[test]
    fn e18_ten_thousand_strangers_leave_a_bounded_book_and_a_bounded_queue() {
        let on_demand = on_demand();
        let mut demands = on_demand.demands().unwrap();

        for name in (0..10_000).map(|number| format!("{number}.example")) {
            drop(on_demand.begin(&name));
            on_demand.note_said(&name, &Said::No);
        }

        let book = on_demand.book();
        assert!(book.names.len() <= limits::ON_DEMAND_NAMES, "{}", book.names.len());
        assert_eq!(book.refused, 10_000 - limits::ON_DEMAND_QUEUE as u64);
        drop(book);
        let queued = std::iter::from_fn(|| demands.try_recv().ok()).count();
        assert_eq!(queued, limits::ON_DEMAND_QUEUE);
    }
}
