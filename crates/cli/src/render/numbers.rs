//! Writes counts, shares and odds so that they can be read at a glance. Rounds for people; programs get the numbers.

/// Writes a count with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a part of one in percent, with as many digits as tell it from nothing.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent.abs() {
        0.0 => "0 %".to_owned(),
        large if large >= 10.0 => format!("{percent:.0} %"),
        some if some >= 1.0 => format!("{percent:.1} %"),
        few if few >= 0.1 => format!("{percent:.2} %"),
        fewer if fewer >= 0.01 => format!("{percent:.3} %"),
        _ => format!("{percent:.4} %"),
    }
}

/// Writes a chance.
pub fn chance(p_value: f64) -> String {
    if p_value >= 0.001 { format!("{p_value:.3}") } else { format!("{p_value:.1e}") }
}

/// Writes which part of the requests it is; of none there is no part.
pub fn share(hits: u64, requests: u64) -> String {
    if requests == 0 { "none".to_owned() } else { percent(hits as f64 / requests as f64) }
}

/// Writes how rarely something with this chance happens, as the number after "once in": two digits of it.
pub fn once_in(chance: f64) -> String {
    let times = 1.0 / chance;
    if !times.is_finite() || times >= 1e12 {
        return "a million million".to_owned();
    }
    let unit = 10f64.powf((times.max(1.0).log10().floor() - 1.0).max(0.0));
    count(((times / unit).floor() * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_with_their_thousands_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn shares_keep_the_digits_that_matter() {
        for (hits, requests, text) in [
            (0, 10, "0 %"),
            (1, 3, "33 %"),
            (31, 812, "3.8 %"),
            (1, 1_000, "0.10 %"),
            (42, 100_000, "0.042 %"),
            (1, 100_000, "0.0010 %"),
            (0, 0, "none"),
        ] {
            assert_eq!(share(hits, requests), text);
        }
    }

    #[test]
    fn chances_are_told_as_once_in_so_many() {
        for (chance, text) in [(1.0, "1"), (0.01, "100"), (1.2e-4, "8,300"), (0.0, "a million million")] {
            assert_eq!(once_in(chance), text);
        }
    }
}
