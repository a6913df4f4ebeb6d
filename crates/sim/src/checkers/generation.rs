//! Nothing is applied with an older generation: once a new owner has looked, nobody before it changes anything of the
//! platform any more, and no table follows a newer one. A table that was on its way may arrive until the new owner's has.

use super::Ledger;
use rollout::names::Generation;

pub const NAME: &str = "nothing_with_an_older_generation";

pub fn check(ledger: &Ledger, at: Generation, what: &str) -> Option<String> {
    let newest = ledger.looked_epoch;
    (at.epoch < newest)
        .then(|| format!("{what} of generation {at} was accepted after epoch {newest} had looked"))
}

/// Looks at the generations of two tables, one after the other.
pub fn follows(before: Generation, at: Generation) -> Option<String> {
    (at < before).then(|| format!("a table of generation {at} was accepted after {before}"))
}
