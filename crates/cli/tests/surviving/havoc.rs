//! Kills the processes of an environment in seeded order, under load, and counts what each death cost users. Judges
//! nothing: see the rows.

use crate::harness::{Env, eventually, kill, request};
use crate::web_socket::Speaking;
use medeclipse::load::{Failure, LoadHandle, Snapshot};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Edge,
    Engine,
    Replica,
    Supervisor,
}

const VICTIMS: [Victim; 4] = [Victim::Edge, Victim::Engine, Victim::Replica, Victim::Supervisor];

/// What deaths of one kind cost.
#[derive(Debug, Default, Clone)]
pub struct Row {
    pub times: u64,
    pub lost: u64,
    /// The most that one death cost.
    pub lost_most: u64,
    pub refused: u64,
    pub gap: Duration,
    pub sockets_ended: u64,
}

#[derive(Debug, Default)]
pub struct Table(pub BTreeMap<Victim, Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "killed       times  requests lost  most at once  refused  longest gap  WebSockets ended"
        )?;
        for (victim, row) in &self.0 {
            writeln!(
                f,
                "{:<12} {:>5}  {:>13}  {:>12}  {:>7}  {:>8} ms  {:>16}",
                format!("{victim:?}").to_lowercase(),
                row.times,
                row.lost,
                row.lost_most,
                row.refused,
                row.gap.as_millis(),
                row.sockets_ended
            )?;
        }
        Ok(())
    }
}

/// Kills one after the other until the time is over, each kind at least once.
pub fn wreak(env: &Env, load: &LoadHandle, sockets: &Speaking, seed: u64, lasting: Duration) -> Table {
    let (began, mut state, mut table) = (Instant::now(), seed | 1, Table::default());
    let prober = Prober::of(env.address);
    while began.elapsed() < lasting || table.0.len() < VICTIMS.len() {
        // xorshift64: any order, the same for the same seed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let missing = VICTIMS.into_iter().find(|victim| !table.0.contains_key(victim));
        let drawn = VICTIMS[(state >> 33) as usize % VICTIMS.len()];
        let victim = missing.filter(|_| began.elapsed() >= lasting).unwrap_or(drawn);
        one(env, load, sockets, &prober, victim, table.0.entry(victim).or_default());
    }
    table
}

fn one(env: &Env, load: &LoadHandle, sockets: &Speaking, prober: &Prober, victim: Victim, row: &mut Row) {
    let before = (load.snapshot(), sockets.counts());
    prober.longest();
    let dead = pid(env, victim);
    kill(dead, "KILL");
    eventually("it is dead", 20, || is_dead(dead).then_some(()));
    if victim == Victim::Supervisor {
        eventually("another supervisor takes over", 40, || {
            (env.run(&["up", "--detach"]).code == 0).then_some(())
        });
    }
    eventually("everything is back", 60, || is_whole(env, dead).then_some(()));
    answered(load, 100);
    let gap = prober.longest();
    let after = load.snapshot();
    let lost = after.failed - before.0.failed;
    row.times += 1;
    row.lost += lost;
    row.lost_most = row.lost_most.max(lost);
    row.refused += refused(&after) - refused(&before.0) + sockets.counts().1 - before.1.1;
    row.sockets_ended += sockets.counts().0 - before.1.0;
    row.gap = row.gap.max(gap);
}

pub fn refused(counts: &Snapshot) -> u64 {
    let of = |class: Failure| counts.by_class.get(&class).copied().unwrap_or(0);
    of(Failure::ConnectRefused) + of(Failure::Connect)
}

/// Waits until so many more requests were answered.
pub fn answered(load: &LoadHandle, more: u64) {
    let from = load.snapshot().ok;
    eventually("requests are answered", 30, || (load.snapshot().ok >= from + more).then_some(()));
}

pub fn supervisor(env: &Env) -> u32 {
    let text = std::fs::read_to_string(env.state().join("run/supervisor.pid")).expect("its pid is written");
    text.trim().parse().expect("it is a pid")
}

/// The processes of replicas: those with a service's variables.
pub fn replicas(env: &Env) -> Vec<u32> {
    let all = crate::harness::processes_of(env.folder.path()).into_iter();
    let mut pids: Vec<u32> = all
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environ).contains("MEDECLIPSE_REPLICA=") && !is_dead(*pid)
        })
        .collect();
    pids.sort_unstable();
    pids
}

fn pid(env: &Env, victim: Victim) -> u32 {
    match victim {
        Victim::Edge => env.pid("edge"),
        Victim::Engine => env.pid("engine"),
        Victim::Replica => eventually("a replica runs", 20, || replicas(env).first().copied()),
        Victim::Supervisor => supervisor(env),
    }
}

/// Whether all processes run, the killed one replaced, and both replicas are ready.
fn is_whole(env: &Env, dead: u32) -> bool {
    let ran = env.run(&["status", "--json"]);
    let Ok(status) = serde_json::from_str::<serde_json::Value>(&ran.out) else { return false };
    let fresh = |of: &str| status[of]["pid"].as_u64().is_some_and(|pid| pid != u64::from(dead));
    let replicas = replicas(env);
    fresh("edge")
        && fresh("engine")
        && status["services"][0]["stable"]["replicas"]["ready"] == 2
        && replicas.len() == 2
        && !replicas.contains(&dead)
}

/// Whether a process has ended, taken in by its parent or not.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A user who asks again as soon as there was an answer, over a new connection each time: how long one had to wait.
pub struct Prober {
    stop: Arc<AtomicBool>,
    longest_ms: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    pub fn of(address: SocketAddr) -> Self {
        let mut prober = Self { stop: Arc::default(), longest_ms: Arc::default(), thread: None };
        let (stop, longest_ms) = (prober.stop.clone(), prober.longest_ms.clone());
        prober.thread = Some(std::thread::spawn(move || {
            let mut last = Instant::now();
            while !stop.load(Ordering::SeqCst) {
                let answer = request(address, "GET", "/api/health", &[], "");
                if answer.is_ok_and(|answer| answer.status == 200) {
                    let waited = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                    longest_ms.fetch_max(waited, Ordering::SeqCst);
                    last = Instant::now();
                }
            }
        }));
        prober
    }

    /// Returns the longest time between two answers since this was last asked.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest_ms.swap(0, Ordering::SeqCst))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
