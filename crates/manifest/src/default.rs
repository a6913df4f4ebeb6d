//! Writes the manifest `medeclipse init` begins with: commented, complete, the manual.
//! Lines that begin with `#` and no space are settings: take the `#` away to use them. Tests do exactly that.

use crate::sections::text::nearest_name;

/// Returns a commented manifest with one service. A name that cannot be one is turned into the nearest that can.
pub fn default_text(name: &str) -> String {
    TEMPLATE.replace("SERVICE", &nearest_name(name))
}

const TEMPLATE: &str = include_str!("default.toml");
