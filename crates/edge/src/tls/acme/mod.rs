//! Gets certificates from an ACME server (RFC 8555) and renews them well before they end: one for each host of the services,
//! and for names somebody allows (`on_demand`). Never lets serving wait for it; a certificate stays until there is a better one.

mod ask;
mod challenges;
mod kept;
mod on_demand;
mod order;
mod pace;

use super::shelf::{Certificate, Shelf};
use super::{Problem, files};
use crate::complain::complain;
use crate::random::Random;
use crate::{clock, limits};
use ask::Said;
use futures_util::stream::{self, StreamExt};
use kept::{Kept, Wait, Waits};
use manifest::edge::{CertificateState, OnDemandState};
use manifest::tls::{Acme as Settings, Challenge};
use on_demand::Demand;
use order::Customer;
use rollout::names::Millis;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

pub(crate) use challenges::{Challenges, PROTOCOL, is_check};
use on_demand::OnDemand;

/// The certificates of one ACME account.
#[derive(Debug)]
pub(crate) struct Acme {
    directory: String,
    customer: Customer,
    kept: Kept,
    shelf: Arc<Shelf>,
    /// How names are proven, in turn.
    challenges: Vec<Challenge>,
    names: Mutex<BTreeMap<String, Standing>>,
    waits: Mutex<Waits>,
    on_demand: Option<OnDemand>,
    /// Wakes the one who renews.
    changed: Notify,
    /// After the first failure.
    pause: Duration,
}

/// How it stands with a name that has a certificate, or that a service has.
#[derive(Debug, Clone)]
struct Standing {
    of: Of,
    /// When it is ordered next.
    due: Millis,
    failures: u32,
    problem: Option<Problem>,
}

/// Why a name has a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// It is the host of a service, with this slot on the shelf.
    Host(usize),
    Demand,
}

impl Acme {
    /// Takes up what was got before. Asks nobody yet. The hosts have the slots from `slot` on.
    pub(super) fn open(
        settings: &Settings,
        folder: &Path,
        slot: usize,
        has_http: bool,
        pause: Duration,
        shelf: &Arc<Shelf>,
    ) -> Result<Self, Problem> {
        let kept = Kept::open(folder, &settings.directory)?;
        let challenges = match settings.challenge {
            Some(challenge) => vec![challenge],
            None if has_http => vec![Challenge::TlsAlpn01, Challenge::Http01],
            None => vec![Challenge::TlsAlpn01],
        };
        let customer = Customer::new(settings.clone(), kept.clone(), Arc::clone(shelf.challenges()));
        let acme = Self {
            directory: settings.directory.clone(),
            customer,
            waits: Mutex::new(kept.waits()),
            kept,
            shelf: Arc::clone(shelf),
            challenges,
            names: Mutex::default(),
            on_demand: settings.on_demand.clone().map(|on_demand| OnDemand::new(on_demand, pause)),
            changed: Notify::new(),
            pause,
        };
        for (slot, name) in (slot..).zip(&settings.names) {
            acme.take_up(name, Of::Host(slot));
        }
        let others = acme.kept.names().into_iter().filter(|name| !settings.names.contains(name));
        for name in others.filter(|_| acme.on_demand.is_some()).take(limits::ON_DEMAND_CERTIFICATES) {
            acme.take_up(&name, Of::Demand);
        }
        Ok(acme)
    }

    /// Serves a name with the certificate that was kept for it, if any.
    fn take_up(&self, name: &str, of: Of) {
        let mut standing = Standing { of, due: Millis(0), failures: 0, problem: None };
        if let Some(certificate) = self.kept.certificate(name) {
            standing.due = pace::renewal(&certificate, &Random::seeded());
            self.put(name, of, certificate);
        } else if of == Of::Demand {
            return;
        } else if let Some(certificate) = self.kept.of_others(name) {
            // Until this server has signed one.
            self.put(name, of, certificate);
        }
        if let Some(wait) = self.waits().failed.get(name) {
            // Who starts it again may have mended what was wrong; an edge that starts all the time must not ask all the time.
            let soon = wait.due.min(clock::now().plus(limits::ACME_PAUSE_RESTART));
            standing.due = standing.due.max(soon);
            standing.failures = wait.failures;
        }
        self.names().insert(name.to_owned(), standing);
    }

    fn put(&self, name: &str, of: Of, certificate: Certificate) {
        match of {
            Of::Host(slot) => self.shelf.put(slot, certificate),
            Of::Demand => self.shelf.put_named(name, certificate),
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether names that no service has may get a certificate.
    pub(super) fn is_on_demand(&self) -> bool {
        self.on_demand.is_some()
    }

    /// Returns who decides about a name without a certificate; None where it may have none, or is a service's own.
    pub(super) fn decides(&self, name: &str) -> Option<&OnDemand> {
        let on_demand = self.on_demand.as_ref()?;
        let known = self.shelf.has(name) || self.names().contains_key(name);
        (!known).then_some(on_demand)
    }

    /// Gets what is missing, renews what will end and meets what is demanded, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::join!(self.renew(), Arc::clone(&self).meet());
    }

    async fn renew(&self) {
        loop {
            let now = clock::now();
            let due: Vec<String> = {
                let names = self.names();
                let due = names.iter().filter(|(name, standing)| {
                    standing.due <= now && !(matches!(standing.of, Of::Host(_)) && self.shelf.has_file(name))
                });
                due.map(|(name, _)| name.clone()).collect()
            };
            let orders = stream::iter(due);
            orders.for_each_concurrent(limits::ACME_ORDERS, async |name| self.order(&name).await).await;
            let next = self.names().values().map(|standing| standing.due).min();
            let wait = next.map_or(limits::ACME_LOOK, |next| Duration::from_millis(next.since(now).0));
            tokio::select! {
                // The clock may be set meanwhile, and files may end what they cover.
                () = tokio::time::sleep(wait.clamp(limits::CERTIFICATE_LOOK, limits::ACME_LOOK)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Orders the first certificate of a host, or the next one of any name.
    async fn order(&self, name: &str) {
        let Some(standing) = self.names().get(name).cloned() else { return };
        if let (Of::Demand, Some(on_demand)) = (standing.of, &self.on_demand) {
            match on_demand.ask(name).await {
                Said::Yes => {}
                Said::No => return self.let_go(name),
                Said::Nothing(why) => return self.failed(name, on_demand.unanswered(name, &why)).await,
            }
        }
        match self.get(name, standing.failures).await {
            Ok(certificate) => self.got(name, standing.of, certificate).await,
            Err(problem) => self.failed(name, problem).await,
        }
    }

    /// A name that is not allowed any more keeps its certificate to its end.
    fn let_go(&self, name: &str) {
        let mut names = self.names();
        let over = self.shelf.named(name).map_or(Millis(0), |certificate| certificate.not_after);
        if over <= clock::now() {
            names.remove(name);
            self.shelf.remove_named(name);
            self.kept.forget(name);
            complain(format_args!(
                "no longer serves {name}: its certificate is over, and it is not allowed any more"
            ));
        } else if let Some(standing) = names.get_mut(name) {
            (standing.due, standing.problem) = (over, None);
        }
    }

    /// Gets a certificate. Each failure in a row is followed by the next way to prove a name.
    async fn get(&self, name: &str, failures: u32) -> Result<Certificate, Problem> {
        let turn = usize::try_from(failures).unwrap_or(0) % self.challenges.len();
        let challenge = self.challenges[turn];
        let ordering = tokio::time::timeout(limits::ACME_ATTEMPT, self.customer.order(name, challenge));
        let ordered = match ordering.await {
            Ok(ordered) => ordered.map_err(|error| order::words(&error)),
            Err(_) => Err(format!("it was not there within {} s", limits::ACME_ATTEMPT.as_secs())),
        };
        let problem = |why: String| {
            let port = match challenge {
                Challenge::TlsAlpn01 => "443 (tls-alpn-01)",
                Challenge::Http01 => "80 (http-01)",
            };
            let next = format!(
                "check that {name} leads to this edge's port {port}, and that {} can be reached from here",
                self.directory
            );
            Problem::new(format!("get a certificate for {name}"), why, next)
        };
        let got = ordered.map_err(problem)?;
        let certificate = files::parse(got.chain.as_bytes(), got.key.as_bytes(), &self.directory)?;
        if !certificate.names.iter().any(|named| named == name) {
            return Err(problem(format!("the server signed one for {}", certificate.names.join(", "))));
        }
        self.kept.keep(name, &got.chain, &got.key).await;
        Ok(certificate)
    }

    async fn got(&self, name: &str, of: Of, certificate: Certificate) {
        let until = certificate.not_after.rfc3339();
        complain(format_args!("got a certificate for {name}, valid until {until}"));
        let due = pace::renewal(&certificate, &Random::seeded());
        self.names().insert(name.to_owned(), Standing { of, due, failures: 0, problem: None });
        self.put(name, of, certificate);
        let failed_before = self.waits().failed.remove(name).is_some();
        if failed_before {
            self.keep_waits().await;
        }
    }

    async fn failed(&self, name: &str, problem: Problem) {
        let wait = {
            let mut names = self.names();
            let Some(standing) = names.get_mut(name) else { return };
            standing.failures = standing.failures.saturating_add(1);
            let pause = pace::pause(self.pause, standing.failures, &Random::seeded());
            standing.due = clock::now().plus(pause);
            let Problem { what, why, next } = &problem;
            complain(format_args!("cannot {what}: {why}; again in {pause}; next: {next}"));
            standing.problem = Some(problem);
            Wait { due: standing.due, failures: standing.failures }
        };
        self.waits().failed.insert(name.to_owned(), wait);
        self.keep_waits().await;
    }

    async fn keep_waits(&self) {
        let waits = self.waits().clone();
        self.kept.keep_waits(&waits).await;
    }

    /// Decides about the names that are demanded, some at a time.
    async fn meet(self: Arc<Self>) {
        let Some(mut demands) = self.on_demand.as_ref().and_then(OnDemand::demands) else { return };
        let hands = Arc::new(Semaphore::new(limits::ON_DEMAND_ORDERS));
        while let Some(demand) = demands.recv().await {
            // It is never closed.
            let Ok(hand) = Arc::clone(&hands).acquire_owned().await else { return };
            let acme = Arc::clone(&self);
            tokio::task::spawn_local(async move {
                acme.decide(demand).await;
                drop(hand);
            });
        }
    }

    /// Asks about a name and orders its certificate; whoever waits is woken when this ends.
    async fn decide(&self, demand: Demand) {
        let (Some(on_demand), name) = (&self.on_demand, &demand.name) else { return };
        if self.shelf.has(name) {
            // It came while this was demanded.
            return on_demand.note_got(name);
        }
        if !on_demand.is_allowed(name) {
            let said = on_demand.ask(name).await;
            on_demand.note_said(name, &said);
            if said != Said::Yes {
                return;
            }
        }
        if let Err((rest, problem)) = self.may_order(on_demand, name) {
            return on_demand.note_full(name, rest, problem);
        }
        self.keep_waits().await;
        match self.get(name, on_demand.failures(name)).await {
            Ok(certificate) => {
                self.got(name, Of::Demand, certificate).await;
                on_demand.note_got(name);
                self.changed.notify_one();
            }
            Err(problem) => {
                let Problem { what, why, next } = &problem;
                complain(format_args!("cannot {what}: {why}; next: {next}"));
                on_demand.note_failed(name, problem);
            }
        }
    }

    /// Whether one more may be ordered; how long it rests otherwise.
    fn may_order(&self, on_demand: &OnDemand, name: &str) -> Result<(), (Duration, Problem)> {
        let what = format!("order a certificate for {name}");
        if self.shelf.named_count() >= limits::ON_DEMAND_CERTIFICATES {
            let why = format!("{} names have one already", limits::ON_DEMAND_CERTIFICATES);
            let next = "put the names of services into `hosts`, which are not counted, or use a second edge";
            return Err((limits::ON_DEMAND_REFUSED, Problem::new(what, why, next)));
        }
        let (most, now) = (on_demand.settings.orders, clock::now());
        let Some(next_at) = self.waits().orders.take(most, now) else { return Ok(()) };
        let why = format!("{most} were ordered within an hour, the next at {}", next_at.rfc3339());
        let next = "wait, or write a larger `orders` in `acme.on_demand` of the manifest";
        Err((Duration::from_millis(next_at.since(now).0), Problem::new(what, why, next)))
    }

    /// Returns how each host stands, and those other names with which something is wrong.
    pub(super) fn certificates(&self) -> Vec<CertificateState> {
        let names = self.names();
        let state = |(name, standing): (&String, &Standing)| {
            let certificate = match standing.of {
                Of::Host(_) if self.shelf.has_file(name) => return None,
                Of::Host(slot) => self.shelf.get(slot),
                Of::Demand if standing.problem.is_none() => return None,
                Of::Demand => self.shelf.named(name),
            };
            let problem = standing
                .problem
                .as_ref()
                .map(|problem| format!("{}; again at {}", problem.words(), standing.due.rfc3339()));
            Some(CertificateState {
                source: format!("acme {name}"),
                names: certificate.as_ref().map(|held| held.names.clone()).unwrap_or_default(),
                not_after: certificate.map(|held| held.not_after),
                problem,
            })
        };
        let is_host = |standing: &Standing| matches!(standing.of, Of::Host(_));
        let hosts = names.iter().filter(|(_, standing)| is_host(standing)).filter_map(state);
        let others = names.iter().filter(|(_, standing)| !is_host(standing)).filter_map(state);
        hosts.chain(others.take(limits::ON_DEMAND_PROBLEMS)).collect()
    }

    pub(super) fn on_demand_state(&self) -> Option<OnDemandState> {
        self.on_demand.as_ref().map(|on_demand| on_demand.state(self.shelf.named_count()))
    }
}
