//! Finds the target of a request: host first (exact, wildcard, any), then the longest path prefix on a segment border.
//! Built once per accepted table and never edited; refuses nothing, conflicts are found in `tables`.

use crate::balance::Balance;
use crate::claim::Registry;
use crate::guard::Guard;
use crate::guard::secure::SecurityHeaders;
use crate::shield::Budget;
use http::HeaderValue;
use manifest::edge::{EdgeTable, GuardState};
use rollout::names::{Release, Revision};
use rollout::pages::Pages;
use rollout::release::Protocol;
use rollout::routes::{Arm, RouteTable};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// One target, ready to serve from.
#[derive(Debug)]
pub(crate) struct TargetRoutes {
    pub(crate) table: EdgeTable,
    /// `service@environment`, as counts and logs write it.
    pub(crate) name: Arc<str>,
    pub(crate) stable: Option<ArmRoutes>,
    pub(crate) candidate: Option<ArmRoutes>,
    /// Asked only for files that nobody else has.
    former: Option<ArmRoutes>,
    templates: Vec<Template>,
    pub(crate) guard: Option<Guard>,
    pub(crate) security: Option<SecurityHeaders>,
    pub(crate) pages: Option<Arc<Pages>>,
    pub(crate) lasting: Arc<Lasting>,
}

/// What lives on through successive tables of a target.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// Requests waiting for the end of the maintenance.
    pub(crate) held: AtomicUsize,
    pub(crate) shield: Budget,
}

impl TargetRoutes {
    pub(crate) fn new(table: EdgeTable, registry: &mut Registry, lasting: Arc<Lasting>) -> Self {
        let routes = &table.routes;
        let mut arm = |arm: &Arm| ArmRoutes::new(arm, routes, registry);
        let stable = routes.stable.as_ref().map(&mut arm);
        let candidate = routes.candidate.as_ref().map(|candidate| arm(&candidate.arm));
        let former = routes.former.as_ref().map(&mut arm);
        let templates = routes.templates.iter().map(|template| Template::parse(template)).collect();
        let guard =
            routes.guard.as_ref().map(|guard| Guard::new(guard, &routes.target, &mut registry.databases));
        let security = routes.headers.as_ref().map(SecurityHeaders::new);
        let name = routes.target.to_string().into();
        let pages = (!routes.pages.is_empty()).then(|| Arc::new(routes.pages.clone()));
        Self { name, stable, candidate, former, templates, guard, security, pages, lasting, table }
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.table.routes
    }

    /// Says how each rule of its guard is.
    pub(crate) fn guard_state(&self) -> Vec<GuardState> {
        self.guard.as_ref().map_or(Vec::new(), |guard| guard.state(&self.routes().target))
    }

    pub(crate) fn arms(&self) -> impl Iterator<Item = &ArmRoutes> {
        self.stable.iter().chain(&self.candidate)
    }

    /// Returns every arm that requests may be sent to.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &ArmRoutes> {
        self.arms().chain(&self.former)
    }

    /// Returns the first template the path matches.
    pub(crate) fn template(&self, path: &str) -> Option<Arc<str>> {
        self.templates
            .iter()
            .find(|template| template.matches(path))
            .map(|template| Arc::clone(&template.text))
    }
}

/// One arm, with the headers that prove it.
#[derive(Debug)]
pub(crate) struct ArmRoutes {
    pub(crate) revision: Revision,
    pub(crate) release: Release,
    pub(crate) protocol: Protocol,
    pub(crate) balance: Balance,
    pub(crate) release_header: HeaderValue,
    pub(crate) revision_header: HeaderValue,
    pub(crate) label_header: Option<HeaderValue>,
}

impl ArmRoutes {
    fn new(arm: &Arm, routes: &RouteTable, registry: &mut Registry) -> Self {
        let replicas = arm
            .replicas
            .iter()
            .map(|endpoint| registry.replica(&routes.target, arm.revision, arm.protocol, endpoint))
            .collect();
        let header = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            revision: arm.revision,
            release: arm.release.clone(),
            protocol: arm.protocol,
            balance: Balance::new(replicas),
            release_header: header(arm.release.short()).unwrap_or(HeaderValue::from_static("unprintable")),
            revision_header: HeaderValue::from(arm.revision.0),
            label_header: arm.label.as_ref().and_then(|label| header(label.as_str())),
        }
    }
}

/// A path with holes: `/api/appointments/{id}`; `{rest...}` at the end takes what remains.
#[derive(Debug)]
pub(crate) struct Template {
    text: Arc<str>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Exactly(String),
    Any,
    Rest,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Self {
        let segments = text
            .split('/')
            .map(|segment| match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
                Some(name) if name.ends_with("...") => Segment::Rest,
                Some(_) => Segment::Any,
                None => Segment::Exactly(segment.to_owned()),
            })
            .collect();
        Self { text: text.into(), segments }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::Any, Some(part)) if !part.is_empty() => {}
                (Segment::Exactly(text), Some(part)) if text == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

/// Everything a worker routes by.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) targets: Vec<Arc<TargetRoutes>>,
    exact: HashMap<String, Prefixes>,
    /// `.example.org`, longest first.
    wildcard: Vec<(String, Prefixes)>,
    any: Prefixes,
}

/// Path prefixes without a trailing slash, longest first, and whose they are.
type Prefixes = Vec<(String, usize)>;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) target: Arc<TargetRoutes>,
    /// Bytes of the path that matched.
    pub(crate) prefix: usize,
    /// The template of the route that the path is on.
    pub(crate) template: Option<Arc<str>>,
}

impl Place {
    /// Returns the part of the path that matched.
    pub(crate) fn prefix_of<'p>(&self, path: &'p str) -> &'p str {
        path.get(..self.prefix).unwrap_or_default()
    }

    /// Whether this path of a request is that of the ready probe, as the service sees it or as a client writes it.
    pub(crate) fn is_health(&self, path: &str) -> bool {
        let health = self.target.routes().health_path.as_deref();
        health.is_some_and(|health| health == path || health == self.inner(path))
    }

    /// Returns the path the service sees.
    pub(crate) fn inner<'p>(&self, path: &'p str) -> &'p str {
        if !self.target.routes().strip_path {
            return path;
        }
        match path.get(self.prefix..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => "/",
        }
    }
}

impl Routes {
    pub(crate) fn new(targets: Vec<Arc<TargetRoutes>>) -> Self {
        let mut routes = Self { targets, ..Self::default() };
        let mut wildcard: HashMap<String, Prefixes> = HashMap::new();
        for (index, target) in routes.targets.iter().enumerate() {
            for (host, prefix) in claims(target.routes()) {
                let place = (prefix, index);
                match host.strip_prefix('*') {
                    _ if host.is_empty() => routes.any.push(place),
                    Some(suffix) => wildcard.entry(suffix.to_owned()).or_default().push(place),
                    None => routes.exact.entry(host).or_default().push(place),
                }
            }
        }
        routes.wildcard = wildcard.into_iter().collect();
        routes.wildcard.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let all = routes.exact.values_mut().chain(routes.wildcard.iter_mut().map(|(_, prefixes)| prefixes));
        for prefixes in all.chain([&mut routes.any]) {
            prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        routes
    }

    /// Returns the target of a request. `host` is lower case, without a port.
    /// A host that is known but not at this path falls through to the wider ones.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Place> {
        let exact = self.exact.get(host).and_then(|prefixes| longest(prefixes, path));
        let wildcard = || {
            self.wildcard
                .iter()
                // One label or more stand for the star, never none.
                .filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix.as_str()))
                .find_map(|(_, prefixes)| longest(prefixes, path))
        };
        let (index, prefix) = exact.or_else(wildcard).or_else(|| longest(&self.any, path))?;
        let target = Arc::clone(&self.targets[index]);
        Some(Place { prefix, template: target.template(path), target })
    }

    pub(crate) fn target(&self, target: &rollout::names::Target) -> Option<&Arc<TargetRoutes>> {
        self.targets.iter().find(|known| known.routes().target == *target)
    }
}

/// Returns every (host, path prefix) a table claims; the empty text stands for all.
pub(crate) fn claims(table: &RouteTable) -> Vec<(String, String)> {
    let hosts = if table.hosts.is_empty() { vec![String::new()] } else { table.hosts.clone() };
    let paths: Vec<&str> = match table.paths.as_slice() {
        [] => vec![""],
        paths => paths.iter().map(|path| path.trim_end_matches('/')).collect(),
    };
    let pair = |host: &String| {
        let host = host.to_ascii_lowercase();
        paths.iter().map(move |path| (host.clone(), (*path).to_owned())).collect::<Vec<_>>()
    };
    hosts.iter().flat_map(pair).collect()
}

fn longest(prefixes: &Prefixes, path: &str) -> Option<(usize, usize)> {
    let on_border = |prefix: &str| match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    prefixes.iter().find(|(prefix, _)| on_border(prefix)).map(|(prefix, index)| (*index, prefix.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rollout::names::{Generation, Target};

    fn routes(specs: &[(&str, &[&str], &[&str])]) -> Routes {
        let target = |(name, hosts, paths): &(&str, &[&str], &[&str])| {
            let json = serde_json::json!({
                "generation": Generation::default(),
                "routes": { "target": Target::new(*name, "local"), "hosts": hosts, "paths": paths },
            });
            let table = serde_json::from_value(json).unwrap();
            Arc::new(TargetRoutes::new(table, &mut Registry::default(), Arc::default()))
        };
        Routes::new(specs.iter().map(target).collect())
    }

    fn found(routes: &Routes, host: &str, path: &str) -> Option<String> {
        routes.find(host, path).map(|place| place.target.routes().target.service.to_string())
    }

    #[test]
    fn e06_exact_hosts_win_over_wildcards_and_those_over_any() {
        let routes = routes(&[
            ("any", &[], &[]),
            ("wild", &["*.example.org"], &[]),
            ("deep", &["*.b.example.org"], &[]),
            ("exact", &["a.example.org"], &[]),
        ]);

        for (host, service) in [
            ("a.example.org", "exact"),
            ("x.example.org", "wild"),
            ("x.y.example.org", "wild"),
            ("x.b.example.org", "deep"),
            ("example.org", "any"),
            ("", "any"),
        ] {
            assert_eq!(found(&routes, host, "/").as_deref(), Some(service), "{host}");
        }
    }

    #[test]
    fn e07_the_longest_prefix_on_a_segment_border_wins() {
        let routes = routes(&[("root", &[], &[]), ("api", &[], &["/api"]), ("v2", &[], &["/api/v2/"])]);

        for (path, service) in [
            ("/", "root"),
            ("/api", "api"),
            ("/api/", "api"),
            ("/api/v1", "api"),
            ("/apiary", "root"),
            ("/api/v2", "v2"),
            ("/api/v2/x", "v2"),
            ("/api/v22", "api"),
        ] {
            assert_eq!(found(&routes, "h", path).as_deref(), Some(service), "{path}");
        }
    }

    #[test]
    fn e01_an_unknown_host_has_no_place() {
        let routes = routes(&[("web", &["a.org"], &["/x"])]);

        assert_eq!(found(&routes, "b.org", "/x"), None);
        assert_eq!(found(&routes, "a.org", "/"), None);
    }

    #[test]
    fn templates_match_by_segments() {
        let template = Template::parse("/api/appointments/{id}");
        let rest = Template::parse("/static/{path...}");

        assert!(template.matches("/api/appointments/7"));
        assert!(!template.matches("/api/appointments/"));
        assert!(!template.matches("/api/appointments/7/notes"));
        assert!(!template.matches("/api/appointments"));
        assert!(rest.matches("/static/a/b.css"));
        assert!(!rest.matches("/static"));
    }

    proptest! {
        #[test]
        fn a_found_prefix_ends_on_a_border_and_no_longer_one_fits(
            prefixes in prop::collection::btree_set("(/[ab]{1,2}){1,3}", 1..6),
            path in "(/[ab]{1,2}){0,4}/?",
        ) {
            let sorted: Prefixes = {
                let mut all: Prefixes = prefixes.iter().cloned().zip(0..).collect();
                all.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
                all
            };
            let fits = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
            let wanted = prefixes.iter().filter(|prefix| fits(prefix)).map(String::len).max();

            prop_assert_eq!(longest(&sorted, &path).map(|(_, length)| length), wanted);
        }
    }
}
