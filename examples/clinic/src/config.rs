//! Reads the settings from the environment, once, all errors at once. Opens nothing; README.md explains each.

use crate::faults::{Faults, Leak, Share};
use crate::trouble::Trouble;
use axum::http::HeaderValue;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// An hour: longer waits than this are a mistake in a demo.
const MS_MAX: u64 = 3_600_000;

/// Everything the clinic can be told.
pub struct Config {
    pub listen: SocketAddr,
    pub version: HeaderValue,
    pub store: StoreConfig,
    pub redis_url: Option<String>,
    /// How long requests in flight may go on after SIGTERM.
    pub drain: Duration,
    /// How long open connections are told to close, with an answer, before idle ones are ended.
    pub linger: Duration,
    /// Between two pings on a WebSocket.
    pub ping: Duration,
    pub faults: Faults,
}

/// Where appointments are kept.
pub enum StoreConfig {
    Sqlite(PathBuf),
    /// A URL, which may carry a password: never printed.
    Postgres(String),
}

impl Config {
    /// Reads every setting through `look`; an empty value counts as unset.
    pub fn read(look: impl Fn(&str) -> Option<String>) -> Result<Self, Trouble> {
        let mut reader = Reader { look: &look, errors: Vec::new() };
        let config = Self {
            listen: SocketAddr::new(reader.host(), reader.number("PORT", 8080, 65535) as u16),
            version: reader.version(),
            store: reader.store(),
            redis_url: reader.text("REDIS_URL"),
            drain: reader.millis("CLINIC_DRAIN_MS").unwrap_or(Duration::from_secs(10)),
            linger: reader.millis("CLINIC_LINGER_MS").unwrap_or(Duration::from_millis(300)),
            ping: reader.ping(),
            faults: reader.faults(),
        };
        if reader.errors.is_empty() { Ok(config) } else { Err(Trouble::settings(&reader.errors)) }
    }
}

struct Reader<'a> {
    look: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.look)(name).filter(|value| !value.is_empty())
    }

    fn wrong(&mut self, name: &str, value: &str, wanted: &str) {
        self.errors.push(format!("{name} is {value:?}, not {wanted}"));
    }

    fn number(&mut self, name: &str, default: u64, max: u64) -> u64 {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if number <= max => number,
            _ => {
                self.wrong(name, &text, &format!("a whole number up to {max}"));
                default
            }
        }
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        self.text(name)?;
        Some(Duration::from_millis(self.number(name, 0, MS_MAX)))
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                self.wrong(name, other, "1 or 0");
                false
            }
        }
    }

    fn host(&mut self) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.text("HOST").as_deref() {
            None | Some("localhost") => loopback,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.wrong("HOST", text, "an IP address");
                loopback
            }),
        }
    }

    fn version(&mut self) -> HeaderValue {
        let text = self.text("CLINIC_VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").into());
        match HeaderValue::from_str(&text) {
            Ok(value) if text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) => value,
            _ => {
                self.wrong("CLINIC_VERSION", &text, "up to 64 visible ASCII characters");
                HeaderValue::from_static("unknown")
            }
        }
    }

    fn store(&mut self) -> StoreConfig {
        if let Some(url) = self.text("DATABASE_URL") {
            return StoreConfig::Postgres(url);
        }
        if let Some(path) = self.text("CLINIC_DB") {
            return StoreConfig::Sqlite(path.into());
        }
        // Not the working directory: releases run in folders of their own and must share one file.
        let state = self.text("XDG_STATE_HOME").map(PathBuf::from);
        let home = || self.text("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        match state.or_else(home) {
            Some(state) => StoreConfig::Sqlite(state.join("clinic/clinic.db")),
            None => {
                self.errors.push("none of DATABASE_URL, CLINIC_DB, XDG_STATE_HOME and HOME is set".into());
                StoreConfig::Sqlite(PathBuf::new())
            }
        }
    }

    fn ping(&mut self) -> Duration {
        match self.number("CLINIC_WS_PING_MS", 5000, MS_MAX) {
            0 => {
                self.wrong("CLINIC_WS_PING_MS", "0", "a pause between two pings");
                Duration::from_secs(5)
            }
            ms => Duration::from_millis(ms),
        }
    }

    fn faults(&mut self) -> Faults {
        let seed = self.text("CLINIC_FAIL_SEED").map(|_| self.number("CLINIC_FAIL_SEED", 0, u64::MAX));
        let mib_max = self.number("CLINIC_LEAK_MAX_MIB", 256, 65_536) as usize;
        Faults {
            fail: Share::new(self.percent("CLINIC_FAIL_PERCENT", 0), seed),
            slowed: Share::new(self.percent("CLINIC_SLOW_PERCENT", 10_000), seed),
            leak: Leak::new(self.number("CLINIC_LEAK_KIB", 0, 65_536) as usize * 1024, mib_max << 20),
            after: self.millis("CLINIC_FAIL_AFTER_MS").unwrap_or_default(),
            route: self.text("CLINIC_FAIL_ROUTE").unwrap_or_else(|| "/api/".into()),
            slow: self.millis("CLINIC_SLOW_MS").unwrap_or_default(),
            start: self.millis("CLINIC_START_MS").unwrap_or_default(),
            never_ready: self.flag("CLINIC_NEVER_READY"),
            crash_after: self.millis("CLINIC_CRASH_AFTER_MS"),
            live_fail_after: self.millis("CLINIC_LIVE_FAIL_AFTER_MS"),
        }
    }

    /// Reads a percentage with up to two decimals, in hundredths.
    fn percent(&mut self, name: &str, default: u64) -> u64 {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => (percent * 100.0).round() as u64,
            _ => {
                self.wrong(name, &text, "a percentage from 0 to 100");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, Trouble> {
        Config::read(|name| settings.iter().find(|entry| entry.0 == name).map(|entry| entry.1.into()))
    }

    #[test]
    fn without_settings_it_serves_on_loopback_from_the_state_folder_of_the_user() {
        let config = read(&[("HOME", "/home/u"), ("CLINIC_VERSION", "")]).ok().unwrap();

        assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(config.version, env!("CARGO_PKG_VERSION"));
        assert!(
            matches!(config.store, StoreConfig::Sqlite(path) if path.ends_with(".local/state/clinic/clinic.db"))
        );
        assert_eq!(config.drain, Duration::from_secs(10));
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let trouble = read(&[
            ("HOST", "clinic"),
            ("PORT", "70000"),
            ("CLINIC_VERSION", "two words"),
            ("CLINIC_FAIL_PERCENT", "101"),
            ("CLINIC_NEVER_READY", "maybe"),
            ("CLINIC_DRAIN_MS", "10s"),
        ])
        .err()
        .unwrap()
        .to_string();

        for name in [
            "HOST",
            "PORT",
            "CLINIC_VERSION",
            "CLINIC_FAIL_PERCENT",
            "CLINIC_NEVER_READY",
            "CLINIC_DRAIN_MS",
            "CLINIC_DB",
        ] {
            assert!(trouble.contains(name), "{name} is missing in {trouble}");
        }
    }

    #[test]
    fn a_database_wins_over_a_file_and_its_password_is_not_printed() {
        let settings = [("DATABASE_URL", "postgres://u:hunter2@h/d"), ("CLINIC_DB", "x.db"), ("PORT", "x")];
        assert!(!read(&settings).err().unwrap().to_string().contains("hunter2"));
        assert!(matches!(read(&settings[..2]).ok().unwrap().store, StoreConfig::Postgres(_)));
    }
}
