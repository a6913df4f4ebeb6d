//! Holds what people see in place of an answer: a service's own pages for its maintenance and its failures.
//! Whole texts, not places of files: they travel with the settings, so that edge, engine and journal never disagree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of one page at most: it is part of every table and of the journal.
pub const PAGE_BYTES_MAX: usize = 32 * 1024;

/// The pages of a service. Absent: the edge's own short text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pages {
    /// While the service is in maintenance and requests no longer wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// When no replica gave an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Pages {
    pub fn is_empty(&self) -> bool {
        self.maintenance.is_none() && self.error.is_none()
    }

    /// Says what is wrong with them.
    pub fn flaw(&self) -> Option<String> {
        let pages = [("maintenance", &self.maintenance), ("error", &self.error)];
        let named = pages.into_iter().filter_map(|(name, page)| Some((name, page.as_ref()?)));
        named.into_iter().find_map(|(name, page)| flaw(page).map(|flaw| format!("its page `{name}` {flaw}")))
    }
}

/// Says why a text is no page; fits after the name of its file.
pub fn flaw(page: &str) -> Option<String> {
    if page.trim().is_empty() {
        return Some("is empty".to_owned());
    }
    let bytes = page.len();
    (bytes > PAGE_BYTES_MAX).then(|| format!("has {bytes} bytes; {PAGE_BYTES_MAX} is the most"))
}
