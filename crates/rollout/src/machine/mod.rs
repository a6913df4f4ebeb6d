//! Decides what a rollout does next, from what is known; changes only by events. Reads no clock and touches nothing.
//! `decide` judges, `apply` remembers, `desired` says what should be; see `engine::controller` for who calls them.
//! `decide` asks in this order: `signals` (must it go back?), `advance` (may it go on?), `departing` (what is on its way out?).

mod advance;
mod apply;
mod command;
mod decide;
mod departing;
mod desired;
mod monitor;
mod routing;
mod signals;
mod state;
mod stopwatch;
#[cfg(test)]
mod tests;
mod world;

pub use command::{Answer, DeployIntent, OperatorCommand, Refusal};
pub use decide::Fact;
pub use desired::{Desired, Wanted, WantedTask};
pub use monitor::{MonitorAnswer, MonitorRound, MonitorState};
pub use state::{Deployment, Hot, KnownKey, Leaving, PROVEN_MAX, Phase, State};
pub use stopwatch::Stopwatch;
pub use world::{EdgeWorld, Presence, ReplicaWorld, World};
