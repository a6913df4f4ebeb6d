//! Keeps a second copy of a journal, as text: one row a line, added after each commit. It lies in a folder of its own, so that
//! no one file or folder takes both. A damaged file is restored from it, see `restore`. Not flushed by itself: it is there for a file that is damaged, not for a machine that loses
//! power, which loses nothing of the journal.

use super::disk::StoredRow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the names of copies end with.
pub const ENDING: &str = ".events";

/// Returns where the copy of a journal lies.
pub fn path_of(journal: &Path) -> PathBuf {
    let name = journal.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    folder_of(journal.parent().unwrap_or(Path::new("."))).join(name + ENDING)
}

/// Returns where the copies of the journals of a folder lie: beside it.
pub fn folder_of(journals: &Path) -> PathBuf {
    let name = journals.file_name().unwrap_or_default().to_string_lossy().into_owned();
    journals.with_file_name(name + "-copy")
}

/// A copy that could not be added to is written as a whole again, and not oftener: on a full disk that is in vain.
const AGAIN: Duration = Duration::from_secs(60);

/// The copy that is added to.
pub struct Copy {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// It lacks rows since then, or since it was last tried.
    lacks: Option<Instant>,
}

impl Copy {
    pub fn of(journal: &Path) -> Self {
        Self { path: path_of(journal), open: None, lacks: None }
    }

    /// Adds a row. False: the copy is not as it was left, and must be written as a whole.
    pub fn add(&mut self, row: &StoredRow) -> bool {
        if let Some(since) = self.lacks {
            return since.elapsed() < AGAIN;
        }
        match self.append(row) {
            Ok(added) => added,
            Err(error) => {
                self.lack(&error);
                true
            }
        }
    }

    /// Writes it as a whole. True: it is.
    pub fn write(&mut self, rows: Vec<StoredRow>) -> bool {
        self.open = None;
        match write(&self.path, rows) {
            Ok(()) => self.lacks = None,
            Err(error) => self.lack(&error),
        }
        self.lacks.is_none()
    }

    fn lack(&mut self, error: &io::Error) {
        // Nothing may stand behind half a line: the whole is written again later.
        self.open = None;
        if self.lacks.replace(Instant::now()).is_none() {
            crate::log(&format!(
                "cannot write {}: {error}; the journal itself is written, its copy is tried again",
                self.path.display()
            ));
        }
    }

    fn append(&mut self, row: &StoredRow) -> io::Result<bool> {
        let (file, length) = match &mut self.open {
            Some(open) => open,
            none => {
                if let Some(folder) = self.path.parent().filter(|_| row.seq == 1) {
                    std::fs::create_dir_all(folder)?;
                }
                let file = OpenOptions::new().append(true).create(row.seq == 1).open(&self.path);
                let Ok(file) = file else { return Ok(false) };
                let length = file.metadata()?.len();
                if (length == 0) != (row.seq == 1) {
                    return Ok(false);
                }
                none.insert((file, length))
            }
        };
        let (held, found) = (file.metadata()?, std::fs::metadata(&self.path));
        if !found.is_ok_and(|found| (found.ino(), found.len()) == (held.ino(), *length)) {
            self.open = None;
            return Ok(false);
        }
        let line = line(row);
        file.write_all(line.as_bytes())?;
        *length += line.len() as u64;
        Ok(true)
    }
}

/// Writes a whole copy: the old one or the new one is there, never half of one.
pub fn write(path: &Path, rows: impl IntoIterator<Item = StoredRow>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("draft");
    let mut file = BufWriter::new(File::create(&draft)?);
    for row in rows {
        file.write_all(line(&row).as_bytes())?;
    }
    file.into_inner().map_err(io::Error::from)?.sync_data()?;
    std::fs::rename(&draft, path)
}

/// Reads a copy row by row, up to the first line that is none. A last line that was cut is left out.
pub fn rows(path: &Path) -> io::Result<impl Iterator<Item = Result<StoredRow, String>>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        number += 1;
        match file.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(_) if bytes.last() != Some(&b'\n') => None,
            Ok(_) => Some(serde_json::from_slice(&bytes).map_err(|error| format!("line {number}: {error}"))),
            Err(error) => Some(Err(format!("line {number}: {error}"))),
        }
    }))
}

fn line(row: &StoredRow) -> String {
    serde_json::to_string(row).expect("BUG: every row can be written as JSON") + "\n"
}
