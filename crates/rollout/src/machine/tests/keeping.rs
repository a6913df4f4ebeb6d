//! What serves is kept at its number: lost replicas are replaced, more or fewer are asked for by hand.

use super::outside::Fate;
use super::sim::Sim;
use crate::change::{Change, Ended, changes};
use crate::event::Outcome;
use crate::machine::OperatorCommand;
use crate::names::Millis;

fn fail_liveness(sim: &mut Sim, release: &str, count: usize) {
    let some = sim.replicas.all.values_mut().filter(|replica| replica.release == release).take(count);
    some.for_each(|replica| replica.fate.liveness_fails_after = Some(Millis(0)));
}

#[test]
fn a_lost_replica_is_recorded_once_and_replaced() {
    let mut sim = Sim::serving_v1();
    sim.run(1_000);
    sim.replicas.all.values_mut().next().unwrap().exited = Some(Ended::Signal(11));

    sim.run(5_000);

    assert_eq!((sim.happened("replica_lost"), sim.happened("replica_replaced")), (1, 1));
    assert_eq!(sim.bad_answers, 0);
    sim.settle();
}

#[test]
fn two_lost_replicas_are_replaced_by_two() {
    let mut sim = Sim::serving_v1();
    sim.kill("v1");

    sim.settle();

    let replaced: std::collections::BTreeSet<_> = sim
        .journal
        .iter()
        .filter_map(|entry| match &entry.event {
            crate::event::Event::ReplicaReplaced { replica, .. } => Some(replica.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(replaced.len(), 2, "each is named once");
}

#[test]
fn a_lost_replica_of_one_revision_does_not_hide_that_of_another() {
    let mut sim = Sim::serving_v2();
    sim.kill("v1");
    sim.run(1_000);
    sim.kill("v2");
    sim.run(2_000);
    sim.settle();

    assert_eq!(sim.happened("replica_lost"), 4);
    assert!(sim.state.to_replace.is_empty());
}

#[test]
fn many_replicas_lost_at_once_are_each_recorded_once() {
    let mut sim = Sim::serving_v1();
    sim.command(OperatorCommand::Scale { replicas: Some(60) }).unwrap();
    sim.run(2_000);
    sim.edge.reachable = false;
    sim.kill("v1");

    sim.run(1_000);
    sim.edge.reachable = true;
    sim.settle();

    assert_eq!(sim.happened("replica_lost"), 60);
}

#[test]
fn a_replica_that_hangs_is_replaced_before_it_is_stopped_also_where_it_is_the_only_one() {
    for replicas in [1, 2] {
        let mut sim = Sim::serving_v1();
        sim.command(OperatorCommand::Scale { replicas: Some(replicas) }).unwrap();
        sim.settle();
        fail_liveness(&mut sim, "v1", replicas as usize);

        sim.run(2_000);

        assert_eq!(sim.replicas.all.len(), replicas as usize);
        assert!(sim.replicas.all.values().all(|replica| replica.answers(sim.now)), "the old ones are gone");
        assert!(sim.edge.serving().is_some());
    }
}

#[test]
fn a_replica_that_ended_keeps_its_place_while_the_edge_may_still_ask_it() {
    let mut sim = Sim::serving_v1();
    sim.edge.reachable = false;
    sim.kill("v1");
    let world = sim.world();

    let moves = changes(&sim.state.desired(), &world);

    assert!(moves.iter().all(|change| matches!(change, Change::Launch { .. })), "{moves:?}");
}

#[test]
fn r10_scaling_during_a_rollout_scales_both_sides_and_keeps_capacity() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);

    sim.command(OperatorCommand::Scale { replicas: Some(8) }).unwrap();
    sim.run(2_000);
    assert_eq!((sim.running("v1"), sim.running("v2")), (8, 2));
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.running("v2"), 8);

    sim.command(OperatorCommand::Scale { replicas: Some(1) }).unwrap();
    sim.run(2_000);
    assert_eq!((sim.running("v1"), sim.running("v2")), (1, 1));
    sim.command(OperatorCommand::Scale { replicas: None }).unwrap();
    sim.run(2_000);
    assert_eq!(sim.running("v2"), 2);
}

#[test]
fn r10_scaling_while_paused_scales() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.command(OperatorCommand::Pause).unwrap();

    sim.command(OperatorCommand::Scale { replicas: Some(5) }).unwrap();
    sim.run(2_000);

    assert_eq!((sim.running("v1"), sim.weight()), (5, 5));
}

#[test]
fn a_replica_with_requests_is_not_surplus() {
    let mut sim = Sim::serving_v1();
    sim.run(1_000);
    let mut world = sim.world();
    for seen in world.revisions.values_mut().flat_map(|presence| presence.replicas.values_mut()) {
        seen.in_flight = 1;
    }
    sim.command(OperatorCommand::Scale { replicas: Some(1) }).unwrap();
    world.edge.as_mut().unwrap().routed.clear();

    assert_eq!(changes(&sim.state.desired(), &world), []);
}

#[test]
fn a_revision_that_drains_is_stopped_only_when_its_last_request_has_ended_or_been_cut() {
    let mut sim = Sim::serving_v1();
    sim.plan.keep_hot = Millis(0);
    sim.plan.connections.ceiling = Millis::seconds(20);
    sim.deploy("v2");
    let v1 = sim.state.stable.as_ref().unwrap().revision;
    sim.edge.in_flight.insert(v1, 3);
    sim.finish();

    sim.run(19_000);
    assert_eq!(sim.running("v1"), 2);
    // The ceiling, a tenth of it over which connections end one after the other, and the slack.
    sim.run(6_000);
    assert_eq!(sim.running("v1"), 0);
    assert_eq!(sim.happened("drained"), 1);
}

#[test]
fn a_revision_without_requests_drains_at_once() {
    let mut sim = Sim::serving_v1();
    sim.plan.keep_hot = Millis(0);
    sim.plan.drain = Millis::seconds(600);

    sim.ship("v2");
    sim.run(1_000);

    assert_eq!(sim.running("v1"), 0);
}

#[test]
fn a_candidate_that_loses_one_of_its_replicas_keeps_going() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(100);
    let one = sim.replicas.all.values_mut().find(|replica| replica.release == "v2").unwrap();
    one.exited = Some(Ended::Code(137));

    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.happened("replica_replaced"), 1);
}

#[test]
fn stable_replicas_that_crash_during_a_rollout_are_replaced_and_not_blamed_on_the_candidate() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);
    sim.scripts.fates.insert("v1".into(), Fate { ready_after: Some(Millis(500)), ..Fate::default() });
    sim.kill("v1");

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
    assert_eq!(sim.happened("verdict_reached"), 0);
}

#[test]
fn with_all_weight_on_the_candidate_its_new_replicas_are_published_although_stable_is_gone() {
    let mut sim = Sim::serving_v1();
    sim.plan = super::sim::blue_green();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.scripts.fates.insert("v1".into(), Fate { ready_after: None, ..Fate::default() });
    sim.kill("v1");
    sim.run(500);
    sim.replicas.all.values_mut().find(|replica| replica.release == "v2").unwrap().exited =
        Some(Ended::Code(1));

    sim.run(2_000);

    let arm = &sim.edge.table.as_ref().unwrap().candidate.as_ref().unwrap().arm;
    assert_eq!(arm.replicas.len(), 2);
    assert!(arm.replicas.iter().all(|endpoint| sim.replicas.all.contains_key(&endpoint.replica)));
}

#[test]
fn what_a_revision_lost_when_it_served_is_no_reason_not_to_go_back_to_it() {
    let mut sim = Sim::serving_v1();
    for _ in 0..3 {
        sim.kill("v1");
        sim.run(10_000);
    }
    assert_eq!(sim.ship("v2"), Outcome::Promoted, "{}", sim.tell());

    sim.roll_back(None).unwrap();

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
}
