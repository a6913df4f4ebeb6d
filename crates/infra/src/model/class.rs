//! Says what an environment is made of when the manifest is silent: by its class.

use serde::Serialize;

/// What an environment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Production,
    Staging,
    Development,
}

impl Class {
    /// Returns the class the manifest names, or the one the environment's name says.
    pub fn of(written: Option<&str>, environment: &str) -> Self {
        match written.unwrap_or(environment) {
            "production" => Self::Production,
            "staging" => Self::Staging,
            // Whoever gives an environment a name of their own says what it is for, or gets the cheapest.
            _ => Self::Development,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }

    pub fn defaults(self) -> Defaults {
        match self {
            Self::Production => Defaults {
                cidr: "10.0.0.0/16",
                zones: 3,
                nat: "per-zone",
                database: "db.m7g.large",
                storage_gib: (100, 500),
                multi_az: true,
                backup_days: 35,
                protect: true,
                node: "cache.m7g.large",
                nodes: 2,
                snapshots: 7,
                cdn: "cloudfront",
                restore_test: "weekly",
                branch: "main",
            },
            Self::Staging => Defaults {
                cidr: "10.1.0.0/16",
                database: "db.t4g.large",
                storage_gib: (50, 200),
                backup_days: 7,
                node: "cache.t4g.medium",
                restore_test: "monthly",
                branch: "staging",
                ..Self::Production.defaults()
            },
            Self::Development => Defaults {
                cidr: "10.2.0.0/16",
                zones: 2,
                nat: "single",
                database: "db.t4g.medium",
                storage_gib: (20, 50),
                multi_az: false,
                backup_days: 1,
                protect: false,
                node: "cache.t4g.small",
                nodes: 1,
                snapshots: 1,
                cdn: "none",
                restore_test: "off",
                branch: "develop",
            },
        }
    }
}

/// Sizes of a class. Ours, not the strategy's: it leaves them to variables without values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub cidr: &'static str,
    pub zones: u32,
    pub nat: &'static str,
    pub database: &'static str,
    /// At first, at most.
    pub storage_gib: (u64, u64),
    pub multi_az: bool,
    pub backup_days: u32,
    pub protect: bool,
    pub node: &'static str,
    pub nodes: u32,
    pub snapshots: u32,
    pub cdn: &'static str,
    pub restore_test: &'static str,
    pub branch: &'static str,
}

/// Services of AWS reached without the internet; the last, S3, is a gateway and costs nothing.
pub const ENDPOINTS: [&str; 7] = ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "kms", "sts", "s3"];

/// Memory of instance classes in MiB, for what is a share of it: connections, thresholds of alarms.
/// Source: instance types of the Amazon RDS and ElastiCache user guides.
pub fn memory_mib(class: &str) -> Option<u64> {
    let (family, size) = class.rsplit_once('.')?;
    let per_large = match family.trim_start_matches("db.").trim_start_matches("cache.") {
        "m5" | "m6g" | "m6i" | "m6gd" | "m7g" | "m7i" | "m8g" | "t3" | "t4g" => 8,
        "r5" | "r6g" | "r6i" | "r7g" | "r7i" | "r8g" => 16,
        _ => return None,
    };
    let sixteenths = match size {
        "micro" => 2,
        "small" => 4,
        "medium" => 8,
        "large" => 16,
        "xlarge" => 32,
        "2xlarge" => 64,
        "4xlarge" => 128,
        "8xlarge" => 256,
        "12xlarge" => 384,
        "16xlarge" => 512,
        _ => return None,
    };
    Some(per_large * 1024 * sixteenths / 16)
}

/// Returns RDS's default `max_connections` for PostgreSQL: LEAST(memory / 9531392, 5000).
pub fn max_connections(class: &str) -> Option<u64> {
    Some((memory_mib(class)? * (1 << 20) / 9_531_392).min(5000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_memory_of_the_class() {
        assert_eq!(memory_mib("db.m7g.large"), Some(8192));
        assert_eq!(memory_mib("db.t4g.medium"), Some(4096));
        assert_eq!(max_connections("db.m7g.large"), Some(901));
        assert_eq!(max_connections("db.m7g.16xlarge"), Some(5000));
        assert_eq!(max_connections("db.z9.large"), None);
    }

    #[test]
    fn the_name_says_the_class_unless_the_manifest_does() {
        assert_eq!(Class::of(None, "production"), Class::Production);
        assert_eq!(Class::of(Some("staging"), "production"), Class::Staging);
        assert_eq!(Class::of(None, "preview"), Class::Development);
    }
}
