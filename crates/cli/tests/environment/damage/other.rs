//! Uses the service that nothing is done to, all the time, and counts.

use crate::harness::request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients of the other service.
pub struct Other {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// Nothing is asked while the environment is down.
    paused: AtomicBool,
    under_way: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Other {
    pub fn on(address: SocketAddr, host: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.ask_on(address, host))
        };
        Self { clients: (0..2).map(client).collect(), shared }
    }

    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        while self.shared.under_way.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }

    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// Returns the answers and the failures so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.answered.load(Ordering::SeqCst), self.shared.failed.load(Ordering::SeqCst))
    }
}

impl Shared {
    fn ask_on(&self, address: SocketAddr, host: &str) {
        while !self.ended.load(Ordering::SeqCst) {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            if !self.paused.load(Ordering::SeqCst) {
                let answer = request(address, "GET", "/api/slots", &[("Host", host)], "");
                let well = answer.as_ref().is_ok_and(|answer| answer.status == 200);
                let count = if well { &self.answered } else { &self.failed };
                count.fetch_add(1, Ordering::SeqCst);
                if !well {
                    println!("the other service: {answer:?}");
                }
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            // Its panic has been printed.
            let _ = client.join();
        }
    }
}
