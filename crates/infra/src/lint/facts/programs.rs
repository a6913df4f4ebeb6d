//! Knows which programs an image has: from what its base is known to ship, and from what the Dockerfile installs.
//! What is not in the tables is not known, which is never "missing".

use crate::lint::doc::At;
use crate::lint::facts::image::Image;
use crate::lint::read::dockerfile::{Dockerfile, Instruction};

/// Whether a program is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    Present,
    /// Why.
    Missing(String),
    Unknown(String),
}

/// Programs whose presence in a base image is decided by its family; of others nothing is claimed.
const JUDGED: &[&str] = &[
    "curl",
    "wget",
    "bash",
    "nc",
    "node",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "python",
    "python3",
    "pip",
    "jq",
    "git",
    "pg_isready",
    "psql",
    "redis-cli",
    "mysqladmin",
    "mysql",
    "ruby",
    "bundle",
    "php",
    "java",
    "go",
    "cargo",
    "dig",
    "ps",
    "perl",
    "sh",
    "mongosh",
    "nginx",
    "grpc_health_probe",
    "uvicorn",
    "gunicorn",
    "httpie",
    "http",
    "aws",
    "make",
    "dotnet",
];

/// What every image of a system family ships, of the judged programs.
const BUSYBOX: &[&str] = &["sh", "wget", "nc", "ps"];
const DEBIAN_SLIM: &[&str] = &["sh", "bash", "perl"];
const BUILDPACK: &[&str] = &["sh", "bash", "perl", "curl", "wget", "git", "ps", "make", "python3"];
const FEDORA_LIKE: &[&str] = &["sh", "bash", "curl"];

/// What a language's image adds: repository, programs, whether its plain tag is a full one (buildpack-deps).
const LANGUAGES: &[(&str, &[&str], bool)] = &[
    ("node", &["node", "npm", "npx", "yarn"], true),
    ("python", &["python", "python3", "pip"], true),
    ("ruby", &["ruby", "bundle"], true),
    ("golang", &["go"], true),
    ("rust", &["cargo"], true),
    ("postgres", &["pg_isready", "psql"], false),
    ("postgis", &["pg_isready", "psql"], false),
    ("redis", &["redis-cli"], false),
    ("valkey", &["valkey-cli"], false),
    ("debian", &[], false),
    ("ubuntu", &[], false),
    ("alpine", &[], false),
    ("busybox", &[], false),
    ("httpd", &[], false),
];

/// Packages whose programs are called otherwise.
const PACKAGES: &[(&str, &[&str])] = &[
    ("postgresql-client", &["psql", "pg_isready"]),
    ("postgresql", &["psql", "pg_isready"]),
    ("redis", &["redis-cli"]),
    ("redis-tools", &["redis-cli"]),
    ("bind-tools", &["dig"]),
    ("dnsutils", &["dig"]),
    ("procps", &["ps"]),
    ("netcat-openbsd", &["nc"]),
    ("netcat-traditional", &["nc"]),
    ("netcat", &["nc"]),
    ("nmap-ncat", &["nc"]),
    ("nodejs", &["node", "npm", "npx"]),
    ("python3", &["python3"]),
    ("python3-pip", &["pip"]),
    ("default-mysql-client", &["mysql", "mysqladmin"]),
    ("mysql-client", &["mysql", "mysqladmin"]),
    ("mariadb-client", &["mysql", "mysqladmin"]),
    ("openjdk", &["java"]),
    ("awscli", &["aws"]),
    ("aws-cli", &["aws"]),
    ("build-essential", &["make"]),
    ("curl-minimal", &["curl"]),
    ("httpie", &["http", "httpie"]),
];

/// Whether a stage of a Dockerfile has a program.
pub fn in_stage(docker: &Dockerfile, stage: usize, program: &str) -> Presence {
    in_stage_at(docker, stage, program, 0)
}

/// Stages that copy from stages are followed this deep.
const COPIES_MAX: usize = 6;

fn in_stage_at(docker: &Dockerfile, stage: usize, program: &str, depth: usize) -> Presence {
    let name = program.rsplit('/').next().unwrap_or(program);
    let mut removed = None;
    for stage in docker.lineage(stage) {
        for instruction in docker.stages[stage].instructions.iter().rev() {
            match change(instruction, name) {
                // A folder of programs brings what the stage it comes from has.
                Some(true) if brings_folder(instruction, name) => {
                    let from = instruction.flag("from").and_then(|from| docker.stage(from));
                    let there = from
                        .filter(|from| *from != stage && depth < COPIES_MAX)
                        .map(|from| in_stage_at(docker, from, name, depth + 1));
                    match there {
                        Some(Presence::Missing(_)) => {}
                        Some(found) => return found,
                        None => return Presence::Present,
                    }
                }
                Some(true) => return Presence::Present,
                Some(false) => removed = removed.or(Some(instruction.at)),
                None => {}
            }
        }
    }
    if removed.is_some() {
        return Presence::Missing(format!("the image removes `{name}` again"));
    }
    in_base(&Image::read(&docker.outer_base(stage).base), name)
}

/// Whether an image that is not built here has a program.
pub fn in_base(image: &Image, program: &str) -> Presence {
    let name = program.rsplit('/').next().unwrap_or(program);
    let shown = match &image.tag {
        Some(tag) => format!("{}:{tag}", image.repository),
        None => image.repository.clone(),
    };
    let unknown = || Presence::Unknown(format!("what `{shown}` contains is not known here"));
    if !JUDGED.contains(&name)
        || image.repository.contains('$')
        || image.tag.as_deref().is_some_and(|tag| tag.contains('$'))
    {
        return unknown();
    }
    match shipped(image) {
        Some(programs) if programs.contains(&name) => Presence::Present,
        Some(_) => Presence::Missing(format!("`{shown}` does not contain `{name}`")),
        None => unknown(),
    }
}

/// The judged programs of an image, when its family is known.
fn shipped(image: &Image) -> Option<Vec<&'static str>> {
    let name = format!("{}/{}", image.registry.as_deref().unwrap_or_default(), image.repository);
    let short = image.short();
    let tag = image.tag.as_deref().unwrap_or("latest");
    if short == "scratch" {
        return Some(Vec::new());
    }
    if name.contains("distroless/") {
        return Some(distroless(short));
    }
    if name.contains("dotnet/aspnet") || name.contains("dotnet/runtime") {
        return Some(if tag.contains("alpine") {
            [BUSYBOX, &["dotnet"]].concat()
        } else {
            ["sh", "bash", "perl", "dotnet"].to_vec()
        });
    }
    if short == "nginx" || short == "nginx-unprivileged" {
        let base = if tag.contains("alpine") { BUSYBOX } else { DEBIAN_SLIM };
        // Its image installs curl for its own script, but for the slim one.
        let curl: &[&str] = if tag.contains("slim") { &[] } else { &["curl"] };
        return Some([base, curl, &["nginx"]].concat());
    }
    if short == "amazonlinux" || short == "ubi-minimal" || short == "ubi9-minimal" {
        return Some(FEDORA_LIKE.to_vec());
    }
    let (_, own, full) = LANGUAGES.iter().find(|(language, ..)| *language == short)?;
    // Only the names of the library: somebody else's `node` may hold anything.
    if image
        .registry
        .as_deref()
        .is_some_and(|registry| !matches!(registry, "docker.io" | "public.ecr.aws" | "mirror.gcr.io"))
    {
        return None;
    }
    let base: &[&str] = if tag.contains("alpine") || matches!(short, "alpine" | "busybox") {
        BUSYBOX
    } else if *full && !tag.contains("slim") {
        BUILDPACK
    } else {
        DEBIAN_SLIM
    };
    Some([base, own].concat())
}

fn distroless(short: &str) -> Vec<&'static str> {
    match short {
        name if name.starts_with("nodejs") => vec!["node"],
        name if name.starts_with("python") => vec!["python", "python3"],
        name if name.starts_with("java") => vec!["java"],
        _ => Vec::new(),
    }
}

/// Whether a copy names a folder of programs, and not the program itself.
fn brings_folder(instruction: &Instruction, program: &str) -> bool {
    let last = |word: &str| word.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
    matches!(instruction.keyword.as_str(), "COPY" | "ADD")
        && !instruction.words().iter().any(|(word, _)| last(word).as_deref() == Some(program))
}

/// Whether an instruction brings a program (`true`) or takes it away.
fn change(instruction: &Instruction, program: &str) -> Option<bool> {
    match instruction.keyword.as_str() {
        "RUN" => run_change(instruction, program),
        "COPY" | "ADD" => {
            let words = instruction.words();
            let named =
                words.iter().any(|(word, _)| word.trim_end_matches('/').rsplit('/').next() == Some(program));
            // A folder of programs from another stage or image may hold it; an installed tree of Python holds Python's alone.
            let ends = |ends: &[&str]| {
                words.iter().any(|(word, _)| {
                    ends.iter().any(|end| word.trim_end_matches('/').ends_with(end) || word == "/")
                })
            };
            let python =
                matches!(name_of(program), "uvicorn" | "gunicorn" | "pip" | "http" | "httpie" | "aws");
            let folder = instruction.flag("from").is_some()
                && (ends(&["/bin", "/sbin"])
                    || python && ends(&[".venv", "/venv", "/usr/local", "/install"]));
            (named || folder).then_some(true)
        }
        _ => None,
    }
}

fn run_change(instruction: &Instruction, program: &str) -> Option<bool> {
    let commands = instruction.commands();
    let mut changed = None;
    let mut grouped: Vec<(&str, Vec<&str>)> = Vec::new();
    for command in &commands {
        let words: Vec<&str> = command.run().iter().map(|word| word.text.as_str()).collect();
        let Some(first) = words.first() else { continue };
        let manager = first.rsplit('/').next().unwrap_or(first);
        let plain: Vec<&str> = words[1..].iter().copied().filter(|word| !word.starts_with('-')).collect();
        let verb = plain.first().copied().unwrap_or_default();
        let names = plain.get(1..).unwrap_or_default();
        let gives = |packages: &[&str]| packages.iter().any(|package| provides(package, program));
        match (manager, verb) {
            ("apk", "add") => {
                let group = words
                    .iter()
                    .position(|word| matches!(*word, "--virtual" | "-t"))
                    .and_then(|at| words.get(at + 1));
                if let Some(group) = group {
                    grouped.push((*group, names.to_vec()));
                }
                if gives(names) {
                    changed = Some(true);
                }
            }
            ("apk", "del") => {
                let by_group =
                    grouped.iter().any(|(group, packages)| names.contains(group) && gives(packages));
                if gives(names) || by_group {
                    changed = Some(false);
                }
            }
            (
                "apt-get" | "apt" | "yum" | "dnf" | "microdnf" | "tdnf" | "pip" | "pip3" | "pipx" | "gem",
                "install",
            ) => {
                // Requirements bring a program's servers along.
                let servers = manager.starts_with("pip") && matches!(program, "uvicorn" | "gunicorn");
                if gives(names) || servers {
                    changed = Some(true);
                }
            }
            ("apt-get" | "apt" | "yum" | "dnf" | "microdnf", "remove" | "purge" | "erase" | "autoremove") => {
                if gives(names) {
                    changed = Some(false);
                }
            }
            ("npm", "install" | "i") if words.contains(&"-g") || words.contains(&"--global") => {
                if gives(names) {
                    changed = Some(true);
                }
            }
            // Dependencies of a Python program bring its servers.
            ("pip" | "pip3" | "poetry" | "uv" | "pipenv", _) if matches!(program, "uvicorn" | "gunicorn") => {
                changed = Some(true)
            }
            ("corepack", _) if matches!(program, "yarn" | "pnpm") => changed = Some(true),
            _ => {
                // `curl -o /usr/local/bin/x`, `ln -s … /usr/bin/x`, `install … /bin/x`.
                let lands = words[1..]
                    .iter()
                    .any(|word| word.contains('/') && word.rsplit('/').next() == Some(program));
                if lands && !matches!(manager, "rm" | "test" | "[" | "ls") {
                    changed = Some(true);
                }
            }
        }
    }
    changed
}

/// Whether a package, perhaps with a version, brings a program.
fn provides(package: &str, program: &str) -> bool {
    let name = package.split(['=', '@', '~', '<', '>', '[']).next().unwrap_or(package);
    if name == program {
        return true;
    }
    let known =
        |of: &str| PACKAGES.iter().any(|(package, programs)| *package == of && programs.contains(&program));
    // `postgresql16-client`, `postgresql-client-16`, `openjdk-17-jre`.
    let unversioned: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
    let trimmed = unversioned.trim_matches(['-', '.']);
    known(name) || known(trimmed) || trimmed.starts_with("openjdk") && program == "java"
}

/// Where a Dockerfile's stage says what it stands on.
pub fn base_at(docker: &Dockerfile, stage: usize) -> At {
    docker.outer_base(stage).from_at
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
