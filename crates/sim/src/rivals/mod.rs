//! Decides as others do: the procedures people run today, fed the same seconds as our judge. Refuses to improve them;
//! where a source leaves something open it is modelled in the procedure's favour, and its file says so.

mod alarm;
mod argo;
mod flagger;
mod health_monitor;
pub mod kayenta;
mod oracle;
mod sequential;

#[cfg(test)]
mod tests;

pub use alarm::{Alarm, Limits};
pub use argo::Argo;
pub use flagger::Flagger;
pub use health_monitor::HealthMonitor;
pub use kayenta::Kayenta;
pub use oracle::Oracle;
pub use sequential::Sequential;

use crate::traffic::{Second, Traffic};

/// Watches a candidate second by second.
pub trait Decider {
    /// Looks at one more second. Says whether the candidate is taken back at its end; not asked again after that.
    fn rolls_back(&mut self, second: &Second) -> bool;
}

/// The procedures we stand beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    HealthMonitor,
    AlarmStatic,
    AlarmTuned,
    ArgoStep,
    ArgoBackground,
    Flagger,
    KayentaOnce,
    KayentaEveryMinute,
    Sequential,
    Oracle,
}

impl Rival {
    pub const ALL: [Rival; 10] = [
        Rival::HealthMonitor,
        Rival::AlarmStatic,
        Rival::AlarmTuned,
        Rival::ArgoStep,
        Rival::ArgoBackground,
        Rival::Flagger,
        Rival::KayentaOnce,
        Rival::KayentaEveryMinute,
        Rival::Sequential,
        Rival::Oracle,
    ];

    /// Returns what a table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HealthMonitor => "strategy's HealthMonitor",
            Self::AlarmStatic => "CloudWatch 2x60 s, static",
            Self::AlarmTuned => "CloudWatch 2x60 s, tuned",
            Self::ArgoStep => "Argo step example",
            Self::ArgoBackground => "Argo background example",
            Self::Flagger => "Flagger default",
            Self::KayentaOnce => "Kayenta once at 10 min",
            Self::KayentaEveryMinute => "Kayenta every minute",
            Self::Sequential => "Netflix sequential test",
            Self::Oracle => "oracle SPRT (knows rates, onset)",
        }
    }

    /// Returns the procedure ready for one watch of this traffic.
    pub fn decider(self, traffic: &Traffic) -> Box<dyn Decider> {
        match self {
            Self::HealthMonitor => Box::new(HealthMonitor::default()),
            Self::AlarmStatic => Box::new(Alarm::new(Limits::STATIC)),
            Self::AlarmTuned => Box::new(Alarm::new(Limits::tuned(&traffic.scene))),
            Self::ArgoStep => Box::new(Argo::step_example()),
            Self::ArgoBackground => Box::new(Argo::background_example()),
            Self::Flagger => Box::new(Flagger::default()),
            Self::KayentaOnce => Box::new(Kayenta::once()),
            Self::KayentaEveryMinute => Box::new(Kayenta::every_minute()),
            Self::Sequential => Box::new(Sequential::default()),
            Self::Oracle => Box::new(Oracle::new(traffic)),
        }
    }
}
