//! The rendered firewall against requests: what each is answered, and by which rule. The rules are read from firewall.tf as rendered and walked here
//! as AWS documents it (priority, first ending action, `count` goes on). Not shown: AWS's managed groups themselves, of which a request only says
//! which of their rules it would match, and the delay of some seconds with which AWS counts rates.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::config::{Root, Value, from_tree};
use infra::tree::Tree;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use support::files;

/// Where the strategy's own rules stand.
const STRATEGY: &str = include_str!("fixtures/strategy/infrastructure/terraform/waf.tf");

#[derive(Clone)]
struct Request {
    from: &'static str,
    country: &'static str,
    path: &'static str,
    body: f64,
    /// Group and rule that AWS's groups would find in it.
    managed: Option<(&'static str, &'static str)>,
}

const PLAIN: Request =
    Request { from: "203.0.113.9", country: "FR", path: "/api/appointments", body: 200.0, managed: None };

#[derive(Debug, PartialEq)]
enum Answer {
    Passed,
    Challenged(String),
    Refused(String, f64),
}

fn refused(rule: &str, status: f64) -> Answer {
    Answer::Refused(rule.to_owned(), status)
}

/// An ACL with what it has counted so far; no request is older than its window.
struct Firewall {
    root: Root,
    counts: BTreeMap<String, f64>,
    /// Groups that are paid for by the request, and how many requests they saw.
    asked: BTreeMap<String, usize>,
    counted: Vec<String>,
}

impl Firewall {
    fn of(text: &str) -> Self {
        let tree: Tree = [("aws/firewall.tf".to_owned(), text.as_bytes().into())].into();
        let root = from_tree(&tree).unwrap().remove(0);
        Self { root, counts: BTreeMap::new(), asked: BTreeMap::new(), counted: Vec::new() }
    }

    fn rendered(environment: &str) -> Self {
        Self::of(&files(environment)[&format!("{environment}/aws/firewall.tf")])
    }

    fn ask(&mut self, request: &Request) -> Answer {
        let acl = self.root.of("aws_wafv2_web_acl").next().unwrap().clone();
        let mut rules = acl.blocks("rule");
        rules.sort_by_key(|rule| rule.at("priority").and_then(Value::as_number).unwrap() as i64);
        for rule in rules {
            let name = rule.at("name").and_then(Value::as_text).unwrap();
            let (key, statement) = only(rule.at("statement").unwrap());
            let group = match key {
                "managed_rule_group_statement" => self.group(statement, request),
                _ => self.holds(name, key, statement, request).then_some(false),
            };
            let Some(only_counts) = group else { continue };
            let overridden = rule.at("override_action.count").is_some();
            match rule.at("action").map(|action| only(action).0) {
                Some("allow") => return Answer::Passed,
                Some("challenge") => return Answer::Challenged(name.to_owned()),
                Some("count") => self.counted.push(name.to_owned()),
                None if only_counts || overridden => self.counted.push(name.to_owned()),
                // A group blocks with 403, as a rule does that says nothing else.
                Some("block") | None => {
                    let status = rule.at("action.block.custom_response.response_code");
                    return refused(name, status.and_then(Value::as_number).unwrap_or(403.0));
                }
                Some(other) => panic!("no action this test knows: {other}"),
            }
        }
        assert_eq!(only(acl.get("default_action").unwrap()).0, "allow");
        Answer::Passed
    }

    /// Whether a group finds something, and whether the rule that does only counts.
    fn group(&mut self, group: &Value, request: &Request) -> Option<bool> {
        let name = group.at("name").and_then(Value::as_text).unwrap();
        if let Some(scope) = group.at("scope_down_statement") {
            let (key, inner) = only(scope);
            if !self.holds(name, key, inner, request) {
                return None;
            }
        }
        *self.asked.entry(name.to_owned()).or_default() += 1;
        let (of, rule) = request.managed?;
        let overrides = group.at("rule_action_override").map(Value::elements).unwrap_or_default();
        let counts = overrides.iter().any(|it| {
            it.at("name").and_then(Value::as_text) == Some(rule) && it.at("action_to_use.count").is_some()
        });
        (of == name).then_some(counts)
    }

    fn holds(&mut self, rule: &str, key: &str, statement: &Value, request: &Request) -> bool {
        let text = |path: &str| statement.at(path).and_then(Value::as_text).unwrap();
        match key {
            "byte_match_statement" => {
                assert_eq!(text("positional_constraint"), "STARTS_WITH");
                assert_eq!(only(statement.at("field_to_match").unwrap()).0, "uri_path");
                request.path.starts_with(text("search_string"))
            }
            "geo_match_statement" => {
                statement.at("country_codes").unwrap().texts().iter().any(|code| code == request.country)
            }
            "ip_set_reference_statement" => {
                let arn = statement.at("arn").unwrap();
                let set = self.root.of("aws_wafv2_ip_set").find(|set| arn.mentions(&set.address)).unwrap();
                set.get("addresses").unwrap().texts().iter().any(|range| within(request.from, range))
            }
            "size_constraint_statement" => {
                assert_eq!(text("comparison_operator"), "GT");
                request.body > statement.at("size").and_then(Value::as_number).unwrap()
            }
            "not_statement" => !self.all(rule, statement, request)[0],
            "and_statement" => self.all(rule, statement, request).iter().all(|held| *held),
            "or_statement" => self.all(rule, statement, request).iter().any(|held| *held),
            "rate_based_statement" => self.exceeds(rule, statement, request),
            other => panic!("no statement this test knows: {other}"),
        }
    }

    fn all(&mut self, rule: &str, statement: &Value, request: &Request) -> Vec<bool> {
        let inner: Vec<Value> = statement.at("statement").unwrap().elements().into_iter().cloned().collect();
        inner
            .iter()
            .map(|it| {
                let (key, statement) = only(it);
                self.holds(rule, key, statement, request)
            })
            .collect()
    }

    /// Counts what is in scope, by the rule's keys.
    fn exceeds(&mut self, rule: &str, statement: &Value, request: &Request) -> bool {
        if let Some(scope) = statement.at("scope_down_statement") {
            let (key, inner) = only(scope);
            if !self.holds(rule, key, inner, request) {
                return false;
            }
        }
        let keys = statement.at("custom_key").map(Value::elements).unwrap_or_default();
        let keys: Vec<&str> = match statement.at("aggregate_key_type").and_then(Value::as_text).unwrap() {
            "IP" => vec!["ip"],
            _ => keys.iter().map(|key| only(key).0).collect(),
        };
        let part = |key: &&str| match *key {
            "ip" => request.from,
            "uri_path" => request.path,
            other => panic!("no key this test knows: {other}"),
        };
        let counted = format!("{rule} {}", keys.iter().map(part).collect::<Vec<_>>().join(" "));
        let count = self.counts.entry(counted).or_default();
        *count += 1.0;
        *count > statement.at("limit").and_then(Value::as_number).unwrap()
    }

    /// Asks until something other than the first answer comes; says after how many, and what.
    fn flood(&mut self, request: &Request, most: usize) -> Option<(usize, Answer)> {
        let first = self.ask(request);
        (2..=most).map(|count| (count, self.ask(request))).find(|(_, answer)| *answer != first)
    }
}

/// The one entry of a block.
fn only(block: &Value) -> (&str, &Value) {
    let mut block = block;
    while let Value::List(list) = block {
        assert_eq!(list.len(), 1, "{block:?}");
        block = &list[0];
    }
    let Value::Map(map) = block else { panic!("no block: {block:?}") };
    assert_eq!(map.len(), 1, "{map:?}");
    map.iter().next().map(|(key, value)| (key.as_str(), value)).unwrap()
}

fn within(address: &str, range: &str) -> bool {
    let (network, length) = range.split_once('/').unwrap();
    let bits = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
    let mask = u32::MAX.checked_shl(32 - length.parse::<u32>().unwrap()).unwrap_or(0);
    bits(address) & mask == bits(network) & mask
}

#[test]
fn a_flood_is_stopped_wherever_it_comes_from() {
    for environment in ["production", "staging", "development"] {
        for country in ["FR", "US", "CN"] {
            let mut firewall = Firewall::rendered(environment);
            let flood = firewall.flood(&Request { country, ..PLAIN }, 3000);
            assert_eq!(flood, Some((2001, refused("RateLimitRule", 429.0))), "{environment}, {country}");
        }
        // What others send is not counted for it.
        let mut firewall = Firewall::rendered(environment);
        firewall.flood(&PLAIN, 3000);
        assert_eq!(firewall.ask(&Request { from: "203.0.113.10", ..PLAIN }), Answer::Passed);
    }
}

#[test]
fn the_strategys_own_rule_stops_only_its_customers() {
    let flood = |country| Firewall::of(STRATEGY).flood(&Request { country, ..PLAIN }, 3000);

    assert_eq!(flood("FR"), Some((2001, refused("RateLimitRule", 403.0))));
    assert_eq!(flood("US"), None, "the defect: whoever is elsewhere is never limited");
}

#[test]
fn a_flood_is_counted_before_anything_that_is_paid_by_the_request() {
    let mut ours = Firewall::rendered("production");
    ours.flood(&PLAIN, 2001);
    let mut theirs = Firewall::of(STRATEGY);
    theirs.flood(&PLAIN, 2001);

    assert!(ours.asked.len() >= 5 && ours.asked.values().all(|asked| *asked == 2000), "{:?}", ours.asked);
    assert!(theirs.asked.values().all(|asked| *asked == 2001), "{:?}", theirs.asked);
}

#[test]
fn many_people_behind_one_address_have_a_limit_of_their_own() {
    let hospital = Request { from: "192.0.2.7", ..PLAIN };

    let mut firewall = Firewall::rendered("production");
    assert_eq!(firewall.flood(&hospital, 30_000), Some((20_001, refused("Rate-hospital", 429.0))));
}

#[test]
fn passwords_are_guessed_slowly() {
    let mut firewall = Firewall::rendered("production");
    let login = Request { path: "/api/auth/login", ..PLAIN };

    assert_eq!(firewall.flood(&login, 3000), Some((101, refused("LoginRateRule", 429.0))));
    assert_eq!(firewall.ask(&PLAIN), Answer::Passed, "the rest of the service is still there for them");
}

#[test]
fn other_countries_are_challenged_and_france_overseas_is_not() {
    let mut firewall = Firewall::rendered("production");
    let mut from = |country| firewall.ask(&Request { country, ..PLAIN });

    for country in ["FR", "BE", "CH", "LU", "MC", "RE", "GP", "NC"] {
        assert_eq!(from(country), Answer::Passed, "{country}");
    }
    assert_eq!(from("US"), Answer::Challenged("OtherCountries".to_owned()));
}

#[test]
fn health_checks_pass_from_anywhere_at_any_rate() {
    let bot = Some(("AWSManagedRulesBotControlRuleSet", "CategoryMonitoring"));
    let check = Request { path: "/api/health/ready", country: "US", managed: bot, ..PLAIN };

    let mut firewall = Firewall::rendered("production");
    assert_eq!(firewall.flood(&check, 3000), None);
    assert!(firewall.asked.is_empty(), "and cost nothing: {:?}", firewall.asked);
    assert_eq!(Firewall::of(STRATEGY).ask(&check), refused("AWS-AWSManagedRulesBotControlRuleSet", 403.0));
}

#[test]
fn large_bodies_reach_the_paths_that_take_documents_and_no_other() {
    let found = Some(("AWSManagedRulesCommonRuleSet", "SizeRestrictions_BODY"));
    let scan = Request { body: 4_000_000.0, managed: found, ..PLAIN };
    let mut firewall = Firewall::rendered("production");

    assert_eq!(firewall.ask(&Request { path: "/api/documents/7", ..scan.clone() }), Answer::Passed);
    assert_eq!(firewall.counted, ["AWS-AWSManagedRulesCommonRuleSet"]);
    assert_eq!(firewall.ask(&scan), refused("BodySize", 413.0));
    assert_eq!(firewall.ask(&Request { body: 8192.0, managed: None, ..scan }), Answer::Passed);
}

#[test]
fn what_managed_groups_find_is_blocked_and_bots_are_counted() {
    let mut firewall = Firewall::rendered("production");
    for (group, rule) in [
        ("AWSManagedRulesCommonRuleSet", "CrossSiteScripting_BODY"),
        ("AWSManagedRulesKnownBadInputsRuleSet", "Log4JRCE_HEADER"),
        ("AWSManagedRulesSQLiRuleSet", "SQLi_QUERYARGUMENTS"),
        ("AWSManagedRulesAmazonIpReputationList", "AWSManagedIPReputationList"),
    ] {
        let answer = firewall.ask(&Request { managed: Some((group, rule)), ..PLAIN });
        assert_eq!(answer, refused(&format!("AWS-{group}"), 403.0));
    }
    let mobile = Some(("AWSManagedRulesBotControlRuleSet", "SignalNonBrowserUserAgent"));
    assert_eq!(firewall.ask(&Request { managed: mobile, ..PLAIN }), Answer::Passed);
    assert_eq!(firewall.counted, ["AWS-AWSManagedRulesBotControlRuleSet"]);
}
