//! Compares the share of failing requests, candidate against stable, over three windows.

use serde::{Deserialize, Serialize};

/// Placeholder until written below.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {}
