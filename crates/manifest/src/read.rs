//! Reads tables of a manifest by their description: one getter per shape, every mistake noted, none stops the reading.
//! Knows no key by name; the sections do. A getter returns None when the key is absent or was refused.

mod keys;
mod lists;
mod numbers;

use crate::error::{Kind, Mistake, Span};
use crate::sections::text::{self, Text};
use crate::sections::{Key, Section, Shape};
use crate::units::{self, Refusal, bucket_percent, duration_text, size_text};
use crate::values::{
    bounded_integer, command_as_list, fraction, no_choice, of_kind, share, shown, text_of, within, wrong_type,
};
use rollout::names::{Millis, Weight};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// Keeps the mistakes found so far.
#[derive(Default)]
pub(crate) struct Reader {
    mistakes: RefCell<Vec<Mistake>>,
}

impl Reader {
    pub fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    /// Opens a table: keys that are unknown, not yet supported or missing are noted at once.
    pub fn open<'r>(
        &'r self,
        section: &'static Section,
        path: String,
        table: &'r DeTable<'r>,
        span: Span,
    ) -> Fields<'r> {
        let fields = Fields { reader: self, section, path, table, span };
        fields.note_strange_keys();
        fields
    }
}

/// A table and the description of what it may hold.
#[derive(Clone)]
pub(crate) struct Fields<'r> {
    reader: &'r Reader,
    section: &'static Section,
    path: String,
    table: &'r DeTable<'r>,
    pub span: Span,
}

impl<'r> Fields<'r> {
    pub fn note(&self, mistake: Mistake) {
        self.reader.note(mistake);
    }

    /// Returns the full name of a key: `service.web.rollout.bake`.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Says whether the key holds a table, for keys that may.
    pub fn is_table(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| value.get_ref().is_table())
    }

    /// Says whether the key holds a list, for keys that may.
    pub fn is_list(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| value.get_ref().is_array())
    }

    /// Returns how many elements a list has as it is written.
    pub fn list_len(&self, name: &str) -> Option<usize> {
        Some(self.table.get(name)?.get_ref().as_array()?.len())
    }

    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Says whether a key is there that does not belong: what seems missing may be that one, misspelled.
    pub fn has_unknown(&self) -> bool {
        self.table.keys().any(|name| self.section.key(name.get_ref()).is_none())
    }

    /// Says whether a key is there and none of the values read.
    pub fn refused<T>(&self, name: &str, read: &Option<T>) -> bool {
        self.has(name) && read.is_none()
    }

    /// Returns where a key itself stands.
    pub fn key_span(&self, name: &str) -> Span {
        self.table.get_key_value(name).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// Returns where the value of a key stands.
    pub fn value_span(&self, name: &str) -> Span {
        self.table.get(name).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Returns a text as it stands there, unchecked; nothing is noted.
    pub fn raw_text(&self, name: &str) -> Option<At<String>> {
        let value = self.table.get(name)?;
        Some(At { value: value.get_ref().as_str()?.to_owned(), span: value.span() })
    }

    pub fn flag(&self, name: &str) -> Option<At<bool>> {
        self.read(name, |shape, value| match shape {
            Shape::Flag => Some(value.as_bool().ok_or_else(|| wrong_type(shape, value))),
            _ => None,
        })
    }

    pub fn integer(&self, name: &str) -> Option<At<u64>> {
        self.read(name, |shape, value| match shape {
            Shape::Integer { min, max } => Some(bounded_integer(shape, value, *min, *max)),
            _ => None,
        })
    }

    pub fn count(&self, name: &str) -> Option<At<u32>> {
        let At { value, span } = self.integer(name)?;
        let value = u32::try_from(value).expect("BUG: the bounds of a count lie within 32 bits");
        Some(At { value, span })
    }

    pub fn duration(&self, name: &str) -> Option<At<Millis>> {
        self.read(name, |shape, value| match shape {
            Shape::Duration { min, max } => Some(text_of(shape, value, "s").and_then(|text| {
                within(units::duration(text)?, *min, *max, |bound| format!("\"{}\"", duration_text(*bound)))
            })),
            _ => None,
        })
    }

    pub fn size(&self, name: &str) -> Option<At<u64>> {
        self.read(name, |shape, value| match shape {
            Shape::Size { min, max } => Some(text_of(shape, value, "MiB").and_then(|text| {
                within(units::size(text)?, *min, *max, |bound| format!("\"{}\"", size_text(*bound)))
            })),
            _ => None,
        })
    }

    pub fn percent(&self, name: &str) -> Option<At<f64>> {
        self.read(name, |shape, value| match shape {
            Shape::Percent { min, max } => Some(text_of(shape, value, "%").and_then(|text| {
                within(units::percent(text)?, *min, *max, |bound| format!("\"{}%\"", bound * 100.0))
            })),
            _ => None,
        })
    }

    /// Returns a percentage that has no fraction; `off` is none.
    pub fn share(&self, name: &str) -> Option<At<Weight>> {
        self.read(name, |shape, value| match shape {
            Shape::Share { max } => Some(share(shape, value, *max)),
            _ => None,
        })
    }

    /// Returns a percentage as the buckets of the latency histogram nearest to it, at least one.
    pub fn buckets(&self, name: &str) -> Option<At<u8>> {
        self.read(name, |shape, value| match shape {
            Shape::Buckets { max } => Some(text_of(shape, value, "%").and_then(|text| {
                let buckets = units::buckets(units::percent(text)?);
                within(buckets, 1, *max, |bound| format!("\"{}%\"", bucket_percent(*bound))).map_err(rounded)
            })),
            _ => None,
        })
    }

    /// Returns a number that has no unit.
    pub fn fraction(&self, name: &str) -> Option<At<f64>> {
        self.read(name, |shape, value| match shape {
            Shape::Fraction { min, max, .. } => Some(
                fraction(shape, value)
                    .and_then(|number| within(number, *min, *max, |bound| bound.to_string())),
            ),
            _ => None,
        })
    }

    /// Says whether the key holds the word `off`, for keys that may.
    pub fn is_off(&self, name: &str) -> bool {
        self.raw_text(name).is_some_and(|text| text.value == "off")
    }

    pub fn text(&self, name: &str) -> Option<At<String>> {
        self.read(name, |shape, value| match shape {
            Shape::Text(kind) => Some(of_kind(kind, value)),
            _ => None,
        })
    }

    /// Returns one of the words the section lists, as the type they stand for.
    pub fn choice<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<At<T>> {
        self.read(name, |shape, value| match shape {
            Shape::Choice(words) => Some(text_of(shape, value, "").and_then(|text| {
                let word = words.iter().find(|word| **word == text).ok_or_else(|| no_choice(text, words))?;
                let word: StrDeserializer<'_, WordError> = (*word).into_deserializer();
                Ok(T::deserialize(word).expect("BUG: the type knows every word its section lists"))
            })),
            _ => None,
        })
    }

    /// Returns a program and its arguments; the program is not empty.
    pub fn command(&self, name: &str) -> Option<At<Vec<String>>> {
        let (key, value) = self.value(name)?;
        let Shape::Command { empty } = key.shape else { panic!("BUG: `{name}` is no command") };
        let Some(list) = value.get_ref().as_array() else {
            return self.refuse(key, value.span(), command_as_list(value.get_ref()));
        };
        let (words, whole) =
            self.elements(key, "a text", list.iter(), |word| text::without_nul(text_of(&WORD, word, "")?));
        if !whole {
            return None;
        }
        let program = words.first().map(|word| word.value.as_str());
        if program == Some("") || (program.is_none() && !empty) {
            let help = "write the program and its arguments, as [\"./program\", \"--flag\"]";
            return self.refuse(key, value.span(), Refusal::new("it names no program", help));
        }
        Some(At { value: words.into_iter().map(|word| word.value).collect(), span: value.span() })
    }

    /// Returns a list of texts, each where it stands; a text that stands there twice is noted.
    pub fn texts(&self, name: &str) -> Option<At<Vec<At<String>>>> {
        let (key, value) = self.value(name)?;
        let (of, min, max) = texts_shape(&key.shape).expect("BUG: the key holds no list of texts");
        let Some(list) = value.get_ref().as_array() else {
            let help = format!("write [{}]", shown(value.get_ref()));
            return self.refuse(key, value.span(), Refusal::new("a list was expected", help));
        };
        if !(min..=max).contains(&list.len()) {
            let reason = format!("it has {} entries, {min} to {max} are possible", list.len());
            return self.refuse(
                key,
                value.span(),
                Refusal::new(reason, format!("write [\"{}\"]", of.example)),
            );
        }
        let (texts, whole) = self.elements(key, of.noun, list.iter(), |word| of_kind(of, word));
        self.refuse_twins(name, &texts);
        whole.then(|| At { value: texts, span: value.span() })
    }

    pub fn variables(&self, name: &str) -> BTreeMap<String, String> {
        let Some((key, value)) = self.value(name) else { return BTreeMap::new() };
        let Shape::Variables { name: kind } = key.shape else { panic!("BUG: `{name}` holds no variables") };
        let Some(table) = value.get_ref().as_table() else {
            self.refuse::<()>(key, value.span(), wrong_type(&key.shape, value.get_ref()));
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for (variable, value) in table.iter() {
            let path = format!("{}.{}", self.path_of(name), variable.get_ref());
            let checked = (kind.read)(variable.get_ref());
            let known = self.accept(&path, "a variable you can set", variable.span(), checked);
            let text = text_of(&WORD, value.get_ref(), "").and_then(text::without_nul);
            let text = self.accept(&path, "a text", value.span(), text);
            if let (Some(known), Some(text)) = (known, text) {
                variables.insert(known, text);
            }
        }
        variables
    }

    pub fn table(&self, name: &str) -> Option<Fields<'r>> {
        let (key, value) = self.value(name)?;
        let section = key.shape.section().expect("BUG: the key holds no table");
        match value.get_ref().as_table() {
            Some(table) => Some(self.reader.open(section, self.path_of(name), table, value.span())),
            None => self.refuse(key, value.span(), wrong_type(&key.shape, value.get_ref())),
        }
    }

    pub fn tables(&self, name: &str) -> Vec<Fields<'r>> {
        let Some((key, value)) = self.value(name) else { return Vec::new() };
        let (of, max) = tables_shape(&key.shape).expect("BUG: the key holds no list of tables");
        let Some(list) = value.get_ref().as_array().filter(|list| list.len() <= max) else {
            let reason = format!("a list of at most {max} tables was expected");
            self.refuse::<()>(
                key,
                value.span(),
                Refusal::new(reason, format!("write {}", key.shape.example())),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, element) in list.iter().enumerate() {
            match element.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}[{index}]", self.path_of(name));
                    tables.push(self.reader.open(of, path, table, element.span()));
                }
                None => {
                    self.refuse::<()>(key, element.span(), wrong_type(&Shape::Table(of), element.get_ref()));
                }
            }
        }
        tables
    }

    /// Returns the tables under names of their own, in the order of the file.
    pub fn named(&self, name: &str) -> Vec<(At<String>, Fields<'r>)> {
        self.named_where(name, |_| true)
    }

    /// Like `named`; checks every name, opens only the tables wanted.
    pub fn named_where(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Vec<(At<String>, Fields<'r>)> {
        let Some((key, value)) = self.value(name) else { return Vec::new() };
        let Shape::Named { of, name: kind } = key.shape else {
            panic!("BUG: `{name}` holds no named tables")
        };
        let Some(table) = value.get_ref().as_table() else {
            self.refuse::<()>(key, value.span(), wrong_type(&key.shape, value.get_ref()));
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut named = Vec::new();
        for (own, value) in entries {
            let path = format!("{}.{}", self.path_of(name), own.get_ref());
            let known = self.accept(&path, "a name", own.span(), (kind.read)(own.get_ref()));
            match value.get_ref().as_table() {
                Some(_) if !wanted(own.get_ref()) => {}
                Some(table) => {
                    let fields = self.reader.open(of, path, table, value.span());
                    let text = known.unwrap_or_else(|| own.get_ref().to_string());
                    named.push((At { value: text, span: own.span() }, fields));
                }
                None => {
                    let refusal = wrong_type(&Shape::Table(of), value.get_ref());
                    self.accept::<()>(&path, "a table", value.span(), Err(refusal));
                }
            }
        }
        named
    }

    /// Finds a key and reads it with the first of its shapes that `read` takes.
    fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&'static Shape, &DeValue<'r>) -> Option<Result<T, Refusal>>,
    ) -> Option<At<T>> {
        let (key, value) = self.value(name)?;
        let shapes = match &key.shape {
            Shape::OneOf(shapes) => shapes,
            shape => std::slice::from_ref(shape),
        };
        let read = shapes.iter().find_map(|shape| read(shape, value.get_ref()));
        match read.expect("BUG: a section is read as it is described") {
            Ok(read) => Some(At { value: read, span: value.span() }),
            Err(refusal) => self.refuse(key, value.span(), refusal),
        }
    }

    fn value(&self, name: &str) -> Option<(&'static Key, &'r Spanned<DeValue<'r>>)> {
        let key = self.section.key(name).expect("BUG: a section reads only keys it describes");
        Some((key, self.table.get(name)?))
    }

    /// Reads every element; says whether all could be read.
    fn elements<'v, T>(
        &self,
        key: &'static Key,
        noun: &str,
        list: impl Iterator<Item = &'v Spanned<DeValue<'v>>>,
        read: impl Fn(&DeValue<'v>) -> Result<T, Refusal>,
    ) -> (Vec<At<T>>, bool) {
        let mut whole = true;
        let mut elements = Vec::new();
        for (index, element) in list.enumerate() {
            let path = format!("{}[{index}]", self.path_of(key.name));
            match self.accept(&path, noun, element.span(), read(element.get_ref())) {
                Some(value) => elements.push(At { value, span: element.span() }),
                None => whole = false,
            }
        }
        (elements, whole)
    }

    fn refuse_twins(&self, name: &str, texts: &[At<String>]) {
        for (index, text) in texts.iter().enumerate() {
            if let Some(first) = texts[..index].iter().find(|first| first.value == text.value) {
                let what = format!("`{}` lists `{}` twice", self.path_of(name), text.value);
                let mistake = Mistake::at(Kind::Value, text.span.clone(), what).why("again here");
                self.note(mistake.also(first.span.clone(), "first here").help("remove one of them"));
            }
        }
    }

    fn refuse<T>(&self, key: &Key, span: Span, refusal: Refusal) -> Option<T> {
        self.accept(&self.path_of(key.name), &key.shape.noun(), span, Err(refusal))
    }

    fn accept<T>(&self, path: &str, noun: &str, span: Span, read: Result<T, Refusal>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(refusal) => {
                let mistake = Mistake::at(Kind::Value, span, format!("`{path}` is not {noun}"));
                self.note(mistake.why(refusal.reason).help(refusal.help));
                None
            }
        }
    }
}

fn rounded(refusal: Refusal) -> Refusal {
    let help = format!("{}; it is rounded to histogram buckets of 2.2%, 32 to a doubling", refusal.help);
    Refusal { help, ..refusal }
}

/// A word of a command or a variable's value.
static WORD: Shape = Shape::Text(&text::PLAIN);

fn tables_shape(shape: &'static Shape) -> Option<(&'static Section, usize)> {
    match shape {
        Shape::Tables { of, max } => Some((of, *max)),
        Shape::OneOf(shapes) => shapes.iter().find_map(tables_shape),
        _ => None,
    }
}

fn texts_shape(shape: &'static Shape) -> Option<(&'static Text, usize, usize)> {
    match shape {
        Shape::Texts { of, min, max } => Some((of, *min, *max)),
        Shape::OneOf(shapes) => shapes.iter().find_map(texts_shape),
        _ => None,
    }
}
