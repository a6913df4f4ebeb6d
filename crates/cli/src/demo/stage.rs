//! Starts the demo's environment and speaks to it with the commands a user would type. Leaves nothing behind.

use super::show::Show;
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::load::LoadHandle;
use drivers::paths::StatePaths;
use engine::api::wire::Status;
use rollout::event::{Event, EventRecord, Outcome};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// The longest any command of the demo may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at the status while a deployment runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A running environment in a temporary folder.
pub struct Stage {
    folder: TempDir,
    program: PathBuf,
    pub address: SocketAddr,
    client: Client,
}

/// How a deployment went.
pub struct Deployed {
    pub code: i32,
    pub outcome: Option<Outcome>,
    pub release: Option<String>,
    pub verdict_at: Option<SystemTime>,
    pub took: Duration,
    /// What the command said when there were no events to say it.
    pub said: String,
}

/// Who answered the last request.
pub struct Answerer {
    pub version: String,
    pub release: String,
}

impl Stage {
    /// Writes the manifest and starts the environment.
    pub async fn set(clinic: Option<&Path>) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Failure::new(exit::BUG, what).because(error);
        let program = std::env::current_exe().map_err(|error| failed("find this program", &error))?;
        let clinic = clinic.map_or_else(|| program.with_file_name("clinic"), Path::to_owned);
        if !clinic.exists() {
            return Err(Failure::new(
                exit::BAD_INPUT,
                format!("find the reference service {}", clinic.display()),
            )
            .because("it has not been built")
            .then("run script/demo, which builds it, or name it with --clinic"));
        }
        let folder = tempfile::Builder::new()
            .prefix("medeclipse-demo-")
            .tempdir()
            .map_err(|error| failed("make a temporary folder", &error))?;
        let address = free_address().map_err(|error| failed("find a free port", &error))?;
        let manifest = manifest(&clinic, folder.path(), address);
        std::fs::write(folder.path().join("medeclipse.toml"), manifest)
            .map_err(|error| failed("write the demo's manifest", &error))?;
        let state = folder.path().join("state");
        let paths =
            StatePaths::locate(&state).map_err(|error| failed("place the state directory", &error.why()))?;
        let client = Client::new(&paths.engine_socket(), Duration::from_secs(5));
        let stage = Self { folder, program, address, client };
        stage.must(&["up", "--detach"]).await?;
        Ok(stage)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--manifest")
            .arg(self.folder.path().join("medeclipse.toml"))
            .arg("--state")
            .arg(self.folder.path().join("state"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("MEDECLIPSE_JSON")
            .env_remove("MEDECLIPSE_ENV");
        command
    }

    async fn must(&self, args: &[&str]) -> Result<Output, Failure> {
        let what = format!("run `medeclipse {}`", args.join(" "));
        let output = tokio::time::timeout(COMMAND_WITHIN, self.command(args).output())
            .await
            .map_err(|_| Failure::new(exit::BUG, what.clone()).because("it did not end in time"))?
            .map_err(|error| Failure::new(exit::BUG, what.clone()).because(error))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Failure::new(exit::BUG, what).because(String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Deploys a version of the clinic and follows it to its end.
    pub async fn deploy(
        &self,
        version: &str,
        faults: &[String],
        show: &Show,
        load: Option<&LoadHandle>,
    ) -> Result<Deployed, Failure> {
        let label = format!("CLINIC_VERSION={version}");
        let mut args = vec!["--json", "deploy", "clinic", "--version", version, "--env-var", &label];
        args.extend(faults.iter().flat_map(|fault| ["--env-var", fault.as_str()]));
        let began = Instant::now();
        let failed =
            |error: std::io::Error| Failure::new(exit::BUG, "run `medeclipse deploy`").because(error);
        let mut child = self.command(&args).kill_on_drop(true).spawn().map_err(failed)?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::new(exit::BUG, "read what `medeclipse deploy` says"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut deployed = Deployed {
            code: 1,
            outcome: None,
            release: None,
            verdict_at: None,
            took: Duration::ZERO,
            said: String::new(),
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                line = lines.next_line() => match line.map_err(failed)? {
                    Some(line) => deployed.take(&line, show),
                    None => break,
                },
                _ = look.tick() => {
                    let status = self.client.get::<Status>("/v1/status").await.ok();
                    show.live(began.elapsed(), status.as_ref(), load.map(LoadHandle::snapshot).as_ref());
                }
                () = tokio::time::sleep(COMMAND_WITHIN) => {
                    return Err(Failure::new(exit::BUG, "follow the deployment").because("it did not end in time"));
                }
            }
        }
        let mut errors = String::new();
        stderr.read_to_string(&mut errors).await.map_err(failed)?;
        deployed.said.push_str(&errors);
        deployed.code = child.wait().await.map_err(failed)?.code().unwrap_or(1);
        deployed.took = began.elapsed();
        if deployed.outcome.is_none() {
            return Err(Failure::new(exit::BUG, format!("deploy {version}")).because(deployed.said.trim()));
        }
        Ok(deployed)
    }

    /// Asks like a user who answers now, by the headers of the answer.
    pub async fn who_answers(&self) -> Result<Answerer, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(exit::BUG, "ask who answers").because(error);
        let stream = tokio::net::TcpStream::connect(self.address).await.map_err(|error| failed(&error))?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| failed(&error))?;
        let driver = tokio::spawn(connection);
        let request = http::Request::get("/api/health")
            .header("host", self.address.to_string())
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .map_err(|error| failed(&error))?;
        let answer = tokio::time::timeout(Duration::from_secs(5), sender.send_request(request)).await;
        driver.abort();
        let answer = answer.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let header = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("nobody").to_owned()
        };
        Ok(Answerer { version: header("x-clinic-version"), release: header("x-medeclipse-release") })
    }

    /// Stops everything; the folder goes with the stage.
    pub async fn strike(self) -> Result<(), Failure> {
        self.must(&["down"]).await.map(|_| ())
    }
}

impl Deployed {
    fn take(&mut self, line: &str, show: &Show) {
        let Ok(record) = serde_json::from_str::<EventRecord>(line) else {
            self.said.push_str(line);
            return;
        };
        show.event(line, &record);
        match &record.event {
            Event::DeploymentRequested(requested) => {
                self.release = Some(requested.candidate.release.short().to_owned());
            }
            Event::VerdictReached { .. } => {
                self.verdict_at = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(record.at.0));
            }
            Event::DeploymentFinished { outcome, .. } => self.outcome = Some(*outcome),
            // The others are shown; none decides a claim.
            _ => {}
        }
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn manifest(clinic: &Path, folder: &Path, address: SocketAddr) -> String {
    format!(
        r#"# Short bakes, so that the demo ends within a minute. See examples/clinic/medeclipse.toml for sensible ones.
[service.clinic]
artifact = {clinic:?}
command  = ["./clinic"]
replicas = {{ min = 2, max = 2 }}
env      = {{ CLINIC_DB = "{folder}/clinic.db" }}
health   = {{ live = "/api/health/live", ready = "/api/health/ready", interval = "500ms", timeout = "800ms", start = "20s" }}
expand   = ["./clinic", "migrate", "expand"]

[service.clinic.rollout]
strategy  = "canary"
steps     = [5, 25, 100]
step_bake = "3s"
bake      = "5s"
drain     = "5s"
keep_hot  = "60s"

[environment.local]
listen = "{address}"
"#,
        folder = folder.display()
    )
}
