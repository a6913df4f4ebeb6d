//! Holds what a configuration says as values: known, or a reference to something that is known only after an apply.

use std::collections::BTreeMap;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    /// May hold `${…}` where a part is known only after an apply.
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// `aws_kms_key.logs.arn`: known after an apply.
    Refers(String),
    /// An expression we do not evaluate.
    Unknown(String),
}

impl Value {
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Array(list) => Self::List(list.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                Self::Map(map.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect())
            }
        }
    }

    /// As JSON; what is not known stands there as `${…}`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.clone().into(),
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Map(map) => map.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
            Self::Refers(to) => format!("${{{to}}}").into(),
            Self::Unknown(what) => format!("${{{what}}}").into(),
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of a list; a single value is a list of one, as policies have it.
    pub fn elements(&self) -> Vec<&Value> {
        match self {
            Self::List(list) => list.iter().collect(),
            Self::Null => Vec::new(),
            other => vec![other],
        }
    }

    /// Returns the texts of a list or of a single text; what is unknown is left out.
    pub fn texts(&self) -> Vec<String> {
        self.elements().into_iter().filter_map(Value::shown).collect()
    }

    /// Returns the value as people would write it.
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Null | Self::List(_) | Self::Map(_) => None,
            other => match other.to_json() {
                serde_json::Value::String(text) => Some(text),
                json => Some(json.to_string()),
            },
        }
    }

    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// Follows names through tables; a list stands for its first element, as the blocks of a plan do.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let mut value = self;
        for name in path.split('.') {
            while let Self::List(list) = value {
                value = list.first()?;
            }
            let Self::Map(map) = value else { return None };
            value = map.get(name)?;
        }
        Some(value)
    }

    /// Calls `visit` for every value inside, this one included.
    pub fn walk(&self, visit: &mut impl FnMut(&Value)) {
        visit(self);
        match self {
            Self::List(list) => list.iter().for_each(|value| value.walk(visit)),
            Self::Map(map) => map.values().for_each(|value| value.walk(visit)),
            _ => {}
        }
    }

    /// Says whether the value names an address, directly or inside a text.
    pub fn mentions(&self, address: &str) -> bool {
        let mut found = false;
        self.walk(&mut |value| {
            if let Self::Refers(text) | Self::Unknown(text) | Self::Text(text) = value {
                found |= names(text, address);
            }
        });
        found
    }
}

/// Says whether a text names an address as a whole: `aws_kms_key.a` is not in `aws_kms_key.ab`.
pub fn names(text: &str, address: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.match_indices(address).any(|(at, _)| {
        let after = text.as_bytes().get(at + address.len());
        let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at));
        !after.is_some_and(|byte| word(*byte)) && !before.is_some_and(|byte| word(*byte) || *byte == b'.')
    })
}
