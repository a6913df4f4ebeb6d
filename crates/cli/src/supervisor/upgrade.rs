//! Becomes another program when asked: looks whether that one starts here at all, then leaves it everything. What runs
//! goes on meanwhile, and nothing has changed when it is refused. See `estate` for what is left, `start` for the way back.

use super::asking::{Request, Told};
use super::estate::{self, Estate, Notes};
use super::{ANSWER, Supervisor};
use crate::exit::{self, Failure};
use engine::api::wire::Status;
use rollout::names::Target;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A program that cannot say its version in this time will not serve either.
const CHECK: Duration = Duration::from_secs(10);
/// Between two looks whether it has said it.
const LOOK: Duration = Duration::from_millis(10);
/// Of what a program complained about, what is passed on.
const COMPLAINT_BYTES: u64 = 2048;
/// The form of what one program leaves to the next.
pub const FORM: u32 = 1;

/// What a program says about itself when it is looked at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checked {
    pub version: String,
    /// What form of an estate it takes.
    pub form: u32,
}

impl Supervisor {
    /// Becomes the program that is asked for. Returns only when it cannot.
    pub(super) async fn become_another(&mut self) {
        let Some(Request { question, asker }) = self.request.take() else { return };
        let binary = question.binary;
        let refused = |failure: Failure| {
            (self.say)(&format!("not upgraded: {}", failure.cause.as_deref().unwrap_or_default()));
            asker.tell(&Told::Refused { failure });
        };
        asker.progress(format!("looking at {}", binary.display()));
        let checked = match check(&binary).await {
            Ok(checked) => checked,
            Err(cause) => return refused(not_upgraded(&binary, &cause)),
        };
        asker.progress(format!("version {} starts here; it takes over", checked.version));
        (self.say)(&format!("becoming version {}, {}", checked.version, binary.display()));
        let notes = Notes::of_this_process(self.damaged().await, self.edge.pid);
        let left = File::open("/proc/self/exe").map(|program| {
            let keep = [self.lock.as_fd(), asker.as_fd(), program.as_fd()];
            Estate::leave(&keep, &self.listeners, &notes, estate::successor(&binary))
        });
        let error = left.unwrap_or_else(|error| error);
        refused(not_upgraded(&binary, &error.to_string()));
    }

    /// Returns the targets whose state cannot be used now; None: the engine does not say.
    async fn damaged(&self) -> Option<Vec<Target>> {
        let status: Status = self.client().within(ANSWER).get("/v1/status").await.ok()?;
        let damaged = status.services.into_iter().filter(|service| service.damage.is_some());
        Some(damaged.map(|service| service.target).collect())
    }
}

fn not_upgraded(binary: &Path, cause: &str) -> Failure {
    Failure::new(exit::REFUSED, format!("upgrade to {}", binary.display()))
        .because(cause)
        .then("nothing has changed: the program that ran before goes on; choose another with --binary PATH")
}

/// Runs the program once, in the same surroundings, to see whether it starts and can read the environment.
async fn check(binary: &Path) -> Result<Checked, String> {
    // The very call that would follow: a program that has other options is found out here.
    let mut command = estate::successor(binary);
    command.arg("--rehearses").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
    let until = Instant::now() + CHECK;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            waited => {
                // It is of no use any more, however it ends.
                let _ = child.kill();
                let _ = child.wait();
                let why = waited.err().map_or_else(|| "it hangs".to_owned(), |error| error.to_string());
                return Err(format!("it was asked for its version and gave none within {CHECK:?}: {why}"));
            }
        }
    };
    let (said, complaint) = outputs(&mut child).map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("asked for its version, it ended: {status}\n{complaint}").trim_end().to_owned());
    }
    let checked: Checked = serde_json::from_str(said.trim())
        .map_err(|_| format!("it is no medeclipse that can take over: it said {:?}", said.trim()))?;
    if checked.form != FORM {
        return Err(format!("it takes over in form {}, and {FORM} is what can be left to it", checked.form));
    }
    Ok(checked)
}

fn outputs(child: &mut Child) -> io::Result<(String, String)> {
    let read = |from: Option<&mut dyn Read>| -> io::Result<String> {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            from.take(COMPLAINT_BYTES).read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let said = read(child.stdout.as_mut().map(|out| out as &mut dyn Read))?;
    Ok((said, read(child.stderr.as_mut().map(|err| err as &mut dyn Read))?))
}
