//! The rules one by one, and what asking them costs.

use super::*;
use http::Request;
use rollout::guard::{KnownNetworks, Network};
use rollout::names::Millis;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn rate(limit: u32, key: RateKey) -> RateLimit {
    RateLimit {
        limit,
        window: Millis::seconds(3600),
        burst: limit,
        key,
        paths: Vec::new(),
        known: Vec::new(),
    }
}

fn rule(id: &str, mode: GuardMode, check: GuardCheck) -> GuardRule {
    GuardRule { id: id.to_owned(), mode, except: Vec::new(), check }
}

fn guard(rules: Vec<GuardRule>) -> Guard {
    let settings = GuardSettings { rules, ..GuardSettings::default() };
    Guard::new(&settings, &Target::new("web", "local"), &mut Databases::default())
}

fn parts(path: &str, headers: &[(&str, &str)]) -> Parts {
    let request = Request::builder().uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

/// Asks the guard once and returns the status of a refusal, or 200.
fn ask(guard: &Guard, table: &Table, client: &str, parts: &Parts) -> u16 {
    let seen = Seen::new(parts, client.parse().unwrap(), Some("/route".into()), table, Instant::now());
    guard.look(&seen, |_, _, _| {}).map_or(200, |verdict| verdict.reason.status())
}

#[test]
fn clients_of_one_household_share_a_limit_and_others_do_not() {
    let guard = guard(vec![rule("rate", GuardMode::Block, GuardCheck::Rate(rate(1, RateKey::Client)))]);
    let (table, parts) = (Table::default(), parts("/", &[]));

    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1", 429),
        ("::ffff:192.0.2.1", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
    ] {
        assert_eq!(ask(&guard, &table, client, &parts), status, "{client}");
    }
}

#[test]
fn a_principal_is_limited_wherever_it_comes_from_and_who_names_none_counts_by_client() {
    let key = RateKey::Header("authorization".to_owned());
    let guard = guard(vec![rule("rate", GuardMode::Block, GuardCheck::Rate(rate(1, key)))]);
    let (table, alice, nobody) =
        (Table::default(), parts("/", &[("authorization", "alice")]), parts("/", &[]));

    assert_eq!(ask(&guard, &table, "192.0.2.1", &alice), 200);
    assert_eq!(ask(&guard, &table, "192.0.2.2", &alice), 429);
    assert_eq!(ask(&guard, &table, "192.0.2.2", &parts("/", &[("authorization", "bob")])), 200);
    assert_eq!(ask(&guard, &table, "192.0.2.2", &nobody), 200);
    assert_eq!(ask(&guard, &table, "192.0.2.2", &nobody), 429);
}

#[test]
fn a_route_is_limited_for_all_together_or_for_each_client() {
    for (key, second) in [(RateKey::Route, 429), (RateKey::ClientAndRoute, 200)] {
        let guard = guard(vec![rule("rate", GuardMode::Block, GuardCheck::Rate(rate(1, key)))]);
        let (table, parts) = (Table::default(), parts("/", &[]));

        assert_eq!(ask(&guard, &table, "192.0.2.1", &parts), 200);
        assert_eq!(ask(&guard, &table, "192.0.2.2", &parts), second);
        assert_eq!(ask(&guard, &table, "192.0.2.1", &parts), 429);
    }
}

#[test]
fn o20_a_hospital_behind_one_address_has_its_own_limit() {
    let networks = |text: &str| vec![text.parse::<Network>().unwrap()];
    let known = vec![
        KnownNetworks { networks: networks("198.51.100.0/24"), limit: Some(3) },
        KnownNetworks { networks: networks("203.0.113.7"), limit: None },
    ];
    let limit = RateLimit { known, ..rate(1, RateKey::Client) };
    let guard = guard(vec![rule("rate", GuardMode::Block, GuardCheck::Rate(limit))]);
    let (table, parts) = (Table::default(), parts("/", &[]));
    let let_in = |client: &str| (0..10).filter(|_| ask(&guard, &table, client, &parts) == 200).count();

    assert_eq!([let_in("192.0.2.1"), let_in("198.51.100.1"), let_in("203.0.113.7")], [1, 3, 10]);
}

#[test]
fn a_login_limit_holds_however_the_path_is_spelled_and_only_there() {
    let limit = RateLimit { paths: vec!["/api/auth".to_owned()], ..rate(1, RateKey::Client) };
    let guard = guard(vec![rule("login", GuardMode::Block, GuardCheck::Rate(limit))]);
    let table = Table::default();

    assert_eq!(ask(&guard, &table, "192.0.2.1", &parts("/api/auth/login", &[])), 200);
    for spelling in ["/api/auth", "/api/%61uth/login", "//api/auth", "/x/../api/auth", "/API/AUTH"] {
        assert_eq!(ask(&guard, &table, "192.0.2.1", &parts(spelling, &[])), 429, "{spelling}");
    }
    assert_eq!(ask(&guard, &table, "192.0.2.1", &parts("/api/authors", &[])), 200);
}

#[test]
fn an_exception_is_for_the_path_itself_and_not_for_one_that_leads_elsewhere() {
    let limit = GuardCheck::Rate(rate(1, RateKey::Client));
    let except = vec!["/static/{path...}".to_owned()];
    let guard = guard(vec![GuardRule { except, ..rule("rate", GuardMode::Block, limit) }]);
    let table = Table::default();
    assert_eq!(ask(&guard, &table, "192.0.2.1", &parts("/", &[])), 200);

    assert_eq!(ask(&guard, &table, "192.0.2.1", &parts("/static/a.css", &[])), 200);
    assert_eq!(ask(&guard, &table, "192.0.2.1", &parts("/static/../api", &[])), 429);
}

#[test]
fn o20_a_rule_in_count_mode_says_what_it_would_have_refused_and_lets_it_pass() {
    let limit = || GuardCheck::Rate(rate(2, RateKey::Client));
    let guard =
        guard(vec![rule("trial", GuardMode::Count, limit()), rule("rate", GuardMode::Block, limit())]);
    let (table, parts) = (Table::default(), parts("/", &[]));
    let mut said = Vec::new();

    for _ in 0..3 {
        let seen = Seen::new(&parts, "192.0.2.1".parse().unwrap(), None, &table, Instant::now());
        let _ = guard.look(&seen, |rule, noted, _| said.push(format!("{rule} {}", noted.word())));
    }

    assert_eq!(said, ["trial counted", "rate blocked"]);
}

#[test]
fn heads_and_declared_bodies_are_measured() {
    let head = HeadLimits { uri: Some(20), fields: Some(3), bytes: Some(60) };
    let body = BodyLimits {
        max: Some(100),
        rate_min: None,
        routes: vec![rollout::guard::RouteBody { template: "/images".to_owned(), max: 1000 }],
    };
    let guard = guard(vec![
        rule("head", GuardMode::Block, GuardCheck::Head(head)),
        rule("body", GuardMode::Block, GuardCheck::Body(body)),
    ]);
    let table = Table::default();
    let long = "x".repeat(60);
    for (path, headers, status) in [
        ("/?a=0123456789abcde", &[][..], 200),
        ("/?a=0123456789abcdefg", &[], 414),
        ("/", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")], 431),
        ("/", &[("a", long.as_str())], 431),
        ("/", &[("content-length", "100")], 200),
        ("/", &[("content-length", "101")], 413),
        ("/images", &[("content-length", "1000")], 200),
        ("/images", &[("content-length", "1001")], 413),
        ("/images/../x", &[("content-length", "1000")], 413),
    ] {
        assert_eq!(ask(&guard, &table, "192.0.2.1", &parts(path, headers)), status, "{path} {headers:?}");
    }
}

#[test]
fn without_a_database_no_address_has_a_country_and_the_rule_says_so() {
    let list = |database: Option<&str>| {
        GuardCheck::Country(CountryList {
            database: database.map(Into::into),
            list: Countries::Allow(vec!["FR".to_owned()]),
            unknown: UnknownCountry::Deny,
        })
    };
    for (database, why) in [(None, "no `database`"), (Some("/no/such/file.mmdb"), "/no/such/file.mmdb")] {
        let guard = guard(vec![rule("countries", GuardMode::Block, list(database))]);

        assert_eq!(ask(&guard, &Table::default(), "192.0.2.1", &parts("/", &[])), 200);
        let state = guard.state(&Target::new("web", "local"));
        assert!(state[0].trouble.as_ref().unwrap().contains(why), "{state:?}");
    }
}

#[test]
fn what_a_429_says_is_what_its_readers_expect() {
    let reason = Reason::Rate { limit: 100, window_seconds: 60, wait: Duration::from_millis(1200) };

    assert_eq!(reason.retry_after(), Some(2));
    let (policy, state) = reason.rate_limit("login").unwrap();
    assert_eq!((policy.as_str(), state.as_str()), ("\"login\";q=100;w=60", "\"login\";r=0;t=2"));
}

#[test]
#[ignore = "prints figures: `script/bench guard`"]
fn what_asking_the_rules_costs() {
    let head = HeadLimits { uri: Some(8192), fields: Some(100), bytes: Some(16384) };
    let body = BodyLimits { max: Some(10 << 20), rate_min: Some(1024), routes: Vec::new() };
    let login = RateLimit { paths: vec!["/api/auth".to_owned()], ..rate(1_000_000, RateKey::Client) };
    let all = || {
        vec![
            rule("head", GuardMode::Block, GuardCheck::Head(head)),
            rule("body", GuardMode::Block, GuardCheck::Body(body.clone())),
            rule("rate", GuardMode::Block, GuardCheck::Rate(rate(100_000_000, RateKey::Client))),
            rule("login", GuardMode::Block, GuardCheck::Rate(login.clone())),
        ]
    };
    let headers: Vec<(String, String)> =
        (0..10).map(|n| (format!("x-header-{n}"), "a value of some length".to_owned())).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let parts = parts("/api/appointments/17?page=2", &headers);
    for (name, rules) in [
        ("no rule", Vec::new()),
        ("one limit by client", vec![all().remove(2)]),
        ("head, body, rate, login", all()),
    ] {
        let (guard, table, now) = (guard(rules), Table::default(), Instant::now());
        let (rounds, began) = (1_000_000u32, Instant::now());
        for round in 0..rounds {
            let client = IpAddr::V4((round % 50_000).into());
            let seen = Seen::new(black_box(&parts), client, None, &table, now);
            black_box(guard.look(&seen, |_, _, _| {}));
        }
        println!("{name}: {} ns a request, 50,000 clients", began.elapsed().as_nanos() / u128::from(rounds));
    }
}
