//! Lists the rollouts that lives are made of: eight manifests, short enough that a life has many.

use rollout::machine::DeployIntent;
use rollout::mirror::{Copies, Differing, Mirror};
use rollout::names::{Label, Millis, Release, Weight};
use rollout::plan::{
    Ask, Check, Hooks, Monitor, MonitorAsk, MonitorCheck, Probes, RolloutSettings, Strategy, TargetSettings,
    Unproven, When,
};
use rollout::release::{Health, ReleaseSpec};
use std::collections::BTreeMap;

/// How long the replicas of these releases may take to be ready.
pub const START: Millis = Millis::seconds(6);

/// Returns the settings of a plan.
pub fn plan(number: u32) -> RolloutSettings {
    let (strategy, steps): (_, &[u8]) = match number {
        0 | 3 => (Strategy::BlueGreen, &[100]),
        2 => (Strategy::Canary, &[5, 50, 100]),
        _ => (Strategy::Canary, &[25, 100]),
    };
    let steps = steps.iter().filter_map(|percent| Weight::new(*percent).ok()).collect();
    let mut settings = RolloutSettings::with_bakes(strategy, steps, Millis::seconds(5), Millis::seconds(3));
    settings.bake_max = Some(Millis::seconds(8));
    settings.hold_back = if number == 4 { Weight::FIVE } else { Weight::NONE };
    settings.drain = Millis::seconds(2);
    settings.connections.ceiling = Millis::seconds(6);
    settings.deadline = Millis::seconds(if number == 7 { 300 } else { 90 });
    settings.keep_hot = Millis::seconds([6, 0, 3, 12, 20, 4, 8, 0][number as usize % 8]);
    match number {
        2 => {
            settings.hooks = Hooks { before_deploy: command("./before"), after_deploy: Vec::new() };
            settings.checks = vec![check("smoke", When::Before, Ask::Command(command("./smoke")))];
        }
        3 => {
            settings.hooks = Hooks { before_deploy: Vec::new(), after_deploy: command("./after") };
            settings.checks = vec![check("page", When::After, Ask::Url("/".to_owned()))];
            settings.mirror = Some(mirror());
        }
        4 => settings.monitor = Some(monitor()),
        5 => settings.unproven = Unproven::Hold,
        6 => {
            settings.unproven = Unproven::Return;
            settings.candidate_replicas = Some(1);
            settings.judge.first_look = Some(Millis::seconds(2));
        }
        7 => settings.judge.probes = Some(Probes { path: "/".to_owned(), every: Millis::seconds(1) }),
        _ => {}
    }
    settings
}

/// Returns the order to deploy a release by a plan.
pub fn intent(release: u8, number: u32, key: String, supersede: bool) -> DeployIntent {
    DeployIntent {
        key,
        release: Release::new(format!("{release:064x}")),
        label: Some(Label::new(format!("v{release}"))),
        spec: ReleaseSpec {
            artifact: Some(format!("digest-{release}")),
            command: command("serve"),
            env: BTreeMap::new(),
            resources: None,
            health: Health {
                start: START,
                live: Some("/live".to_owned()),
                ready: Some("/ready".to_owned()),
                ..Health::default()
            },
            expand: if number == 2 { command("./migrate") } else { Vec::new() },
        },
        settings: plan(number),
        folder: "/srv".to_owned(),
        supersede,
    }
}

/// Returns the settings of the target.
pub fn target(replicas: u32) -> TargetSettings {
    let mut settings = TargetSettings::default();
    settings.replicas.min = replicas;
    settings.replicas.max = 6;
    settings
}

fn command(program: &str) -> Vec<String> {
    vec![program.to_owned()]
}

fn check(name: &str, when: When, ask: Ask) -> Check {
    Check { name: name.to_owned(), when, deadline: Millis::seconds(8), ask }
}

fn mirror() -> Mirror {
    let copies = Copies { share: Weight::FULL, bodies: Vec::new(), never: Vec::new() };
    Mirror { copies, during: Millis::seconds(2), differing: Differing::Hold, tolerated: 0.05 }
}

fn monitor() -> Monitor {
    let url = MonitorCheck {
        name: "orders".to_owned(),
        ask: MonitorAsk::Url("/orders".to_owned()),
        deadline: Millis::seconds(1),
        failures: 2,
    };
    let rate = MonitorCheck {
        name: "errors".to_owned(),
        ask: MonitorAsk::ErrorRate(0.2),
        deadline: Millis::seconds(1),
        failures: 2,
    };
    Monitor { every: Millis::seconds(1), during: None, failing: 1, attribute: true, checks: vec![url, rate] }
}
