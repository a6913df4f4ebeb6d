//! Random lives: operators, replicas, the edge and the engine do what they like; every law of `checkers` holds all the
//! same, every deployment ends, and when the world is well again it settles. `PROPTEST_CASES` asks for more of them.

use super::outside::{Fate, TaskFate};
use super::sim::{Sim, blue_green, canary};
use crate::change::Ended;
use crate::machine::OperatorCommand;
use crate::names::Millis;
use crate::plan::{Ask, Check, When};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same lives on every machine, unless a seed is asked for.
pub fn settings() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match config.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(3), ..config },
        RngSeed::Fixed(_) => config,
    }
}

#[derive(Debug, Clone)]
pub enum Move {
    Wait { ms: u64 },
    Deploy { release: u8, supersede: bool },
    RollBack { to: Option<u8> },
    Command(OperatorCommand),
    Scale { replicas: u32 },
    Exit { one_of: u8, ended: Ended },
    Kill { release: u8 },
    Ready { release: u8, ready: bool },
    Hang { one_of: u8 },
    Fate { release: u8, fate: Fate },
    Errors { release: u8, percent: u8 },
    Traffic { per_second: u64 },
    Lag { ms: u64 },
    Reach { reachable: bool },
    Prove { proves: bool },
    Silence { silent: bool },
    Task { name: &'static str, fate: TaskFate },
    Refuse { release: u8 },
    InFlight { release: u8, requests: u64 },
    Plan { plan: u8 },
    Restart,
}

pub fn a_move() -> impl Strategy<Value = Move> {
    let release = 1..5u8;
    let after = prop_oneof![3 => Just(Some(Millis(300))), 1 => (0..15_000u64).prop_map(|ms| Some(Millis(ms))), 1 => Just(None)];
    let rare = || proptest::option::weighted(0.2, (0..20_000u64).prop_map(Millis));
    let fate = (after, rare(), rare()).prop_map(|(ready_after, exits_after, liveness_fails_after)| Fate {
        ready_after,
        exits_after,
        liveness_fails_after,
    });
    let ended = prop_oneof![Just(Ended::Code(0)), Just(Ended::Code(1)), Just(Ended::Unknown)];
    let task = (0..4usize, 0..20_000u64, ended.clone()).prop_map(|(name, ms, ended)| {
        let name = ["before_deploy", "expand", "smoke", "after_deploy"][name];
        Move::Task { name, fate: TaskFate { after: Millis(ms), ended } }
    });
    let command = prop_oneof![
        Just(OperatorCommand::Promote { now: false }),
        Just(OperatorCommand::Promote { now: true }),
        Just(OperatorCommand::Abort),
        Just(OperatorCommand::Pause),
        Just(OperatorCommand::Resume),
        Just(OperatorCommand::EndUnfinished),
        Just(OperatorCommand::Maintenance { hold: Some(Millis::seconds(10)) }),
        Just(OperatorCommand::Maintenance { hold: None }),
    ];
    prop_oneof![
        8 => (1..6_000u64).prop_map(|ms| Move::Wait { ms }),
        4 => (release.clone(), any::<bool>()).prop_map(|(release, supersede)| Move::Deploy { release, supersede }),
        1 => proptest::option::of(release.clone()).prop_map(|to| Move::RollBack { to }),
        3 => command.prop_map(Move::Command),
        1 => (1..6u32).prop_map(|replicas| Move::Scale { replicas }),
        2 => (any::<u8>(), ended).prop_map(|(one_of, ended)| Move::Exit { one_of, ended }),
        1 => release.clone().prop_map(|release| Move::Kill { release }),
        2 => (release.clone(), any::<bool>()).prop_map(|(release, ready)| Move::Ready { release, ready }),
        1 => any::<u8>().prop_map(|one_of| Move::Hang { one_of }),
        1 => (release.clone(), fate).prop_map(|(release, fate)| Move::Fate { release, fate }),
        1 => (release.clone(), prop_oneof![Just(0u8), 0..100u8]).prop_map(|(release, percent)| Move::Errors { release, percent }),
        1 => (0..400u64).prop_map(|per_second| Move::Traffic { per_second }),
        1 => (1..4_000u64).prop_map(|ms| Move::Lag { ms }),
        2 => any::<bool>().prop_map(|reachable| Move::Reach { reachable }),
        1 => any::<bool>().prop_map(|proves| Move::Prove { proves }),
        1 => any::<bool>().prop_map(|silent| Move::Silence { silent }),
        1 => task,
        1 => release.clone().prop_map(|release| Move::Refuse { release }),
        1 => (release, 0..5u64).prop_map(|(release, requests)| Move::InFlight { release, requests }),
        1 => (0..4u8).prop_map(|plan| Move::Plan { plan }),
        2 => Just(Move::Restart),
    ]
}

fn name(release: u8) -> String {
    format!("v{release}")
}

impl Sim {
    pub fn act(&mut self, action: &Move) {
        match action {
            Move::Wait { ms } => self.run(*ms),
            Move::Deploy { release, supersede } => {
                let mut intent = self.intent(&name(*release));
                intent.supersede = *supersede;
                let _ = self.command(OperatorCommand::Deploy(Box::new(intent)));
            }
            Move::RollBack { to } => {
                let _ = self.roll_back(to.map(name).as_deref());
            }
            Move::Command(command) => {
                let _ = self.command(command.clone());
            }
            Move::Scale { replicas } => {
                let _ = self.command(OperatorCommand::Scale { replicas: Some(*replicas) });
            }
            Move::Exit { one_of, ended } => {
                if let Some(replica) = self.pick(*one_of) {
                    replica.exited.get_or_insert(*ended);
                }
            }
            Move::Kill { release } => self.kill(&name(*release)),
            Move::Ready { release, ready } => self.set_ready(&name(*release), *ready),
            Move::Hang { one_of } => {
                if let Some(replica) = self.pick(*one_of) {
                    replica.fate.liveness_fails_after = Some(Millis(0));
                }
            }
            Move::Fate { release, fate } => {
                self.scripts.fates.insert(name(*release), fate.clone());
            }
            Move::Errors { release, percent } => {
                self.scripts.errors.insert(name(*release), f64::from(*percent) / 100.0);
            }
            Move::Traffic { per_second } => self.requests_per_second = *per_second,
            Move::Lag { ms } => self.edge.lag = Millis(*ms),
            Move::Reach { reachable } => self.edge.reachable = *reachable,
            Move::Prove { proves } => self.edge.proves = *proves,
            Move::Silence { silent } => self.silent = *silent,
            Move::Task { name, fate } => {
                self.scripts.tasks.insert((*name).to_owned(), *fate);
            }
            Move::Refuse { release } => {
                self.scripts.refused.insert(name(*release));
            }
            Move::InFlight { release, requests } => {
                let revisions: Vec<_> = self.replicas.all.values().collect();
                let revision = revisions.iter().find(|it| it.release == name(*release)).map(|it| it.revision);
                if let Some(revision) = revision {
                    self.edge.in_flight.insert(revision, *requests);
                }
            }
            Move::Plan { plan } => self.choose(*plan),
            Move::Restart => self.restart(),
        }
        // A look at once, as a command or a probe would cause.
        self.step(1);
    }

    fn choose(&mut self, plan: u8) {
        self.plan = if plan.is_multiple_of(2) { blue_green() } else { canary(&[5, 25, 100]) };
        self.plan.connections.ceiling = Millis::seconds(20);
        self.plan.candidate_replicas = (plan == 1).then_some(1);
        self.expand.clear();
        if plan < 2 {
            self.expand = vec!["./migrate".to_owned()];
            self.plan.hooks.before_deploy = vec!["./before.sh".to_owned()];
            self.plan.hooks.after_deploy = vec!["./after.sh".to_owned()];
            self.plan.checks = vec![Check {
                name: "smoke".to_owned(),
                when: if plan == 0 { When::Before } else { When::After },
                deadline: Millis::seconds(30),
                ask: Ask::Url("/".to_owned()),
            }];
        }
    }

    fn pick(&mut self, one_of: u8) -> Option<&mut super::outside::Replica> {
        let count = self.replicas.all.len().max(1);
        self.replicas.all.values_mut().nth(usize::from(one_of) % count)
    }

    /// Everything outside is well again; what was paused goes on.
    fn heal(&mut self) {
        self.scripts = super::sim::Scripts::default();
        self.edge.reachable = true;
        self.edge.proves = true;
        self.edge.lag = Millis(20);
        self.edge.in_flight.clear();
        self.silent = false;
        for replica in self.replicas.all.values_mut() {
            replica.unready = false;
            replica.fate.ready_after.get_or_insert(Millis(300));
        }
        let _ = self.command(OperatorCommand::Resume);
        let _ = self.command(OperatorCommand::Scale { replicas: None });
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn whatever_happens_every_law_holds_and_the_world_settles(
        plan in 0..4u8,
        begun in any::<bool>(),
        moves in prop::collection::vec(a_move(), 1..40),
    ) {
        let mut sim = if begun { Sim::serving_v1() } else { Sim::new() };
        sim.choose(plan);
        moves.iter().for_each(|action| sim.act(action));
        sim.heal();
        sim.until(900, "the end of the deployment", |sim| sim.state.deployment.is_none());
        sim.settle();
    }

    #[test]
    fn a_life_with_restarts_is_told_by_the_same_events(moves in prop::collection::vec(a_move(), 1..15)) {
        let live = |restarts: bool| {
            let mut sim = Sim::serving_v1();
            sim.choose(3);
            for action in moves.iter().filter(|action| !matches!(action, Move::Restart)) {
                if restarts {
                    sim.restart();
                }
                sim.act(action);
            }
            sim.heal();
            sim.until(900, "the end of the deployment", |sim| sim.state.deployment.is_none());
            sim.settle();
            let last_outcome = sim.last_outcome();
            let told = sim.journal.into_iter().map(|entry| entry.event);
            let kinds: Vec<_> = told.map(|event| event.kind()).filter(|kind| *kind != "lease_taken").collect();
            (kinds, last_outcome, sim.state.stable)
        };
        prop_assert_eq!(live(false), live(true));
    }
}
