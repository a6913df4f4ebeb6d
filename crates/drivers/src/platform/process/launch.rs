//! Turns a release into the command, environment and files of one process, and starts the shim for it.
//! Decides nothing about how many; see the parent module.

use super::record::{Folder, Layout};
use rollout::names::{ReplicaId, Target};
use rollout::release::Placed;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a program gets of the engine's own environment. Everything else comes from the manifest, so that a
/// service runs the same whoever started the engine.
pub const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Where programs are looked for when the engine itself has no PATH.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which of the shim's two ways of working is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Replica,
    Task,
}

/// Everything needed to start one process.
#[derive(Debug)]
pub struct Start {
    pub folder: Folder,
    pub cwd: PathBuf,
    pub env: BTreeMap<String, OsString>,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

/// The words that are replaced in arguments and in values of the environment.
#[derive(Debug, Clone)]
pub struct Words(Vec<(&'static str, String)>);

impl Words {
    /// `${PORT}`, `${HOST}` and `${ARTIFACT}` of a replica. Without an artefact the last one stays as written.
    pub fn of_replica(address: SocketAddr, artifact: Option<&Path>) -> Self {
        let mut words = Self::of_task(artifact);
        words.0.push(("${PORT}", address.port().to_string()));
        words.0.push(("${HOST}", address.ip().to_string()));
        words
    }

    pub fn of_task(artifact: Option<&Path>) -> Self {
        Self(artifact.map(|path| ("${ARTIFACT}", path.display().to_string())).into_iter().collect())
    }

    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    pub fn fill_all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.fill(text)).collect()
    }
}

/// Returns the environment of a replica.
pub fn replica_env(
    target: &Target,
    placed: &Placed,
    replica: &ReplicaId,
    address: SocketAddr,
    words: &Words,
) -> BTreeMap<String, OsString> {
    let mut env = base_env(target, &placed.spec.env, words);
    env.insert("PORT".to_owned(), address.port().to_string().into());
    env.insert("HOST".to_owned(), address.ip().to_string().into());
    env.insert("MEDECLIPSE_RELEASE".to_owned(), placed.release.as_str().into());
    env.insert("MEDECLIPSE_REVISION".to_owned(), placed.revision.to_string().into());
    env.insert("MEDECLIPSE_REPLICA".to_owned(), replica.as_str().into());
    env
}

/// Returns the environment every process gets, with what the manifest adds.
pub fn base_env(
    target: &Target,
    added: &BTreeMap<String, String>,
    words: &Words,
) -> BTreeMap<String, OsString> {
    let mut env = BTreeMap::from([("PATH".to_owned(), OsString::from(PATH_DEFAULT))]);
    env.extend(INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?))));
    env.extend(added.iter().map(|(name, value)| (name.clone(), words.fill(value).into())));
    env.insert("MEDECLIPSE_SERVICE".to_owned(), target.service.as_str().into());
    env.insert("MEDECLIPSE_ENVIRONMENT".to_owned(), target.environment.as_str().into());
    env
}

/// Says why the program cannot run, as far as that can be seen without starting it.
pub fn objection(program: &str, cwd: &Path, env: &BTreeMap<String, OsString>) -> Option<String> {
    if program.is_empty() {
        return Some("its command is empty".to_owned());
    }
    if program.contains('/') {
        return file_objection(&cwd.join(program)).map(|why| format!("`{program}` {why}"));
    }
    let path = env.get("PATH").cloned().unwrap_or_else(|| PATH_DEFAULT.into());
    if std::env::split_paths(&path).any(|folder| file_objection(&folder.join(program)).is_none()) {
        return None;
    }
    let beside = if cwd.join(program).is_file() {
        format!("; write `./{program}` for the one in the artefact")
    } else {
        String::new()
    };
    Some(format!("there is no program `{program}` on the PATH{beside}"))
}

fn file_objection(path: &Path) -> Option<&'static str> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some("may not be looked at"),
        Err(_) => Some("is not there"),
        Ok(data) if data.is_dir() => Some("is a folder"),
        Ok(data) if data.permissions().mode() & 0o111 == 0 => Some("is not executable"),
        Ok(_) => None,
    }
}

/// Starts the shim in a process group of its own, with files for its output. Returns its pid; whoever tends the
/// process reaps it.
pub fn spawn(shim: &[OsString], kind: Kind, start: &Start) -> io::Result<u32> {
    let [program, args @ ..] = shim else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program is set that starts replicas"));
    };
    let kind = match kind {
        Kind::Replica => "replica",
        Kind::Task => "task",
    };
    let child = Command::new(program)
        .args(args)
        .arg(kind)
        .arg(&start.folder.0)
        .env_clear()
        .envs(&start.env)
        .current_dir(&start.cwd)
        .stdin(Stdio::null())
        .stdout(append(&start.stdout)?)
        .stderr(append(&start.stderr)?)
        .process_group(0)
        .spawn()?;
    Ok(child.id())
}

/// Opened for appending: several writers, and truncation at rotation, do no harm.
fn append(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| crate::files::about(path, error))
}

/// Returns the log files of a replica: what it says, and what it complains about.
pub fn log_files(layout: &Layout, target: &Target, replica: &ReplicaId) -> (PathBuf, PathBuf) {
    let name = crate::files::as_file_name(replica.as_str());
    let dir = layout.logs(target);
    (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_others_stay() {
        let words = Words::of_replica("127.0.0.1:20001".parse().unwrap(), Some(Path::new("/store/abc")));

        assert_eq!(
            words.fill("http://${HOST}:${PORT}/${ARTIFACT}${HOME}"),
            "http://127.0.0.1:20001//store/abc${HOME}"
        );
        assert_eq!(Words::of_task(None).fill("${PORT} ${ARTIFACT}"), "${PORT} ${ARTIFACT}");
    }

    #[test]
    fn a_program_that_cannot_run_is_objected_to_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("clinic"), "").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let env = BTreeMap::from([("PATH".to_owned(), OsString::from("/bin"))]);
        let why = |program: &str| objection(program, dir.path(), &env);

        assert_eq!(why("sh"), None);
        assert_eq!(why("./clinic").unwrap(), "`./clinic` is not executable");
        assert_eq!(why("./other").unwrap(), "`./other` is not there");
        assert_eq!(why("./folder").unwrap(), "`./folder` is a folder");
        assert_eq!(why("").unwrap(), "its command is empty");
        assert_eq!(
            why("clinic").unwrap(),
            "there is no program `clinic` on the PATH; write `./clinic` for the one in the artefact"
        );
    }

    #[test]
    fn the_environment_holds_the_own_words_over_those_of_the_manifest() {
        let target = Target::new("web", "local");
        let added = BTreeMap::from([
            ("URL".to_owned(), "http://${HOST}".to_owned()),
            ("MEDECLIPSE_SERVICE".to_owned(), "other".to_owned()),
        ]);
        let words = Words::of_replica("127.0.0.1:20001".parse().unwrap(), None);

        let env = base_env(&target, &added, &words);

        assert_eq!(env["URL"], "http://127.0.0.1");
        assert_eq!(env["MEDECLIPSE_SERVICE"], "web");
        assert!(env.contains_key("PATH"));
        assert!(!env.contains_key("CARGO_MANIFEST_DIR"), "nothing of the engine's own environment");
    }
}
