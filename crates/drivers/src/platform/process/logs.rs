//! Keeps what replicas and tasks wrote within bounds, and reads the end of it. Writers hold their files open for
//! appending, so a file is copied and cut, never replaced under them.

use super::name_of;
use super::record::{self, Layout};
use rollout::names::{ReplicaId, Revision, Target};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log file is rotated when it is larger. Holds minutes of a chatty service.
const BYTES_MAX: u64 = 10 << 20;

/// How many rotated files are kept of each.
const ROTATED_MAX: u32 = 3;

/// Of how many revisions logs are kept, apart from those that have replicas.
const REVISIONS_MAX: usize = 5;

/// How many ended tasks of a target are remembered. An engine asks again only for those of its last deployments.
const TASKS_MAX: usize = 100;

/// How much of one file is read at most, whatever number of lines is asked for.
const TAIL_MAX: u64 = 4 << 20;

/// The last lines of one log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    pub revision: Revision,
    pub replica: ReplicaId,
    pub path: PathBuf,
    /// Oldest first, without line ends.
    pub lines: Vec<String>,
}

/// Rotates and forgets, for every target.
pub fn housekeep(layout: &Layout) -> io::Result<()> {
    housekeep_with(layout, BYTES_MAX)
}

fn housekeep_with(layout: &Layout, bytes_max: u64) -> io::Result<()> {
    for target in layout.targets(&layout.logs_dir())? {
        forget_old_revisions(layout, &target)?;
        for log in logs_of(&layout.logs(&target))? {
            rotate(&log.path, bytes_max)?;
        }
    }
    for target in layout.targets(&layout.tasks_dir())? {
        forget_old_tasks(layout, &target)?;
        for (folder, _) in layout.task_records(&target)? {
            rotate(&folder.0.join("output"), bytes_max)?;
        }
    }
    Ok(())
}

/// Returns the last lines of the chosen replicas.
pub fn tails(
    layout: &Layout,
    target: &Target,
    revision: Option<Revision>,
    replica: Option<&ReplicaId>,
    lines: usize,
) -> io::Result<Vec<LogTail>> {
    let mut found = Vec::new();
    for log in logs_of(&layout.logs(target))? {
        let chosen = revision.is_none_or(|revision| revision == log.revision)
            && replica.is_none_or(|replica| *replica == log.replica);
        if chosen {
            let lines = last_lines(&log.path, lines)?;
            found.push(LogTail { revision: log.revision, replica: log.replica, path: log.path, lines });
        }
    }
    Ok(found)
}

/// Returns the end of a file, from the start of a line where it does not fit. Empty: there is no file.
pub fn last_bytes(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(crate::files::about(path, error)),
    };
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = if skipped == 0 { &bytes[..] } else { from_line_start(&bytes) };
    let mut text = String::from_utf8_lossy(text).into_owned();
    // What is no UTF-8 grows when it is replaced.
    while text.len() as u64 > bytes_max {
        text.remove(0);
    }
    Ok(text)
}

fn from_line_start(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if end + 1 < bytes.len() => &bytes[end + 1..],
        _ => bytes,
    }
}

fn last_lines(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut text = last_bytes(path, TAIL_MAX)?;
    if text.lines().count() < lines {
        // Just rotated: the lines before are in the first file beside it.
        text.insert_str(0, &last_bytes(&rotated(path, 1), TAIL_MAX)?);
    }
    let skipped = text.lines().count().saturating_sub(lines);
    Ok(text.lines().skip(skipped).map(str::to_owned).collect())
}

struct Log {
    revision: Revision,
    replica: ReplicaId,
    path: PathBuf,
}

/// Returns the log files in a target's folder, without rotated ones, oldest revision first.
fn logs_of(dir: &Path) -> io::Result<Vec<Log>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(name) = name_of(&path) else { continue };
        let Some(replica) = name.strip_suffix(".out").or_else(|| name.strip_suffix(".err")) else { continue };
        let Some(revision) = record::revision_of(replica) else { continue };
        logs.push(Log { revision, replica: ReplicaId::new(replica), path });
    }
    logs.sort_by(|one, two| {
        let key = |log: &Log| (log.revision, record::number(&log.replica), log.path.clone());
        key(one).cmp(&key(two))
    });
    Ok(logs)
}

/// Copies a file that has grown too large and cuts it. What is written between the two is lost: a line or two,
/// once in ten mebibytes, against a writer that never has to know.
fn rotate(path: &Path, bytes_max: u64) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(data) if data.len() > bytes_max => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for number in (1..ROTATED_MAX).rev() {
        match fs::rename(rotated(path, number), rotated(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut copy = File::create(rotated(path, 1))?;
    let copied = io::copy(&mut (&file).take(bytes_max.saturating_mul(4)), &mut copy);
    // Cut even when the copy failed: on a full disk the log is what fills it.
    file.set_len(0)?;
    copied.map(|_| ())
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn forget_old_revisions(layout: &Layout, target: &Target) -> io::Result<()> {
    let present: BTreeSet<Revision> =
        layout.replicas(target)?.into_iter().map(|(_, record)| record.revision).collect();
    let logs = logs_of(&layout.logs(target))?;
    let revisions: BTreeSet<Revision> = logs.iter().map(|log| log.revision).collect();
    let newest: BTreeSet<Revision> = revisions.into_iter().rev().take(REVISIONS_MAX).collect();
    for log in logs {
        if newest.contains(&log.revision) || present.contains(&log.revision) {
            continue;
        }
        fs::remove_file(&log.path)?;
        for number in 1..=ROTATED_MAX {
            match fs::remove_file(rotated(&log.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn forget_old_tasks(layout: &Layout, target: &Target) -> io::Result<()> {
    let mut ended = Vec::new();
    for (folder, _) in layout.task_records(target)? {
        if folder.ended()?.is_some() {
            ended.push(folder);
        }
    }
    let surplus = ended.len().saturating_sub(TASKS_MAX);
    for folder in &ended[..surplus] {
        folder.remove()?;
    }
    Ok(())
}
