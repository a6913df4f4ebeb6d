//! Lives kept scripts, a fixed search, and the scenarios that name what must come of them.

use rollout::event::{Event, Outcome};
use rollout::names::Revision;
use sim::search::{self, Plan};
use sim::world::World;
use sim::world::script::Script;

/// Lives enough for everything to occur, in about a quarter of a minute; `script/bench sim` lives a million deployments.
const SEEDS: u64 = 1500;

fn live(text: &str) -> World {
    let script: Script = text.parse().expect("a script");
    let world = World::live(&script, true);
    let told = || world.transcript.clone().unwrap_or_default().join("\n");
    assert_eq!(world.violation, None, "{}", told());
    world
}

fn outcomes(world: &World) -> Vec<Outcome> {
    let ended = |event: &Event| match event {
        Event::DeploymentFinished { outcome, .. } => Some(*outcome),
        _ => None,
    };
    world.journal().iter().filter_map(ended).collect()
}

fn count(world: &World, kind: &str) -> usize {
    world.journal().iter().filter(|event| event.kind() == kind).count()
}

/// Two promoted releases: v1, then v2 by plan 4, whose predecessor stays hot for twenty seconds.
const TWO: &str = "seed 1\nsettings replicas=1\ndeploy release=1 plan=1\nwait ms=9000\ndeploy release=2 plan=4\nwait ms=14000\n";

#[test]
fn a_search_breaks_no_promise_and_everything_occurs() {
    let plan = Plan { first: 1, seeds: SEEDS, deployments: 0, threads: 2, stop_at_first: false };

    let found = search::many(plan);

    assert_eq!(found.violations, []);
    assert_eq!(found.coverage.missing(), Vec::<String>::new(), "{}", found.coverage);
    assert!(found.coverage.deployments() > SEEDS);
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in [3, 7, 11] {
        let lives = [0, 1].map(|_| World::live(&Script::draw(seed), true).transcript);
        assert_eq!(lives[0], lives[1]);
    }
}

#[test]
fn kept_scripts_break_no_promise() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
    let mut lived = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of scripts") {
        let path = entry.expect("an entry").path();
        live(&std::fs::read_to_string(&path).expect("a script"));
        lived += 1;
    }
    assert!(lived > 0);
}

#[test]
fn o9_an_engine_killed_at_any_append_of_a_good_and_of_a_bad_rollout_goes_on() {
    for (release, plan) in [(2, 2), (3, 3), (4, 4)] {
        for death in ["kill_before", "kill_after", "disk_tears"] {
            // The first append is the request itself: before it is written nobody has promised anything.
            for appends in 1..45 {
                let world = live(&format!(
                    "seed 5\ndeploy release=1 plan=1\nwait ms=9000\nlies release=3 percent=80\n{death} appends={appends}\ndeploy release={release} plan={plan}\nwait ms=25000\n"
                ));
                let last = outcomes(&world).last().copied();
                let good = matches!(last, Some(Outcome::Promoted | Outcome::PromotedUnproven));
                let back = matches!(last, Some(Outcome::RolledBack));
                assert!(if release == 3 { back } else { good }, "{death} {appends}: {last:?}");
            }
        }
    }
}

#[test]
fn o11_a_zombie_that_was_passed_over_stands_down_and_changes_nothing() {
    let world =
        live(&format!("{TWO}freeze ms=26000\nwait ms=14000\ndeploy release=3 plan=1\nwait ms=16000\n"));

    assert_eq!(count(&world, "lease_taken"), 2);
    let told = world.transcript.unwrap_or_default().join("\n");
    assert!(told.contains("engine 0 stands down"), "{told}");
}

#[test]
fn r25_an_owner_that_falls_silent_for_less_than_its_lease_keeps_it() {
    let world = live(&format!("{TWO}freeze ms=9000\nwait ms=14000\n"));

    assert_eq!(count(&world, "lease_taken"), 1);
}

#[test]
fn r08_o4_a_rollback_in_the_window_is_one_flip_and_launches_nothing() {
    let world = live(&format!("{TWO}rollback to=0\nwait ms=8000\n"));

    assert_eq!(count(&world, "candidate_launched"), 2);
    assert_eq!(world.ledger.told.stable.as_ref().map(|it| it.revision), Some(Revision(1)));
}

#[test]
fn r08_a_rollback_after_the_window_launches_again() {
    let world = live(&format!("{TWO}wait ms=40000\nrollback to=0\nwait ms=12000\n"));

    assert_eq!(count(&world, "revision_retired"), 1);
    assert_eq!(count(&world, "candidate_launched"), 3);
    let stable = world.ledger.told.stable.as_ref().and_then(|it| it.label.as_ref()).map(ToString::to_string);
    assert_eq!(stable.as_deref(), Some("v1"));
}

#[test]
fn r10_scaling_while_paused_keeps_capacity_and_the_deployment_goes_on() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ndeploy release=2 plan=1\nwait ms=1500\npause ms=6000\nscale replicas=4\nwait ms=2000\nscale replicas=1\nwait ms=20000\n",
    );

    assert_eq!(count(&world, "paused"), 1);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted]);
}

#[test]
fn r11_a_newer_release_supersedes_and_begins_from_stable() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ndeploy release=2 plan=1\nwait ms=2500\nsupersede release=3 plan=1\nwait ms=25000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Superseded, Outcome::Promoted]);
}

#[test]
fn r14_c02_a_hook_that_fails_ends_the_deployment_and_the_next_one_is_not_harmed() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ntask_fails task=0 release=2\ndeploy release=2 plan=2\nwait ms=9000\ndeploy release=3 plan=2\nwait ms=25000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack, Outcome::Promoted]);
}

#[test]
fn r20_an_unhealthy_release_goes_back_to_stable_and_without_one_it_fails() {
    let world = live("seed 2\nnever_ready release=1\ndeploy release=1 plan=1\nwait ms=9000\n");
    assert_eq!(outcomes(&world), [Outcome::UnprovenReturn]);

    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ncrash_later release=2 ms=1500\ndeploy release=2 plan=1\nwait ms=20000\n",
    );
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack]);
}

#[test]
fn r21_nothing_is_promoted_before_every_replica_is_ready() {
    let world = live(
        "seed 2\nsettings replicas=2\nscale replicas=3\ndeploy release=1 plan=0\nwait ms=9000\nslow release=2 ms=4000\ndeploy release=2 plan=0\nwait ms=3500\n",
    );
    let ready = |event: &Event| matches!(event, Event::CandidateReady { replicas: 3, .. });
    assert_eq!(world.journal().iter().filter(|event| ready(event)).count(), 2);
}

#[test]
fn r22_a_release_whose_readiness_flaps_is_not_promoted_while_it_is_gone() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\nflaps release=2 ms=4000\ndeploy release=2 plan=1\nwait ms=30000\n",
    );

    assert_eq!(outcomes(&world).len(), 2);
}

#[test]
fn c01_a_platform_that_refuses_ends_the_deployment_and_leaves_stable() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ndriver_refuses times=1\ndeploy release=2 plan=1\nwait ms=9000\ndeploy release=1 plan=1\nwait ms=3000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack, Outcome::Unchanged]);
}

#[test]
fn c05_what_was_created_before_an_answer_was_lost_is_found_and_taken_away() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\nnever_ready release=2\ndriver_times_out_after_acting times=4\ndeploy release=2 plan=1\nwait ms=25000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack]);
    assert!(world.machines.replicas.iter().all(|replica| replica.release == 1));
}

#[test]
fn c06_a_platform_that_cannot_be_reached_delays_and_decides_nothing() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\ndeploy release=2 plan=1\nwait ms=2500\ndriver_unreachable ms=9000\nwait ms=30000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted]);
}

#[test]
fn c07_an_edge_that_comes_back_with_its_stored_table_is_told_what_is_wanted_now() {
    let world = live(
        "seed 2\ndeploy release=1 plan=1\nwait ms=9000\nlies release=2 percent=90\ndeploy release=2 plan=1\nwait ms=2800\nedge_restarts ms=1500\nwait ms=30000\n",
    );

    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack]);
}
