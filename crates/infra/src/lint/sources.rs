//! Reads a tree of files to what rules look at: documents, Terraform modules, Dockerfiles, scripts, programs.
//! A file that cannot be read is named, and the rest is read.

use super::doc::{At, Entry, File, Kind, Node};
use super::read::code::{Language, Source};
use super::read::dockerfile::Dockerfile;
use super::read::hcl::{self, Block};
use super::read::shell::Command;
use super::read::{code, dockerfile, hcl_json, json, shell, yaml};
use super::terraform::Module;
use crate::tree::{Tree, file_name, folder};
use std::collections::BTreeMap;

/// Largest file that is parsed: hand-written ones are far smaller, and time must stay bounded.
const BYTES_MAX: usize = 4 << 20;

/// Longest line that is parsed: what is longer was made by a program.
const LINE_MAX: usize = 200_000;

/// Files and what was read in them.
#[derive(Debug, Default)]
pub struct Sources {
    pub files: Vec<File>,
    pub by_path: BTreeMap<String, usize>,
    /// Every path of the tree, also of files that are not read.
    pub paths: Vec<String>,
    pub modules: BTreeMap<String, Module>,
    /// Folder of a module to its calls: the folder and block of each.
    calls: BTreeMap<String, Vec<(String, usize)>>,
    pub yaml: Vec<(usize, Node)>,
    pub json: Vec<(usize, Node)>,
    pub toml: Vec<usize>,
    pub dockerfiles: Vec<Dockerfile>,
    pub scripts: Vec<(usize, Vec<Command>)>,
    /// In the order of their paths.
    pub code: Vec<Source>,
    pub sql: Vec<usize>,
    /// Path and why.
    pub unreadable: Vec<(String, String)>,
}

/// What a file was read to.
enum Read {
    Hcl(Vec<Block>),
    Vars(Vec<Entry>),
    Yaml(Node),
    Json(Node),
    Toml,
    Docker(Dockerfile),
    Shell(Vec<Command>),
    Code(Source),
    Sql,
    Plain,
}

/// How a file is read, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Hcl,
    Vars,
    Yaml,
    Json,
    Toml,
    Docker,
    Shell,
    Code(Language),
    Sql,
    Plain,
}

fn form(path: &str, bytes: &[u8]) -> Option<Form> {
    let name = file_name(path);
    let lower = name.to_ascii_lowercase();
    let extension = lower.rsplit_once('.').map_or("", |(_, extension)| extension);
    if lower == "dockerfile"
        || lower.starts_with("dockerfile.") && extension != "dockerignore"
        || extension == "dockerfile"
        || lower == "containerfile"
    {
        return Some(Form::Docker);
    }
    Some(match extension {
        "tf" | "tofu" => Form::Hcl,
        "tfvars" => Form::Vars,
        "yml" | "yaml" => Form::Yaml,
        "json" if !matches!(name, "package-lock.json" | "composer.lock") => Form::Json,
        "toml" if name == "medeclipse.toml" => Form::Toml,
        "sh" | "bash" => Form::Shell,
        "sql" => Form::Sql,
        "tpl" | "tftpl" | "tmpl" | "dockerignore" | "txt" | "conf" | "template" | "properties" => Form::Plain,
        _ if lower == "makefile" || lower == ".dockerignore" || lower == "procfile" || name == ".npmrc" => {
            Form::Plain
        }
        _ => match Language::of(&lower) {
            Some(language) => Form::Code(language),
            None if bytes.starts_with(b"#!") && shebang(bytes) => Form::Shell,
            None => return None,
        },
    })
}

/// Whether a file of that name is read.
pub fn is_read(path: &str) -> bool {
    !is_foreign(path) && form(path, b"").is_some()
}

/// Whether a file may be a script without an ending that says so.
pub fn may_be_script(path: &str) -> bool {
    !is_foreign(path) && !file_name(path).contains('.')
}

/// Whether a file must be readable: of YAML and JSON, what says by its name that it is one of those that are judged.
fn is_ours(path: &str) -> bool {
    let name = file_name(path);
    let generic = [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end));
    !generic
        || path.contains(".github/")
        || name.ends_with(".tf.json")
        || matches!(name, "package.json" | "action.yml" | "action.yaml")
        || ["compose", "docker-compose", "task", "container", "ecs"]
            .iter()
            .any(|word| name.starts_with(word) || name.contains("task"))
}

fn shebang(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.trim_end().ends_with("sh")
}

/// Folders that hold other people's files.
fn is_foreign(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "node_modules" | ".terraform" | "vendor" | ".git" | "target" | ".venv"))
}

fn read(path: &str, bytes: &[u8], file: usize) -> Option<Result<(String, Read), String>> {
    let form = form(path, bytes)?;
    if bytes.len() > BYTES_MAX {
        return Some(Err(format!("it has {} MiB; at most {} are read", bytes.len() >> 20, BYTES_MAX >> 20)));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Some(Err("it is not UTF-8".to_owned()));
    };
    if text.split('\n').any(|line| line.len() > LINE_MAX) {
        // Bundled programs have such lines; nobody wrote them.
        return (!matches!(form, Form::Code(_) | Form::Plain | Form::Sql))
            .then(|| Err(format!("a line has more than {LINE_MAX} bytes")));
    }
    let tf_json = path.ends_with(".tf.json");
    let done = match form {
        Form::Hcl => hcl::read(text, file).map(Read::Hcl),
        Form::Vars => hcl::read_values(text, file).map(Read::Vars),
        Form::Yaml => yaml::read(text, file).map(Read::Yaml),
        Form::Json if tf_json => json::read(text, file, 0).map(|root| Read::Hcl(hcl_json::blocks(root))),
        Form::Json => match json::read(text, file, 0) {
            Ok(node) => Ok(Read::Json(node)),
            // A template: it is read where Terraform names it.
            Err(_) if text.contains("${") => Ok(Read::Plain),
            Err(why) => Err(why),
        },
        Form::Toml => Ok(Read::Toml),
        Form::Docker => dockerfile::read(text, file).map(Read::Docker),
        Form::Shell => Ok(Read::Shell(shell::read(text, file, 0))),
        Form::Code(language) => Ok(Read::Code(code::read(text, file, language))),
        Form::Sql => Ok(Read::Sql),
        Form::Plain => Ok(Read::Plain),
    };
    Some(done.map(|read| (text.to_owned(), read)))
}

impl Sources {
    /// Reads a tree, on as many threads as asked for.
    pub fn read(tree: &Tree, threads: usize) -> Self {
        let files: Vec<(&String, &[u8])> =
            tree.iter().filter(|(path, _)| !is_foreign(path)).map(|(path, bytes)| (path, &**bytes)).collect();
        let size = files.len().div_ceil(threads.max(1)).max(1);
        let one = |(at, (path, bytes)): (usize, &(&String, &[u8]))| (at, read(path, bytes, at));
        let done: Vec<_> = if threads == 1 {
            files.iter().enumerate().map(one).collect()
        } else {
            std::thread::scope(|scope| {
                let parts: Vec<_> = files
                    .chunks(size)
                    .enumerate()
                    .map(|(part, chunk)| {
                        scope.spawn(move || {
                            chunk
                                .iter()
                                .enumerate()
                                .map(|(at, file)| one((part * size + at, file)))
                                .collect::<Vec<_>>()
                        })
                    })
                    .collect();
                parts.into_iter().flat_map(|part| part.join().expect("BUG: a reader ends")).collect()
            })
        };
        let mut sources = Self { paths: tree.keys().cloned().collect(), ..Self::default() };
        for (at, read) in done {
            sources.add(files[at].0, read);
        }
        sources.index_calls();
        sources
    }

    /// Files keep their number: places were made with it.
    fn add(&mut self, path: &str, read: Option<Result<(String, Read), String>>) {
        let file = self.files.len();
        let (text, read) = match read {
            Some(Ok((text, read))) => (text, Some(read)),
            // Other people's formats, and what was broken on purpose.
            Some(Err(_)) if !is_ours(path) => (String::new(), None),
            Some(Err(why)) => {
                self.unreadable.push((path.to_owned(), why));
                if path.ends_with(".tf") || path.ends_with(".tf.json") {
                    self.module(path).broken.push(path.to_owned());
                }
                (String::new(), None)
            }
            None => (String::new(), None),
        };
        self.files.push(File { path: path.to_owned(), text });
        self.by_path.insert(path.to_owned(), file);
        match read {
            Some(Read::Hcl(blocks)) => self.module(path).blocks.extend(blocks),
            Some(Read::Vars(values)) => {
                let module = self.module(path);
                for entry in values {
                    module.given.entry(entry.key).or_default().push(entry.value);
                }
            }
            Some(Read::Yaml(node)) => self.yaml.push((file, node)),
            Some(Read::Json(node)) => self.json.push((file, node)),
            Some(Read::Toml) => self.toml.push(file),
            Some(Read::Docker(docker)) => self.dockerfiles.push(docker),
            Some(Read::Shell(commands)) => self.scripts.push((file, commands)),
            Some(Read::Code(source)) => self.code.push(source),
            Some(Read::Sql) => self.sql.push(file),
            Some(Read::Plain) | None => {}
        }
    }

    fn module(&mut self, path: &str) -> &mut Module {
        let folder = folder(path).to_owned();
        let module = self.modules.entry(folder.clone()).or_default();
        module.folder = folder;
        module
    }

    pub fn path(&self, at: At) -> &str {
        &self.files[at.file].path
    }

    pub fn slice(&self, at: At) -> &str {
        self.files[at.file].slice(at.span)
    }

    /// The calls of a module, with where each stands.
    pub fn calls_of(&self, folder: &str) -> Vec<(&Module, &Block)> {
        let calls = self.calls.get(folder).map_or(&[][..], Vec::as_slice);
        let one = |(caller, at): &(String, usize)| {
            let module = &self.modules[caller];
            (module, &module.blocks[*at])
        };
        calls.iter().map(one).collect()
    }

    fn index_calls(&mut self) {
        for module in self.modules.values() {
            for (at, block) in module.blocks.iter().enumerate().filter(|(_, block)| block.kind == "module") {
                if let Some(called) = module.source_folder(block) {
                    self.calls.entry(called).or_default().push((module.folder.clone(), at));
                }
            }
        }
    }

    /// The programs' sources below a folder, which is all for the root.
    pub fn code_below(&self, folder: &str) -> &[Source] {
        if folder.is_empty() {
            return &self.code;
        }
        let path = |source: &Source| self.files[source.file].path.as_str();
        let (first, last) = (format!("{folder}/"), format!("{folder}0"));
        let start = self.code.partition_point(|source| path(source) < first.as_str());
        // `0` comes right after `/`.
        let end = self.code.partition_point(|source| path(source) < last.as_str());
        &self.code[start..end]
    }

    /// Reads JSON that stands in a string or heredoc, its holes kept.
    pub fn json_in_template(&self, node: &Node) -> Option<Node> {
        let text = self.slice(node.at);
        let (body, offset) = if text.starts_with("<<") {
            let begin = text.find('\n')? + 1;
            let last = text.trim_end().rfind('\n')?;
            (text.get(begin..last)?, begin)
        } else {
            return None;
        };
        json_with_holes(body, node.at.file, node.at.span.start + offset)
    }

    /// Reads a file as JSON, its holes kept.
    pub fn json_template_file(&self, path: &str) -> Option<Node> {
        let file = *self.by_path.get(path)?;
        json_with_holes(&self.files[file].text, file, 0)
    }

    /// The file a path means, seen from a folder.
    pub fn beside(&self, folder: &str, relative: &str) -> Option<usize> {
        self.by_path.get(&crate::tree::join(folder, relative)?).copied()
    }

    /// Whether a file or a folder of that path is in the tree.
    pub fn exists(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let under = format!("{path}/");
        path.is_empty()
            || self.paths.binary_search_by(|known| known.as_str().cmp(path)).is_ok()
            || self.paths[self.paths.partition_point(|known| known.as_str() < under.as_str())..]
                .first()
                .is_some_and(|known| known.starts_with(&under))
    }
}

/// Parses JSON in which `${…}` stands: the holes are filled for the parser, and put back by their place.
fn json_with_holes(text: &str, file: usize, offset: usize) -> Option<Node> {
    let mut filled = text.to_owned().into_bytes();
    let mut at = 0;
    while let Some(start) = text[at..].find("${").map(|found| at + found) {
        let end = start + text[start..].find('}')? + 1;
        filled[start..end].fill(b'1');
        at = end;
    }
    let filled = String::from_utf8(filled).ok()?;
    let node = json::read(&filled, file, offset).ok()?;
    Some(with_holes(node, text, offset))
}

fn with_holes(node: Node, text: &str, offset: usize) -> Node {
    let at = node.at;
    let kind = match node.kind {
        Kind::Text(_) | Kind::Number(_) => {
            let written = text.get(at.span.start - offset..at.span.end - offset).unwrap_or("");
            match written.contains("${").then(|| hcl::template(written.trim_matches('"'), at)).flatten() {
                Some(kind) => kind,
                None => node.kind,
            }
        }
        Kind::List(items) => {
            Kind::List(items.into_iter().map(|item| with_holes(item, text, offset)).collect())
        }
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|entry| Entry { value: with_holes(entry.value, text, offset), ..entry })
                .collect(),
        ),
        kind => kind,
    };
    Node { at, kind }
}
