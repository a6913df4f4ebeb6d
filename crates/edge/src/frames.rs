//! Follows the frames of a WebSocket (RFC 6455, 5.2) so that a farewell can be put between two of them.
//! Reads no payload and refuses nothing: what is no frame only moves the place where the next one begins.

/// The longest header of a frame.
const HEADER_BYTES: usize = 14;

/// "Going away" (RFC 6455, 7.4.1), as a server sends it,
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// and as a client does, with a mask of zeros.
pub(crate) const GOING_AWAY_MASKED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// Where one direction of a connection is.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have passed.
    read: usize,
    /// Bytes of the payload that have not.
    left: u64,
    closes: bool,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.read == 0 && self.left == 0
    }

    /// Whether the last frame that passed was the one that closes.
    pub(crate) fn has_closed(&self) -> bool {
        self.closes && self.is_between()
    }

    /// Lets bytes pass, up to the end of the frame when `one`; returns how many did.
    pub(crate) fn pass(&mut self, bytes: &[u8], one: bool) -> usize {
        let mut passed = 0;
        while passed < bytes.len() && !(one && passed > 0 && self.is_between()) {
            passed += self.step(&bytes[passed..]);
        }
        passed
    }

    /// Takes the rest of the payload, or one byte of the header.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= count as u64;
            return count;
        }
        self.header[self.read] = bytes[0];
        self.read += 1;
        if self.read == self.header_bytes() {
            self.left = self.payload();
            self.closes = self.header[0] & 0x0f == 0x08;
            self.read = 0;
        }
        1
    }

    fn header_bytes(&self) -> usize {
        if self.read < 2 {
            return HEADER_BYTES;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload(&self) -> u64 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = match payload {
            0..126 => vec![0x82, mask | payload as u8],
            126..65_536 => [&[0x82, mask | 126][..], &(payload as u16).to_be_bytes()].concat(),
            _ => [&[0x82, mask | 127][..], &(payload as u64).to_be_bytes()].concat(),
        };
        bytes.extend(vec![0xaa; payload + if masked { 4 } else { 0 }]);
        bytes
    }

    #[test]
    fn the_farewells_are_frames() {
        for farewell in [&GOING_AWAY[..], &GOING_AWAY_MASKED] {
            let mut frames = Frames::default();
            assert_eq!(frames.pass(farewell, true), farewell.len());
            assert!(frames.is_between() && frames.has_closed());
        }
        let mut frames = Frames::default();
        frames.pass(&frame(8, true), true);
        assert!(!frames.has_closed());
    }

    proptest! {
        #[test]
        fn o6_the_end_of_a_frame_is_found_wherever_the_bytes_are_cut(
            sizes in prop::collection::vec((prop_oneof![0usize..200, 60_000usize..70_000], any::<bool>()), 1..6),
            cuts in prop::collection::vec(1usize..5_000, 1..20),
        ) {
            let all: Vec<Vec<u8>> = sizes.iter().map(|(size, masked)| frame(*size, *masked)).collect();
            let mut ends: Vec<usize> = all.iter().scan(0, |sum, frame| { *sum += frame.len(); Some(*sum) }).collect();
            let bytes = all.concat();
            let (mut frames, mut at, mut cut) = (Frames::default(), 0, cuts.iter().cycle());
            while at < bytes.len() {
                let piece = &bytes[at..bytes.len().min(at + cut.next().unwrap())];
                at += frames.pass(piece, true);
                // Exactly at the ends of frames it is between two, and it never runs past one.
                prop_assert!(at <= ends[0]);
                prop_assert_eq!(frames.is_between(), at == ends[0]);
                if at == ends[0] { ends.remove(0); }
            }
            prop_assert!(ends.is_empty());
        }
    }
}
