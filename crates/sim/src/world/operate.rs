//! Does what scripts say operators do, and waits as commands of the API wait.

use super::plans;
use super::script::{Kind, Step};
use super::{Coming, World};
use engine::controller::{CommandError, Commanded};
use rollout::event::Event;
use rollout::machine::OperatorCommand;
use rollout::names::{Actor, Millis};
use rollout::release::Placed;

/// A superseding deployment asks again this often, and so many times.
const AGAIN_AFTER: Millis = Millis(1000);
/// Milliseconds after which an order may come a second time.
const RESENT_WITHIN: u64 = 8000;
const TRIES_MAX: u32 = 180;

/// Returns the number of a release: its label.
pub fn number_of(placed: &Placed) -> u8 {
    let label = placed.label.as_ref().and_then(|label| label.as_str().strip_prefix('v'));
    label.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl World {
    /// Takes one step of a script.
    pub fn take(&mut self, step: Step) {
        self.coverage.count_step(step.kind);
        if step.kind != Kind::Wait {
            self.tell(|| format!("> {step}"));
        }
        match step.kind {
            Kind::Wait => return self.run(Millis(u64::from(step.first))),
            Kind::Deploy => self.deploy(step, false),
            Kind::Supersede => self.deploy(step, true),
            Kind::Rollback => {
                let to = (step.first > 0).then(|| format!("v{}", step.first));
                let key = self.key();
                self.ask_twice(OperatorCommand::Rollback { to, key });
            }
            Kind::Promote => self.command(OperatorCommand::Promote { now: step.first > 0 }, 0),
            Kind::Abort => self.command(OperatorCommand::Abort, 0),
            Kind::Pause => {
                self.command(OperatorCommand::Pause, 0);
                let command = Box::new(OperatorCommand::Resume);
                self.plan(Millis(u64::from(step.first)), Coming::Command { command, tries: 0 });
            }
            Kind::EndUnfinished => self.command(OperatorCommand::EndUnfinished, 0),
            Kind::Maintenance => {
                self.command(OperatorCommand::Maintenance { hold: Some(Millis::seconds(10)) }, 0);
                let command = Box::new(OperatorCommand::Maintenance { hold: None });
                self.plan(Millis(u64::from(step.first)), Coming::Command { command, tries: 0 });
            }
            Kind::Scale => {
                let replicas = (step.first > 0).then_some(step.first);
                self.command(OperatorCommand::Scale { replicas }, 0);
            }
            Kind::Settings => self.command(OperatorCommand::Settings(plans::target(step.first + 1)), 0),
            _ => self.strike(step),
        }
        if self.disturbs(step) {
            let longest = Millis(u64::from(step.first.max(step.second)));
            self.ledger.disturbed(self.now.plus(longest).plus(super::arrive::SHOWS_FOR));
        }
        self.poke();
        self.run(Millis(1));
    }

    /// Tells whether a step may keep a healthy release from being promoted.
    fn disturbs(&self, step: Step) -> bool {
        match step.kind {
            Kind::Wait
            | Kind::Deploy
            | Kind::Calibrate
            | Kind::Scale
            | Kind::Settings
            | Kind::Maintenance => false,
            Kind::Healthy
            | Kind::Slow
            | Kind::NeverReady
            | Kind::CrashLater
            | Kind::Hangs
            | Kind::Flaps
            | Kind::Lies
            | Kind::NotFound => self.ledger.uses(step.first.clamp(1, 9) as u8),
            _ => true,
        }
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("key-{}", self.keys)
    }

    fn deploy(&mut self, step: Step, supersede: bool) {
        let key = self.key();
        let release = step.first.clamp(1, 9) as u8;
        let intent = plans::intent(release, step.second, key, supersede);
        self.ask_twice(OperatorCommand::Deploy(Box::new(intent)));
    }

    /// Gives a command; one in three is given once more, as by somebody who got no answer.
    fn ask_twice(&mut self, command: OperatorCommand) {
        if self.draw_later(3) == 0 {
            let after = Millis(1 + self.draw_later(RESENT_WITHIN));
            self.plan(after, Coming::Command { command: Box::new(command.clone()), tries: 0 });
        }
        self.command(command, 0);
    }

    /// Tells whether an operator may go back to what the command names.
    fn could_go_back(&self, command: &OperatorCommand, engine: usize) -> bool {
        let OperatorCommand::Rollback { to, .. } = command else { return false };
        let told = &self.ledger.told;
        let release = to.as_ref().and_then(|to| to.strip_prefix('v')).and_then(|number| number.parse().ok());
        let current = self.state(engine).is_some_and(|state| state.seq == told.seq);
        current && told.deployment.is_none() && self.ledger.follow.was_served(release)
    }

    /// Gives a command to the engine that operators reach; asks again where that is what the API does.
    pub(super) fn command(&mut self, command: OperatorCommand, tries: u32) {
        let Some(engine) = self.owner() else {
            return self.ask_again(command, tries);
        };
        let now = self.clock(engine);
        let Some(controller) = &mut self.engines[engine].controller else { return };
        let answer = controller.command(&command, &Actor::from("uid:1000"), now);
        let failed = match answer {
            Ok(Commanded::Wait(_)) => {
                self.ask_again(command, tries);
                None
            }
            Ok(Commanded::Known { .. }) => {
                self.coverage.count("answer known");
                None
            }
            Ok(Commanded::Done(_)) => None,
            Err(CommandError::Refused(refusal)) => {
                let could = self.could_go_back(&command, engine);
                self.fail("what_was_served_can_be_returned_to", could.then(|| refusal.to_string()));
                self.coverage.count("answer refused");
                self.tell(|| format!("refused: {refusal}"));
                None
            }
            Err(CommandError::Journal(error)) => {
                self.coverage.count("answer not_written");
                Some(error)
            }
        };
        self.written(engine, failed);
        self.look_soon(engine, Millis(1));
    }

    fn ask_again(&mut self, command: OperatorCommand, tries: u32) {
        if tries < TRIES_MAX && !self.healed {
            self.plan(AGAIN_AFTER, Coming::Command { command: Box::new(command), tries: tries + 1 });
        }
    }

    /// Everything outside is well again, what was paused goes on, and some engine lives.
    pub(super) fn heal(&mut self) {
        self.tell(|| "the world is well again".to_owned());
        self.healed = true;
        self.restore();
        self.faults = super::Faults { flipped: None, ..super::Faults::default() };
        {
            let mut platter = self.platter.borrow_mut();
            (platter.full, platter.read_only, platter.death) = (false, false, None);
        }
        self.edge.busy = None;
        self.fates.clear();
        // What probes have counted against replicas that are well by now is known for a while.
        self.ledger.misled_until = self.now.plus(Millis::seconds(15));
        self.per_second = 100;
        for replica in &mut self.machines.replicas {
            let is_ill = !replica.is_ready(self.now) || replica.fate.flaps_every.is_some();
            replica.mended_at = is_ill.then_some(self.now);
            let fate = super::machines::Fate {
                ready_after: Some(replica.fate.ready_after.unwrap_or(300).min(300)),
                ..super::machines::Fate::default()
            };
            replica.fate = fate;
        }
        if (0..super::ENGINES).all(|engine| self.engines[engine].controller.is_none()) {
            self.open(0);
        }
        for replicas in [
            OperatorCommand::Resume,
            OperatorCommand::Scale { replicas: None },
            OperatorCommand::Maintenance { hold: None },
        ] {
            self.plan(Millis(15_000), Coming::Command { command: Box::new(replicas.clone()), tries: 0 });
            self.plan(Millis(40_000), Coming::Command { command: Box::new(replicas), tries: 0 });
        }
        self.poke();
    }

    pub(super) fn clock_steps(&mut self, by_ms: i64) {
        self.wall += by_ms;
        for engine in 0..super::ENGINES {
            if self.is_awake(engine) {
                self.note(engine, &Event::ClockStepped { by_ms });
            }
        }
    }
}
