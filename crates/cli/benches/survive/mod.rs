//! Measures what upgrades of medeclipse and the deaths of its processes cost users who keep asking.

use crate::harness::Env;
use crate::havoc::{self, Prober, refused, replicas, supervisor};
use crate::web_socket::Speaking;
use crate::{number, put_load, quantiles, runtime};
use medeclipse::load::LoadHandle;
use std::time::{Duration, Instant};

const QUICK: &str = "bake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"5s\"";

/// O8: upgrades under keep-alive clients; nothing may fail.
pub fn upgrades() {
    let count = number("UPGRADES", 50);
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let (before, first) = (replicas(&env), supervisor(&env));
    let load = put_load(&env, 32, 32, None);
    havoc::answered(&load, 100);
    let prober = Prober::of(env.address);
    let mut seconds = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        env.ok(&["upgrade"]);
        seconds.push(began.elapsed().as_secs_f64());
        havoc::answered(&load, 200);
    }
    let gap = prober.longest();
    drop(prober);
    println!("{count} upgrades under 32 keep-alive GET and 32 keep-alive POST clients, unpaced");
    println!("seconds an upgrade (under full load): {}", quantiles(seconds));
    println!("longest time between two answers over new connections: {} ms", gap.as_millis());
    println!(
        "replicas kept: {}; the supervisor's pid kept: {}",
        replicas(&env) == before,
        supervisor(&env) == first
    );
    end(load);
}

/// Every process killed in seeded order, for minutes.
pub fn stress() {
    let (seconds, seed) = (number("LASTING", 300), number("SEED", 1));
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let load = put_load(&env, 16, 16, Some(1000.0));
    havoc::answered(&load, 100);
    let sockets = Speaking::with(env.address);
    let table = havoc::wreak(&env, &load, &sockets, seed as u64, Duration::from_secs(seconds as u64));
    drop(sockets);
    println!(
        "{seconds} s, seed {seed}, 16 keep-alive GET and 16 keep-alive POST clients at 1,000 a second, a WebSocket"
    );
    print!("{table}");
    end(load);
}

fn end(load: LoadHandle) {
    let report = runtime().block_on(load.stop());
    println!(
        "requests {}, failed {}, connections refused {}, lost {}",
        report.counts.requests,
        report.counts.failed,
        refused(&report.counts),
        report.counts.connections.lost()
    );
    println!("by class {:?}", report.counts.by_class);
    let ms = report.counts.latency_ms;
    println!("latency ms: p50 {:.2}, p99 {:.2}, max {:.1}", ms.p50, ms.p99, ms.max);
}
