//! Records what stable's users saw, second by second as the edge counted it, and writes a day of such traffic where the
//! engine keeps a service's reference. The engine then calibrates the judge on it, as it does after a real day.

use super::world::{World, name, now_us};
use crate::harness::Env;
use drivers::paths::StatePaths;
use engine::reference::{Reference, Thresholds};
use meter::histogram::Histogram;
use meter::wire::SecondRecord;
use rollout::names::{Revision, Target};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const BLOCK_SECONDS: u64 = 5;
const DAY_BLOCKS: u64 = 17_280;
/// How often the edge is asked; it keeps two minutes.
const EVERY: Duration = Duration::from_secs(5);

/// The seconds seen, by target and second.
#[derive(Default)]
struct Seen {
    known: Option<(u64, u64)>,
    seconds: BTreeMap<String, BTreeMap<u64, SecondRecord>>,
}

/// Asks the edge for its counts, as the engine does, until stopped.
pub struct Recorder {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whole five-second blocks in which stable had all requests, by target.
pub struct Profile(BTreeMap<String, Vec<Vec<SecondRecord>>>);

impl Recorder {
    pub fn start(world: &World) -> Self {
        let socket = StatePaths::locate(&world.env.state()).expect("the state directory").edge_socket();
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (all, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(EVERY);
                take(&socket, &mut all.lock().expect("BUG: the recorder panicked"));
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Returns the median and the 99th percentile of all services together.
    pub fn p50_and_p99_ms(&self) -> (f64, f64) {
        let seen = self.seen.lock().expect("BUG: the recorder panicked");
        let mut latency = Histogram::default();
        let rows = seen.seconds.values().flat_map(BTreeMap::values).flat_map(|second| &second.rows);
        rows.for_each(|row| latency.merge(&row.latency));
        let quantile = |share| latency.quantile(share).expect("requests were counted");
        (quantile(0.5), quantile(0.99))
    }

    pub fn stop(mut self) -> Profile {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("BUG: the recorder panicked");
        }
        let seen = std::mem::take(&mut *self.seen.lock().expect("BUG: the recorder panicked"));
        Profile(seen.seconds.into_iter().map(|(target, seconds)| (target, blocks(seconds))).collect())
    }
}

impl Profile {
    pub fn blocks(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Asks for what was counted since the last time. An edge that does not answer is asked again next time.
fn take(socket: &Path, seen: &mut Seen) {
    let after = seen.known.map(|(epoch, seq)| format!("epoch={epoch}&after={seq}&")).unwrap_or_default();
    let Ok(records) = ask(socket, &format!("/v1/samples?{after}wait_ms=0")) else { return };
    for record in records {
        seen.known = Some((record.epoch, record.seq));
        let mut targets: Vec<_> = record.rows.iter().map(|row| row.target.clone()).collect();
        targets.dedup();
        for target in targets {
            let own = record.of(&target);
            seen.seconds.entry(target).or_default().insert(record.second, own);
        }
    }
}

fn ask(socket: &Path, path: &str) -> std::io::Result<Vec<SecondRecord>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: medeclipse\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    serde_json::from_slice(&answer[body..]).map_err(std::io::Error::other)
}

/// Cuts seconds into whole blocks in which one revision had all requests.
fn blocks(seconds: BTreeMap<u64, SecondRecord>) -> Vec<Vec<SecondRecord>> {
    let mut blocks: BTreeMap<u64, Vec<SecondRecord>> = BTreeMap::new();
    for (second, record) in seconds {
        blocks.entry(second / BLOCK_SECONDS).or_default().push(record);
    }
    let whole = |block: &Vec<SecondRecord>| {
        let mut revisions = block.iter().flat_map(|second| &second.rows).filter(|row| row.requests > 0);
        let first = revisions.next().map(|row| row.revision);
        block.len() as u64 == BLOCK_SECONDS
            && first.is_some()
            && revisions.all(|row| Some(row.revision) == first)
    };
    blocks.into_values().filter(whole).collect()
}

/// Writes the references of all services anew: the last 24 hours, each block one of those recorded.
pub fn write_a_day(env: &Env, profile: &Profile, seed: u64) {
    let today = now_us() / 1_000_000 / BLOCK_SECONDS;
    let folder = env.state().join("reference");
    for (place, (target, blocks)) in profile.0.iter().enumerate() {
        let target: Target = target.parse().expect("a target");
        let path = Reference::path(&folder, &target);
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            // What is not there need not be removed.
            let _ = std::fs::remove_file(file);
        }
        let mut reference = Reference::open(&path, &target, Thresholds::default());
        let mut draws = Draws(seed ^ ((place as u64 + 1) << 48));
        for number in today - DAY_BLOCKS..today {
            let block = &blocks[draws.below(blocks.len())];
            for (second, record) in (number * BLOCK_SECONDS..).zip(block) {
                let record = SecondRecord { second, seq: second, ..record.clone() };
                reference.add(&record, stable(&record));
            }
        }
        reference.save();
        assert!(reference.hours() > 23.9, "{target}: {} hours", reference.hours());
    }
    assert_eq!(
        profile.0.len(),
        (0..).take_while(|number| folder.join(format!("{}@local.db", name(*number))).exists()).count()
    );
}

fn stable(record: &SecondRecord) -> Revision {
    let served = record.rows.iter().max_by_key(|row| row.requests);
    Revision(served.map_or(0, |row| row.revision))
}

/// Draws numbers (SplitMix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
