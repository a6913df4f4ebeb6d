//! Reads single values: text, numbers within bounds, choices; and says what to write instead.
//! Knows neither keys nor places; `read` adds them.

use crate::sections::text::Text;
use crate::sections::{Shape, one_of};
use crate::units::{self, Refusal};
use rollout::names::Weight;
use toml::de::DeValue;

/// Returns the candidate the writer probably meant.
pub(crate) fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Where cargo and clap draw the line: closer ones are typing mistakes, farther ones are other words.
    const ALIKE: f64 = 0.8;
    let text = text.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&text, &candidate.replace('-', "_")), candidate))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Returns the text; for a bare number says it with the unit that was probably meant.
pub(crate) fn text_of<'v>(shape: &Shape, value: &'v DeValue<'_>, unit: &str) -> Result<&'v str, Refusal> {
    let Some(text) = value.as_str() else {
        let bare = match value {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Boolean(_) | DeValue::Datetime(_) if unit.is_empty() => &shown(value),
            _ => return Err(wrong_type(shape, value)),
        };
        let reason = match unit {
            "" => format!("{} was expected to be a quoted text", type_of(value)),
            _ => "a bare number has no unit".to_owned(),
        };
        return Err(Refusal::new(reason, with_unit(bare, unit)));
    };
    Ok(text)
}

fn with_unit(bare: &str, unit: &str) -> String {
    match bare.parse::<f64>() {
        // Either a fraction of one or a small percentage.
        Ok(number) if unit == "%" && number > 0.0 && number <= 1.0 => {
            format!("write \"{}%\", or \"{bare}%\" if that is meant", number * 100.0)
        }
        _ => format!("write \"{bare}{unit}\""),
    }
}

/// Reads a text of a kind.
pub(crate) fn of_kind(kind: &'static Text, value: &DeValue<'_>) -> Result<String, Refusal> {
    match text_of(&Shape::Text(kind), value, "") {
        Ok(text) => (kind.read)(text),
        Err(refusal) => {
            // What is written without quotes may need more than quotes.
            let quoted = (kind.read)(&shown(value)).err();
            Err(Refusal { help: quoted.map_or(refusal.help, |quoted| quoted.help), reason: refusal.reason })
        }
    }
}

pub(crate) fn bounded_integer(
    shape: &Shape,
    value: &DeValue<'_>,
    min: u64,
    max: u64,
) -> Result<u64, Refusal> {
    let Some(integer) = value.as_integer() else { return Err(wrong_type(shape, value)) };
    let number = i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX);
    within(number, i128::from(min), i128::from(max), i128::to_string)
        .map(|number| u64::try_from(number).expect("BUG: both bounds fit"))
}

/// Reads a percentage without a fraction, or `off`.
pub(crate) fn share(shape: &Shape, value: &DeValue<'_>, max: u8) -> Result<Weight, Refusal> {
    if value.as_str() == Some("off") {
        return Ok(Weight::NONE);
    }
    let percent = text_of(shape, value, "%")
        .and_then(units::whole_percent)
        .and_then(|percent| within(percent, 0, max, |bound| format!("\"{bound}%\"")));
    match percent {
        Ok(percent) => Ok(Weight::new(percent).expect("BUG: the bound of a share is at most 100")),
        Err(refusal) => Err(Refusal { help: format!("{}, or \"off\"", refusal.help), ..refusal }),
    }
}

/// Reads a number without a unit; says which one was meant by a percentage or a number in quotes.
pub(crate) fn fraction(shape: &Shape, value: &DeValue<'_>) -> Result<f64, Refusal> {
    let number = match value {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => number.to_string().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => return Ok(number),
        Some(_) => {
            let help = format!("write {}", shape.example());
            return Err(Refusal::new("this is no finite number", help));
        }
        None => {}
    }
    let text = value.as_str().unwrap_or_default();
    let meant = units::percent(text).ok().or_else(|| text.parse().ok()).filter(|number| number.is_finite());
    match meant {
        Some(meant) => {
            let reason = format!("this is {}", type_of(value));
            Err(Refusal::new(reason, format!("write {meant}, without quotes")))
        }
        None => Err(wrong_type(shape, value)),
    }
}

/// Reads a number between 0 and 1; `99` and `"p99"` are told to be 0.99.
pub(crate) fn quantile(value: &DeValue<'_>) -> Result<f64, Refusal> {
    const SHAPE: Shape = Shape::Fraction { min: 0.0, max: 1.0, example: 0.99 };
    let digits = value.as_str().and_then(|text| text.strip_prefix(['p', 'P']));
    let number = match digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(digits) => return Err(Refusal::new("this is a text", format!("write 0.{digits}"))),
        None => fraction(&SHAPE, value)?,
    };
    if number > 0.0 && number < 1.0 {
        return Ok(number);
    }
    let help = match number {
        percent if percent > 1.0 && percent < 100.0 => format!("write {}", percent / 100.0),
        _ => "write a number between 0 and 1, as 0.99".to_owned(),
    };
    Err(Refusal::new("a quantile lies between 0 and 1", help))
}

pub(crate) fn within<T: PartialOrd>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(&T) -> String,
) -> Result<T, Refusal> {
    let help = || format!("write something from {} to {}", show(&min), show(&max));
    if value < min {
        return Err(Refusal::new(format!("it is less than {}", show(&min)), help()));
    }
    if value > max {
        return Err(Refusal::new(format!("it is more than {}", show(&max)), help()));
    }
    Ok(value)
}

pub(crate) fn no_choice(text: &str, words: &[&'static str]) -> Refusal {
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("write \"{near}\""),
        None => format!("write {}", one_of(words)),
    };
    Refusal::new("no such choice", help)
}

/// A command written as one text: nothing here runs a shell.
pub(crate) fn command_as_list(value: &DeValue<'_>) -> Refusal {
    let help = match value.as_str() {
        Some(text) if !text.trim().is_empty() => {
            let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
            format!("write [{}]", words.join(", "))
        }
        _ => "write [\"./program\", \"--flag\"]".to_owned(),
    };
    Refusal::new("a list was expected: no shell splits it into words", help)
}

pub(crate) fn wrong_type(shape: &Shape, value: &DeValue<'_>) -> Refusal {
    let help = match shape {
        Shape::Flag => match value.as_str() {
            Some(text @ ("true" | "false")) => format!("write {text}, without quotes"),
            _ => "write true or false".to_owned(),
        },
        Shape::Integer { .. } => match value.as_str() {
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("write {text}, without quotes")
            }
            _ => format!("write a whole number, as {}", shape.example()),
        },
        Shape::OneOf(shapes) => {
            format!("write {}", shapes.iter().map(Shape::example).collect::<Vec<_>>().join(" or "))
        }
        _ => format!("write {}", shape.example()),
    };
    Refusal::new(format!("this is {}", type_of(value)), help)
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Returns a value as it could be written, short ones only.
pub(crate) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}
