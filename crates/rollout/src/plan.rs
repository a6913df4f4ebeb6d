//! Says how a release reaches its users: steps, how long each is watched, what ends it.
//! Only numbers and their meaning; `machine` walks them, `manifest` reads and bounds them.

use crate::guard::{GuardSettings, HeaderSettings};
use crate::mirror::Mirror;
use crate::names::{Millis, Weight};
use crate::pages::Pages;
use crate::routes::{Allow, Connections, Shield, Sticky, UserKey};
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
    /// The earliest end of a bake, for a candidate proven safe. None: two minutes, or the bake where that is shorter.
    #[serde(default)]
    pub bake_min: Option<Millis>,
    /// How far doubt may extend the last bake. None: three times the bake.
    #[serde(default)]
    pub bake_max: Option<Millis>,
    /// What stays on stable during the last bake and moves with the promotion; none: nothing.
    #[serde(default)]
    pub hold_back: Weight,
    /// What happens when the bake cannot be extended any more and nothing is proven.
    #[serde(default)]
    pub unproven: Unproven,
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
    /// None: a request that failed is not sent again.
    #[serde(default)]
    pub shield: Option<Shield>,
    /// Whether hashed files of one release are asked of the others that are alive.
    #[serde(default = "yes")]
    pub assets: bool,
    pub judge: JudgeSettings,
    pub hooks: Hooks,
    pub checks: Vec<Check>,
    /// Named checks asked again and again while the candidate is watched.
    #[serde(default)]
    pub monitor: Option<Monitor>,
    /// How it is kept known that a rollback could start.
    #[serde(default)]
    pub readiness: Readiness,
    /// Copies of requests to the candidate before it gets any of its own. None: no copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// How often it is found out whether what a rollback would start could start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Between looks at the stored artefact.
    pub every: Millis,
    /// Between starts in a spare slot, the first once it no longer runs. None: it is never started to try.
    pub spare: Option<Millis>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { every: Millis::seconds(30), spare: Some(Millis::seconds(6 * 3600)) }
    }
}

/// What becomes of a release about which too little is known, at the end of its last bake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unproven {
    /// It is promoted, and called unproven.
    #[default]
    Promote,
    /// It is held until it is proven, or the deadline ends it.
    Hold,
    /// It goes back.
    Return,
}

/// The two ways of the manifest; the machine knows only steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    BlueGreen,
    Canary,
}

/// When a difference is harmful, and how often a harmless release may be taken back (rollback.md 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgeSettings {
    /// Relative to stable's share of errors: 0.2 is +20 %.
    pub error_margin: f64,
    /// Added to it, a fraction of one: 0.0001 is 0.01 points of percent.
    pub error_floor: f64,
    #[serde(default)]
    pub latency: LatencySettings,
    /// Bound on the probability that a release no worse than stable is taken back, over all tests of a deployment.
    #[serde(default = "false_rollback")]
    pub false_rollback: f64,
    /// Tells users apart, so that failures of one user on one endpoint within ten seconds count once.
    #[serde(default)]
    pub user: Option<UserKey>,
    /// Requests of our own where traffic is thin.
    #[serde(default)]
    pub probes: Option<Probes>,
    /// A look at one percent of the requests before the first step, this long.
    #[serde(default)]
    pub first_look: Option<Millis>,
}

/// Which latencies are compared, and from where on a difference is harmful.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySettings {
    /// Shares of the requests, rising, at most four; empty: latency is not judged.
    pub quantiles: Vec<f64>,
    /// Harmless slowness in histogram buckets, 32 to a doubling: 2 are 4.4 %.
    pub margin_buckets: u8,
    /// How long a starting candidate's latencies are left out.
    #[serde(default)]
    pub warm_up: Millis,
}

/// Synthetic requests to each version, marked as such in the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probes {
    pub path: String,
    pub every: Millis,
}

const fn false_rollback() -> f64 {
    0.01
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            error_margin: 0.20,
            error_floor: 0.0001,
            latency: LatencySettings::default(),
            false_rollback: false_rollback(),
            user: None,
            probes: None,
            first_look: None,
        }
    }
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self { quantiles: vec![0.5, 0.9, 0.99, 0.999], margin_buckets: 2, warm_up: Millis(0) }
    }
}

/// Named checks and the rule over them. Asked of the candidate and of stable alike, so that a failure has an owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Monitor {
    pub every: Millis,
    /// From the candidate's first request on. None: as long as it is watched.
    pub during: Option<Millis>,
    /// Checks failing at the same time that take the release back.
    pub failing: u32,
    /// Whether a check that fails on stable too is held rather than blamed.
    pub attribute: bool,
    pub checks: Vec<MonitorCheck>,
}

/// One named check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorCheck {
    pub name: String,
    pub ask: MonitorAsk,
    /// An answer must come within this time.
    pub deadline: Millis,
    /// Failures in a row from which on it counts as failing.
    pub failures: u32,
}

/// What a named check looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MonitorAsk {
    /// Asks a replica for this path; 200–399 passes.
    Url(String),
    /// Fails when more than this share of the last minute's requests failed, a fraction of one.
    ErrorRate(f64),
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
    #[serde(default)]
    pub guard: Option<GuardSettings>,
    #[serde(default)]
    pub headers: Option<HeaderSettings>,
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub pages: Pages,
    /// Requests one replica carries at a time; those beyond are refused.
    #[serde(default = "in_flight")]
    pub in_flight: u32,
    /// Whether its requests are in the access log.
    #[serde(default = "yes")]
    pub access_log: bool,
}

/// More than a replica that is well has at any time; with more, its answers come too late for anybody.
pub(crate) const fn in_flight() -> u32 {
    4096
}

pub(crate) const fn yes() -> bool {
    true
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
            guard: None,
            headers: None,
            pages: Pages::default(),
            in_flight: in_flight(),
            access_log: true,
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
        let mut settings = Self {
            strategy,
            steps,
            bake,
            step_bake,
            bake_min: None,
            bake_max: None,
            hold_back: Self::hold_back_for(strategy),
            unproven: Unproven::default(),
            drain: Millis::seconds(30),
            deadline: Millis(0),
            keep_hot: Millis::seconds(600),
            candidate_replicas: None,
            sticky: None,
            allow: None,
            connections: Connections::default(),
            shield: Some(Shield::default()),
            assets: true,
            judge: JudgeSettings::default(),
            hooks: Hooks::default(),
            checks: Vec::new(),
            monitor: None,
            readiness: Readiness::default(),
            mirror: None,
        };
        settings.deadline = settings.deadline_enough();
        settings
    }

    /// Returns what a strategy leaves on stable during its last bake; blue-green has the hot release's probe as control.
    pub const fn hold_back_for(strategy: Strategy) -> Weight {
        match strategy {
            Strategy::BlueGreen => Weight::NONE,
            Strategy::Canary => Weight::FIVE,
        }
    }

    /// Returns the time all bakes take when each is extended as far as it may be, and ten minutes for starting and checking.
    pub fn deadline_enough(&self) -> Millis {
        let bakes = (0..self.steps.len()).map(|step| self.bake_max_of(step).0);
        Millis(bakes.fold(0, u64::saturating_add)).plus(Millis::seconds(600)).plus(self.mirrored())
    }

    /// Returns the time the bakes alone take.
    pub fn least_time(&self) -> Millis {
        let bakes = (0..self.steps.len()).map(|step| self.bake_of(step).0);
        Millis(bakes.fold(0, u64::saturating_add)).plus(self.mirrored())
    }

    /// Returns how long requests are copied to the candidate before the first step.
    pub fn mirrored(&self) -> Millis {
        self.mirror.as_ref().map_or(Millis(0), |mirror| mirror.during)
    }

    /// Puts a look at one percent of the requests before the first step, where the settings ask for one.
    pub fn look_first(&mut self) {
        let larger = self.steps.first().is_some_and(|first| *first > Weight::ONE);
        match self.judge.first_look {
            Some(look) if larger && look > Millis(0) => self.steps.insert(0, Weight::ONE),
            _ => self.judge.first_look = None,
        }
    }

    /// Returns how long a step lasts that is only a look.
    fn look(&self, step: usize) -> Option<Millis> {
        let looks = step == 0 && self.steps.len() > 1 && self.steps.first() == Some(&Weight::ONE);
        self.judge.first_look.filter(|_| looks)
    }

    /// Returns the share of the requests a step gives the candidate; the last leaves the hold-back on stable.
    pub fn weight_of(&self, step: usize) -> Weight {
        match self.steps.get(step).copied().unwrap_or(Weight::FULL) {
            Weight::FULL => self.hold_back.rest(),
            weight => weight,
        }
    }

    /// Returns how long a step is watched; `step` counts from 0.
    pub fn bake_of(&self, step: usize) -> Millis {
        if let Some(look) = self.look(step) {
            return look;
        }
        if step + 1 >= self.steps.len() { self.bake } else { self.step_bake }
    }

    /// Returns after how long a candidate proven safe may go on.
    pub fn bake_min_of(&self, step: usize) -> Millis {
        self.bake_min.unwrap_or(BAKE_MIN).min(self.bake_of(step))
    }

    /// Returns how long an early step may last when the evidence is half of what takes the candidate back.
    pub fn bake_suspected_of(&self, step: usize) -> Millis {
        Millis(self.bake_max_of(step).0.saturating_mul(BAKE_MAX_TIMES))
    }

    /// Returns how long doubt may make a step last: the last as said, the others in proportion, up to three times.
    pub fn bake_max_of(&self, step: usize) -> Millis {
        let bake = self.bake_of(step);
        match self.bake_max.filter(|_| self.look(step).is_none()) {
            None if self.look(step).is_some() => bake,
            None => Millis(bake.0.saturating_mul(BAKE_MAX_TIMES)),
            Some(max) if step + 1 >= self.steps.len() => max.max(bake),
            Some(max) => {
                let last = u128::from(self.bake.0.max(1));
                let longer = u128::from(bake.0) * u128::from(max.max(self.bake).0) / last;
                let most = bake.0.saturating_mul(BAKE_MAX_TIMES);
                Millis(u64::try_from(longer).unwrap_or(u64::MAX).min(most)).max(bake)
            }
        }
    }
}

/// The earliest end of a bake.
const BAKE_MIN: Millis = Millis::seconds(120);
/// How many times its length doubt may make a bake last.
const BAKE_MAX_TIMES: u64 = 3;
