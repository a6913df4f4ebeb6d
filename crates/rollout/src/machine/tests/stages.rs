//! Brings a world to each stage a target can be in, for the tables of commands and facts.

use super::outside::TaskFate;
use super::sim::Sim;
use crate::machine::OperatorCommand;
use crate::names::Millis;
use crate::plan::{Ask, Check, When};

/// The columns of the tables.
pub const STAGES: [&str; 11] = [
    "empty",
    "idle",
    "hot",
    "preparing",
    "launching",
    "verifying",
    "shifting",
    "baking",
    "paused",
    "promoting",
    "returning",
];

/// Returns a world at that stage; the deployment is of `v3`, over `v2`.
pub fn stage(name: &str) -> Sim {
    if name == "empty" {
        return Sim::new();
    }
    let mut sim = Sim::serving_v2();
    if name == "hot" {
        return sim;
    }
    sim.until(100, "the end of hot", |sim| sim.state.hot.is_none());
    sim.settle();
    if name == "idle" {
        return sim;
    }
    let slow = TaskFate { after: Millis::seconds(5), ..TaskFate::default() };
    sim.scripts.tasks.insert("smoke".into(), slow);
    sim.scripts.tasks.insert("expand".into(), slow);
    sim.plan.checks = vec![Check {
        name: "smoke".to_owned(),
        when: When::Before,
        deadline: Millis::seconds(30),
        ask: Ask::Url("/".to_owned()),
    }];
    sim.expand = vec!["./migrate".to_owned()];
    sim.edge.lag = Millis(200);
    sim.deploy("v3");
    match name {
        "paused" => {
            sim.until_phase("baking");
            sim.command(OperatorCommand::Pause).unwrap();
        }
        "promoting" => {
            sim.edge.proves = false;
            sim.until_phase("promoting");
        }
        "returning" => {
            sim.until_phase("baking");
            sim.command(OperatorCommand::Abort).unwrap();
        }
        "preparing" => sim.run(200),
        "launching" => sim.until(10, "a launch", |sim| {
            sim.state.deployment.as_ref().is_some_and(|running| running.launched)
        }),
        word => sim.until_phase(word),
    }
    sim
}

/// Compares a table with what happens, row by row, and prints the whole of what happens where they differ.
pub fn compare(table: &str, rows: &[&str], cell: impl Fn(&str, &str) -> String) {
    let mut lines = vec![line("", STAGES.map(str::to_owned).to_vec())];
    for row in rows {
        lines.push(line(row, STAGES.iter().map(|stage| cell(row, stage)).collect()));
    }
    let happens = lines.join("\n");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(words(table) == words(&happens), "the table says otherwise; this happens:\n{happens}");
}

fn line(name: &str, cells: Vec<String>) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<11}")).collect();
    format!("{name:<23}| {}", cells.join(" ")).trim_end().to_owned()
}
