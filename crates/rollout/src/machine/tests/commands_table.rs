//! Every stage × every command: how an operator is answered.
//!
//! `-` nothing to do, `no` refused, `known` it is under way, `wait` ask again; else the event that happens.

use super::sim::Sim;
use super::stages::{compare, stage};
use crate::event::Event;
use crate::machine::{Answer, OperatorCommand};
use crate::names::Millis;

const ROWS: [&str; 19] = [
    "deploy v4",
    "deploy v4 instead",
    "deploy v3",
    "deploy v3 instead",
    "deploy v2",
    "rollback",
    "rollback to v1",
    "rollback to v2",
    "rollback to v9",
    "promote",
    "promote now",
    "abort",
    "pause",
    "resume",
    "maintenance on",
    "maintenance off",
    "scale 3",
    "settings",
    "end unfinished",
];

const TABLE: &str = "
                       | empty       idle        hot         preparing   launching   verifying   shifting    baking      paused      promoting   returning
deploy v4              | requested   requested   requested   no          no          no          no          no          no          no          no
deploy v4 instead      | requested   requested   requested   superseded  superseded  superseded  superseded  superseded  superseded  wait        wait
deploy v3              | requested   requested   requested   known       known       known       known       known       known       known       no
deploy v3 instead      | requested   requested   requested   known       known       known       known       known       known       known       wait
deploy v2              | requested   requested   requested   no          no          no          no          no          no          no          no
rollback               | no          requested   requested   aborted     aborted     aborted     aborted     aborted     aborted     aborted     known
rollback to v1         | no          requested   requested   no          no          no          no          no          no          no          no
rollback to v2         | no          requested   requested   aborted     aborted     aborted     aborted     aborted     aborted     aborted     known
rollback to v9         | no          no          no          no          no          no          no          no          no          no          no
promote                | no          no          no          no          no          no          no          promoted    promoted    -           no
promote now            | no          no          no          no          no          no          no          promoted    promoted    -           no
abort                  | no          no          no          aborted     aborted     aborted     aborted     aborted     aborted     aborted     known
pause                  | no          no          no          paused      paused      paused      paused      paused      -           no          no
resume                 | no          no          no          -           -           -           -           -           resumed     -           -
maintenance on         | changed     changed     changed     changed     changed     changed     changed     changed     changed     changed     changed
maintenance off        | -           -           -           -           -           -           -           -           -           -           -
scale 3                | scaled      scaled      scaled      scaled      scaled      scaled      scaled      scaled      scaled      scaled      scaled
settings               | changed     changed     changed     changed     changed     changed     changed     changed     changed     changed     changed
end unfinished         | -           -           retired     returning   returning   returning   returning   returning   returning   returning   -
";

fn command(sim: &mut Sim, row: &str) -> OperatorCommand {
    let words: Vec<_> = row.split(' ').collect();
    match words[..] {
        ["deploy", release, ..] => {
            let mut intent = sim.intent(release);
            intent.supersede = words.contains(&"instead");
            OperatorCommand::Deploy(Box::new(intent))
        }
        ["rollback", ..] => {
            OperatorCommand::Rollback { to: words.get(2).map(|to| (*to).to_owned()), key: "new".to_owned() }
        }
        ["promote", ..] => OperatorCommand::Promote { now: words.contains(&"now") },
        ["abort"] => OperatorCommand::Abort,
        ["pause"] => OperatorCommand::Pause,
        ["resume"] => OperatorCommand::Resume,
        ["maintenance", "on"] => OperatorCommand::Maintenance { hold: Some(Millis::seconds(30)) },
        ["maintenance", ..] => OperatorCommand::Maintenance { hold: None },
        ["scale", ..] => OperatorCommand::Scale { replicas: Some(3) },
        ["settings"] => {
            let mut settings = sim.state.settings.clone();
            settings.strip_path = true;
            OperatorCommand::Settings(settings)
        }
        _ => OperatorCommand::EndUnfinished,
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::DeploymentRequested(_) => "requested",
        Event::Aborted { superseded: true } => "superseded",
        Event::ReturnStarted { .. } => "returning",
        Event::StepPromoted { .. } => "promoted",
        Event::MaintenanceChanged { .. } | Event::SettingsChanged { .. } => "changed",
        Event::RevisionRetired { .. } => "retired",
        other => other.kind(),
    }
    .to_owned()
}

#[test]
fn every_stage_answers_every_command_as_the_table_says() {
    compare(TABLE, &ROWS, |row, name| {
        let mut sim = stage(name);
        let command = command(&mut sim, row);
        match sim.command(command) {
            Ok(Answer::Event(event) | Answer::Supersede(event)) => word(&event),
            Ok(Answer::Known { .. }) => "known".to_owned(),
            Ok(Answer::Nothing) => "-".to_owned(),
            Ok(Answer::Wait) => "wait".to_owned(),
            Err(refusal) => {
                assert!(!refusal.what.is_empty() && !refusal.why.is_empty() && !refusal.next.is_empty());
                "no".to_owned()
            }
        }
    });
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    let mut sim = stage("idle");
    for replicas in [0, 65, u32::MAX] {
        assert!(sim.command(OperatorCommand::Scale { replicas: Some(replicas) }).is_err());
    }
    let hold = Some(Millis::seconds(3601));
    assert!(sim.command(OperatorCommand::Maintenance { hold }).is_err());
}

#[test]
fn a_command_given_twice_acts_once() {
    for (name, row) in [("idle", "scale 3"), ("idle", "settings"), ("baking", "pause"), ("baking", "abort")] {
        let mut sim = stage(name);
        let command = command(&mut sim, row);

        sim.command(command.clone()).unwrap();
        let twice = sim.command(command).unwrap();

        assert!(matches!(twice, Answer::Nothing | Answer::Known { .. }), "{row}: {twice:?}");
    }
}
