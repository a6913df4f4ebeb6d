//! `[service.NAME.guard]` and `[service.NAME.headers]`: what is read, what the preset means, what is refused and how.
#![allow(clippy::unwrap_used)]

use manifest::parse;
use rollout::guard::{Countries, GuardCheck, GuardMode, GuardSettings, RateKey, UnknownCountry};
use rollout::names::Millis;
use rollout::plan::TargetSettings;

const LEAST: &str = "[service.web]\ncommand = [\"./web\"]\n";

fn read(lines: &str) -> TargetSettings {
    parse(&format!("{LEAST}{lines}"), "medeclipse.toml", "local").unwrap().services.remove(0).target
}

fn guard(lines: &str) -> GuardSettings {
    read(lines).guard.unwrap()
}

fn told(lines: &str) -> Vec<String> {
    let errors = parse(&format!("{LEAST}{lines}"), "medeclipse.toml", "local").unwrap_err();
    errors.items().into_iter().map(|item| format!("{}; {}", item.message, item.help)).collect()
}

#[test]
fn an_absent_guard_is_off_and_an_empty_one_has_no_rule() {
    assert_eq!((read("").guard, read("").headers, read("").access_log), (None, None, true));
    assert_eq!(guard("guard = {}"), GuardSettings::default());
    assert!(!read("access_log = false").access_log);
}

#[test]
fn the_strategys_preset_limits_everybody_and_counts_countries() {
    let GuardSettings { rules, .. } = guard("guard = { preset = \"strategy\" }");

    let [rate, countries] = &rules[..] else { panic!("{rules:?}") };
    let GuardCheck::Rate(limit) = &rate.check else { panic!("{rate:?}") };
    // 2000 in 5 minutes, for every client: no country is left out of the limit.
    assert_eq!((limit.limit, limit.window, limit.burst), (2000, Millis::seconds(300), 200));
    assert_eq!((rate.mode, &limit.key, limit.paths.len()), (GuardMode::Block, &RateKey::Client, 0));
    let GuardCheck::Country(list) = &countries.check else { panic!("{countries:?}") };
    assert_eq!(list.list, Countries::Allow(["FR", "BE", "CH", "LU", "MC"].map(str::to_owned).to_vec()));
    assert_eq!(
        (countries.mode, list.unknown, &list.database),
        (GuardMode::Count, UnknownCountry::Allow, &None)
    );
}

#[test]
fn what_is_written_beside_the_preset_replaces_its_part() {
    let text = "[service.web.guard]\npreset = \"strategy\"\nrate = { limit = 10 }\n\
        countries = { database = \"c.mmdb\", mode = \"block\" }";
    let rules = guard(text).rules;

    assert_eq!(rules.len(), 2);
    let GuardCheck::Rate(limit) = &rules[0].check else { panic!("{rules:?}") };
    assert_eq!((limit.limit, limit.window, limit.burst), (10, Millis::seconds(60), 10));
    let GuardCheck::Country(list) = &rules[1].check else { panic!("{rules:?}") };
    assert_eq!((rules[1].mode, list.database.as_deref()), (GuardMode::Block, Some("c.mmdb".as_ref())));
}

#[test]
fn every_rule_has_its_name_and_the_cheap_ones_come_first() {
    let text = "[[service.web.guard.rate]]\nlimit = 100\n[[service.web.guard.rate]]\nlimit = 50\n\
        [[service.web.guard.rate]]\nname = \"user\"\nlimit = 5\nkey = \"header\"\nheader = \"X-User\"\n\
        known = [{ networks = [\"10.0.0.0/8\"] }, { networks = [\"192.0.2.7\"], limit = 9 }]\n\
        [service.web.guard.login]\npaths = [\"/api/auth/\"]\nlimit = 3\n\
        [service.web.guard.countries]\ndeny = [\"xx\"]\n\
        [service.web.guard.head]\nuri = \"4KiB\"\n[service.web.guard.body]\nmax = \"1MiB\"";
    let rules = guard(text).rules;

    let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["head", "body", "rate", "rate-2", "user", "login", "countries"]);
    let GuardCheck::Rate(user) = &rules[4].check else { panic!("{rules:?}") };
    assert_eq!(user.key, RateKey::Header("x-user".to_owned()));
    assert_eq!(user.known.iter().map(|known| known.limit).collect::<Vec<_>>(), [None, Some(9)]);
    let GuardCheck::Rate(login) = &rules[5].check else { panic!("{rules:?}") };
    assert_eq!((login.paths.as_slice(), login.burst), (&["/api/auth".to_owned()][..], 3));
}

#[test]
fn mistakes_are_told_together_each_with_what_to_write() {
    for (lines, expected) in [
        (
            "guard = { trusted_proxies = [\"10.0.0.1/8\"] }",
            "`service.web.guard.trusted_proxies[0]` is not a network as CIDR writes it, or one address: its address has bits beyond the prefix; the network is 10.0.0.0/8; write \"10.0.0.0/8\", or the address alone",
        ),
        (
            "guard = { rate = { limit = 5, burst = 6 } }",
            "`service.web.guard.rate.burst` is above `limit`: 5 in the whole window; write 5 or less, or a larger `limit`",
        ),
        (
            "guard = { rate = { limit = 5, key = \"header\" } }",
            "`service.web.guard.rate.key` needs a `header`: which header names the user?; write `header = \"Authorization\"` beside it",
        ),
        (
            "guard = { rate = { limit = 5, header = \"X-User\" } }",
            "`service.web.guard.rate.header` is of no use here: only `key = \"header\"` reads it; write `key = \"header\"`, or remove it",
        ),
        (
            "guard = { rate = [{ limit = 5 }, { name = \"rate\", limit = 6 }] }",
            "the name `rate` belongs to another rule of this guard: counts could not tell them apart; write `name = \"per-user\"`, or another one",
        ),
        (
            "guard = { countries = { mode = \"block\" } }",
            "`service.web.guard.countries.allow` is missing: which countries?; write `allow = [\"FR\", \"BE\"]`, or `deny = […]`",
        ),
        (
            "guard = { countries = { allow = [\"FRA\"] } }",
            "`service.web.guard.countries.allow[0]` is not the code of a country (ISO 3166-1, two letters): a country's code has two letters; write \"FR\" and the like",
        ),
        (
            "headers = { referrer_policy = \"a\\nb\" }",
            "`service.web.headers.referrer_policy` is not the value of a header, in visible ASCII: a header's value is one line of visible ASCII; write it on one line, or remove the key",
        ),
    ] {
        assert_eq!(told(lines), [expected], "{lines}");
    }
    let many = "guard = { rate = { limit = 0 }, login = { limit = 1 }, body = { max = 5 } }";
    assert_eq!(told(many).len(), 3, "{:?}", told(many));
}

#[test]
fn the_strict_headers_say_nothing_of_tls_without_it_and_give_way_to_what_is_written() {
    let headers = read("headers = { preset = \"strict\", frame_ancestors = \"'none'\" }").headers.unwrap();

    let names: Vec<&str> = headers.always.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["x-content-type-options", "referrer-policy", "permissions-policy", "content-security-policy"]
    );
    assert_eq!(headers.always[3].1, "frame-ancestors 'none'");
    let hsts = ("strict-transport-security".to_owned(), "max-age=31536000".to_owned());
    assert_eq!((headers.over_tls, headers.overwrite), (vec![hsts], false));
}
