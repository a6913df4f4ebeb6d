//! Notes what is strange about the keys of a table: unknown ones, those whose behaviour comes later, missing ones.

use super::Fields;
use crate::error::{Kind, Mistake, Span};
use crate::sections::{Absent, Key, ROOT, Section, Shape};
use crate::values::nearest;
use std::borrow::Cow;
use toml::Spanned;

impl Fields<'_> {
    pub(super) fn note_strange_keys(&self) {
        for name in self.table.keys() {
            let path = self.path_of(name.get_ref());
            match self.section.key(name.get_ref()).map(|key| &key.shape) {
                None => self.note(self.unknown(name)),
                Some(Shape::Later(meanwhile)) => self.note(not_yet(name.span(), &path, meanwhile)),
                Some(_) => {}
            }
        }
        for key in self.section.keys.iter().filter(|key| matches!(key.absent, Absent::Refused)) {
            if !self.has(key.name) && !self.is_misspelled(key) {
                self.note_missing(key);
            }
        }
    }

    /// Says whether an unknown key already asks to be written like this one.
    fn is_misspelled(&self, key: &Key) -> bool {
        let unknown = |name: &&str| self.section.key(name).is_none();
        let mut names = self.table.keys().map(|name| name.get_ref().as_ref()).filter(unknown);
        names.any(|name| nearest(name, self.section.key_names()) == Some(key.name))
    }

    fn note_missing(&self, key: &Key) {
        let what = format!("`{}` is missing", self.path_of(key.name));
        let mistake = match self.span.is_empty() {
            true => Mistake::nowhere(Kind::Rule, what),
            false => Mistake::at(Kind::Rule, self.span.clone(), what).why("it belongs here"),
        };
        self.note(mistake.help(format!("write `{} = {}`", key.name, key.shape.example())));
    }

    /// Returns a section's name with the name of the service we are in.
    fn located(&self, section: &str) -> String {
        match (self.path.split('.').nth(1), section.starts_with("service.NAME")) {
            (Some(service), true) if self.path.starts_with("service.") => {
                section.replacen("NAME", service, 1)
            }
            _ => section.to_owned(),
        }
    }

    fn unknown(&self, name: &Spanned<Cow<'_, str>>) -> Mistake {
        let place = match self.path.as_str() {
            "" => "at the top of the manifest".to_owned(),
            path => format!("in [{path}]"),
        };
        let what = format!("unknown key `{}` {place}", name.get_ref());
        let known: Vec<&str> = self.section.supported().map(|key| key.name).collect();
        let help = match nearest(name.get_ref(), self.section.key_names()) {
            Some(near) => match self.section.key(near).map(|key| &key.shape) {
                Some(Shape::Later(meanwhile)) => format!("`{near}` is not yet supported; {meanwhile}"),
                _ => format!("write `{near}`"),
            },
            None => match elsewhere(name.get_ref(), &ROOT) {
                Some(home) => format!("`{}` belongs in [{}]", name.get_ref(), self.located(home)),
                None => format!("known keys: {}", known.join(", ")),
            },
        };
        Mistake::at(Kind::Unknown, name.span(), what).why("no such key here").help(help)
    }
}

fn not_yet(span: Span, what: &str, meanwhile: &str) -> Mistake {
    Mistake::at(Kind::NotYetSupported, span, format!("`{what}` is not yet supported"))
        .why("this version would ignore it")
        .help(meanwhile)
}

/// Returns the section a key of this name belongs in.
fn elsewhere(name: &str, section: &'static Section) -> Option<&'static str> {
    let here = section.supported().any(|key| key.name == name).then_some(section.name);
    let inner =
        || section.supported().filter_map(|key| key.shape.section()).find_map(|inner| elsewhere(name, inner));
    here.or_else(inner)
}
