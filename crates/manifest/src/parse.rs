//! Makes a [`Manifest`] from text: every mistake in the file is found in one go, also in environments not asked for.
//! Touches no file and no network; paths stay as written. Sections read themselves, see `sections`.

use crate::error::{Kind, Lines, ManifestErrors, Mistake, Span};
use crate::infra::{Infra, Place};
use crate::merge::merged;
use crate::read::{At, Fields, Reader};
use crate::sections::service::Claim;
use crate::sections::{ROOT, environment, infra, service};
use crate::service::{EnvironmentConfig, Manifest, ServiceConfig};
use crate::syntax;
use crate::tls::Tls;
use crate::values::nearest;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A manifest is written by people; what is larger than this, some 5,000 lines, is another file.
const TEXT_MAX: usize = 256 << 10;
/// Each is read once, and again for every service it overrides: more take long, and nobody keeps track of them.
const ENVIRONMENTS_MAX: usize = 32;

/// The environment that needs no section.
const LOCAL: &str = "local";

/// Reads a manifest for one environment. `file_name` is only shown. All mistakes are returned at once.
pub fn parse(text: &str, file_name: &str, environment: &str) -> Result<Manifest, ManifestErrors> {
    parsed(text, file_name, |root| read(root, environment))
}

fn parsed<T>(
    text: &str,
    file_name: &str,
    read: impl FnOnce(&DeTable<'_>) -> (Option<T>, Vec<Mistake>),
) -> Result<T, ManifestErrors> {
    if text.len() > TEXT_MAX {
        let what = format!("the manifest has {} bytes, {TEXT_MAX} are possible", text.len());
        let mistake = Mistake::nowhere(Kind::Syntax, what).help("check that this is the right file");
        return Err(ManifestErrors::new(file_name, "", vec![mistake]));
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let root = root.get_ref();
    let (manifest, mut mistakes) = read(root);
    if !errors.is_empty() {
        mistakes = beside(text, &errors, mistakes);
    }
    match (manifest, mistakes.is_empty()) {
        (Some(manifest), true) => Ok(manifest),
        (_, false) => Err(ManifestErrors::new(file_name, text, mistakes)),
        (None, true) => panic!("BUG: a manifest that cannot be read has a mistake"),
    }
}

/// Reads a manifest for all its environments, in the order of the file, as `infra` plans them: what comes later for a
/// process may be planned. All mistakes are returned at once.
pub fn parse_all(text: &str, file_name: &str) -> Result<Vec<Manifest>, ManifestErrors> {
    parsed(text, file_name, read_all)
}

/// Which view of the file a pass reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass<'n> {
    /// The file without any environment: finds what every override hides.
    Bare,
    /// As the environment sees it that was asked for.
    Asked(&'n str),
    /// As another environment sees it.
    Other(&'n str),
}

fn read(root: &DeTable<'_>, asked: &str) -> (Option<Manifest>, Vec<Mistake>) {
    let known = environment_names(root);
    let mut found = Found::default();
    let mut manifest = None;
    if known.contains(&asked.to_owned()) || asked == LOCAL {
        manifest = pass(root, Pass::Asked(asked), &mut found);
    } else {
        found.note(unknown_environment(asked, &known));
    }
    pass(root, Pass::Bare, &mut found);
    for other in known.iter().filter(|name| *name != asked).take(ENVIRONMENTS_MAX) {
        pass(root, Pass::Other(other), &mut found);
    }
    if known.len() > ENVIRONMENTS_MAX {
        found.note(too_many_environments(known.len()));
    }
    (manifest, found.mistakes)
}

fn read_all(root: &DeTable<'_>) -> (Option<Vec<Manifest>>, Vec<Mistake>) {
    let mut known = environment_names(root);
    let mut found = Found::default();
    if known.len() > ENVIRONMENTS_MAX {
        found.note(too_many_environments(known.len()));
        known.truncate(ENVIRONMENTS_MAX);
    }
    if !known.iter().any(|name| name == LOCAL) {
        known.push(LOCAL.to_owned());
    }
    for mistake in bare(root) {
        if mistake.kind != Kind::NotYetSupported && found.is_new(&mistake) {
            found.note(mistake);
        }
    }
    let manifests = known.iter().filter_map(|name| pass(root, Pass::Other(name), &mut found)).collect();
    (Some(manifests), found.mistakes)
}

/// Returns the mistakes of the file without any environment that no environment can mend.
fn bare(root: &DeTable<'_>) -> Vec<Mistake> {
    let mut found = Found::default();
    pass(root, Pass::Bare, &mut found);
    found.mistakes
}

fn too_many_environments(count: usize) -> Mistake {
    let what = format!("the manifest has {count} environments, {ENVIRONMENTS_MAX} are possible");
    Mistake::nowhere(Kind::Rule, what).help("write the others into a manifest of their own")
}

/// The mistakes of all passes, each once.
#[derive(Default)]
struct Found {
    mistakes: Vec<Mistake>,
    known: BTreeSet<(Option<(usize, usize)>, String)>,
}

impl Found {
    /// Says whether a mistake was not told yet.
    fn is_new(&mut self, mistake: &Mistake) -> bool {
        let place = mistake.span.as_ref().map(|span| (span.start, span.end));
        self.known.insert((place, mistake.what.clone()))
    }

    fn note(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }
}

/// Reads one view and adds the mistakes that count in it and are new.
fn pass(root: &DeTable<'_>, pass: Pass<'_>, found: &mut Found) -> Option<Manifest> {
    let reader = Reader::default();
    let manifest = view(&reader, root, pass);
    for mut mistake in reader.into_mistakes() {
        let counts = match pass {
            Pass::Asked(_) => true,
            // Another environment may still complete it.
            Pass::Bare => mistake.kind != Kind::Rule,
            // What comes later may be planned for where it is not asked for.
            Pass::Other(_) => mistake.kind != Kind::NotYetSupported,
        };
        if !counts || !found.is_new(&mistake) {
            continue;
        }
        if let (Pass::Other(name), Kind::Rule) = (pass, mistake.kind) {
            mistake.what.push_str(&format!(" in the environment `{name}`"));
        }
        found.note(mistake);
    }
    manifest
}

fn view(reader: &Reader, root: &DeTable<'_>, pass: Pass<'_>) -> Option<Manifest> {
    let name = match pass {
        Pass::Bare => None,
        Pass::Asked(name) | Pass::Other(name) => Some(name),
    };
    let root = &overridden(reader, root, name);
    let fields = reader.open(&ROOT, String::new(), root, 0..0);
    let environments = fields.named_where("environment", |own| Some(own) == name);
    let config =
        environments.iter().map(|(_, fields)| environment::read(name.unwrap_or(LOCAL), fields)).next();
    let services: Vec<(At<String>, service::Read)> = fields
        .named("service")
        .into_iter()
        .map(|(name, fields)| {
            let read = service::read(&name, &fields);
            (name, read)
        })
        .collect();
    require_services(&fields, &services);
    require_own_claims(reader, &services);
    let (config, place, ports_span) = match config {
        Some(read) => (read.config, read.place, read.ports_span),
        None => (environment::default(name.unwrap_or(LOCAL)), Place::default(), None),
    };
    let mut containers = BTreeMap::new();
    let services: Vec<ServiceConfig> = services
        .into_iter()
        .map(|(_, read)| {
            containers.insert(read.config.name.clone(), read.container);
            read.config
        })
        .collect();
    let config = with_names(reader, config, &services);
    let infra = Infra { place, ..infra::read(&fields, containers) };
    require_ports(reader, &config, ports_span, &services);
    Some(Manifest { environment: config, services, infra })
}

/// Certificates the edge makes or gets by itself are for the hosts of all services.
fn with_names(
    reader: &Reader,
    mut config: EnvironmentConfig,
    services: &[ServiceConfig],
) -> EnvironmentConfig {
    let hosts: BTreeSet<&String> = services.iter().flat_map(|service| &service.target.hosts).collect();
    if let Some(Tls::SelfSigned { names }) = &mut config.tls {
        *names = hosts.iter().copied().cloned().collect();
    }
    if let Some(acme) = &mut config.acme {
        // Those with a star can be proven in the DNS only.
        acme.names = hosts.into_iter().filter(|host| !host.starts_with('*')).cloned().collect();
        if acme.names.is_empty() && acme.on_demand.is_none() {
            let mistake = Mistake::nowhere(Kind::Rule, "`acme` has no host to get a certificate for");
            let mistake = mistake.why("no service has one in `hosts` without `*`");
            reader.note(mistake.help("write `hosts = [\"clinic.example\"]` in a service, or remove `acme`"));
        }
    }
    config
}

/// Returns the whole file as an environment sees it: its overrides lie over the services.
fn overridden<'i>(reader: &Reader, root: &DeTable<'i>, name: Option<&str>) -> DeTable<'i> {
    let mut result = root.clone();
    let Some(overrides) = name.and_then(|name| overrides(root, name)) else { return result };
    let Some(over) = overrides.get_ref().as_table() else {
        let mistake =
            Mistake::at(Kind::Value, overrides.span(), "the overrides of an environment are not a table");
        reader.note(
            mistake
                .why("this stands for all services")
                .help("write them under `[environment.NAME.service.NAME]`"),
        );
        return result;
    };
    let Some(DeValue::Table(services)) = result.get_mut("service").map(Spanned::get_mut) else {
        return result;
    };
    for (key, value) in over.iter() {
        let Some(base) = services.get(key.get_ref().as_ref()) else {
            reader.note(unknown_service(key, services));
            continue;
        };
        let (Some(table), Some(new)) = (base.get_ref().as_table(), value.get_ref().as_table()) else {
            let what = format!("the override of `{}` is not a table", key.get_ref());
            let mistake =
                Mistake::at(Kind::Value, value.span(), what).why("this stands for the whole service");
            reader.note(mistake.help("write only the keys that differ, each in its table"));
            continue;
        };
        let merged = Spanned::new(base.span(), DeValue::Table(merged(table, new)));
        // The key stays where the service is declared: the order of the file is the order of services.
        services.insert(key.clone(), merged);
    }
    result
}

fn overrides<'t, 'i>(root: &'t DeTable<'i>, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    root.get("environment")?.get_ref().as_table()?.get(name)?.get_ref().as_table()?.get("service")
}

/// Returns the environments of the file, in its order.
fn environment_names(root: &DeTable<'_>) -> Vec<String> {
    let table = root.get("environment").and_then(|value| value.get_ref().as_table());
    let mut keys: Vec<_> = table.into_iter().flat_map(|table| table.keys()).collect();
    keys.sort_by_key(|key| key.span().start);
    keys.into_iter().map(|key| key.get_ref().to_string()).collect()
}

fn unknown_environment(asked: &str, known: &[String]) -> Mistake {
    let what = format!("the manifest has no environment `{asked}`");
    let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
    if !names.contains(&LOCAL) {
        names.push(LOCAL);
    }
    let write = format!("or write [environment.{asked}]");
    let help = match nearest(asked, names.iter().copied()) {
        Some(near) => format!("use `--env {near}`, {write}"),
        None => format!("use one of: {}; {write}", names.join(", ")),
    };
    Mistake::nowhere(Kind::Unknown, what).help(help)
}

fn unknown_service(key: &Spanned<std::borrow::Cow<'_, str>>, services: &DeTable<'_>) -> Mistake {
    let names: Vec<&str> = services.keys().map(|key| key.get_ref().as_ref()).collect();
    let help = match nearest(key.get_ref(), names.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None => {
            format!("services: {}; a new one is declared as [service.{}]", names.join(", "), key.get_ref())
        }
    };
    let what =
        format!("an override for the service `{}`, which the manifest does not declare", key.get_ref());
    Mistake::at(Kind::Unknown, key.span(), what).why("no such service").help(help)
}

fn require_services(fields: &Fields<'_>, services: &[(At<String>, service::Read)]) {
    if services.is_empty() && !fields.has("service") {
        let mistake = Mistake::nowhere(Kind::Rule, "the manifest has no service");
        fields.note(mistake.help("write `[service.web]` and under it `command = [\"./program\"]`"));
    } else if services.is_empty() && fields.is_table("service") {
        let mistake = Mistake::at(Kind::Rule, fields.key_span("service"), "the manifest has no service");
        fields.note(
            mistake
                .why("nothing is in here")
                .help("write `[service.web]` and under it `command = [\"./program\"]`"),
        );
    }
}

/// No two services may answer for the same host and path; each pair of services is told once.
fn require_own_claims(reader: &Reader, services: &[(At<String>, service::Read)]) {
    let mut first: BTreeMap<(&str, &str), (usize, &Claim)> = BTreeMap::new();
    for (index, (name, service)) in services.iter().enumerate() {
        let mut told = BTreeSet::new();
        for claim in &service.claims {
            let (owner, theirs) = *first.entry((&claim.host, &claim.path)).or_insert((index, claim));
            if owner == index || !told.insert(owner) {
                continue;
            }
            let other = &services[owner].0.value;
            let host = if claim.host.is_empty() { "every host" } else { &claim.host };
            let what = format!("`{other}` and `{}` both answer for {host}, path {}", name.value, claim.path);
            let mistake =
                Mistake::at(Kind::Rule, claim.span.clone(), what).why(format!("`{}` here", name.value));
            let mistake = mistake.also(theirs.span.clone(), format!("`{other}` here"));
            reader.note(mistake.help("give one of them other `hosts` or other `paths`"));
        }
    }
}

/// During a rollout every replica may have a twin: both need a port.
fn require_ports(
    reader: &Reader,
    environment: &EnvironmentConfig,
    span: Option<Span>,
    services: &[ServiceConfig],
) {
    let (first, last) = environment.ports;
    let has = u32::from(last) - u32::from(first) + 1;
    let needs: u32 = services.iter().map(|service| service.target.replicas.max * 2).sum();
    if has < needs {
        let what = format!("the range of {has} ports is too small for the replicas");
        let mistake = match span {
            Some(span) => Mistake::at(Kind::Rule, span, what),
            None => Mistake::nowhere(Kind::Rule, what),
        };
        let why = format!("{needs} are needed: each replica, and its twin during a rollout");
        reader.note(mistake.why(why).help("write a larger range, or fewer `replicas`"));
    }
}

/// Returns the errors of syntax and what is surely wrong beside them: the broken lines may hold what seems missing.
fn beside(text: &str, errors: &[toml::de::Error], mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let lines = Lines::of(text);
    let line = |span: Span| lines.line(span.start);
    let mut broken: BTreeSet<usize> = errors.iter().filter_map(toml::de::Error::span).map(line).collect();
    // Without its header, what follows belongs to nothing.
    let mut headless = false;
    for (number, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with('[') {
            headless = broken.contains(&number);
        } else if headless {
            broken.insert(number);
        }
    }
    let sure = |mistake: &Mistake| {
        let whole = mistake.span.clone().is_some_and(|span| !broken.contains(&line(span)));
        whole && mistake.kind != Kind::Rule
    };
    let mut all = syntax::mistakes(text, &lines, errors);
    all.extend(mistakes.into_iter().filter(sure));
    all
}
