//! Remembers what this process found damaged in the state directory, and what it did about it: for `status`.
//! Repairs nothing itself. The log beside it is what lasts; this list ends with the process.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// As many as a person reads; the log has them all.
const KEPT_MAX: usize = 100;

/// One file that was not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    pub file: String,
    /// What was wrong, and what was done.
    pub text: String,
}

static REPAIRS: Mutex<VecDeque<Repair>> = Mutex::new(VecDeque::new());

/// Notes a repair and writes it to standard error, which is the log of the process. The same one twice is noted once.
pub fn note(file: &Path, text: &str) {
    let file = file.display().to_string();
    let mut repairs = REPAIRS.lock().unwrap_or_else(PoisonError::into_inner);
    if repairs.iter().any(|repair| repair.file == file && repair.text == text) {
        return;
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    say(&format!("repaired {file}: {text}"));
    if repairs.len() == KEPT_MAX {
        repairs.pop_front();
    }
    repairs.push_back(Repair { at, file, text: text.to_owned() });
}

/// Writes a line to standard error, which is the log of the process. On a full disk it is lost, and nothing else is: a
/// process that panics because it cannot complain would end what it complains about.
pub fn say(text: &str) {
    let _lost = writeln!(std::io::stderr().lock(), "{text}");
}

/// Returns what was repaired since this process began, oldest first.
pub fn all() -> Vec<Repair> {
    REPAIRS.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
