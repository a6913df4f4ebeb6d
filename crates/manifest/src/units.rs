//! Reads the values people write with a unit: durations, sizes, percentages, port ranges.
//! Refuses bare numbers: `30` may be seconds or milliseconds, and the reader of a manifest must not guess.

use rollout::names::Millis;
use std::fmt;

/// A value that cannot be read: why, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub help: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: help.into() }
    }

    /// Returns what to do next.
    pub fn next(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

/// A unit's name and how many of the smallest unit it is worth. The largest first.
type Units = [(&'static str, u64)];

const TIME: &Units = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SPACE: &Units = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// What people write for our units elsewhere; only used to say what to write here.
const HABITS: &[(&str, &str)] = &[
    ("milliseconds", "ms"),
    ("millisecond", "ms"),
    ("millis", "ms"),
    ("msec", "ms"),
    ("seconds", "s"),
    ("second", "s"),
    ("secs", "s"),
    ("sec", "s"),
    ("minutes", "m"),
    ("minute", "m"),
    ("mins", "m"),
    ("min", "m"),
    ("hours", "h"),
    ("hour", "h"),
    ("hrs", "h"),
    ("hr", "h"),
    ("days", "d"),
    ("day", "d"),
];

/// Reads `500ms`, `30s`, `1m30s`, `2.5s`, `1h`, `7d`. Units: d, h, m, s, ms, the largest first.
pub fn duration(text: &str) -> Result<Millis, Refusal> {
    let help = || match suggested_duration(text) {
        Some(better) => format!("write \"{better}\""),
        None => "write a number and a unit, as \"500ms\", \"30s\", \"10m\", \"1h\" or \"1m30s\"".to_owned(),
    };
    with_units(text, TIME).map(Millis).map_err(|reason| Refusal::new(reason, help()))
}

/// Reads `2GiB`, `512MiB`, `1MB` to bytes. KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB of 1000.
pub fn size(text: &str) -> Result<u64, Refusal> {
    let help = || match suggested_size(text) {
        Some(better) => format!("write \"{better}\""),
        None => "write a number and a unit, as \"512MiB\" or \"2GiB\"".to_owned(),
    };
    with_units(text, SPACE).map_err(|reason| Refusal::new(reason, help()))
}

/// Reads `20%` or `0.01%` to a fraction of one.
pub fn percent(text: &str) -> Result<f64, Refusal> {
    percentage(text, "\"20%\" or \"0.01%\"").map(|number| number / 100.0)
}

/// Reads `5%`; a fraction of a percent is refused. Saturates: what is too large for a byte is above every bound.
pub(crate) fn whole_percent(text: &str) -> Result<u8, Refusal> {
    let number = percentage(text, "\"5%\"")?;
    if number.fract() != 0.0 {
        let help = format!("write \"{}%\" or \"{}%\"", number.floor(), number.ceil());
        return Err(Refusal::new("weights are whole percentages", help));
    }
    Ok(number as u8)
}

/// Reads `20%` to 20.
fn percentage(text: &str, examples: &str) -> Result<f64, Refusal> {
    let help = || match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => format!("write \"{number}%\""),
        _ => format!("write a number and the percent sign, as {examples}"),
    };
    let refuse = |reason: &str| Refusal::new(reason, help());

    let number = text.strip_suffix('%').ok_or_else(|| refuse("the percent sign is missing"))?;
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.bytes().all(is_decimal) {
        return Err(refuse("this is not a number before the percent sign"));
    }
    number.parse().map_err(|_| refuse("this is not a number before the percent sign"))
}

/// Buckets of the latency histogram to a doubling (rollback.md 3.7).
const BUCKETS: f64 = 32.0;

/// Returns the buckets nearest to a slowdown, a fraction of one; saturates.
pub(crate) fn buckets(slowdown: f64) -> u8 {
    (BUCKETS * (1.0 + slowdown).log2()).round() as u8
}

/// Returns the slowdown these buckets stand for in percent, to one decimal.
pub fn bucket_percent(buckets: u8) -> f64 {
    let percent = ((f64::from(buckets) / BUCKETS).exp2() - 1.0) * 100.0;
    (percent * 10.0).round() / 10.0
}

/// Reads `20000-29999` to the first and last port.
pub fn ports(text: &str) -> Result<(u16, u16), Refusal> {
    let help = "write the first and the last port, as \"20000-29999\"";
    let port = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => part.parse::<u16>().ok(),
        false => None,
    };
    let Some((first, last)) = text.split_once('-') else {
        return Err(Refusal::new("a range has two ports and a dash between them", help));
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first > last => {
            Err(Refusal::new("the first port is above the last", format!("write \"{last}-{first}\"")))
        }
        (Some(first), Some(_)) if first < PORT_MIN => Err(Refusal::new(
            format!("ports below {PORT_MIN} belong to the system"),
            format!("start at {PORT_MIN} or above, as \"20000-29999\""),
        )),
        (Some(first), Some(last)) => Ok((first, last)),
        _ => Err(Refusal::new("a port is a number up to 65535", help)),
    }
}

/// Below lie the system's ports (RFC 6335, section 6).
const PORT_MIN: u16 = 1024;

/// Returns a duration as a manifest writes it: `7d`, `1h30m`, `500ms`, `0s`.
pub fn duration_text(duration: Millis) -> String {
    if duration.0 == 0 {
        return "0s".to_owned();
    }
    let mut rest = duration.0;
    let mut text = String::new();
    for (unit, worth) in TIME {
        if rest >= *worth {
            text.push_str(&format!("{}{unit}", rest / worth));
            rest %= worth;
        }
    }
    text
}

/// Returns a size as a manifest writes it, in the largest unit that loses nothing.
pub fn size_text(bytes: u64) -> String {
    let fits = |worth: u64| bytes >= worth && bytes.is_multiple_of(worth);
    let (unit, worth) = SPACE.iter().find(|(_, worth)| fits(*worth)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / worth)
}

/// Reads numbers with units, each unit at most once and the largest first. Errors say why.
fn with_units(text: &str, units: &Units) -> Result<u64, String> {
    if text.is_empty() {
        return Err("nothing is written here".to_owned());
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut allowed = units;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| is_decimal(*byte)).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(format!("a number was expected at `{rest}`"));
        }
        if unit.is_empty() {
            return Err(if after.is_empty() {
                "the unit is missing"
            } else {
                "the unit must follow its number"
            }
            .into());
        }
        let Some(place) = allowed.iter().position(|(name, _)| *name == unit) else {
            return Err(match units.iter().any(|(name, _)| *name == unit) {
                true => format!("`{unit}` stands after a smaller unit, or twice"),
                false => format!("there is no unit `{unit}`"),
            });
        };
        let value =
            scaled(number, allowed[place].1).ok_or_else(|| format!("`{number}{unit}` is no whole amount"))?;
        total = total.checked_add(value).ok_or("this is too much to count")?;
        allowed = &allowed[place + 1..];
        rest = after;
    }
    Ok(total)
}

/// Multiplies a decimal number with a unit's worth; None when it is none, is too large, or a rest would be lost.
fn scaled(number: &str, worth: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    let power = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()?.checked_mul(worth)? };
    if parts % power != 0 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(worth)?.checked_add(parts / power)
}

fn is_decimal(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// Returns what the writer probably meant.
fn suggested_duration(text: &str) -> Option<String> {
    let mut candidate = text.to_lowercase().replace([' ', '_', ','], "");
    for (habit, unit) in HABITS {
        candidate = candidate.replace(habit, unit);
    }
    if !candidate.is_empty() && candidate.bytes().all(|byte| byte.is_ascii_digit()) {
        candidate.push('s');
    }
    with_units(&candidate, TIME).ok().map(|_| candidate)
}

/// Returns what the writer probably meant.
fn suggested_size(text: &str) -> Option<String> {
    let compact = text.to_lowercase().replace([' ', '_', ','], "");
    let digits = compact.bytes().take_while(|byte| is_decimal(*byte)).count();
    let (number, unit) = compact.split_at(digits);
    let unit = match unit {
        // A bare number as large as this was meant in bytes.
        "" if number.len() > 6 => "B",
        "" | "m" | "mb" | "mib" => "MiB",
        "k" | "kb" | "kib" => "KiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        "b" | "byte" | "bytes" => "B",
        _ => return None,
    };
    let candidate = format!("{number}{unit}");
    with_units(&candidate, SPACE).ok().map(|_| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(read: Result<impl Sized, Refusal>) -> String {
        let refusal = read.err().unwrap();
        format!("{}; {}", refusal, refusal.next())
    }

    #[test]
    fn durations_carry_units_and_may_be_combined() {
        let read = |text| duration(text).unwrap().0;

        assert_eq!(
            [read("500ms"), read("30s"), read("10m"), read("1h"), read("7d")],
            [500, 30_000, 600_000, 3_600_000, 604_800_000]
        );
        assert_eq!(
            [read("1m30s"), read("1h0m5s"), read("2.5s"), read("0s"), read("1.5h")],
            [90_000, 3_605_000, 2500, 0, 5_400_000]
        );
    }

    #[test]
    fn refused_durations_say_why_and_what_to_write() {
        assert_eq!(reason(duration("30")), "the unit is missing; write \"30s\"");
        assert_eq!(reason(duration("5 Minutes")), "the unit must follow its number; write \"5m\"");
        assert_eq!(reason(duration("1h30min")), "there is no unit `min`; write \"1h30m\"");
        assert!(
            reason(duration("30s1m"))
                .starts_with("`m` stands after a smaller unit, or twice; write a number")
        );
        assert!(reason(duration("0.3ms")).starts_with("`0.3ms` is no whole amount"));
        assert!(reason(duration("-5s")).starts_with("a number was expected at `-5s`"));
        assert!(reason(duration("")).starts_with("nothing is written here"));
        assert!(
            reason(duration("99999999999999999999d"))
                .starts_with("`99999999999999999999d` is no whole amount")
        );
        assert!(duration("1.s").is_err() && duration(".5s").is_err() && duration("1.2.3s").is_err());
    }

    #[test]
    fn sizes_tell_1024_from_1000() {
        let read = |text| size(text).unwrap();

        assert_eq!(
            [read("2GiB"), read("512MiB"), read("1MB"), read("64KB"), read("1B")],
            [2 << 30, 512 << 20, 1_000_000, 64_000, 1]
        );
        assert_eq!(reason(size("2 gb")), "the unit must follow its number; write \"2GiB\"");
        assert_eq!(reason(size("512")), "the unit is missing; write \"512MiB\"");
        assert_eq!(reason(size("536870912")), "the unit is missing; write \"536870912B\"");
    }

    #[test]
    fn percentages_are_fractions_of_one() {
        assert_eq!((percent("20%").unwrap(), percent("0.01%").unwrap()), (0.2, 0.0001));
        assert_eq!(reason(percent("20")), "the percent sign is missing; write \"20%\"");
        assert_eq!(reason(percent("20 %")), "this is not a number before the percent sign; write \"20%\"");
        assert!(
            percent("-1%").is_err()
                && percent("inf%").is_err()
                && percent("1e3%").is_err()
                && percent("%").is_err()
        );
    }

    #[test]
    fn a_slowdown_is_rounded_to_the_nearest_bucket() {
        let read = ["1%", "2%", "4.4%", "5%", "10%", "25%", "100%", "1000000%"]
            .map(|text| buckets(percent(text).unwrap()));

        assert_eq!(read, [0, 1, 2, 2, 4, 10, 32, 255]);
        assert_eq!([1, 2, 4, 32].map(bucket_percent), [2.2, 4.4, 9.1, 100.0]);
    }

    #[test]
    fn shares_have_no_fraction() {
        assert_eq!((whole_percent("5%"), whole_percent("7.0%"), whole_percent("0%")), (Ok(5), Ok(7), Ok(0)));
        assert_eq!(reason(whole_percent("2.5%")), "weights are whole percentages; write \"2%\" or \"3%\"");
        assert_eq!(reason(whole_percent("5")), "the percent sign is missing; write \"5%\"");
        assert_eq!(whole_percent("1000%"), Ok(255));
    }

    #[test]
    fn ranges_of_ports_rise_above_the_systems() {
        assert_eq!(ports("20000-29999").unwrap(), (20_000, 29_999));
        assert_eq!(ports("5000-5000").unwrap(), (5000, 5000));
        for wrong in ["20000", "a-b", "20000-70000", "3000-2000", "80-9000", "+2000-3000", "-", ""] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(ms in 0u64..=u64::MAX / 2) {
            prop_assert_eq!(duration(&duration_text(Millis(ms))), Ok(Millis(ms)));
        }

        #[test]
        fn a_size_reads_back_as_it_was_written(bytes in 0u64..=u64::MAX / 2) {
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn what_is_suggested_can_be_read(text in "[0-9. ]{0,6}(s|sec|minutes|hours|ms|MB|g|)") {
            let suggested = |help: &str| help.strip_prefix("write \"").and_then(|rest| rest.strip_suffix('"')).map(str::to_owned);
            if let Some(better) = duration(&text).err().and_then(|refusal| suggested(&refusal.help)) {
                prop_assert!(duration(&better).is_ok(), "{}", better);
            }
            if let Some(better) = size(&text).err().and_then(|refusal| suggested(&refusal.help)) {
                prop_assert!(size(&better).is_ok(), "{}", better);
            }
            if let Some(better) = percent(&text).err().and_then(|refusal| suggested(&refusal.help)) {
                prop_assert!(percent(&better).is_ok(), "{}", better);
            }
        }
    }
}
