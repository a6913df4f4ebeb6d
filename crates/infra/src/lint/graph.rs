//! Holds what a tree says as facts, and answers which of them belong together: which Dockerfile makes a container's image,
//! which program runs in it, what declares a name. Judges nothing; see `rules`.

use super::doc::{At, Node};
use super::eval::{Each, Scope};
use super::facts::app::{self, App};
use super::facts::container::{self, Container, Task};
use super::facts::image::Image;
use super::facts::pipeline::{self, Job, Step, Workflow};
use super::facts::programs::{self, Presence};
use super::facts::text;
use super::read::shell::Command;
use super::sources::Sources;
use super::terraform::{Module, Resource};
use super::value::{Likeness, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Everything a rule may ask.
pub struct Graph {
    pub sources: Sources,
    pub tasks: Vec<Task>,
    pub compose: Vec<Container>,
    pub workflows: Vec<Workflow>,
    /// `YYYY-MM-DD`
    pub today: String,
    /// The image builds of pipelines and scripts.
    pub builds: Vec<Build>,
    index: Index,
    app: OnceLock<App>,
    /// By folder: rules ask again and again.
    apps: Mutex<BTreeMap<String, Arc<App>>>,
}

/// Something Terraform makes, by name.
pub struct Named<'g> {
    pub resource: Resource<'g>,
    pub name: Value,
    pub at: At,
    pub each: Option<Each>,
}

/// A stage of a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    pub docker: usize,
    pub stage: usize,
}

/// `docker build` in a pipeline.
pub struct Build {
    pub command: Command,
    pub dockerfile: Option<String>,
    pub tags: Vec<(Value, At)>,
}

/// What is looked up for every container, again and again.
#[derive(Default)]
struct Index {
    /// Path to its place among the Dockerfiles.
    dockers: BTreeMap<String, usize>,
    /// What a Dockerfile is called for: its own ending and its folder.
    words: Vec<[String; 2]>,
    /// Image, as its last part in small letters, to the Dockerfile it is built from.
    tags: BTreeMap<String, usize>,
}

impl Graph {
    pub fn new(sources: Sources, today: String) -> Self {
        super::eval::begin();
        let tasks = container::tasks(&sources);
        let compose = container::compose(&sources);
        let workflows = pipeline::workflows(&sources);
        let builds = builds(&sources, &workflows);
        let index = Index::new(&sources, &builds);
        let (app, apps) = (OnceLock::new(), Mutex::default());
        Self { sources, tasks, compose, workflows, today, builds, index, app, apps }
    }

    pub fn scope<'g>(&'g self, module: &'g Module) -> Scope<'g> {
        Scope::new(&self.sources, module)
    }

    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.sources.modules.values()
    }

    /// Resources of a kind, in all folders.
    pub fn resources<'g>(&'g self, kind: &'g str) -> impl Iterator<Item = Resource<'g>> {
        self.modules().flat_map(move |module| module.of_kind(kind))
    }

    /// Resources of a kind with the name an attribute gives each instance.
    pub fn named<'g>(&'g self, kind: &'g str, attribute: &'g str) -> Vec<Named<'g>> {
        let mut found = Vec::new();
        for resource in self.resources(kind) {
            let scope = self.scope(resource.module);
            for each in scope.instances(resource) {
                let (name, at) = match resource.block.get(attribute) {
                    Some(node) => {
                        let value = match &each {
                            Some(each) => scope.with(each).value(node),
                            None => scope.value(node),
                        };
                        (value, node.at)
                    }
                    None => (
                        Value::Unknown(format!("`{}` has no `{attribute}`", resource.address())),
                        resource.head(),
                    ),
                };
                found.push(Named { resource, name, at, each });
            }
        }
        found
    }

    /// Containers of tasks and compose services.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.task_containers().map(|(_, container)| container).chain(&self.compose)
    }

    pub fn task_containers(&self) -> impl Iterator<Item = (&Task, &Container)> {
        self.tasks.iter().flat_map(|task| task.containers.iter().map(move |container| (task, container)))
    }

    /// The resource a value of a container names.
    pub fn resource_of(&self, container: &Container, node: &Node) -> Option<(Resource<'_>, String)> {
        let module = self.sources.modules.get(container.folder.as_ref()?)?;
        self.scope(module).resource(node)
    }

    /// Every step of every workflow.
    pub fn steps(&self) -> impl Iterator<Item = (&Workflow, &Job, &Step)> {
        self.workflows
            .iter()
            .flat_map(|workflow| workflow.steps().map(move |(job, step)| (workflow, job, step)))
    }

    /// The commands of steps and of scripts, each once.
    pub fn commands(&self) -> Vec<&Command> {
        let own = self.steps().flat_map(|(_, _, step)| &step.own);
        own.chain(self.sources.scripts.iter().flat_map(|(_, commands)| commands)).collect()
    }

    /// The stage that becomes a container's image, when that is certain.
    pub fn built(&self, container: &Container) -> Option<Built> {
        if let Some((path, target)) = container.compose.as_ref().and_then(|compose| compose.build.as_ref()) {
            let docker = self.dockerfile(path)?;
            let stages = &self.sources.dockerfiles[docker];
            let stage = match target {
                Some(target) => stages.stage(target)?,
                None => stages.stages.len() - 1,
            };
            return Some(Built { docker, stage });
        }
        if container.compose.is_some() {
            return None;
        }
        let image = Image::of(&container.image.as_ref()?.0);
        let docker = self.docker_of(&image, &container.name)?;
        Some(Built { docker, stage: self.sources.dockerfiles[docker].stages.len() - 1 })
    }

    fn dockerfile(&self, path: &str) -> Option<usize> {
        self.index.dockers.get(path).copied()
    }

    /// The Dockerfile a pipeline builds an image of that name from; else the only one; else the one named alike.
    fn docker_of(&self, image: &Image, container: &str) -> Option<usize> {
        let short = image.short().to_lowercase();
        if let Some(docker) = self.index.tags.get(&short) {
            return Some(*docker);
        }
        let public = !image.is_private()
            && !image.repository.contains('$')
            && image.registry.is_none()
            && is_public(image);
        if public {
            return None;
        }
        let dockers = &self.sources.dockerfiles;
        if dockers.len() == 1 {
            // A sidecar of somebody else's registry is not what is built here.
            let foreign = image.registry.as_deref().is_some_and(|registry| {
                registry.contains("public.ecr.aws")
                    || registry.contains("quay.io")
                    || registry.contains("gcr.io")
            });
            return (!foreign).then_some(0);
        }
        let alike = |docker: &usize| {
            self.index.words[*docker].iter().any(|word| {
                !word.is_empty()
                    && (short
                        .strip_suffix(word.as_str())
                        .is_some_and(|head| head.is_empty() || head.ends_with(['-', '/']))
                        || container.eq_ignore_ascii_case(word))
            })
        };
        let found: Vec<usize> = (0..dockers.len()).filter(alike).collect();
        match found.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Whether a program is in a container, and where what decides it stands.
    pub fn presence(&self, container: &Container, program: &str) -> (Presence, Option<At>) {
        if let Some(built) = self.built(container) {
            let docker = &self.sources.dockerfiles[built.docker];
            return (
                programs::in_stage(docker, built.stage, program),
                Some(programs::base_at(docker, built.stage)),
            );
        }
        match &container.image {
            Some((image, at)) => (programs::in_base(&Image::of(image), program), Some(*at)),
            None => (Presence::Unknown("it names no image".to_owned()), None),
        }
    }

    /// What the programs of the tree read and serve.
    pub fn app(&self) -> &App {
        self.app.get_or_init(|| app::app(&self.sources, ""))
    }

    /// What the program in a container reads and serves, when its sources are known.
    pub fn app_of(&self, container: &Container) -> Option<Arc<App>> {
        let built = self.built(container)?;
        let path = &self.sources.files[self.sources.dockerfiles[built.docker].file].path;
        let folder = crate::tree::folder(path);
        if self.sources.dockerfiles.len() > 1
            && (folder.is_empty() || matches!(folder, "docker" | "deploy" | "infra" | "build"))
        {
            return None;
        }
        let folder = if self.sources.dockerfiles.len() == 1 && self.sources.code_below(folder).is_empty() {
            ""
        } else {
            folder
        };
        Some(self.app_below(folder))
    }

    /// What the programs below a folder read and serve.
    pub fn app_below(&self, folder: &str) -> Arc<App> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let app = apps.entry(folder.to_owned()).or_insert_with(|| Arc::new(app::app(&self.sources, folder)));
        Arc::clone(app)
    }

    /// The port a container's program listens on, and what says so.
    pub fn listens(&self, container: &Container) -> Option<(u32, At)> {
        let own = container.env.iter().find(|setting| setting.name == "PORT");
        if let Some(setting) = own {
            return Some((setting.value.known()?.parse().ok()?, setting.at));
        }
        let built = self.built(container)?;
        let docker = &self.sources.dockerfiles[built.docker];
        for stage in docker.lineage(built.stage) {
            for env in docker.stages[stage].all("ENV") {
                if let Some((_, value, at)) = env.pairs().iter().find(|pair| pair.0 == "PORT") {
                    return Some((value.parse().ok()?, *at));
                }
            }
        }
        if let Some(port) = self.command_port(built) {
            return Some(port);
        }
        let app = self.app_of(container)?;
        let mut ports: Vec<u32> = app.ports.iter().map(|port| port.0).collect();
        ports.dedup();
        if let [port] = ports.as_slice() {
            return Some((*port, app.ports[0].1));
        }
        self.exposed(built)
    }

    /// `--port 8000`, `--bind 0.0.0.0:8000` of the image's command.
    fn command_port(&self, built: Built) -> Option<(u32, At)> {
        let stage = &self.sources.dockerfiles[built.docker].stages[built.stage];
        for instruction in ["CMD", "ENTRYPOINT"].iter().filter_map(|keyword| stage.last(keyword)) {
            for command in instruction.commands() {
                for option in ["--port", "-p", "--bind", "-b", "--listen"] {
                    let Some(word) = command.option(option) else { continue };
                    let port = word.text.rsplit(':').next().and_then(|port| port.parse().ok());
                    if let Some(port) = port {
                        return Some((port, word.at));
                    }
                }
            }
        }
        None
    }

    /// The only port `EXPOSE` names.
    pub fn exposed(&self, built: Built) -> Option<(u32, At)> {
        let docker = &self.sources.dockerfiles[built.docker];
        let mut found = Vec::new();
        for stage in docker.lineage(built.stage) {
            for expose in docker.stages[stage].all("EXPOSE") {
                for (word, at) in expose.words() {
                    if let Ok(port) = word.split('/').next().unwrap_or_default().parse() {
                        found.push((port, at));
                    }
                }
            }
        }
        match found.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The best match of a name among named resources.
    pub fn match_name<'n, 'g>(&self, wanted: &Value, named: &'n [Named<'g>]) -> Match<'n, 'g> {
        if let Some(same) = named.iter().find(|known| known.name.likeness(wanted) == Likeness::Same) {
            return Match::Same(same);
        }
        if named.iter().any(|known| known.name.likeness(wanted) == Likeness::Unclear) {
            return Match::Unclear;
        }
        let bare = text::bare(wanted);
        let near = named.iter().find(|known| text::bare(&known.name) == bare).or_else(|| {
            named.iter().min_by_key(|known| strsim::levenshtein(&known.name.to_string(), &wanted.to_string()))
        });
        Match::None(near)
    }
}

/// Finds the image builds of steps and scripts.
fn builds(sources: &Sources, workflows: &[Workflow]) -> Vec<Build> {
    let steps = workflows.iter().flat_map(Workflow::steps).flat_map(|(_, step)| &step.own);
    let commands = steps.chain(sources.scripts.iter().flat_map(|(_, commands)| commands));
    let is_build = |command: &&Command| {
        command.is(&["docker", "build"])
            || command.is(&["docker", "buildx", "build"])
            || command.is(&["podman", "build"])
    };
    commands.filter(is_build).map(build).collect()
}

fn build(command: &Command) -> Build {
    let tagged = command.words.windows(2).filter(|pair| matches!(pair[0].text.as_str(), "-t" | "--tag"));
    let tags = tagged.map(|pair| (text::value(&pair[1].text), pair[1].at)).collect();
    let context = command.words.last().map(|word| word.text.trim_matches('.').trim_matches('/').to_owned());
    let option = command.option("-f").or_else(|| command.option("--file"));
    let named = option.map(|word| word.text.trim_start_matches("./").to_owned());
    let beside = context.filter(|context| !context.contains('$') && !context.contains(':'));
    let dockerfile =
        named.or_else(|| {
            beside.map(|context| {
                if context.is_empty() { "Dockerfile".to_owned() } else { format!("{context}/Dockerfile") }
            })
        });
    Build { command: command.clone(), dockerfile, tags }
}

impl Index {
    fn new(sources: &Sources, builds: &[Build]) -> Self {
        let mut index = Self::default();
        for (at, docker) in sources.dockerfiles.iter().enumerate() {
            let path = &sources.files[docker.file].path;
            let lower = path.to_lowercase();
            let name = crate::tree::file_name(&lower).trim_start_matches("dockerfile").trim_matches('.');
            let folder = crate::tree::folder(&lower).rsplit('/').next().unwrap_or_default();
            index.words.push([name.to_owned(), folder.to_owned()]);
            index.dockers.insert(path.clone(), at);
        }
        for build in builds {
            let Some(docker) = build.dockerfile.as_ref().and_then(|path| index.dockers.get(path)) else {
                continue;
            };
            for (tag, _) in &build.tags {
                let tagged = Image::of(tag);
                if !tagged.repository.contains('$') {
                    index.tags.entry(tagged.short().to_lowercase()).or_insert(*docker);
                }
            }
        }
        index
    }
}

/// What matching a name brought.
pub enum Match<'n, 'g> {
    Same(&'n Named<'g>),
    Unclear,
    /// The nearest one.
    None(Option<&'n Named<'g>>),
}

/// Names of the public library that are run beside an application.
fn is_public(image: &Image) -> bool {
    image.repository.contains('/')
        || matches!(
            image.repository.as_str(),
            "nginx"
                | "redis"
                | "postgres"
                | "mysql"
                | "mariadb"
                | "mongo"
                | "rabbitmq"
                | "memcached"
                | "traefik"
                | "haproxy"
                | "envoy"
                | "busybox"
                | "alpine"
                | "httpd"
                | "caddy"
                | "node"
                | "python"
                | "debian"
                | "ubuntu"
                | "valkey"
                | "elasticsearch"
                | "vault"
                | "consul"
                | "nats"
                | "amazonlinux"
        )
}
