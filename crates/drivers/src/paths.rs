//! Says where everything of a state directory lies. Computes paths; creates, reads and removes nothing.
//! Every process of an environment must come to the same answer: see [`StatePaths::locate`].

use crate::files::hex;
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest path a Unix socket can have: `sun_path` has 108 bytes, the last one is the closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest name among the sockets: when it fits, they all do.
const LONGEST_SOCKET: &str = "replaced-4194304.give";
/// What the name of everything of a replaced edge begins with; its pid follows.
const REPLACED: &str = "replaced-";

/// The files of one state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePaths {
    root: PathBuf,
    sockets: PathBuf,
}

/// A socket would have a path longer than the system allows, and there is no shorter place for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use the state directory {state}")]
pub struct SocketPathTooLong {
    pub state: String,
    pub bytes: usize,
}

impl SocketPathTooLong {
    pub fn why(&self) -> String {
        let bytes = self.bytes;
        format!("its sockets would have paths of {bytes} bytes, at most {SOCKET_PATH_BYTES_MAX} are possible")
    }

    pub fn next(&self) -> &'static str {
        "choose a shorter --state, or set XDG_RUNTIME_DIR to a short private folder (the same for every command)"
    }
}

impl StatePaths {
    /// Returns the paths of the state directory `state` as every process with this working directory and
    /// this environment computes them.
    pub fn locate(state: &Path) -> Result<Self, SocketPathTooLong> {
        let absolute = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::new(&absolute, runtime_dir.as_deref().filter(|path| path.is_absolute()))
    }

    /// Returns the paths of the absolute `state`. Sockets that would have too long a path move into a folder
    /// of `runtime_dir` named after the state directory.
    pub fn new(state: &Path, runtime_dir: Option<&Path>) -> Result<Self, SocketPathTooLong> {
        let root: PathBuf = state.components().collect();
        let run = root.join("run");
        let bytes = run.join(LONGEST_SOCKET).as_os_str().len();
        if bytes <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { root, sockets: run });
        }
        let too_long = SocketPathTooLong { state: root.display().to_string(), bytes };
        let Some(runtime_dir) = runtime_dir else { return Err(too_long) };
        let digest = Sha256::digest(root.as_os_str().as_bytes());
        let name = hex(&digest[..8]);
        let sockets = runtime_dir.join(format!("medeclipse-{name}"));
        if sockets.join(LONGEST_SOCKET).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(too_long);
        }
        Ok(Self { root, sockets })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Pid files and other things that mean nothing once the environment is down. Mode 0700.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Folder of the sockets, mode 0700: `run`, or a folder in XDG_RUNTIME_DIR.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Where the engine takes commands.
    pub fn engine_socket(&self) -> PathBuf {
        self.sockets.join("engine.sock")
    }

    /// Where the edge takes tables and gives counts.
    pub fn edge_socket(&self) -> PathBuf {
        self.sockets.join("edge.sock")
    }

    /// Where a running edge gives its listening sockets away.
    pub fn handover_socket(&self) -> PathBuf {
        self.sockets.join("handover.sock")
    }

    /// Where the supervisor gives the edge its listening sockets.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.sockets.join("supervisor.sock")
    }

    /// Where the supervisor is asked to become another program; see `medeclipse upgrade`.
    pub fn upgrade_socket(&self) -> PathBuf {
        self.sockets.join("upgrade.sock")
    }

    /// Locked by the one who asks for an upgrade, until that has ended.
    pub fn upgrade_lock(&self) -> PathBuf {
        self.run().join("upgrade.lock")
    }

    /// Where an edge that was replaced takes tables until its requests are finished.
    pub fn replaced_edge_socket(&self, pid: i32) -> PathBuf {
        self.sockets.join(format!("{REPLACED}{pid}.sock"))
    }

    /// Where an edge that was replaced would still give its listening sockets away.
    pub fn replaced_handover_socket(&self, pid: i32) -> PathBuf {
        self.sockets.join(format!("{REPLACED}{pid}.give"))
    }

    /// `PID START_TIME` of an edge that was replaced and finishes its requests.
    pub fn replaced_edge_pid(&self, pid: i32) -> PathBuf {
        self.run().join(format!("{REPLACED}{pid}.pid"))
    }

    /// Locked by the supervisor as long as it lives; holds its pid.
    pub fn supervisor_pid(&self) -> PathBuf {
        self.run().join("supervisor.pid")
    }

    /// `PID START_TIME` of the edge that was started last.
    pub fn edge_pid(&self) -> PathBuf {
        self.run().join("edge.pid")
    }

    /// `PID START_TIME` of the engine that was started last.
    pub fn engine_pid(&self) -> PathBuf {
        self.run().join("engine.pid")
    }

    /// The environment as the manifest of the last `up` describes it, JSON.
    pub fn environment(&self) -> PathBuf {
        self.run().join("environment.json")
    }

    /// There once the supervisor's edge listens and its engine answers; holds the supervisor's pid.
    pub fn ready(&self) -> PathBuf {
        self.run().join("ready")
    }

    /// Asks the supervisor to leave the replicas running when it is told to end.
    pub fn keep_replicas(&self) -> PathBuf {
        self.run().join("keep-replicas")
    }

    /// Why a process of the environment gave up, JSON; `who` is `supervisor`, `edge` or `engine`.
    pub fn failure(&self, who: &str) -> PathBuf {
        self.run().join(format!("failed-{who}.json"))
    }

    /// How processes ended whose parent was gone: one file `PID-START_TIME` each, `code N` or `signal N`.
    pub fn reaped(&self) -> PathBuf {
        self.run().join("reaped")
    }

    /// What the edge, the engine or the supervisor wrote.
    pub fn log(&self, who: &str) -> PathBuf {
        self.logs().join(format!("{who}.log"))
    }
}

/// Whether an edge that was replaced takes tables there.
pub fn is_replaced_edge_socket(path: &Path) -> bool {
    is_of_replaced_edge(path, "sock")
}

/// Whether the file names an edge that was replaced.
pub fn is_replaced_edge_pid(path: &Path) -> bool {
    is_of_replaced_edge(path, "pid")
}

fn is_of_replaced_edge(path: &Path, extension: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(REPLACED) && path.extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_lie_in_the_state_directory_when_their_paths_fit() {
        let paths = StatePaths::new(Path::new("/srv/shop/.medeclipse"), None).unwrap();

        assert_eq!(paths.engine_socket(), Path::new("/srv/shop/.medeclipse/run/engine.sock"));
        assert_eq!(paths.sockets(), paths.run());
    }

    #[test]
    fn too_long_a_path_moves_every_socket_into_the_runtime_directory() {
        let long = PathBuf::from(format!("/{}", "long/".repeat(30)));

        let paths = StatePaths::new(&long, Some(Path::new("/run/user/7"))).unwrap();

        assert!(paths.supervisor_socket().starts_with("/run/user/7"));
        assert!(paths.engine_socket().starts_with("/run/user/7"));
        assert!(paths.supervisor_pid().starts_with(&long));
    }

    #[test]
    fn the_longest_path_that_fits_stays_and_one_byte_more_moves() {
        let fixed = "//run/".len() + LONGEST_SOCKET.len();
        let fits = format!("/{}", "d".repeat(SOCKET_PATH_BYTES_MAX - fixed));
        let over = format!("{fits}d");

        assert!(StatePaths::new(Path::new(&fits), None).is_ok());
        assert!(StatePaths::new(Path::new(&over), None).is_err());
    }

    #[test]
    fn two_long_state_directories_do_not_share_sockets() {
        let base = format!("/{}", "long/".repeat(30));
        let runtime = Some(Path::new("/run/user/7"));

        let one = StatePaths::new(&Path::new(&base).join("one"), runtime).unwrap();
        let two = StatePaths::new(&Path::new(&base).join("two"), runtime).unwrap();

        assert_ne!(one.engine_socket(), two.engine_socket());
    }

    #[test]
    fn without_a_runtime_directory_too_long_a_path_is_refused_with_what_to_do() {
        let long = PathBuf::from(format!("/{}", "long/".repeat(30)));

        let refused = StatePaths::new(&long, None).unwrap_err();

        assert!(refused.why().contains("at most 107"));
        assert!(refused.next().contains("XDG_RUNTIME_DIR"));
    }
}
