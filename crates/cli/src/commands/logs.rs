//! `logs`: what replicas wrote. Follows by reading the files the engine names, since both are on one machine.

use crate::client::with_query;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::Stop;
use crate::output;
use engine::api::wire::{LogLines, Status};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two questions for new replicas: every 2 s.
const LOOKS_PER_ASK: u32 = 10;
/// Read of one file at one look; the rest comes at the next.
const BYTES_PER_LOOK: u64 = 1 << 20;

/// Show what replicas wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse logs web --lines 50 --follow")]
pub struct Args {
    /// The service; left out: all of them.
    pub service: Option<String>,
    /// Only this replica.
    #[arg(long, value_name = "ID")]
    pub replica: Option<String>,
    /// Only this revision.
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
    /// So many last lines of each replica.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub lines: u32,
    /// Go on until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let logs = fetch(&args, context, args.lines).await?;
    if context.json && !args.follow {
        output::json(&logs);
        return Ok(exit::DONE);
    }
    if logs.is_empty() && !args.follow {
        output::aside("no replica has written anything that matches; `medeclipse status` shows what runs");
    }
    for log in &logs {
        for line in &log.lines {
            show(context, log, line);
        }
    }
    if args.follow {
        follow(&args, context, logs).await?;
    }
    Ok(exit::DONE)
}

async fn fetch(args: &Args, context: &Context, lines: u32) -> Result<Vec<LogLines>, Failure> {
    let services = match &args.service {
        Some(service) => vec![service.clone()],
        None => {
            let status: Status =
                context.client().get("/v1/status").await.map_err(|error| context.explain(error))?;
            status.services.into_iter().map(|service| service.service).collect()
        }
    };
    let mut logs = Vec::new();
    for service in services {
        let pairs = [
            ("target", Some(context.target(&service).to_string())),
            ("revision", args.revision.map(|revision| revision.to_string())),
            ("replica", args.replica.clone()),
            ("lines", Some(lines.to_string())),
        ];
        let found: Vec<LogLines> = context
            .client()
            .get(&with_query("/v1/logs", &pairs))
            .await
            .map_err(|error| context.explain(error))?;
        logs.extend(found);
    }
    Ok(logs)
}

fn show(context: &Context, log: &LogLines, line: &str) {
    if context.json {
        output::json(&serde_json::json!({ "revision": log.revision, "replica": log.replica, "line": line }));
    } else {
        output::line(&format!("{} | {line}", log.replica));
    }
}

/// One file being followed.
struct Tail {
    log: LogLines,
    position: u64,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

/// Shows what is added to the files, and the files of replicas that are new.
async fn follow(args: &Args, context: &Context, logs: Vec<LogLines>) -> Result<(), Failure> {
    let mut stop = Stop::new(context)?;
    let mut tails: BTreeMap<String, Tail> = BTreeMap::new();
    for log in logs {
        let position = std::fs::metadata(&log.path).map_or(0, |file| file.len());
        tails.insert(log.path.clone(), Tail { log, position, rest: Vec::new() });
    }
    let mut tick = tokio::time::interval(LOOK);
    for look in 1.. {
        tokio::select! {
            _ = stop.wait() => return Ok(()),
            _ = tick.tick() => {}
        }
        for tail in tails.values_mut() {
            for line in tail.read() {
                show(context, &tail.log, &line);
            }
        }
        if look % LOOKS_PER_ASK == 0 {
            // An engine that is away for a moment hides only new replicas for that moment.
            for log in fetch(args, context, 1).await.unwrap_or_default() {
                tails.entry(log.path.clone()).or_insert(Tail { log, position: 0, rest: Vec::new() });
            }
        }
    }
    Ok(())
}

impl Tail {
    /// Returns the whole lines added since the last look. A file that became shorter was rotated by
    /// copy-and-truncate: it is read from its beginning.
    fn read(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.log.path) else { return Vec::new() };
        let length = file.metadata().map_or(0, |file| file.len());
        if length < self.position {
            self.position = 0;
            self.rest.clear();
        }
        let mut added = Vec::new();
        if file.seek(SeekFrom::Start(self.position)).is_err() {
            return Vec::new();
        }
        let Ok(read) = file.take(BYTES_PER_LOOK).read_to_end(&mut added) else { return Vec::new() };
        self.position += read as u64;
        self.rest.extend(added);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::names::Revision;
    use std::io::Write;

    #[test]
    fn whole_lines_come_once_and_a_rotated_file_is_read_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let log = LogLines { revision: Revision(1), replica: "web-1-1".into(), path, lines: vec![] };
        let mut tail = Tail { log, position: 0, rest: Vec::new() };

        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.read(), ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.read(), ["two"]);
        assert!(tail.read().is_empty());

        std::fs::write(file.path(), "new\n").unwrap();
        assert_eq!(tail.read(), ["new"]);
    }
}
