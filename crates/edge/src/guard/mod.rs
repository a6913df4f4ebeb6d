//! Looks at a request before a replica is chosen: asks the rules of its target in their order, and gives typed verdicts.
//! Judges no release: what is refused here belongs to no arm. Begin at [`Guard::look`]; a rule engine for attacks is to
//! become another [`Check`].

pub(crate) mod client;
pub(crate) mod country;
pub(crate) mod secure;
pub(crate) mod table;
pub(crate) mod tally;
pub(crate) mod trace;

mod pace;
mod plain;
mod rate;
mod reason;

pub(crate) use client::Origin;
pub(crate) use reason::{Reason, Verdict};

use crate::limits;
use crate::route::Template;
use country::{Code, Database, Databases, Place};
use http::HeaderMap;
use http::header::{self, HeaderName};
use http::request::Parts;
use manifest::edge::GuardState;
use rate::Rate;
use rollout::guard::{
    BodyLimits, Countries, CountryList, GuardCheck, GuardMode, GuardRule, GuardSettings, HeadLimits, RateKey,
    RateLimit, UnknownCountry,
};
use rollout::names::Target;
use rollout::routes::RouteTable;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use table::Table;

/// The guard of one target. Built with its table, never edited.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    settings: GuardSettings,
    rules: Vec<Rule>,
}

/// One rule, ready to be asked.
#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    mode: GuardMode,
    except: Vec<Template>,
    check: Check,
}

/// What a rule looks at. The closed set of what exists: a new kind is a new variant here.
#[derive(Debug)]
enum Check {
    Rate(Rate),
    Country { database: Option<Arc<Database>>, list: Codes, unknown: UnknownCountry },
    Head(HeadLimits),
    Body { limits: BodyLimits, routes: Vec<(Template, u64)> },
}

#[derive(Debug)]
enum Codes {
    Allow(Vec<Code>),
    Deny(Vec<Code>),
}

/// A request as rules see it.
pub(crate) struct Seen<'r> {
    pub(crate) parts: &'r Parts,
    pub(crate) client: IpAddr,
    /// The route template it matches.
    pub(crate) route: Option<Arc<str>>,
    pub(crate) table: &'r Table,
    pub(crate) now: u64,
    /// The path as the most forgiving server would read it.
    plain: Cow<'r, str>,
}

impl<'r> Seen<'r> {
    pub(crate) fn new(
        parts: &'r Parts,
        client: IpAddr,
        route: Option<Arc<str>>,
        table: &'r Table,
        now: std::time::Instant,
    ) -> Self {
        Self { parts, client, route, table, now: table.moment(now), plain: plain::plain(parts.uri.path()) }
    }

    fn path(&self) -> &'r str {
        self.parts.uri.path()
    }
}

/// What a rule says about a request.
enum Answer {
    Passes,
    /// The rule could not know, and lets it pass.
    Unknown,
    Matches(Reason),
}

/// What becomes of a request that a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    Counted,
    Blocked,
    Unknown,
}

impl Noted {
    /// Returns what the access log says.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        }
    }
}

/// What must be watched while a body is on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyWatch {
    /// Bytes, and the rule that says so.
    pub(crate) max: Option<(u64, GuardMode, Arc<str>)>,
    pub(crate) rate_min: Option<(u64, Arc<str>)>,
}

impl Guard {
    pub(crate) fn new(settings: &GuardSettings, target: &Target, databases: &mut Databases) -> Self {
        let rules = settings.rules.iter().map(|rule| Rule::new(rule, target, databases)).collect();
        Self { settings: settings.clone(), rules }
    }

    /// Returns whose request it is.
    pub(crate) fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        client::origin(peer, headers, &self.settings.trusted_proxies, self.settings.forwarded)
    }

    /// Asks the rules in their order. `note` is told of every one that has something to say; the first that blocks ends it.
    pub(crate) fn look(
        &self,
        seen: &Seen<'_>,
        mut note: impl FnMut(&Arc<str>, Noted, &Reason),
    ) -> Option<Verdict> {
        for rule in self.rules.iter().filter(|rule| !rule.excepts(seen)) {
            match (rule.check.look(seen), rule.mode) {
                (Answer::Passes, _) => {}
                (Answer::Unknown, _) => note(&rule.id, Noted::Unknown, &Reason::Country),
                (Answer::Matches(reason), GuardMode::Count) => note(&rule.id, Noted::Counted, &reason),
                (Answer::Matches(reason), GuardMode::Block) => {
                    note(&rule.id, Noted::Blocked, &reason);
                    return Some(Verdict { rule: Arc::clone(&rule.id), reason });
                }
            }
        }
        None
    }

    /// Returns what must be watched while the body comes. What a length said beforehand was looked at already.
    pub(crate) fn body(&self, seen: &Seen<'_>) -> Option<BodyWatch> {
        let mut watch = BodyWatch::default();
        for rule in self.rules.iter().filter(|rule| !rule.excepts(seen)) {
            let Check::Body { limits, .. } = &rule.check else { continue };
            let max = rule.check.body_max(seen).filter(|_| declared(seen.parts).is_none());
            watch.max = max.map(|max| (max, rule.mode, Arc::clone(&rule.id))).or(watch.max);
            // A stall is ended, or it is not: there is nothing to count meanwhile.
            let slow = limits.rate_min.filter(|_| rule.mode == GuardMode::Block);
            watch.rate_min = slow.map(|rate_min| (rate_min, Arc::clone(&rule.id))).or(watch.rate_min);
        }
        (watch.max.is_some() || watch.rate_min.is_some()).then_some(watch)
    }

    /// Says how each rule is.
    pub(crate) fn state(&self, target: &Target) -> Vec<GuardState> {
        let state = |rule: &Rule| GuardState {
            target: target.clone(),
            rule: rule.id.to_string(),
            mode: rule.mode,
            trouble: rule.check.trouble(),
        };
        self.rules.iter().map(state).collect()
    }
}

impl Rule {
    fn new(rule: &GuardRule, target: &Target, databases: &mut Databases) -> Self {
        let check = match &rule.check {
            GuardCheck::Rate(limit) => Check::Rate(Rate::new(limit, &target.to_string(), &rule.id)),
            GuardCheck::Country(CountryList { database, list, unknown }) => Check::Country {
                database: database.as_ref().map(|path| databases.of(path)),
                list: match list {
                    Countries::Allow(codes) => Codes::Allow(read_codes(codes)),
                    Countries::Deny(codes) => Codes::Deny(read_codes(codes)),
                },
                unknown: *unknown,
            },
            GuardCheck::Head(limits) => Check::Head(*limits),
            GuardCheck::Body(limits) => Check::Body {
                routes: limits.routes.iter().map(|of| (Template::parse(&of.template), of.max)).collect(),
                limits: limits.clone(),
            },
        };
        let except = rule.except.iter().map(|template| Template::parse(template)).collect();
        Self { id: rule.id.as_str().into(), mode: rule.mode, except, check }
    }

    /// A path that could be read as another one is no exception.
    fn excepts(&self, seen: &Seen<'_>) -> bool {
        let path = seen.path();
        !self.except.is_empty()
            && seen.plain == path
            && self.except.iter().any(|template| template.matches(path))
    }
}

fn read_codes(codes: &[String]) -> Vec<Code> {
    codes.iter().filter_map(|code| code.to_ascii_uppercase().as_bytes().try_into().ok()).collect()
}

impl Check {
    fn look(&self, seen: &Seen<'_>) -> Answer {
        let reason = match self {
            Self::Rate(rate) => rate.look(seen),
            Self::Country { database, list, unknown } => {
                return country(database.as_deref(), list, *unknown, seen);
            }
            Self::Head(limits) => head(limits, seen.parts),
            Self::Body { .. } => {
                let larger = |max: &u64| declared(seen.parts).is_some_and(|length| length > *max);
                self.body_max(seen).filter(larger).map(|max| Reason::BodyTooLarge { max })
            }
        };
        reason.map_or(Answer::Passes, Answer::Matches)
    }

    fn body_max(&self, seen: &Seen<'_>) -> Option<u64> {
        let Self::Body { limits, routes } = self else { return None };
        let path = seen.path();
        let mut own = routes.iter().filter(|(template, _)| seen.plain == path && template.matches(path));
        own.next().map(|(_, max)| *max).or(limits.max)
    }

    /// Says why a rule cannot do its work.
    fn trouble(&self) -> Option<String> {
        match self {
            Self::Country { database: None, .. } => {
                Some("it has no `database`: no address has a country".to_owned())
            }
            Self::Country { database: Some(database), .. } => database.trouble(),
            Self::Rate(_) | Self::Head(_) | Self::Body { .. } => None,
        }
    }
}

fn country(database: Option<&Database>, list: &Codes, unknown: UnknownCountry, seen: &Seen<'_>) -> Answer {
    let matches = match database.map_or(Place::NotAsked, |database| database.place(seen.client)) {
        // Without a database nobody knows anything: that is told in the rule's state, not held against anybody.
        Place::NotAsked => return Answer::Unknown,
        Place::Nowhere if unknown == UnknownCountry::Allow => return Answer::Unknown,
        Place::Nowhere => true,
        Place::Country(code) => match list {
            Codes::Allow(codes) => !codes.contains(&code),
            Codes::Deny(codes) => codes.contains(&code),
        },
    };
    if matches { Answer::Matches(Reason::Country) } else { Answer::Passes }
}

fn head(limits: &HeadLimits, parts: &Parts) -> Option<Reason> {
    let uri = parts.uri.path_and_query().map_or(0, |uri| uri.as_str().len()) as u64;
    if let Some(max) = limits.uri.filter(|max| uri > *max) {
        return Some(Reason::UriTooLong { max });
    }
    if let Some(max) = limits.fields.filter(|max| parts.headers.len() as u64 > *max) {
        return Some(Reason::TooManyFields { max });
    }
    let bytes =
        || parts.headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum::<u64>();
    limits.bytes.filter(|max| bytes() > *max).map(|max| Reason::HeadTooLarge { max })
}

/// Says what of a table's guard, headers or pages cannot be kept. The manifest lets none of it through; a table may come from elsewhere.
pub(crate) fn flaw(table: &RouteTable) -> Option<String> {
    let broken = table.headers.as_ref().and_then(secure::flaw);
    let rules = table.guard.as_ref().map_or(&[][..], |guard| &guard.rules);
    let twin = || {
        let twin = |(at, rule): &(usize, &GuardRule)| rules[..*at].iter().any(|other| other.id == rule.id);
        rules.iter().enumerate().find(twin).map(|(_, rule)| format!("two rules are called `{}`", rule.id))
    };
    let nameless = || {
        let mut headers = rules.iter().filter_map(|rule| match &rule.check {
            GuardCheck::Rate(RateLimit { key: RateKey::Header(name), .. }) => Some(name),
            _ => None,
        });
        headers
            .find(|name| name.parse::<HeaderName>().is_err())
            .map(|name| format!("`{name}` names no header"))
    };
    let many = || (rules.len() > limits::GUARD_RULES).then(|| format!("it has {} rules", rules.len()));
    let pages = || table.pages.flaw();
    let why = broken.or_else(twin).or_else(nameless).or_else(many).or_else(pages)?;
    Some(format!("guard {}: {why}; what it had stays", table.target))
}

/// Returns the length a request claims its body has.
fn declared(parts: &Parts) -> Option<u64> {
    parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
