//! Reads and writes times the way people do: `30s`, `10m`, `2026-11-22 10:00:00`. Refuses a number without a unit.

use rollout::names::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads `350ms`, `30s`, `10m`, `1h`, also with a fraction: `2.5s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" => return Err("it has no unit: write 30s, 10m or 1h".to_owned()),
        _ => return Err("write a number with ms, s, m or h: 30s".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "write a number with ms, s, m or h: 30s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds_per).map_err(|_| "it is out of bounds".to_owned())
}

/// Reads `0.1%` as a fraction of one.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').ok_or("it has no unit: write 0.1%")?;
    let number: f64 = number.trim().parse().map_err(|_| "write a number and %: 0.1%".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number / 100.0)
    } else {
        Err("it is not between 0% and 100%".to_owned())
    }
}

/// Reads requests a second.
pub fn rate(text: &str) -> Result<f64, String> {
    const MOST: f64 = 1e6;
    let number: f64 =
        text.trim().parse().map_err(|_| "write a number of requests a second: 50".to_owned())?;
    if number > 0.0 && number <= MOST {
        Ok(number)
    } else {
        Err(format!("it is not above 0 and at most {MOST}"))
    }
}

/// Writes a duration as the rest of the output does.
pub fn spoken(duration: Duration) -> String {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
}

/// Returns the wall clock in milliseconds since the Unix epoch.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Writes a moment as UTC: `2026-11-22 10:00:00`.
pub fn date_time(at: Millis) -> String {
    let text = at.rfc3339();
    text.split('.').next().unwrap_or(&text).replace('T', " ")
}

/// Writes today's date, UTC: `2026-11-22`.
pub fn today() -> String {
    date_time(now()).chars().take(10).collect()
}

/// Writes the time of day of a moment, UTC: `10:00:00`.
pub fn clock(at: Millis) -> String {
    let text = date_time(at);
    text.split(' ').next_back().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("350ms"), Ok(Duration::from_millis(350)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2.5m"), Ok(Duration::from_secs(150)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn a_bare_number_a_wrong_unit_and_nonsense_are_refused() {
        for text in ["30", "", "5 apples", "s", "-1s", "1e400s", "1..2s"] {
            assert!(duration(text).is_err(), "`{text}` was accepted");
        }
    }

    #[test]
    fn percentages_need_their_sign_and_rates_a_limit() {
        assert_eq!(percent("0.1%"), Ok(0.001));
        assert_eq!(percent("100 %"), Ok(1.0));
        for text in ["0.1", "101%", "-1%", "x%", "NaN%"] {
            assert!(percent(text).is_err(), "`{text}` was accepted");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "NaN", "2e6", "many"] {
            assert!(rate(text).is_err(), "`{text}` was accepted");
        }
    }

    #[test]
    fn moments_are_written_as_calendar_dates() {
        assert_eq!(date_time(Millis(0)), "1970-01-01 00:00:00");
        assert_eq!(date_time(Millis(951_782_400_000)), "2000-02-29 00:00:00");
        assert_eq!(date_time(Millis(1_795_341_600_123)), "2026-11-22 10:00:00");
    }
}
