//! `lint`: finds the contradictions in and between infrastructure files. Runs nothing of what it reads, follows no
//! link, and asks no engine and no cloud; what is looked for lies in `infra::lint`.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, units};
use infra::finding::Severity;
use infra::lint::report::{self, Color};
use infra::lint::{Options, Report, fixed, rules};
use infra::tree::Tree;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read: hand-written ones are far smaller.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// All that is read of a tree.
const TREE_BYTES_MAX: u64 = 512 << 20;
/// Files without an ending are read this far, to see whether they are scripts.
const SCRIPT_BYTES_MAX: u64 = 256 << 10;

/// Find what contradicts itself, or another file, in Terraform, task definitions, Dockerfiles, compose files, workflows and scripts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse lint .\n  medeclipse lint . --format sarif > lint.sarif\n  \
    medeclipse lint . --baseline lint.json --write-baseline\n  medeclipse lint --explain probe/program-missing\n\n\
    Exit code 0: nothing at or above --fail-on; 1: findings; 2: something could not be read.")]
pub struct Args {
    /// Folders or files.
    #[arg(default_value = ".")]
    pub paths: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The least severity that ends with exit code 1: critical, high, medium, low.
    #[arg(long, value_name = "LEVEL", default_value = "medium")]
    pub fail_on: Severity,
    /// Do not tell what this file lists.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what is found into the baseline, and end with 0.
    #[arg(long, requires = "baseline")]
    pub write_baseline: bool,
    /// Carry out the fixes that can mean nothing else.
    #[arg(long)]
    pub fix: bool,
    /// Say what a rule looks for, why, and what to write instead.
    #[arg(long, value_name = "RULE")]
    pub explain: Option<String>,
    /// List all rules.
    #[arg(long)]
    pub rules: bool,
    /// Print how long it took to read and to judge.
    #[arg(long)]
    pub timings: bool,
}

/// How the report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Sarif,
    Github,
}

pub fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    if let Some(id) = &args.explain {
        return explain(id);
    }
    if args.rules {
        for rule in rules::all() {
            output::line(&format!("{:<34} {:<8} {}", rule.id, rule.severity.word(), rule.says));
        }
        return Ok(exit::DONE);
    }
    let begun = std::time::Instant::now();
    let mut found = read(&args.paths)?;
    let options = options(args)?;
    let read_after = begun.elapsed();
    let mut report = judge(&found, &options);
    if args.fix {
        let count = fix(&mut found, &report)?;
        output::aside(&format!("fixed {count} places"));
        report = judge(&found, &options);
    }
    if args.timings {
        let judged = begun.elapsed().checked_sub(read_after).unwrap_or_default();
        output::aside(&format!("read {} files in {read_after:.1?}, judged in {judged:.1?}", report.files));
    }
    if args.write_baseline {
        return write_baseline(args, &report);
    }
    tell(args, context, &found.tree, &report);
    if !report.unreadable.is_empty() {
        return Ok(exit::COULD_NOT_CHECK);
    }
    Ok(if report.at_least(args.fail_on) > 0 { exit::FINDINGS } else { exit::DONE })
}

fn explain(id: &str) -> Result<u8, Failure> {
    let Some(rule) = rules::find(id) else {
        let near = rules::all()
            .find(|rule| rule.id.contains(id))
            .map_or(String::new(), |rule| format!(" (`{}`?)", rule.id));
        return Err(Failure::new(exit::BAD_INPUT, format!("explain `{id}`"))
            .because(format!("no rule has that name{near}"))
            .then("`medeclipse lint --rules` lists them"));
    };
    output::line(report::explain(rule).trim_end());
    Ok(exit::DONE)
}

fn options(args: &Args) -> Result<Options, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    Ok(Options { today: units::today(), threads, baseline: baseline(args)? })
}

fn judge(found: &Found, options: &Options) -> Report {
    let mut report = infra::lint::lint(&found.tree, options);
    report.unreadable.extend(found.unreadable.iter().cloned());
    report.unreadable.sort();
    report
}

fn tell(args: &Args, context: &Context, tree: &Tree, report: &Report) {
    let color =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match (args.format, context.json) {
        (Format::Text, false) => {
            let text = report::text(tree, report, if color { Color::Yes } else { Color::No });
            output::line(text.trim_end());
        }
        (Format::Text | Format::Json, _) => output::json(&report::json(tree, report)),
        (Format::Sarif, _) => output::json(&report::sarif(tree, report, env!("CARGO_PKG_VERSION"))),
        (Format::Github, _) => output::line(report::github(tree, report).trim_end()),
    }
}

/// Reads the fingerprints of a baseline; with `--write-baseline` none are known.
fn baseline(args: &Args) -> Result<BTreeSet<String>, Failure> {
    let Some(path) = args.baseline.as_ref().filter(|_| !args.write_baseline) else {
        return Ok(BTreeSet::new());
    };
    let refused = |why: String| {
        Failure::new(exit::BAD_INPUT, format!("read the baseline {}", path.display()))
            .because(why)
            .then("write it with `medeclipse lint PATH --baseline FILE --write-baseline`")
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let list =
        value["fingerprints"].as_array().ok_or_else(|| refused("it has no `fingerprints`".to_owned()))?;
    Ok(list.iter().filter_map(|print| print.as_str().map(str::to_owned)).collect())
}

fn write_baseline(args: &Args, report: &Report) -> Result<u8, Failure> {
    let path = args.baseline.as_ref().expect("BUG: clap requires it");
    let value = serde_json::json!({ "version": 1, "fingerprints": report.fingerprints });
    let text = serde_json::to_string_pretty(&value).expect("BUG: a value has a JSON form");
    std::fs::write(path, text + "\n").map_err(|error| {
        Failure::new(exit::BAD_INPUT, format!("write {}", path.display()))
            .because(error)
            .then("choose a writable place")
    })?;
    output::line(&format!("{} findings are in the baseline {}", report.fingerprints.len(), path.display()));
    Ok(exit::DONE)
}

/// What was read, and where from.
struct Found {
    root: PathBuf,
    tree: Tree,
    unreadable: Vec<(String, String)>,
}

/// Reads what lies below the paths as one tree, seen from the folder they have in common.
fn read(paths: &[PathBuf]) -> Result<Found, Failure> {
    let mut absolute = Vec::new();
    for path in paths {
        let known = path.canonicalize().map_err(|error| {
            Failure::new(exit::BAD_INPUT, format!("read {}", path.display()))
                .because(error)
                .then("name a folder or a file that exists")
        })?;
        absolute.push(known);
    }
    let root = common(&absolute);
    let mut found = Found { root, tree: Tree::new(), unreadable: Vec::new() };
    let mut total = 0_u64;
    for path in &absolute {
        let mut walk = ignore::WalkBuilder::new(path);
        // Workflows lie in a hidden folder; git's own is nobody's infrastructure.
        walk.hidden(false).follow_links(false).require_git(false).git_global(false);
        walk.filter_entry(|entry| entry.file_name() != ".git");
        for entry in walk.build() {
            match entry {
                Ok(entry) => found.add(&entry, &mut total),
                Err(error) => found.unreadable.push((path.display().to_string(), error.to_string())),
            }
        }
    }
    Ok(found)
}

/// The folder that all paths lie in.
fn common(paths: &[PathBuf]) -> PathBuf {
    let folder = |path: &PathBuf| {
        if path.is_dir() { path.clone() } else { path.parent().map_or_else(PathBuf::new, Path::to_owned) }
    };
    let mut root = paths.first().map(folder).unwrap_or_default();
    while !paths.iter().all(|path| path.starts_with(&root)) && root.pop() {}
    root
}

impl Found {
    fn add(&mut self, entry: &ignore::DirEntry, total: &mut u64) {
        let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else { return };
        let Ok(relative) = entry.path().strip_prefix(&self.root) else { return };
        let Some(name) = relative.to_str() else {
            self.unreadable
                .push((relative.to_string_lossy().into_owned(), "its name is not UTF-8".to_owned()));
            return;
        };
        let name = name.to_owned();
        // A link counts as being there; where it leads is not looked at.
        if !kind.is_file() {
            self.tree.insert(name, Arc::from(&[][..]));
            return;
        }
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        let wanted = infra::lint::sources::is_read(&name)
            || (infra::lint::sources::may_be_script(&name) && size <= SCRIPT_BYTES_MAX);
        if !wanted {
            self.tree.insert(name, Arc::from(&[][..]));
            return;
        }
        let refusal = if size > FILE_BYTES_MAX {
            Some(format!("it has {} MiB; at most {} are read", size >> 20, FILE_BYTES_MAX >> 20))
        } else if *total + size > TREE_BYTES_MAX {
            Some(format!("the tree has more than {} MiB", TREE_BYTES_MAX >> 20))
        } else {
            None
        };
        let bytes = match refusal {
            Some(why) => Err(why),
            None => bounded(entry.path()).map_err(|error| error.to_string()),
        };
        match bytes {
            Ok(bytes) => {
                *total += size;
                self.tree.insert(name, Arc::from(bytes));
            }
            Err(why) => {
                self.tree.insert(name.clone(), Arc::from(&[][..]));
                self.unreadable.push((name, why));
            }
        }
    }
}

/// Reads a file up to its bound, also when it grows meanwhile.
fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the fixed files, each renamed into place, and keeps the tree in step.
fn fix(found: &mut Found, report: &Report) -> Result<usize, Failure> {
    let (changed, count) = fixed(&found.tree, report);
    for (path, text) in changed {
        let place = found.root.join(&path);
        let failed = |error: std::io::Error| {
            Failure::new(exit::BAD_INPUT, format!("fix {path}"))
                .because(error)
                .then("is the folder writable? what was fixed before stays fixed")
        };
        let folder = place.parent().unwrap_or(&found.root);
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        let permissions = std::fs::metadata(&place).map_err(failed)?.permissions();
        file.as_file().set_permissions(permissions).map_err(failed)?;
        file.persist(&place).map_err(|error| failed(error.error))?;
        found.tree.insert(path.clone(), Arc::from(text.into_bytes()));
    }
    Ok(count)
}
