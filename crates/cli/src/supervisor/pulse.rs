//! Carries the engine's signs of life to the supervisor: a byte now and then over a pair of sockets, of which the
//! engine has one as its standard input. Touches no disk: one that is full or slow must not look like a hang.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

/// Bytes read at one look; what is more is read at the next.
const READ_MAX: usize = 4096;

/// The supervisor's end.
#[derive(Debug)]
pub struct Pulse(UnixStream);

impl Pulse {
    /// Returns an end to listen at, and what the child takes as its standard input.
    pub fn new() -> io::Result<(Self, Stdio)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // A supervisor that does not read must not make the engine wait.
        theirs.set_nonblocking(true)?;
        Ok((Self(ours), Stdio::from(OwnedFd::from(theirs))))
    }

    /// Whether the child has beaten since this was last asked.
    pub fn was_felt(&self) -> bool {
        let mut bytes = [0; READ_MAX];
        (&self.0).read(&mut bytes).is_ok_and(|count| count > 0)
    }
}

/// The child's end.
#[derive(Debug)]
pub struct Heart(File);

impl Heart {
    /// Takes the standard input for it; None: nobody listens, the process was started by hand.
    pub fn of_stdin() -> Option<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        input.metadata().is_ok_and(|input| input.file_type().is_socket()).then_some(Self(input))
    }

    /// Gives a sign of life. A supervisor that is gone, or that has not read the last thousands, needs none.
    pub fn beat(&self) {
        match (&self.0).write(b".") {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe) => {
                crate::output::aside(&format!("cannot give a sign of life: {error}"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_felt_once_and_a_supervisor_that_never_reads_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (pulse, heart) = (Pulse(ours), Heart(File::from(OwnedFd::from(theirs))));

        assert!(!pulse.was_felt());
        heart.beat();
        heart.beat();
        assert!(pulse.was_felt());
        assert!(!pulse.was_felt());
        (0..1_000_000).for_each(|_| heart.beat());
        assert!(pulse.was_felt());
        drop(pulse);
        heart.beat();
    }
}
