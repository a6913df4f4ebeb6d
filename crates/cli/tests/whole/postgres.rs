//! Starts a real PostgreSQL for a test, on a Unix socket in a folder of its own, stops it, and starts it again.

use crate::harness::{eventually, kill};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A database server; stopped when dropped. It refuses to run as root, so then it runs as the user its package made.
pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    server: Option<Child>,
}

impl Postgres {
    /// Returns None where it is not installed; script/test installs it.
    pub fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let binaries = versions.map(|entry| entry.path().join("bin"));
        let binaries = binaries.filter(|folder| folder.join("postgres").exists()).max()?;
        let folder = tempfile::Builder::new().prefix("me-pg-").tempdir().unwrap();
        let is_root = folder.path().metadata().unwrap().uid() == 0;
        let user = is_root.then(|| (id("-u"), id("-g")));
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut postgres = Self { folder, binaries, user, server: None };
        let arguments = ["-D", "data", "-A", "trust", "-U", "clinic", "--no-sync", "-E", "UTF8"];
        let made = postgres.command("initdb").args(arguments).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        postgres.run();
        Some(postgres)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir(self.folder.path()).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Starts the server, without any TCP port, and waits until it accepts connections.
    pub fn run(&mut self) {
        let socket = self.folder.path();
        let server = self
            .command("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
        eventually("PostgreSQL accepts connections", 20, || {
            let asked = self.command("pg_isready").arg("-q").arg("-h").arg(socket).status().unwrap();
            Some(()).filter(|()| asked.success())
        });
    }

    pub fn url(&self) -> String {
        let socket = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgresql://clinic@{socket}/postgres")
    }

    /// Ends the server and every connection to it, as `systemctl stop` does.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        kill(server.id(), "INT");
        let ended = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            server.try_wait().is_ok_and(|status| status.is_some())
        });
        if !ended {
            // Also when a test is failing: nothing stays.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is no user postgres")
}
