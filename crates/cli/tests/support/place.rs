//! Runs the real program in a folder of its own.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::fake_engine::{FakeEngine, Reply, Request};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub const MANIFEST: &str =
    "[service.web]\ncommand = [\"sleep\", \"60\"]\n[environment.local]\nlisten = \"127.0.0.1:0\"\n";

/// A folder with a manifest and a state directory.
pub struct Place(pub TempDir);

#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("me-").tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".medeclipse/run")).unwrap();
        std::fs::write(folder.path().join("medeclipse.toml"), MANIFEST).unwrap();
        Self(folder)
    }

    pub fn manifest(&self, text: &str) -> &Self {
        std::fs::write(self.0.path().join("medeclipse.toml"), text).unwrap();
        self
    }

    pub fn engine(&self, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> FakeEngine {
        FakeEngine::start(&self.socket(), answer)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.path().join(".medeclipse/run/engine.sock")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medeclipse"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MEDECLIPSE_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn start(&self, args: &[&str]) -> Guarded {
        Guarded(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

/// A command that does not outlive its test.
pub struct Guarded(pub Child);

impl Guarded {
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    pub fn end(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { code: self.0.wait().unwrap().code().unwrap_or(-1), out, err }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn paths(engine: &FakeEngine) -> Vec<String> {
    engine.seen().into_iter().map(|request| request.path).collect()
}
