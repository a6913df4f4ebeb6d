//! The journal alone rebuilds the state: whoever reads it has what the engine has that lived through it.

use rollout::machine::State;

pub const NAME: &str = "the_journal_tells_the_state";

pub fn check(told: &State, lived: &State) -> Option<String> {
    if told == lived || lived.seq < told.seq {
        // A zombie may not have read yet what its successor wrote.
        return None;
    }
    let mut known = told.clone();
    known.epoch = lived.epoch;
    // An owner that could not write its lease goes on with an epoch nobody has read.
    (known != *lived).then(|| format!("at event {}: told {told:?}\nlived {lived:?}", lived.seq))
}
