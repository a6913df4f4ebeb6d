//! Lays the overrides of an environment over a service: tables are merged, everything else is replaced.
//! Places stay those of the text, so a mistake in an override is shown where it was written.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Returns `base` with everything `over` says.
pub(crate) fn merged<'i>(base: &DeTable<'i>, over: &DeTable<'i>) -> DeTable<'i> {
    let mut result = base.clone();
    for (key, value) in over.iter() {
        // Removed first: inserting over it would keep the place of the old key.
        let old = result.remove(key.get_ref().as_ref());
        let value = match (old.as_ref().map(Spanned::get_ref), value.get_ref()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) => {
                Spanned::new(value.span(), DeValue::Table(merged(old, new)))
            }
            _ => value.clone(),
        };
        result.insert(key.clone(), value);
    }
    result
}
