//! The operator's hand on a deployment: pause, promote, abort, supersede, roll back, end.

use super::sim::{Sim, blue_green};
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason};
use crate::machine::{Answer, OperatorCommand};
use crate::names::{DeploymentId, Millis};

fn last_request(sim: &Sim) -> &crate::event::Requested {
    let found = sim.journal.iter().rev().find_map(|entry| match &entry.event {
        Event::DeploymentRequested(requested) => Some(requested),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn r04_a_pause_stops_the_bake_and_the_deadline() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.command(OperatorCommand::Pause).unwrap();

    sim.run(500_000);
    assert_eq!((sim.phase(), sim.weight()), (Some("baking"), 5));

    sim.command(OperatorCommand::Resume).unwrap();
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn r04_without_a_pause_the_deadline_ends_the_deployment() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(12);
    sim.deploy("v2");
    let begun = sim.now;

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert!(sim.now.since(begun) <= Millis::seconds(14), "{}", sim.tell());
}

#[test]
fn a_pause_raises_no_weight() {
    let mut sim = Sim::serving_v1();
    sim.command(OperatorCommand::Scale { replicas: Some(8) }).unwrap();
    sim.run(2_000);
    sim.deploy("v2");
    sim.until(60, "the second step", |sim| sim.step_number() == Some(1));
    assert_eq!((sim.phase(), sim.weight()), (Some("shifting"), 5), "its second replica starts");

    sim.command(OperatorCommand::Pause).unwrap();
    sim.run(20_000);
    assert_eq!(sim.weight(), 5);

    sim.command(OperatorCommand::Resume).unwrap();
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_bad_release_goes_back_also_while_it_is_paused() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);
    sim.until_phase("baking");
    sim.command(OperatorCommand::Pause).unwrap();
    sim.scripts.errors.insert("v2".into(), 0.8);

    assert_eq!(sim.finish(), Outcome::RolledBack);
}

#[test]
fn hole_a_promote_while_paused_does_not_leave_the_rollout_paused() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.command(OperatorCommand::Pause).unwrap();
    sim.command(OperatorCommand::Promote { now: true }).unwrap();

    assert!(matches!(sim.finish(), Outcome::Promoted | Outcome::PromotedUnproven));
    assert_eq!(sim.ship("v3"), Outcome::Promoted, "nothing of the pause is left");
}

#[test]
fn a_promote_ends_one_bake_and_promote_now_all_of_them() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");

    sim.command(OperatorCommand::Promote { now: false }).unwrap();
    assert_eq!(sim.step_number(), Some(1));
    sim.until_phase("baking");
    sim.command(OperatorCommand::Promote { now: true }).unwrap();
    assert_eq!(sim.step_number(), Some(2));
    sim.until(3, "the switch", |sim| sim.weight() == 100);
    sim.until(3, "the end", |sim| sim.state.deployment.is_none());
}

#[test]
fn a_promote_overrules_a_hold() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v1".into(), 0.5);
    sim.scripts.errors.insert("v2".into(), 0.5);
    sim.deploy("v2");
    sim.until(60, "a hold", |sim| sim.state.deployment.as_ref().is_some_and(|it| it.held.is_some()));

    sim.until_phase("baking");
    sim.command(OperatorCommand::Promote { now: true }).unwrap();
    sim.until(10, "the end", |sim| sim.state.deployment.is_none());

    assert_eq!(sim.answering(), Some("v2"));
}

#[test]
fn an_abort_returns_all_traffic_from_every_phase() {
    for word in ["preparing", "launching", "verifying", "shifting", "baking", "promoting"] {
        let mut sim = Sim::serving_v1();
        let slow = super::outside::TaskFate { after: Millis::seconds(5), ..Default::default() };
        sim.plan.hooks.before_deploy = vec!["./before.sh".to_owned()];
        sim.plan.hooks.after_deploy = vec!["./after.sh".to_owned()];
        sim.scripts.tasks.insert("before_deploy".into(), slow);
        sim.scripts.tasks.insert("after_deploy".into(), slow);
        sim.plan.checks = vec![crate::plan::Check {
            name: "smoke".to_owned(),
            when: crate::plan::When::Before,
            deadline: Millis::seconds(30),
            ask: crate::plan::Ask::Url("/".to_owned()),
        }];
        sim.deploy("v2");
        sim.until_phase(word);

        sim.command(OperatorCommand::Abort).unwrap();

        assert_eq!(sim.finish(), Outcome::Aborted, "from {word}");
        assert_eq!(sim.answering(), Some("v1"), "from {word}");
        sim.settle();
    }
}

#[test]
fn an_aborted_first_release_is_aborted() {
    let mut sim = Sim::new();
    sim.deploy("v1");
    sim.until_phase("launching");

    sim.command(OperatorCommand::Abort).unwrap();

    assert_eq!(sim.finish(), Outcome::Aborted);
    sim.settle();
}

#[test]
fn r11_a_newer_deployment_supersedes_and_starts_from_stable() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);
    let mut intent = sim.intent("v3");
    intent.supersede = true;
    let command = OperatorCommand::Deploy(Box::new(intent));

    assert!(matches!(sim.command(command.clone()), Ok(Answer::Supersede(_))));
    assert_eq!(sim.command(command.clone()), Ok(Answer::Wait));
    assert_eq!(sim.finish(), Outcome::Superseded);
    assert!(matches!(sim.command(command), Ok(Answer::Event(_))));
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.answering(), Some("v3"));
    sim.settle();
}

#[test]
fn another_release_is_refused_while_one_runs_and_the_same_one_is_followed() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.run(500);
    let other = OperatorCommand::Deploy(Box::new(sim.intent("v3")));
    let same = OperatorCommand::Deploy(Box::new(sim.intent("v2")));

    let refusal = sim.command(other).unwrap_err();
    let answer = sim.command(same).unwrap();

    assert!(refusal.why.contains("d-2"), "{refusal}");
    assert!(refusal.next.contains("--supersede"), "{refusal}");
    let Answer::Known { deployment, outcome: None, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(deployment, DeploymentId::from("d-2"));
}

#[test]
fn the_same_key_twice_is_one_deployment() {
    let mut sim = Sim::serving_v1();
    let command = OperatorCommand::Deploy(Box::new(sim.intent("v2")));

    sim.command(command.clone()).unwrap();
    let seq = sim.state.seq;
    let running = sim.command(command.clone()).unwrap();
    sim.finish();
    let finished = sim.command(command).unwrap();

    let deployment = DeploymentId::from("d-2");
    assert_eq!(running, Answer::Known { deployment: deployment.clone(), seq, outcome: None });
    assert_eq!(finished, Answer::Known { deployment, seq, outcome: Some(Outcome::Promoted) });
}

#[test]
fn a_rollback_key_twice_is_one_rollback() {
    let mut sim = Sim::serving_v2();
    let command = OperatorCommand::Rollback { to: None, key: "once".to_owned() };

    sim.command(command.clone()).unwrap();
    sim.finish();

    assert!(matches!(sim.command(command), Ok(Answer::Known { outcome: Some(Outcome::Promoted), .. })));
    assert_eq!(sim.answering(), Some("v1"));
}

#[test]
fn a_rollback_to_the_hot_revision_is_one_flip() {
    let mut sim = Sim::serving_v2();
    let replicas: Vec<_> = sim.replicas.all.keys().cloned().collect();
    let before = sim.now;

    sim.roll_back(None).unwrap();
    sim.until(5, "the flip", |sim| sim.answering() == Some("v1"));

    assert!(sim.now.since(before) <= Millis(300));
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(replicas, sim.replicas.all.keys().cloned().collect::<Vec<_>>(), "nothing was launched");
    sim.settle();
    assert_eq!(sim.running("v2"), 0);
}

#[test]
fn a_rollback_without_a_hot_revision_places_the_last_proven_release_again() {
    let mut sim = Sim::serving_v2();
    sim.until(100, "the end of hot", |sim| sim.state.hot.is_none());
    sim.settle();
    assert_eq!(sim.running("v1"), 0);

    sim.roll_back(None).unwrap();
    assert_eq!(last_request(&sim).of, DeploymentKind::Rollback);
    assert_eq!(sim.finish(), Outcome::Promoted);

    assert_eq!(sim.answering(), Some("v1"));
    assert_eq!(sim.state.stable.as_ref().unwrap().revision.0, 3);
    sim.settle();
}

#[test]
fn a_rollback_runs_its_hooks_where_the_release_came_from() {
    let mut sim = Sim::new();
    sim.plan.hooks.before_deploy = vec!["./before.sh".to_owned()];
    sim.ship("v1");
    sim.ship("v2");
    sim.until(100, "the end of hot", |sim| sim.state.hot.is_none());

    sim.roll_back(None).unwrap();

    assert_eq!(last_request(&sim).folder, "/clinic");
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.tasks.order.len(), 3);
}

#[test]
fn a_rollback_by_label_or_digest_finds_its_release() {
    for name in ["label-v1", "v1"] {
        let mut sim = Sim::serving_v2();
        sim.ship("v3");

        sim.roll_back(Some(name)).unwrap();

        assert_eq!(sim.finish(), Outcome::Promoted);
        assert_eq!(sim.answering(), Some("v1"));
        sim.settle();
    }
}

#[test]
fn a_rollback_to_what_is_unknown_or_to_nothing_is_refused() {
    let mut sim = Sim::serving_v1();

    assert!(sim.roll_back(None).unwrap_err().why.contains("no earlier release"));
    assert!(sim.roll_back(Some("v9")).unwrap_err().why.contains("v9"));
    assert!(sim.roll_back(Some("")).is_err());
}

#[test]
fn a_rollback_during_a_deployment_is_an_abort() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(5);

    sim.roll_back(None).unwrap();

    assert_eq!(sim.finish(), Outcome::Aborted);
    assert_eq!(sim.answering(), Some("v1"));
}

#[test]
fn a_rollback_to_another_release_during_a_deployment_is_refused() {
    let mut sim = Sim::serving_v2();
    sim.deploy("v3");

    let refusal = sim.roll_back(Some("v1")).unwrap_err();

    assert!(refusal.next.contains("abort"), "{refusal}");
    assert!(sim.roll_back(Some("v2")).is_ok(), "that is where an abort leads");
    assert_eq!(sim.finish(), Outcome::Aborted);
}

#[test]
fn a_second_rollback_does_not_undo_the_first() {
    let mut sim = Sim::serving_v2();

    sim.roll_back(None).unwrap();
    let second = sim.roll_back(None).unwrap();

    assert!(matches!(second, Answer::Known { .. }), "{second:?}");
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.answering(), Some("v1"));
}

#[test]
fn a_rollback_that_fails_leaves_stable_as_it_is() {
    let mut sim = Sim::serving_v2();
    sim.until(100, "the end of hot", |sim| sim.state.hot.is_none());
    sim.settle();
    let fate = super::outside::Fate { ready_after: None, ..Default::default() };
    sim.scripts.fates.insert("v1".into(), fate);

    sim.roll_back(None).unwrap();

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert_eq!(sim.answering(), Some("v2"));
    sim.settle();
}

#[test]
fn an_aborted_flip_keeps_the_traffic_where_it_was() {
    let mut sim = Sim::serving_v2();
    sim.edge.lag = Millis::seconds(2);
    sim.roll_back(None).unwrap();
    sim.run(500);

    sim.command(OperatorCommand::Abort).unwrap();

    assert_eq!(sim.finish(), Outcome::Aborted);
    sim.settle();
    assert_eq!(sim.answering(), Some("v2"));
}

#[test]
fn an_environment_that_stops_returns_what_is_unfinished_and_forgets_what_is_hot() {
    let mut sim = Sim::serving_v2();
    sim.command(OperatorCommand::EndUnfinished).unwrap();
    assert!(sim.state.hot.is_none());
    assert_eq!(sim.command(OperatorCommand::EndUnfinished), Ok(Answer::Nothing));

    for word in ["launching", "baking", "promoting"] {
        let mut sim = Sim::serving_v1();
        sim.deploy("v2");
        sim.edge.proves = word != "promoting";
        sim.until_phase(word);
        sim.command(OperatorCommand::EndUnfinished).unwrap();
        assert_eq!(sim.command(OperatorCommand::EndUnfinished), Ok(Answer::Nothing), "once is enough");
        sim.edge.proves = true;

        assert_eq!(sim.finish(), Outcome::RolledBack, "{word}");
        let why = sim.journal.iter().rev().find_map(|entry| match &entry.event {
            Event::ReturnStarted { why } => Some(why.clone()),
            _ => None,
        });
        assert_eq!(why, Some(ReturnReason::EnvironmentStopped));
    }
}

#[test]
fn maintenance_is_in_the_routes_and_survives_a_deployment() {
    let mut sim = Sim::serving_v1();
    let hold = Millis::seconds(30);
    sim.command(OperatorCommand::Maintenance { hold: Some(hold) }).unwrap();
    sim.plan = blue_green();
    sim.ship("v2");
    sim.run(500);
    assert_eq!(sim.edge.table.as_ref().unwrap().maintenance.as_ref().unwrap().hold, hold);

    sim.command(OperatorCommand::Maintenance { hold: None }).unwrap();
    sim.run(500);
    assert_eq!(sim.edge.table.as_ref().unwrap().maintenance, None);
}

#[test]
fn an_engine_that_restarts_at_any_moment_ends_the_same_way() {
    for every in [1, 7, 50] {
        for bad in [false, true] {
            let mut sim = Sim::serving_v1();
            sim.scripts.errors.insert("v2".into(), if bad { 0.3 } else { 0.0 });
            sim.deploy("v2");
            for step in 0..600 {
                sim.step(100);
                if step % every == 0 {
                    sim.restart();
                }
            }
            let expected = if bad { Outcome::RolledBack } else { Outcome::Promoted };
            assert_eq!(sim.finish(), expected, "restarted every {every} steps");
            sim.settle();
        }
    }
}
