//! Reads `[service.NAME.guard]`: what is refused before a replica sees it. Checks shapes and bounds; the edge keeps them.
//! A rule that is not written is off. See `guard_keys` for the description of every key.

use super::guard_keys::PRESET_STRATEGY;
use crate::error::{Kind, Mistake};
use crate::read::{At, Fields};
use rollout::guard::{
    BodyLimits, Countries, CountryList, ForwardedHeader, GuardCheck, GuardMode, GuardRule, GuardSettings,
    HeadLimits, KnownNetworks, Network, RateKey, RateLimit, RouteBody, UnknownCountry,
};
use rollout::names::Millis;

/// A page asks for some dozen things at once: a burst below this would hit people.
const BURST_MIN: u32 = 20;

pub(crate) fn read(fields: &Fields<'_>) -> GuardSettings {
    let mut rules = Vec::new();
    // The cheapest first: sizes cost nothing, a country is looked up.
    rules.extend(fields.table("head").map(|head| read_head(&head)));
    rules.extend(fields.table("body").map(|body| read_body(&body)));
    let rates = match fields.is_list("rate") {
        true => fields.tables("rate"),
        false => fields.table("rate").into_iter().collect(),
    };
    read_rates(&rates, &mut rules);
    rules.extend(fields.table("login").map(|login| read_login(&login)));
    let countries = fields.table("countries");
    let preset = fields.choice::<String>("preset").is_some_and(|preset| preset.value == PRESET_STRATEGY);
    rules.extend(countries.as_ref().and_then(|fields| read_countries(fields, preset)));
    let mut settings = GuardSettings {
        trusted_proxies: networks(fields, "trusted_proxies"),
        forwarded: fields.choice("forwarded").map_or(ForwardedHeader::default(), |at| at.value),
        rules,
    };
    if preset {
        add_strategy(&mut settings, countries.is_some());
    }
    settings
}

/// Adds the rules of the strategy that are not written otherwise: 2000 requests in 5 minutes for every client, wherever
/// it is (the original limited only those it let in), and the five countries, counted until somebody decides to block.
fn add_strategy(settings: &mut GuardSettings, has_countries: bool) {
    let is_rate = |rule: &GuardRule| rule.id == "rate";
    if !settings.rules.iter().any(is_rate) {
        let window = Millis::seconds(300);
        let rate = RateLimit {
            limit: 2000,
            window,
            burst: burst_of(2000),
            key: RateKey::Client,
            paths: Vec::new(),
            known: Vec::new(),
        };
        settings.rules.push(rule("rate", GuardMode::Block, Vec::new(), GuardCheck::Rate(rate)));
    }
    if !has_countries {
        let countries =
            CountryList { database: None, list: strategy_countries(), unknown: UnknownCountry::Allow };
        settings.rules.push(rule("countries", GuardMode::Count, Vec::new(), GuardCheck::Country(countries)));
    }
}

fn strategy_countries() -> Countries {
    Countries::Allow(["FR", "BE", "CH", "LU", "MC"].map(str::to_owned).to_vec())
}

fn rule(id: &str, mode: GuardMode, except: Vec<String>, check: GuardCheck) -> GuardRule {
    GuardRule { id: id.to_owned(), mode, except, check }
}

fn burst_of(limit: u32) -> u32 {
    (limit / 10).max(BURST_MIN).min(limit)
}

fn mode(fields: &Fields<'_>, otherwise: GuardMode) -> GuardMode {
    fields.choice("mode").map_or(otherwise, |at| at.value)
}

fn list(fields: &Fields<'_>, name: &str) -> Vec<String> {
    fields.texts(name).map(|at| at.value.into_iter().map(|text| text.value).collect()).unwrap_or_default()
}

fn networks(fields: &Fields<'_>, name: &str) -> Vec<Network> {
    let read = |text: String| text.parse().expect("BUG: a network is read before it is kept");
    list(fields, name).into_iter().map(read).collect()
}

fn read_rates(tables: &[Fields<'_>], rules: &mut Vec<GuardRule>) {
    let mut names: Vec<At<String>> = Vec::new();
    for (index, fields) in tables.iter().enumerate() {
        let name = fields.text("name").unwrap_or_else(|| {
            let value = if index == 0 { "rate".to_owned() } else { format!("rate-{}", index + 1) };
            At { value, span: fields.span.clone() }
        });
        require_own_name(fields, &name, &names);
        let key = read_key(fields);
        if let Some(rate) = read_rate(fields, key, Vec::new()) {
            let mode = mode(fields, GuardMode::Block);
            rules.push(rule(&name.value, mode, list(fields, "except"), GuardCheck::Rate(rate)));
        }
        names.push(name);
    }
}

/// The names of the other rules are taken too.
fn require_own_name(fields: &Fields<'_>, name: &At<String>, names: &[At<String>]) {
    let taken = ["login", "countries", "head", "body", "waf"].contains(&name.value.as_str());
    let twin = names.iter().find(|other| other.value == name.value);
    if !taken && twin.is_none() {
        return;
    }
    let what = format!("the name `{}` belongs to another rule of this guard", name.value);
    let mistake = Mistake::at(Kind::Rule, name.span.clone(), what).why("counts could not tell them apart");
    let mistake = twin.iter().fold(mistake, |mistake, twin| mistake.also(twin.span.clone(), "the other one"));
    fields.note(mistake.help("write `name = \"per-user\"`, or another one"));
}

fn read_key(fields: &Fields<'_>) -> RateKey {
    let key = fields.choice::<String>("key");
    let header = fields.text("header");
    let is_header = key.as_ref().is_some_and(|key| key.value == "header");
    match (is_header, &header, &key) {
        (true, None, Some(key)) if !fields.has("header") => {
            let what = format!("`{}` needs a `header`", fields.path_of("key"));
            let mistake = Mistake::at(Kind::Rule, key.span.clone(), what).why("which header names the user?");
            fields.note(mistake.help("write `header = \"Authorization\"` beside it"));
        }
        (false, Some(header), _) => {
            let what = format!("`{}` is of no use here", fields.path_of("header"));
            let mistake = Mistake::at(Kind::Rule, header.span.clone(), what);
            let mistake = mistake.why("only `key = \"header\"` reads it");
            fields.note(mistake.help("write `key = \"header\"`, or remove it"));
        }
        _ => {}
    }
    match (key.as_ref().map(|key| key.value.as_str()), header) {
        (Some("header"), Some(header)) => RateKey::Header(header.value.to_ascii_lowercase()),
        (Some("route"), _) => RateKey::Route,
        (Some("client-and-route"), _) => RateKey::ClientAndRoute,
        _ => RateKey::Client,
    }
}

/// Reads what a limit and a login limit share; None where the limit itself is missing or refused.
fn read_rate(fields: &Fields<'_>, key: RateKey, paths: Vec<String>) -> Option<RateLimit> {
    let limit = fields.count("limit");
    let window = fields.duration("window").map_or(Millis::seconds(60), |at| at.value);
    let burst = fields.count("burst");
    let known = fields.tables("known").iter().map(read_known).collect();
    let limit = limit?.value;
    if let Some(burst) = burst.as_ref().filter(|burst| burst.value > limit) {
        let what = format!("`{}` is above `limit`", fields.path_of("burst"));
        let why = format!("{limit} in the whole window");
        let mistake = Mistake::at(Kind::Rule, burst.span.clone(), what).why(why);
        fields.note(mistake.help(format!("write {limit} or less, or a larger `limit`")));
    }
    let burst = burst.map_or(burst_of(limit), |at| at.value);
    Some(RateLimit { limit, window, burst, key, paths, known })
}

fn read_known(fields: &Fields<'_>) -> KnownNetworks {
    let limit = fields.count("limit").map(|at| at.value);
    KnownNetworks { networks: networks(fields, "networks"), limit }
}

fn read_login(fields: &Fields<'_>) -> GuardRule {
    let paths = list(fields, "paths");
    let limit = read_rate(fields, RateKey::Client, paths);
    let limit = limit.unwrap_or(RateLimit {
        limit: 1,
        window: Millis::seconds(60),
        burst: 1,
        key: RateKey::Client,
        paths: Vec::new(),
        known: Vec::new(),
    });
    rule("login", mode(fields, GuardMode::Block), Vec::new(), GuardCheck::Rate(limit))
}

fn read_countries(fields: &Fields<'_>, preset: bool) -> Option<GuardRule> {
    let (allow, deny) = (fields.texts("allow"), fields.texts("deny"));
    let database = fields.text("database").map(|at| at.value.into());
    let unknown = fields.choice("unknown").map_or(UnknownCountry::Allow, |at| at.value);
    let (mode, except) = (mode(fields, GuardMode::Count), list(fields, "except"));
    let codes = |at: At<Vec<At<String>>>| at.value.into_iter().map(|code| code.value).collect();
    let list = match (allow, deny) {
        (Some(allow), None) => Countries::Allow(codes(allow)),
        (None, Some(deny)) => Countries::Deny(codes(deny)),
        (Some(_), Some(deny)) => {
            let what = format!("`{}` and `allow` exclude each other", fields.path_of("deny"));
            let mistake = Mistake::at(Kind::Rule, deny.span, what).why("one list says all");
            fields.note(mistake.help("remove one of them"));
            return None;
        }
        (None, None) if preset && !fields.has("allow") && !fields.has("deny") => strategy_countries(),
        (None, None) => {
            if !fields.has("allow") && !fields.has("deny") {
                let what = format!("`{}` is missing", fields.path_of("allow"));
                let mistake = Mistake::at(Kind::Rule, fields.span.clone(), what).why("which countries?");
                fields.note(mistake.help("write `allow = [\"FR\", \"BE\"]`, or `deny = […]`"));
            }
            return None;
        }
    };
    Some(rule("countries", mode, except, GuardCheck::Country(CountryList { database, list, unknown })))
}

fn read_head(fields: &Fields<'_>) -> GuardRule {
    let limits = HeadLimits {
        uri: fields.size("uri").map(|at| at.value),
        fields: fields.integer("fields").map(|at| at.value),
        bytes: fields.size("bytes").map(|at| at.value),
    };
    rule("head", mode(fields, GuardMode::Block), list(fields, "except"), GuardCheck::Head(limits))
}

fn read_body(fields: &Fields<'_>) -> GuardRule {
    let route = |fields: &Fields<'_>| {
        let (template, max) = (fields.text("path"), fields.size("max"));
        Some(RouteBody { template: template?.value, max: max?.value })
    };
    let limits = BodyLimits {
        max: fields.size("max").map(|at| at.value),
        rate_min: fields.size("rate_min").map(|at| at.value),
        routes: fields.tables("routes").iter().filter_map(route).collect(),
    };
    rule("body", mode(fields, GuardMode::Block), Vec::new(), GuardCheck::Body(limits))
}
