//! Says what happens to a life and when, as a list of words and numbers: drawn from a seed, written to a file, read again.
//! Knows nothing of what follows from it; `operate` and `strike` do.

use crate::chance::Chance;
use std::fmt;
use std::str::FromStr;

/// Declares the kinds: the word, what its two numbers mean and how large they may be, and how often it is drawn.
macro_rules! kinds {
    ($($kind:ident $word:literal ($first:literal $first_max:literal, $second:literal $second_max:literal) $weight:literal;)*) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($kind),* }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            pub const fn word(self) -> &'static str {
                match self { $(Kind::$kind => $word),* }
            }

            /// Returns the names of its numbers (empty: it has none), the largest of each, and its weight in a draw.
            const fn shape(self) -> ([(&'static str, u32); 2], u32) {
                match self { $(Kind::$kind => ([($first, $first_max), ($second, $second_max)], $weight)),* }
            }
        }
    };
}

kinds! {
    Wait "wait" ("ms" 9000, "" 0) 260;
    // What operators do.
    Deploy "deploy" ("release" 5, "plan" 7) 130;
    Supersede "supersede" ("release" 5, "plan" 7) 16;
    Rollback "rollback" ("to" 5, "" 0) 14;
    Promote "promote" ("now" 1, "" 0) 14;
    Abort "abort" ("" 0, "" 0) 8;
    Pause "pause" ("ms" 20000, "" 0) 8;
    EndUnfinished "end_unfinished" ("" 0, "" 0) 2;
    Maintenance "maintenance" ("ms" 20000, "" 0) 4;
    Scale "scale" ("replicas" 4, "" 0) 10;
    Settings "settings" ("replicas" 2, "" 0) 3;
    // What releases and their replicas do.
    Healthy "healthy" ("release" 5, "" 0) 14;
    Slow "slow" ("release" 5, "ms" 9000) 8;
    NeverReady "never_ready" ("release" 5, "" 0) 6;
    CrashLater "crash_later" ("release" 5, "ms" 12000) 8;
    Hangs "hangs" ("release" 5, "ms" 12000) 6;
    Flaps "flaps" ("release" 5, "ms" 4000) 6;
    Lies "lies" ("release" 5, "percent" 100) 10;
    NotFound "not_found" ("release" 5, "" 0) 4;
    Exit "exit" ("nth" 9, "code" 2) 14;
    Kill "kill" ("release" 5, "" 0) 5;
    SharedFault "shared_fault" ("ms" 9000, "percent" 100) 8;
    Unready "unready" ("ms" 9000, "" 0) 6;
    Busy "busy" ("ms" 9000, "" 0) 4;
    Traffic "traffic" ("per_second" 400, "" 0) 10;
    TaskFails "task_fails" ("task" 4, "release" 5) 6;
    TaskLate "task_late" ("task" 4, "ms" 20000) 5;
    CheckFails "check_fails" ("release" 5, "ms" 9000) 6;
    SharedCheckFails "shared_check_fails" ("ms" 9000, "" 0) 5;
    Calibrate "calibrate" ("" 0, "" 0) 8;
    // What the platform does.
    DriverTimesOut "driver_times_out_after_acting" ("times" 4, "" 0) 10;
    DriverLate "driver_late" ("ms" 9000, "times" 4) 10;
    DriverRepeats "driver_repeats" ("times" 4, "" 0) 8;
    DriverRefuses "driver_refuses" ("times" 1, "" 0) 4;
    DriverThrottles "driver_throttles" ("times" 6, "" 0) 6;
    DriverUnreachable "driver_unreachable" ("ms" 9000, "" 0) 8;
    DriverStale "driver_stale" ("ms" 6000, "" 0) 8;
    DriverPartial "driver_partial" ("ms" 6000, "" 0) 6;
    // What the edge does.
    EdgeLags "edge_lags" ("ms" 6000, "lag" 3000) 8;
    EdgePartitioned "edge_partitioned" ("ms" 20000, "" 0) 10;
    EdgeRestarts "edge_restarts" ("ms" 1500, "" 0) 6;
    EdgeMute "edge_mute" ("ms" 20000, "" 0) 4;
    EdgeSilent "edge_silent" ("ms" 40000, "" 0) 5;
    // What disks do.
    DiskFull "disk_full" ("ms" 9000, "" 0) 6;
    DiskReadOnly "disk_read_only" ("ms" 9000, "" 0) 5;
    DiskTears "disk_tears" ("appends" 20, "" 0) 6;
    PowerCut "power_cut" ("lost" 3, "" 0) 4;
    BitFlip "bit_flip" ("nth" 200, "" 0) 3;
    // What engines do.
    KillBefore "kill_before" ("appends" 20, "" 0) 18;
    KillAfter "kill_after" ("appends" 20, "" 0) 18;
    KillNow "kill_now" ("" 0, "" 0) 8;
    Freeze "freeze" ("ms" 30000, "" 0) 12;
    ClockSteps "clock_steps" ("seconds" 90, "back" 1) 4;
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub kind: Kind,
    pub first: u32,
    pub second: u32,
}

/// A life: what happens, one after the other; what the world does by itself is drawn from the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub seed: u64,
    pub steps: Vec<Step>,
}

/// Steps of a life.
const STEPS_MIN: u64 = 10;
const STEPS_MORE: u64 = 40;

impl Script {
    /// Draws the life of a seed. One in four is quiet: releases and waits, and every release is well.
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let quiet = chance.bits().is_multiple_of(4);
        let count = STEPS_MIN + chance.bits() % STEPS_MORE;
        let mut steps = vec![
            Step { kind: Kind::Deploy, first: 1, second: (chance.bits() % 8) as u32 },
            Step { kind: Kind::Wait, first: 9000, second: 0 },
        ];
        let weights: u64 = Kind::ALL.iter().map(|kind| u64::from(kind.shape().1)).sum();
        for _ in 0..count {
            let kind = if quiet { quiet_kind(&mut chance) } else { any_kind(&mut chance, weights) };
            steps.push(Step::draw(kind, &mut chance));
        }
        Self { seed, steps }
    }
}

fn quiet_kind(chance: &mut Chance) -> Kind {
    [Kind::Wait, Kind::Deploy, Kind::Deploy, Kind::Calibrate][(chance.bits() % 4) as usize]
}

fn any_kind(chance: &mut Chance, weights: u64) -> Kind {
    let mut left = chance.bits() % weights;
    for kind in Kind::ALL {
        let weight = u64::from(kind.shape().1);
        if left < weight {
            return *kind;
        }
        left -= weight;
    }
    Kind::Wait
}

impl Step {
    fn draw(kind: Kind, chance: &mut Chance) -> Self {
        let [(_, first), (_, second)] = kind.shape().0;
        let mut number = |max: u32| (chance.bits() % (u64::from(max) + 1)) as u32;
        Self { kind, first: number(first), second: number(second) }
    }

    /// Returns smaller steps of the same kind, the smallest first.
    pub fn smaller(self) -> Vec<Step> {
        let durations = self.kind.shape().0.map(|(name, _)| name == "ms" || name == "appends");
        let mut steps = Vec::new();
        for share in [8, 4, 2] {
            let cut = |number: u32, is_duration: bool| if is_duration { number / share } else { number };
            let step =
                Step { first: cut(self.first, durations[0]), second: cut(self.second, durations[1]), ..self };
            if step != self {
                steps.push(step);
            }
        }
        steps
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        for ((name, _), number) in self.kind.shape().0.into_iter().zip([self.first, self.second]) {
            if !name.is_empty() {
                write!(f, " {name}={number}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The text is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read line {line} of a script, `{text}`: {why}")]
pub struct ScriptError {
    pub line: usize,
    pub text: String,
    pub why: String,
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self { seed: 0, steps: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let error = |why: String| ScriptError { line: number + 1, text: line.to_owned(), why };
            if let Some(seed) = line.strip_prefix("seed ") {
                script.seed = seed.trim().parse().map_err(|_| error("a seed is a number".to_owned()))?;
            } else if !line.is_empty() {
                script.steps.push(step(line).map_err(error)?);
            }
        }
        Ok(script)
    }
}

fn step(line: &str) -> Result<Step, String> {
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default();
    let kind = Kind::ALL.iter().find(|kind| kind.word() == word).ok_or("no such step")?;
    let mut step = Step { kind: *kind, first: 0, second: 0 };
    let [(first, _), (second, _)] = kind.shape().0;
    for word in words {
        let (name, number) = word.split_once('=').ok_or("numbers are written NAME=NUMBER")?;
        let number = number.parse().map_err(|_| format!("`{number}` is no number"))?;
        match name {
            name if name == first => step.first = number,
            name if name == second => step.second = number,
            _ => return Err(format!("it has no `{name}`")),
        }
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_was_written() {
        for seed in 0..50 {
            let script = Script::draw(seed);
            assert_eq!(script.to_string().parse(), Ok(script));
        }
        assert!("wait minutes=3".parse::<Script>().is_err());
    }
}
