//! Says how a release reaches its users: steps, how long each is watched, what ends it.
//! Only numbers and their meaning; `machine` walks them, `manifest` reads and bounds them.

use crate::names::{Millis, Weight};
use crate::routes::{Allow, Connections, Sticky};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one deployment is rolled out and judged. Recorded with the deployment and never changed under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutSettings {
    pub strategy: Strategy,
    /// Weights in percent, rising, the last one 100. Blue-green is one step of 100.
    pub steps: Vec<Weight>,
    /// How long the last step is watched.
    pub bake: Millis,
    /// How long every other step is watched.
    pub step_bake: Millis,
    /// How long the requests of a revision that leaves may go on.
    pub drain: Millis,
    /// Wall clock, from the request of the deployment to its end.
    pub deadline: Millis,
    /// How long the former stable revision stays running after a promotion.
    pub keep_hot: Millis,
    /// Replicas of the candidate before full weight. None: what the weight needs.
    pub candidate_replicas: Option<u32>,
    pub sticky: Option<Sticky>,
    pub allow: Option<Allow>,
    pub connections: Connections,
    pub judge: JudgeSettings,
    pub hooks: Hooks,
    pub checks: Vec<Check>,
}

/// The two ways of the manifest; the machine knows only steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    BlueGreen,
    Canary,
}

/// When a difference is harmful.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgeSettings {
    /// Relative to stable's share of errors: 0.2 is +20 %.
    pub error_margin: f64,
    /// Added to it, a fraction of one: 0.0001 is 0.01 points of percent.
    pub error_floor: f64,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self { error_margin: 0.20, error_floor: 0.0001 }
    }
}

/// Commands around a deployment, run in the folder the manifest lies in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    #[serde(default)]
    pub before_deploy: Vec<String>,
    #[serde(default)]
    pub after_deploy: Vec<String>,
}

/// A question asked of the candidate, once before traffic or once after the last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub name: String,
    pub when: When,
    pub deadline: Millis,
    #[serde(flatten)]
    pub ask: Ask,
}

/// When a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the candidate gets any request.
    Before,
    /// When it has full weight.
    After,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Runs a program; exit code 0 passes.
    Command(Vec<String>),
    /// Asks for a path of the candidate itself; 200–399 passes.
    Url(String),
}

/// What belongs to the target rather than to a release: applied at once, never rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetSettings {
    pub hosts: Vec<String>,
    pub paths: Vec<String>,
    pub strip_path: bool,
    pub templates: Vec<String>,
    pub replicas: ReplicaBounds,
}

/// How many replicas, and how many at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaBounds {
    pub min: u32,
    pub max: u32,
}

impl Default for TargetSettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            paths: Vec::new(),
            strip_path: false,
            templates: Vec::new(),
            replicas: ReplicaBounds { min: 1, max: 1 },
        }
    }
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self::with_bakes(Strategy::BlueGreen, vec![Weight::FULL], Millis::seconds(600), Millis::seconds(120))
    }
}

impl RolloutSettings {
    /// Returns the defaults of the manifest for these steps and bakes, the deadline computed from them.
    pub fn with_bakes(strategy: Strategy, steps: Vec<Weight>, bake: Millis, step_bake: Millis) -> Self {
        let deadline = Self::deadline_for(steps.len(), bake, step_bake);
        Self {
            strategy,
            steps,
            bake,
            step_bake,
            drain: Millis::seconds(30),
            deadline,
            keep_hot: Millis::seconds(600),
            candidate_replicas: None,
            sticky: None,
            allow: None,
            connections: Connections::default(),
            judge: JudgeSettings::default(),
            hooks: Hooks::default(),
            checks: Vec::new(),
        }
    }

    /// Returns twice the least time the steps need, and ten minutes for starting and checking.
    pub fn deadline_for(steps: usize, bake: Millis, step_bake: Millis) -> Millis {
        let least = Self::least_time(steps, bake, step_bake);
        Millis(least.0.saturating_mul(2)).plus(Millis::seconds(600))
    }

    /// Returns the time the bakes alone take.
    pub fn least_time(steps: usize, bake: Millis, step_bake: Millis) -> Millis {
        let others = steps.saturating_sub(1) as u64;
        Millis(step_bake.0.saturating_mul(others)).plus(bake)
    }

    /// Returns how long a step is watched; `step` counts from 0.
    pub fn bake_of(&self, step: usize) -> Millis {
        if step + 1 >= self.steps.len() { self.bake } else { self.step_bake }
    }
}
