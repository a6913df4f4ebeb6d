//! Adds up stable's traffic by time: half-hours of the last week, of which those of the last day know latencies and
//! routes, and minutes of the last hour. Keeps no request; see `blocks` for what the judge is calibrated on.

use meter::histogram::Histogram;
use meter::wire::CountRow;
use rollout::names::Revision;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Half-hours of a UTC day.
pub const HALF_HOURS_A_DAY: usize = 48;
const HALF_HOUR_SECONDS: u64 = 1800;
/// The season is that of a week.
const WEEK: u64 = 7 * HALF_HOURS_A_DAY as u64;
const DAY: u64 = HALF_HOURS_A_DAY as u64;
const MINUTE_SECONDS: u64 = 60;
const HOUR_MINUTES: u64 = 60;
/// Routes told apart in a half-hour. They come from the manifest's templates, so more are a mistake there.
const ROUTES: usize = 200;

/// Requests and their errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    pub errors: u64,
    /// Those of one user on one endpoint within ten seconds counted once.
    pub errors_once: u64,
}

/// What the last hour had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// Seconds that were counted.
    pub seconds: u64,
    /// Of all revisions, without the allow list.
    pub requests: u64,
    pub stable: Tally,
}

impl Recent {
    /// Returns the service's requests in a second; 0 when nothing was counted.
    pub fn requests_per_second(&self) -> f64 {
        if self.seconds == 0 { 0.0 } else { self.requests as f64 / self.seconds as f64 }
    }
}

impl Tally {
    fn of(row: &CountRow) -> Self {
        Self {
            requests: row.requests.saturating_sub(row.client_aborts),
            errors: row.errors.total(),
            errors_once: row.errors_once(),
        }
    }

    fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.errors_once += other.errors_once;
    }
}

/// A half-hour of stable's traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HalfHour {
    tally: Tally,
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    latency: Histogram,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<String, Tally>,
}

impl HalfHour {
    fn add(&mut self, row: &CountRow) {
        let tally = Tally::of(row);
        self.tally.add(tally);
        self.latency.merge(&row.latency);
        let is_known = self.routes.len() < ROUTES || self.routes.contains_key(&row.route);
        if !row.route.is_empty() && is_known {
            self.routes.entry(row.route.clone()).or_default().add(tally);
        }
    }
}

/// A minute of the last hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Minute {
    number: u64,
    seconds: u64,
    requests: u64,
    stable: Tally,
}

/// Everything by time.
#[derive(Debug, Default)]
pub(super) struct Periods {
    /// By their number since the Unix epoch.
    half_hours: BTreeMap<u64, HalfHour>,
    minutes: VecDeque<Minute>,
    /// Half-hours that are not on disk as they are here.
    changed: BTreeSet<u64>,
    /// The half-hour of the last second.
    now: u64,
}

impl Periods {
    pub(super) fn restore(half_hours: BTreeMap<u64, HalfHour>, minutes: VecDeque<Minute>) -> Self {
        let now = half_hours.last_key_value().map_or(0, |(number, _)| *number);
        Self { half_hours, minutes, changed: BTreeSet::new(), now }
    }

    pub(super) fn add(&mut self, second: u64, rows: &[&CountRow], stable: Revision) {
        let judged = || rows.iter().filter(|row| !row.allowed);
        let stables = || judged().filter(|row| row.revision == stable.0);
        self.turn_to(second / HALF_HOUR_SECONDS);
        let half_hour = self.half_hours.entry(self.now).or_default();
        stables().for_each(|row| half_hour.add(row));
        let minute = self.minute(second / MINUTE_SECONDS);
        minute.seconds += 1;
        minute.requests += judged().map(|row| Tally::of(row).requests).sum::<u64>();
        stables().for_each(|row| minute.stable.add(Tally::of(row)));
    }

    /// Begins another half-hour: what is older than a week goes, and of what is older than a day all but the errors.
    fn turn_to(&mut self, number: u64) {
        self.changed.insert(number);
        if number == self.now {
            return;
        }
        self.now = number;
        self.half_hours.retain(|known, _| known.abs_diff(number) < WEEK);
        for (known, half_hour) in &mut self.half_hours {
            let aged = known.abs_diff(number) >= DAY;
            if aged && !(half_hour.latency.is_empty() && half_hour.routes.is_empty()) {
                (half_hour.latency, half_hour.routes) = Default::default();
                self.changed.insert(*known);
            }
        }
    }

    fn minute(&mut self, number: u64) -> &mut Minute {
        self.minutes.retain(|minute| minute.number.abs_diff(number) < HOUR_MINUTES);
        if self.minutes.back().is_none_or(|minute| minute.number != number) {
            self.minutes.push_back(Minute { number, ..Minute::default() });
        }
        self.minutes.back_mut().expect("BUG: one was just put there")
    }

    /// Returns the number of the half-hour of the last second.
    pub(super) fn half_hour(&self) -> u64 {
        self.now
    }

    /// Returns how many latencies of the last day are known.
    pub(super) fn timed(&self) -> u64 {
        self.half_hours.values().map(|half_hour| half_hour.latency.count()).sum()
    }

    pub(super) fn latency(&self) -> Histogram {
        let mut latency = Histogram::default();
        self.half_hours.values().for_each(|half_hour| latency.merge(&half_hour.latency));
        latency
    }

    /// Returns requests and errors of the last day.
    pub(super) fn day(&self) -> Tally {
        let mut day = Tally::default();
        let half_hours = self.half_hours.iter().filter(|(number, _)| number.abs_diff(self.now) < DAY);
        half_hours.for_each(|(_, half_hour)| day.add(half_hour.tally));
        day
    }

    pub(super) fn seasonal(&self) -> [Tally; HALF_HOURS_A_DAY] {
        let mut season = [Tally::default(); HALF_HOURS_A_DAY];
        for (number, half_hour) in &self.half_hours {
            season[(number % DAY) as usize].add(half_hour.tally);
        }
        season
    }

    pub(super) fn routes(&self) -> Vec<(String, Tally)> {
        let mut sums: BTreeMap<&str, Tally> = BTreeMap::new();
        for (route, tally) in self.half_hours.values().flat_map(|half_hour| &half_hour.routes) {
            sums.entry(route).or_default().add(*tally);
        }
        let mut routes: Vec<(String, Tally)> =
            sums.into_iter().map(|(route, tally)| (route.to_owned(), tally)).collect();
        routes.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.requests));
        routes.truncate(ROUTES);
        routes
    }

    pub(super) fn recent(&self) -> Recent {
        let mut recent = Recent::default();
        for minute in &self.minutes {
            recent.seconds += minute.seconds;
            recent.requests += minute.requests;
            recent.stable.add(minute.stable);
        }
        recent
    }

    pub(super) fn minutes(&self) -> &VecDeque<Minute> {
        &self.minutes
    }

    /// Returns the half-hours that are not on disk as they are here.
    pub(super) fn changed(&self) -> impl Iterator<Item = (u64, &HalfHour)> {
        self.changed.iter().filter_map(|number| Some((*number, self.half_hours.get(number)?)))
    }

    /// Returns the numbers of the oldest and the newest half-hour known.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((*self.half_hours.first_key_value()?.0, *self.half_hours.last_key_value()?.0))
    }

    /// Notes that everything is on disk.
    pub(super) fn saved(&mut self) {
        self.changed.clear();
    }
}
