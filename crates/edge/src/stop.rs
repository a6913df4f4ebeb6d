//! Says how far an edge is on its way out, and until when what it carries may go on. Stops nothing itself; `worker` and `drain` do.

use rollout::names::Millis;

/// What an edge was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    No,
    /// Another edge serves: long connections stay as long as their policy says.
    Replaced { since: Millis },
    /// Nobody serves any more.
    Ending { since: Millis },
}

impl Stop {
    /// Whether nothing new is taken any more.
    pub(crate) fn is_asked(self) -> bool {
        self != Self::No
    }

    /// Returns what an order makes of this: an end is never taken back.
    pub(crate) fn then(self, order: Self) -> Self {
        match (self, order) {
            (Self::No, order) | (Self::Replaced { .. }, order @ Self::Ending { .. }) => order,
            (Self::Replaced { .. }, Self::No | Self::Replaced { .. }) | (Self::Ending { .. }, _) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_hastened_and_never_taken_back() {
        let (replaced, ending) = (Stop::Replaced { since: Millis(1) }, Stop::Ending { since: Millis(2) });
        let later = Stop::Ending { since: Millis(3) };

        assert_eq!(Stop::No.then(replaced).then(ending).then(later), ending);
        assert_eq!(replaced.then(Stop::Replaced { since: Millis(9) }), replaced);
        assert_eq!(ending.then(replaced), ending);
        assert!(!Stop::No.is_asked() && replaced.is_asked() && ending.is_asked());
    }
}
