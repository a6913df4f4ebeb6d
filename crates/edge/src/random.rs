//! Draws numbers for splits and ids, one generator per worker. Not for secrets: whoever sees many can guess the next.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A SplitMix64 generator. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Seeds from the operating system's entropy, by way of the standard library's hash keys.
    pub(crate) fn seeded() -> Self {
        Self(Cell::new(RandomState::new().build_hasher().finish()))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix(self.0.get())
    }

    /// Draws 0–99, each equally likely to within 2⁻⁵⁷.
    pub(crate) fn percent(&self) -> u8 {
        (self.next() % 100) as u8
    }

    /// Draws 32 lower-case hex digits.
    pub(crate) fn hex(&self) -> [u8; 32] {
        let mut digits = [0; 32];
        hex(&mut digits, u128::from(self.next()) << 64 | u128::from(self.next()));
        digits
    }
}

/// Writes a number in lower-case hex digits, as many as there is room for.
pub(crate) fn hex(place: &mut [u8], mut number: u128) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Spreads every input bit over all output bits (the finaliser of SplitMix64).
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
