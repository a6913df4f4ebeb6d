//! Reads a table of lists: names of a kind, each with texts.

use super::Fields;
use crate::sections::Shape;
use crate::units::Refusal;
use crate::values::{of_kind, shown, wrong_type};
use std::collections::BTreeMap;

impl Fields<'_> {
    /// Returns lists of texts under names of their own.
    pub fn lists(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let Some((key, value)) = self.value(name) else { return BTreeMap::new() };
        let Shape::Lists { of, name: kind } = key.shape else { panic!("BUG: `{name}` holds no lists") };
        let Some(table) = value.get_ref().as_table() else {
            self.refuse::<()>(key, value.span(), wrong_type(&key.shape, value.get_ref()));
            return BTreeMap::new();
        };
        let mut lists = BTreeMap::new();
        for (own, value) in table.iter() {
            let path = format!("{}.{}", self.path_of(name), own.get_ref());
            let known = self.accept(&path, "a name", own.span(), (kind.read)(own.get_ref()));
            let Some(list) = value.get_ref().as_array() else {
                let help = format!("write [{}]", shown(value.get_ref()));
                self.accept::<()>(
                    &path,
                    "a list",
                    value.span(),
                    Err(Refusal::new("a list was expected", help)),
                );
                continue;
            };
            let texts = list
                .iter()
                .filter_map(|text| self.accept(&path, of.noun, text.span(), of_kind(of, text.get_ref())));
            let texts: Vec<String> = texts.collect();
            lists.extend(known.map(|known| (known, texts)));
        }
        lists
    }
}
