//! What was taken back stays back: a revision whose requests were taken away gets none again, and one that goes back
//! never gets more than it has.

use super::Ledger;
use rollout::routes::RouteTable;

pub const NAME: &str = "what_was_taken_back_stays_back";

/// Looks at a table the edge takes.
pub fn check(ledger: &Ledger, before: Option<&RouteTable>, routes: Option<&RouteTable>) -> Option<String> {
    let given = &ledger.follow.given_back;
    let has = |revision| before.is_some_and(|table| table.arms().any(|arm| arm.revision == revision));
    let again = routes?.arms().find(|arm| given.contains(&arm.revision) && !has(arm.revision))?;
    Some(format!("revision {} gets requests again", again.revision))
}
