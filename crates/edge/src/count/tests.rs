//! What is counted where, what it costs, and how long a second's record is.

use super::*;
use crate::claim::Registry;
use crate::random::Random;
use meter::wire::SecondRecord;
use rollout::names::{ReplicaId, Target};
use rollout::release::Protocol;
use rollout::routes::Endpoint;
use std::hint::black_box;
use std::time::Instant;

fn subject(bucket: u8) -> Subject {
    Subject {
        target: "web@local".into(),
        revision: Revision(1),
        replica: None,
        bucket,
        allowed: false,
        route: None,
    }
}

fn failed(column: Column) -> Ending {
    Ending { column: Some(column), ..Ending::default() }
}

fn well(latency_ms: f64) -> Ending {
    Ending { latency_ms: Some(latency_ms), ..Ending::default() }
}

fn closed(shards: &[Arc<Shard>]) -> Counted {
    close(shards.iter().cloned(), std::iter::empty())
}

#[test]
fn shards_are_merged_by_their_labels() {
    let shards = [Arc::new(Shard::default()), Arc::new(Shard::default())];
    for shard in &shards {
        // Another table, another text of the same route.
        let subject = Subject { route: Some("/a".into()), ..subject(3) };
        shard.count(&subject, failed(Column::Reset));
        shard.count(&subject, well(2.0));
    }

    let counted = closed(&shards);

    let [row] = &counted.rows[..] else { panic!("{counted:?}") };
    assert_eq!((row.requests, row.errors.reset, row.latency.count(), &*row.route), (4, 2, 2, "/a"));
    let [arm] = &counted.arms[..] else { panic!("{counted:?}") };
    let [bucket] = &arm.buckets[..] else { panic!("{counted:?}") };
    assert_eq!((bucket.bucket, bucket.requests, bucket.errors, bucket.latency.count()), (3, 4, 2, 2));
    assert!(closed(&shards).rows.is_empty());
}

#[test]
fn buckets_leave_out_the_allow_list_and_the_aborts() {
    let shard = Arc::new(Shard::default());
    shard.count(&subject(7), failed(Column::Limited));
    shard.count(&subject(7), failed(Column::NotFound));
    shard.count(&subject(7), Ending { repeated: true, ..failed(Column::Status) });
    shard.count(&subject(8), failed(Column::ClientAbort));
    shard.count(&Subject { allowed: true, ..subject(9) }, failed(Column::Status));

    let counted = closed(&[shard]);

    assert_eq!(counted.rows.iter().map(|row| row.requests).sum::<u64>(), 5);
    let row = counted.rows.iter().find(|row| !row.allowed).unwrap();
    assert_eq!((row.errors.total(), row.errors_once(), row.client_errors, row.not_found), (2, 1, 1, 1));
    let buckets = &counted.arms[0].buckets;
    assert_eq!(buckets.len(), 1);
    assert_eq!((buckets[0].requests, buckets[0].errors, buckets[0].errors_once()), (3, 2, 1));
}

/// Requests as a service of two replicas and five routes has them: latencies log-normal around 80 ms, one in a hundred fails.
struct Traffic {
    replicas: Vec<Arc<Replica>>,
    routes: Vec<Arc<str>>,
    random: Random,
}

impl Traffic {
    fn new() -> Self {
        let (mut registry, target) = (Registry::default(), Target::new("web", "local"));
        let mut replica = |number: u16| {
            let at = Endpoint {
                replica: ReplicaId::new(format!("web-41-{number}")),
                address: ([127, 0, 0, 1], number).into(),
            };
            registry.replica(&target, Revision(41), Protocol::Http1, &at)
        };
        let replicas = vec![replica(1), replica(2)];
        let routes = ["/", "/api/appointments", "/api/appointments/{id}", "/api/patients/{id}", "/api/slots"];
        Self { replicas, routes: routes.map(Arc::from).to_vec(), random: Random::seeded() }
    }

    fn uniform(&self) -> f64 {
        (self.random.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&self) -> (Subject, Ending) {
        let pick = |count: usize| (self.random.next() % count as u64) as usize;
        let subject = Subject {
            target: "web@local".into(),
            revision: Revision(41),
            replica: Some(Arc::clone(&self.replicas[pick(2)])),
            bucket: self.random.percent(),
            allowed: false,
            route: Some(Arc::clone(&self.routes[pick(5)])),
        };
        if pick(100) == 0 {
            return (subject, failed(Column::Status));
        }
        // Box and Muller.
        let normal =
            (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
        (subject, well(80.0 * (0.5 * normal).exp()))
    }
}

/// Returns the bytes of the JSON of one second, and of one in the form of the first release: a row for every bucket.
fn bytes_of_a_second(requests: usize) -> (usize, usize) {
    let traffic = Traffic::new();
    let (now, by_bucket) = (Arc::new(Shard::default()), [(); 100].map(|()| Arc::new(Shard::default())));
    for _ in 0..requests {
        let (subject, ending) = traffic.next();
        now.count(&subject, ending);
        by_bucket[usize::from(subject.bucket)].count(&subject, ending);
    }
    let Counted { rows, arms, failures, guard, mirror } = closed(&[now]);
    let record = SecondRecord { rows, arms, failures, guard, mirror, ..SecondRecord::default() };
    let rows = by_bucket.into_iter().flat_map(|shard| closed(&[shard]).rows).collect();
    let first = SecondRecord { rows, ..SecondRecord::default() };
    (serde_json::to_vec(&record).unwrap().len(), serde_json::to_vec(&first).unwrap().len())
}

#[test]
fn a_second_of_a_thousand_requests_is_a_short_record() {
    let (bytes, by_bucket) = bytes_of_a_second(1000);

    assert!(bytes < 40_000, "{bytes}");
    assert!(by_bucket > 5 * bytes, "{by_bucket}");
}

/// Returns nanoseconds per request of `each` over a million of them.
fn nanoseconds(traffic: &[(Subject, Ending)], mut each: impl FnMut(&Subject, Ending)) -> f64 {
    let (rounds, began) = (1_000_000 / traffic.len(), Instant::now());
    for _ in 0..rounds {
        for (subject, ending) in traffic {
            each(black_box(subject), *ending);
        }
    }
    began.elapsed().as_nanos() as f64 / (rounds * traffic.len()) as f64
}

#[test]
#[ignore = "prints figures: `script/bench counting`"]
fn what_counting_costs() {
    let traffic = Traffic::new();
    for per_second in [1000, 5000] {
        let second: Vec<(Subject, Ending)> = (0..per_second).map(|_| traffic.next()).collect();
        let shard = Arc::new(Shard::default());
        let (mut counted, mut closing) = (0, std::time::Duration::ZERO);
        let each = nanoseconds(&second, |subject, ending| {
            shard.count(subject, ending);
            counted += 1;
            if counted % per_second == 0 {
                let began = Instant::now();
                black_box(closed(std::slice::from_ref(&shard)));
                closing += began.elapsed();
            }
        });
        let closing_each = closing.as_nanos() as f64 / f64::from(counted);
        let (bytes, by_bucket) = bytes_of_a_second(per_second as usize);
        println!(
            "{per_second} requests/s, 2 replicas, 5 routes: {:.0} ns per request counted, {:.0} µs to close a second ({closing_each:.0} ns per request)",
            each - closing_each,
            closing_each * f64::from(per_second) / 1e3,
        );
        println!("  record of a second: {bytes} bytes of JSON; with a row for every bucket: {by_bucket}");
    }
}
