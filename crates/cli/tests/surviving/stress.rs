//! Kills everything in seeded order for a while and holds each loss to its bound.

use crate::QUICK;
use crate::harness::Env;
use crate::havoc::{self, Victim};
use crate::upgrading::{load, stopped};
use crate::web_socket::Speaking;
use std::time::Duration;

/// Clients of the load: each has one request at a time, so no death can cost more.
const CLIENTS: u64 = 8;

#[test]
fn o8_every_process_killed_in_seeded_order_under_load_costs_at_most_what_was_in_it() {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let load = load(&env, Some(400.0));
    let sockets = Speaking::with(env.address);

    let table = havoc::wreak(&env, &load, &sockets, 20_261_128, Duration::from_secs(15));
    drop(sockets);
    let report = stopped(load);

    println!("{table}{report}");
    for (victim, row) in &table.0 {
        assert_eq!(row.refused, 0, "{victim:?}\n{table}{report}");
        let most = match victim {
            Victim::Engine | Victim::Supervisor => 0,
            Victim::Edge | Victim::Replica => CLIENTS,
        };
        assert!(row.lost_most <= most, "{victim:?}\n{table}{report}");
    }
    assert_eq!(env.version(), "v1");
}
