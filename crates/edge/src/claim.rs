//! Counts what is in flight on each replica, and lets a drain end it. A claim is taken under the table it was routed by.
//! Refuses nothing: who may be claimed is decided in `balance`; when a claim is cancelled, in `drain`.

use crate::guard::country::Databases;
use crate::outlier::Outlier;
use manifest::edge::InFlight;
use rollout::names::{ReplicaId, Revision, Target};
use rollout::release::Protocol;
use rollout::routes::Endpoint;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// One running copy as the edge sees it. Shared by all workers and by successive tables, so that its counts go on.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Never given twice in the life of the process.
    pub(crate) id: u64,
    pub(crate) target: Target,
    pub(crate) revision: Revision,
    pub(crate) name: ReplicaId,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) outlier: Outlier,
    requests: AtomicU64,
    long: AtomicU64,
}

impl Replica {
    /// Returns the requests in flight over all workers.
    pub(crate) fn in_flight(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The same without long connections, which wait more than they work.
    pub(crate) fn working(&self) -> u64 {
        self.in_flight().saturating_sub(self.long.load(Relaxed))
    }
}

type Place = (Target, Revision, ReplicaId, SocketAddr);

/// Knows what tables share: every replica one names or that has requests in flight, and the databases of countries.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    given: u64,
    known: HashMap<Place, Weak<Replica>>,
    pub(crate) databases: Databases,
}

impl Registry {
    /// Returns the replica at this place; the same one as long as anybody holds it.
    pub(crate) fn replica(
        &mut self,
        target: &Target,
        revision: Revision,
        protocol: Protocol,
        at: &Endpoint,
    ) -> Arc<Replica> {
        let place = (target.clone(), revision, at.replica.clone(), at.address);
        if let Some(known) = self.known.get(&place).and_then(Weak::upgrade) {
            return known;
        }
        self.known.retain(|_, replica| replica.strong_count() > 0);
        self.given += 1;
        let replica = Arc::new(Replica {
            id: self.given,
            target: target.clone(),
            revision,
            name: at.replica.clone(),
            address: at.address,
            protocol,
            outlier: Outlier::default(),
            requests: AtomicU64::new(0),
            long: AtomicU64::new(0),
        });
        self.known.insert(place, Arc::downgrade(&replica));
        replica
    }

    /// Returns a row for every replica with requests in flight, sorted.
    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        let mut rows: BTreeMap<(Target, Revision, ReplicaId), (u64, u64)> = BTreeMap::new();
        for replica in self.known.values().filter_map(Weak::upgrade) {
            let requests = replica.requests.load(SeqCst);
            if requests > 0 {
                let place = (replica.target.clone(), replica.revision, replica.name.clone());
                let row = rows.entry(place).or_default();
                row.0 += requests;
                row.1 += replica.long.load(SeqCst);
            }
        }
        rows.into_iter()
            .map(|((target, revision, replica), (requests, long))| InFlight {
                target,
                revision,
                replica,
                requests,
                long,
            })
            .collect()
    }
}

/// What a request in flight is, for the policy that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Sse,
    WebSocket,
}

/// One request in flight.
pub(crate) struct Flight {
    pub(crate) replica: Arc<Replica>,
    kind: Cell<Kind>,
    long: OnceCell<Long>,
    cancelled: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// What is known of a long connection.
#[derive(Debug)]
pub(crate) struct Long {
    /// The template of its route.
    pub(crate) route: Option<Arc<str>>,
    /// Its turn among the long ones, from 0 to 1: they do not end all at once.
    pub(crate) turn: f64,
}

impl Flight {
    pub(crate) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// None: it is a plain request.
    pub(crate) fn long(&self) -> Option<&Long> {
        self.long.get()
    }

    /// Ends the request wherever it waits. Twice is once.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The requests in flight on one worker.
#[derive(Default)]
pub(crate) struct Flights {
    slots: RefCell<Slots>,
    /// Long connections so far.
    long: Cell<u64>,
}

#[derive(Default)]
struct Slots {
    flights: Vec<Option<Rc<Flight>>>,
    free: Vec<usize>,
}

impl Flights {
    /// Claims a replica until the returned value is dropped.
    pub(crate) fn claim(self: &Rc<Self>, replica: &Arc<Replica>) -> Claim {
        replica.requests.fetch_add(1, SeqCst);
        let flight = Rc::new(Flight {
            replica: Arc::clone(replica),
            kind: Cell::new(Kind::Plain),
            long: OnceCell::new(),
            cancelled: Cell::new(false),
            waker: Cell::new(None),
        });
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or(slots.flights.len());
        if slot == slots.flights.len() {
            slots.flights.push(None);
        }
        slots.flights[slot] = Some(Rc::clone(&flight));
        Claim { flight, slot, flights: Rc::clone(self) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let slots = self.slots.borrow();
        slots.free.len() == slots.flights.len()
    }

    /// Returns the requests now in flight.
    pub(crate) fn all(&self) -> Vec<Rc<Flight>> {
        self.slots.borrow().flights.iter().flatten().cloned().collect()
    }
}

/// Keeps a replica counted as busy; lets go when dropped.
pub(crate) struct Claim {
    flight: Rc<Flight>,
    slot: usize,
    flights: Rc<Flights>,
}

impl Claim {
    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.flight.replica
    }

    pub(crate) fn kind(&self) -> Kind {
        self.flight.kind.get()
    }

    /// Says that the connection is a long one. Said at most once.
    pub(crate) fn lengthen(&self, kind: Kind, route: Option<Arc<str>>) {
        self.flight.kind.set(kind);
        let number = self.flights.long.replace(self.flights.long.get() + 1);
        // Multiples of the golden section fill the turns evenly, however many there are.
        let turn = (number as f64 * 0.618_033_988_749_895).fract();
        // Said once: there is nothing in it.
        let _ = self.flight.long.set(Long { route, turn });
        self.flight.replica.long.fetch_add(1, SeqCst);
    }

    /// Ready when a drain has ended this request.
    pub(crate) fn poll_cancelled(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.flight.cancelled.get() {
            return Poll::Ready(());
        }
        // A claim is polled by one task at a time, so the last waker is the right one.
        match self.flight.waker.take() {
            Some(waker) if waker.will_wake(context.waker()) => self.flight.waker.set(Some(waker)),
            _ => self.flight.waker.set(Some(context.waker().clone())),
        }
        Poll::Pending
    }

    /// Waits until a drain ends this request.
    pub(crate) async fn cancelled(&self) {
        std::future::poll_fn(|context| self.poll_cancelled(context)).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.flight.replica.requests.fetch_sub(1, SeqCst);
        if self.flight.kind.get() != Kind::Plain {
            self.flight.replica.long.fetch_sub(1, SeqCst);
        }
        let mut slots = self.flights.slots.borrow_mut();
        slots.flights[self.slot] = None;
        slots.free.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { replica: ReplicaId::new("web-1-1"), address: ([127, 0, 0, 1], port).into() }
    }

    #[test]
    fn a_replica_keeps_its_counts_while_anybody_holds_it() {
        let (mut registry, flights) = (Registry::default(), Rc::new(Flights::default()));
        let target = Target::new("web", "local");
        let first = registry.replica(&target, Revision(1), Protocol::Http1, &endpoint(1));
        let claim = flights.claim(&first);
        claim.lengthen(Kind::Sse, None);
        drop(first);

        let again = registry.replica(&target, Revision(1), Protocol::Http1, &endpoint(1));

        assert_eq!(again.in_flight(), 1);
        assert_eq!(registry.in_flight()[0].long, 1);
        drop(claim);
        assert!(registry.in_flight().is_empty());
        assert!(flights.is_empty());
    }

    #[test]
    fn another_address_is_another_replica() {
        let mut registry = Registry::default();
        let target = Target::new("web", "local");

        let first = registry.replica(&target, Revision(1), Protocol::Http1, &endpoint(1));
        let moved = registry.replica(&target, Revision(1), Protocol::Http1, &endpoint(2));

        assert_ne!(first.id, moved.id);
    }
}
