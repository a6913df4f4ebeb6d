//! Names the things a rollout speaks of: ids that cannot be mixed up, weights that cannot exceed 100.
//! Refuses to know what an id points at; see `machine` for the state they label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Declares a name: a string with a type of its own.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

name!(
    /// What users call: `web`.
    Service
);
name!(
    /// An immutable artefact with its configuration: lower-case hex of a SHA-256.
    Release
);
name!(
    /// A name a person gave to a release (`--version`); never part of its identity.
    Label
);
name!(
    /// One attempt to make a revision stable: `d-7`.
    DeploymentId
);
name!(
    /// One running copy of a revision: `web-3-1`.
    ReplicaId
);
name!(
    /// Who asked: `uid:1000`, `engine`.
    Actor
);

impl Release {
    /// Returns the first twelve characters, enough for people to tell releases apart.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// A service in an environment. One stable revision, one controller, one journal file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub service: Service,
    pub environment: String,
}

impl Target {
    pub fn new(service: impl Into<String>, environment: impl Into<String>) -> Self {
        Self { service: Service::new(service), environment: environment.into() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.environment)
    }
}

/// The text is not `service@environment`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read `{0}` as a target: it is not written `service@environment`")]
pub struct TargetError(pub String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('@') {
            Some((service, environment)) if !environment.is_empty() && !environment.contains('@') => {
                Ok(Self::new(service, environment))
            }
            _ => Err(TargetError(text.to_owned())),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "service@environment" })
    }
}

/// A release placed on a target, numbered from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds: since the Unix epoch where it is a moment (`at`, `now`, `until`), else a duration.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the moment `duration` later; the end of time rather than an overflow.
    pub const fn plus(self, duration: Millis) -> Millis {
        Millis(self.0.saturating_add(duration.0))
    }

    /// Returns the time passed since `earlier`; zero when it lies ahead.
    pub const fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Millis {
    /// Writes a moment as RFC 3339 in UTC: `2026-11-22T10:00:00.123Z`.
    pub fn rfc3339(self) -> String {
        let (days, second) = (self.0 / 86_400_000, self.0 / 1000 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.0 % 1000)
    }
}

/// Turns days since 1970-01-01 into a Gregorian date. Source: H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

impl fmt::Display for Millis {
    /// Writes a duration as people write it: `350ms`, `2.5s`, `10m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 1000 => write!(f, "{ms}ms"),
            ms if ms < 60_000 && ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms if ms < 60_000 => write!(f, "{}.{}s", ms / 1000, ms % 1000 / 100),
            ms if ms < 3_600_000 && ms % 60_000 < 1000 => write!(f, "{}m", ms / 60_000),
            ms if ms < 3_600_000 => write!(f, "{}m{}s", ms / 60_000, ms % 60_000 / 1000),
            ms => write!(f, "{}h{}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        }
    }
}

/// A share of traffic in percent, 0 to 100.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Weight(u8);

/// The number is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use {0} as a weight: it is a percentage, 0 to 100")]
pub struct WeightError(pub u8);

impl Weight {
    pub const NONE: Weight = Weight(0);
    pub const ONE: Weight = Weight(1);
    pub const FIVE: Weight = Weight(5);
    pub const FULL: Weight = Weight(100);

    pub const fn new(percent: u8) -> Result<Self, WeightError> {
        if percent > 100 { Err(WeightError(percent)) } else { Ok(Self(percent)) }
    }

    pub const fn percent(self) -> u8 {
        self.0
    }

    /// Returns what is left of all.
    pub const fn rest(self) -> Weight {
        Weight(100 - self.0)
    }

    /// Returns the share as a fraction of one.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl TryFrom<u8> for Weight {
    type Error = WeightError;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        Self::new(percent)
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> u8 {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Orders the writers of a target: the lease's epoch first, then the place in the journal.
/// Drivers and the edge accept the same or a newer one and refuse an older.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
pub struct Generation {
    pub epoch: u64,
    pub seq: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_341_600_123, "2026-11-22T10:00:00.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Millis(at).rfc3339(), text);
        }
    }
}
