//! Repairs a journal where that is certain, before it is opened: from its second copy when the file does not verify or has
//! lost its last rows, and the copy when that does not fit the file. Refuses to guess: what neither holds is damage. The
//! damaged file is kept beside it, under a name that says so.

use super::chain::{self, GENESIS};
use super::copy;
use super::disk::StoredRow;
use super::schema;
use drivers::repairs;
use rollout::names::{Generation, Target};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The end of a chain of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    seq: u64,
    hash: String,
}

impl End {
    fn start() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned() }
    }

    /// Takes in the next row, or says why it cannot come next.
    fn follow(&mut self, row: &StoredRow, target: &Target) -> Result<(), String> {
        let follows = row.seq == self.seq + 1 && row.prev_hash == self.hash;
        if !follows || chain::hash_of_row(row, target) != row.hash {
            return Err(format!("event {}: it does not match its hash, or does not follow", self.seq + 1));
        }
        *self = Self { seq: row.seq, hash: row.hash.clone() };
        Ok(())
    }
}

/// What was found of a file.
enum Found {
    /// All of it verifies.
    Whole(End),
    Damaged(String),
    /// Nothing to judge: there is none, or a newer program's.
    Nothing,
}

/// Repairs the file or its copy, where one of them is whole and the other is not. Refuses a file that does not verify and
/// cannot be repaired; says why in the words of an error: what is wrong, and what stands in the way.
pub fn before_opening(path: &Path, target: &Target, accepted: Option<Generation>) -> Result<(), String> {
    let copy = copy::path_of(path);
    let file = of_file(path, target);
    let file_end = match &file {
        Found::Whole(end) => Some(end),
        _ => None,
    };
    let (copied, passes) = of_copy(&copy, target, file_end);
    let accepted = accepted.map_or(0, |accepted| accepted.seq);
    let restore = |end: &End, why: &str| restore(path, target, &copy, end.seq, accepted, why);
    match (file, copied) {
        (Found::Nothing, Found::Whole(end)) if end.seq > 0 && !path.exists() => restore(&end, "it was gone"),
        (Found::Nothing, _) => Ok(()),
        (Found::Damaged(why), Found::Whole(end)) if end.seq > 0 => restore(&end, &why),
        // An empty file is as good as none, where nothing says otherwise: see `Journal::disk`.
        (Found::Damaged(_), _) if !is_there(path) => Ok(()),
        (Found::Damaged(why), Found::Damaged(copied)) => {
            Err(format!("{why}; its second copy is damaged too: {copied}"))
        }
        (Found::Damaged(why), Found::Nothing | Found::Whole(_)) => {
            Err(format!("{why}; there is no second copy of it"))
        }
        (Found::Whole(end), Found::Whole(copied)) if end == copied => Ok(()),
        (Found::Whole(end), Found::Whole(copied)) if copied.seq > end.seq && passes => {
            restore(&copied, &format!("events {} to {} were missing", end.seq + 1, copied.seq))
        }
        (Found::Whole(end), copied) => {
            copy_again(path, &copy, &end, copied);
            Ok(())
        }
    }
}

fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// Reads a file without changing it.
fn of_file(path: &Path, target: &Target) -> Found {
    if !is_there(path) {
        return if path.exists() { Found::Damaged("it was empty".to_owned()) } else { Found::Nothing };
    }
    let read = || -> Result<Option<End>, String> {
        let told = |error: rusqlite::Error| error.to_string();
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(told)?;
        connection.busy_timeout(super::BUSY).map_err(told)?;
        let version: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)?;
        if version > schema::SCHEMA_VERSION {
            return Ok(None);
        }
        let check: String =
            connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(told)?;
        if check != "ok" {
            return Err(format!("its check says: {check}"));
        }
        let owner = "SELECT value FROM about WHERE key = 'target'";
        let owner: String = connection.query_row(owner, [], |row| row.get(0)).map_err(told)?;
        if owner != target.to_string() {
            return Err(format!("it belongs to {owner}"));
        }
        let mut end = End::start();
        let mut statement = connection.prepare(StoredRow::SELECT_ALL_AFTER).map_err(told)?;
        let mut rows = statement.query([0]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            end.follow(&StoredRow::read(row).map_err(told)?, target)?;
        }
        Ok(Some(end))
    };
    match read() {
        Ok(Some(end)) => Found::Whole(end),
        Ok(None) => Found::Nothing,
        Err(why) => Found::Damaged(why),
    }
}

/// Reads a copy, and says whether it goes through this end of the file.
fn of_copy(path: &Path, target: &Target, through: Option<&End>) -> (Found, bool) {
    let Ok(rows) = copy::rows(path) else { return (Found::Nothing, false) };
    let mut end = End::start();
    let mut passes = through == Some(&end);
    for row in rows {
        if let Err(why) = row.and_then(|row| end.follow(&row, target)) {
            return (Found::Damaged(why), passes);
        }
        passes |= through == Some(&end);
    }
    (Found::Whole(end), passes)
}

/// Makes the file anew from the copy; the damaged one is kept aside.
fn restore(
    path: &Path,
    target: &Target,
    copy: &Path,
    end: u64,
    accepted: u64,
    why: &str,
) -> Result<(), String> {
    if end < accepted {
        return Err(format!("{why}; its second copy ends at event {end}, and event {accepted} is in use"));
    }
    let aside = beside(path, &format!(".damaged-{}", moment()));
    match rebuilt(path, target, copy).and_then(|rebuilt| swap(path, &rebuilt, &aside)) {
        Ok(()) => {
            let kept = if aside.exists() {
                format!("; the damaged one is kept as {}", aside.display())
            } else {
                String::new()
            };
            repairs::note(path, &format!("{why}; restored from its second copy with {end} events{kept}"));
            Ok(())
        }
        Err(error) => Err(format!("{why}; its second copy could not be put in its place ({error})")),
    }
}

/// Writes a whole new file beside the old one.
fn rebuilt(path: &Path, target: &Target, copy: &Path) -> Result<PathBuf, String> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    let place = beside(path, ".restored");
    for suffix in ["", "-wal", "-shm"] {
        let _was_not_there = std::fs::remove_file(beside(&place, suffix));
    }
    let mut connection = Connection::open(&place).map_err(|error| error.to_string())?;
    schema::prepare(&connection, &place, target).map_err(|damage| damage.why)?;
    let told = |error: rusqlite::Error| error.to_string();
    let transaction = connection.transaction().map_err(told)?;
    for row in copy::rows(copy).map_err(|error| error.to_string())? {
        super::sqlite::insert_row(&transaction, &row?).map_err(told)?;
    }
    transaction.commit().map_err(told)?;
    // One whole file, flushed: the log beside it is emptied and removed with the last connection.
    connection.close().map_err(|(_, error)| error.to_string())?;
    Ok(place)
}

fn swap(path: &Path, rebuilt: &Path, aside: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(beside(path, suffix), beside(aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(told(error)),
            _ => {}
        }
    }
    std::fs::rename(rebuilt, path).map_err(told)?;
    let folder = path.parent().unwrap_or(path);
    drivers::files::sync_folder(folder).map_err(told)
}

/// Writes the copy from the file.
fn copy_again(path: &Path, copy: &Path, end: &End, found: Found) {
    let why = match found {
        Found::Damaged(why) => Some(why),
        Found::Whole(copied) if copied.seq >= end.seq => {
            Some("it told other events than the journal".to_owned())
        }
        // Behind by what a crash cut off, or written for the first time.
        Found::Whole(_) | Found::Nothing => None,
    };
    let read = || -> Result<(), String> {
        let told = |error: rusqlite::Error| error.to_string();
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(told)?;
        let mut statement = connection.prepare(StoredRow::SELECT_ALL_AFTER).map_err(told)?;
        let rows = statement.query_map([0], StoredRow::read).map_err(told)?;
        copy::write(copy, rows.map_while(Result::ok)).map_err(|error| error.to_string())
    };
    match (read(), why) {
        (Ok(()), Some(why)) => repairs::note(copy, &format!("{why}; written again from the journal")),
        (Ok(()), None) => {}
        (Err(error), _) => {
            crate::log(&format!("cannot write {}: {error}; the journal itself is whole", copy.display()))
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn moment() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
