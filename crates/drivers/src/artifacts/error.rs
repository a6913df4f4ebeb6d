//! Says why an artefact could not be stored or read: what failed, why, what to do next.

use std::io;
use std::path::PathBuf;

/// What failed, about which artefact. The source says why.
#[derive(Debug, thiserror::Error)]
#[error("{verb} `{subject}`")]
pub struct ArtifactError {
    pub verb: &'static str,
    /// The path as given, or the digest.
    pub subject: String,
    #[source]
    pub cause: Cause,
}

/// Why an artefact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("there is no file or folder of this name")]
    Missing,
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the link `{}` leads out of it, to `{}`", path.display(), to.display())]
    LinkLeadsOut { path: PathBuf, to: PathBuf },
    #[error("`{}` is neither a file nor a folder nor a link", path.display())]
    Special { path: PathBuf },
    #[error("it holds more than {max} entries")]
    TooMany { max: u64 },
    #[error("it holds more than {max} bytes")]
    TooLarge { max: u64 },
    #[error("folders are nested deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("the disk that holds `{}` is full", store.display())]
    DiskFull { store: PathBuf },
    #[error("`{}`: {source}", path.display())]
    Store { path: PathBuf, source: io::Error },
    #[error("no artefact of this digest is stored")]
    NotStored,
    #[error("its content is no longer what was stored: it now hashes to {found}")]
    Damaged { found: String },
}

impl ArtifactError {
    /// Returns what to do next.
    pub fn next(&self) -> String {
        match &self.cause {
            Cause::Missing => "check the path, or build the artefact first".to_owned(),
            Cause::Unreadable { path, .. } => {
                format!("make `{}` readable for the user who deploys", path.display())
            }
            Cause::LinkLeadsOut { path, .. } => {
                format!("replace `{}` by a copy of what it points at", path.display())
            }
            Cause::Special { path } => format!("remove `{}` from the artefact", path.display()),
            Cause::TooMany { .. } | Cause::TooLarge { .. } | Cause::TooDeep { .. } => {
                "point the artefact at the folder that is to run, without sources and caches".to_owned()
            }
            Cause::DiskFull { store } => {
                format!("free space on the disk that holds `{}`, then deploy again", store.display())
            }
            Cause::Store { path, .. } => format!("check the folder that holds `{}`", path.display()),
            Cause::NotStored => "deploy the release again, which stores it".to_owned(),
            Cause::Damaged { .. } => {
                "let nothing write into the artefact store, then deploy the release again".to_owned()
            }
        }
    }
}
