//! Breaks releases of the clinic under real load, behind the real edge, at 5 % of the requests, and counts what users got
//! until the judge took them back. Simulates nothing: the clients count, the engine's own events tell the time.
//! Twice: as on a service's first day, and with 24 hours of its traffic known. See `reference` for those hours.

mod faults;
mod reference;
mod table;
mod world;

use crate::number;
use faults::Fault;
use reference::Recorder;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use table::Row;
use world::{Outcome, World};

/// How large a run is; the environment says otherwise.
struct Size {
    runs: usize,
    services: usize,
    /// Requests a second of each service.
    rate: usize,
    seed: u64,
    /// How long only stable serves before anything is broken.
    quiet: Duration,
}

impl Size {
    fn read() -> Self {
        Self {
            runs: number("RUNS", 20),
            services: number("SERVICES", 8),
            rate: number("RATE", 250),
            seed: number("SEED", 1) as u64,
            quiet: Duration::from_secs(number("QUIET", 60) as u64),
        }
    }
}

/// Live: bad responses and seconds until a bad release is back.
pub fn judge() {
    let size = Size::read();
    let began = Instant::now();
    println!(
        "{} services side by side, {} requests/s each, candidate at {} %, shield off; {} runs a level, seed {}",
        size.services,
        size.rate,
        world::WEIGHT,
        size.runs,
        size.seed
    );
    let mut world = World::start(size.services, size.rate as f64);
    let recorder = Recorder::start(&world);
    std::thread::sleep(size.quiet);
    let tail = recorder.p50_and_p99_ms();
    println!("at the edge, before anything is broken: p50 {:.1} ms, p99 {:.1} ms", tail.0, tail.1);
    let faults = Fault::all(tail);

    println!("\ncold start:");
    measure(&world, &faults, &size, 0);
    let profile = recorder.stop();

    world = world.with_reference(&profile, size.seed);
    std::thread::sleep(size.quiet);
    println!("\nwith 24 h of reference, drawn from {} of stable's five-second blocks:", profile.blocks());
    measure(&world, &faults, &size, 1);
    println!("\n{}", world.load());
    println!("took {:.0} s", began.elapsed().as_secs_f64());
}

/// Breaks every service in every way, as often as asked, those that take longest first.
fn measure(world: &World, faults: &[Fault], size: &Size, part: u64) {
    let jobs = faults
        .iter()
        .enumerate()
        .flat_map(|(place, fault)| (0..fault.runs(size.runs)).map(move |run| (place, fault.clone(), run)));
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_by_key(|(_, fault, _)| fault.expected());
    let jobs = Mutex::new(jobs);
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for service in 0..size.services {
            let (jobs, done) = (&jobs, &done);
            scope.spawn(move || {
                let next = || jobs.lock().expect("BUG: a job panicked").pop();
                while let Some((place, fault, run)) = next() {
                    let seed = (size.seed << 32) ^ (part << 24) ^ ((place as u64) << 16) ^ run as u64;
                    let outcome = world.break_one(service, &fault, seed);
                    done.lock().expect("BUG: a job panicked").push((place, outcome));
                }
            });
        }
    });
    let done = done.into_inner().expect("BUG: a job panicked");
    println!("{}", table::HEAD);
    for (place, fault) in faults.iter().enumerate() {
        let outcomes = done.iter().filter(|(at, _)| *at == place).map(|(_, outcome)| outcome);
        println!("{}", Row::of(fault, outcomes));
    }
    println!("{}", table::calibration(done.iter().map(|(_, outcome)| outcome)));
}
