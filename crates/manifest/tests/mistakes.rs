//! How mistakes are shown: one picture for each kind, and all of them at once in the order of the file.
#![allow(clippy::unwrap_used)]

use manifest::{Color, Kind, ManifestErrors, parse};

const LEAST: &str = "[service.web]\ncommand = [\"./web\"]\n";

fn refused(text: &str) -> ManifestErrors {
    refused_for(text, "local")
}

fn refused_for(text: &str, environment: &str) -> ManifestErrors {
    parse(text, "medeclipse.toml", environment).unwrap_err()
}

/// Returns what a manifest with these lines under `[service.web]` is told, without the frame.
fn told(lines: &str) -> String {
    let errors = refused(&format!("{LEAST}{lines}"));
    assert_eq!(errors.items().len(), 1, "{}", errors.render(Color::Never));
    let item = errors.items().remove(0);
    format!("{}; {}", item.message, item.help)
}

#[test]
fn an_unknown_key_is_underlined_and_the_nearest_is_named() {
    let errors = refused(&format!("{LEAST}replica = 2\n"));

    assert_eq!(
        errors.render(Color::Never),
        "error: unknown key `replica` in [service.web]
 --> medeclipse.toml:3:1
  |
3 | replica = 2
  | ^^^^^^^ no such key here
  |
  = help: write `replicas`"
    );
}

#[test]
fn a_bare_number_gets_its_unit() {
    let errors = refused(&format!("{LEAST}[service.web.rollout]\nbake = 30\n"));

    assert_eq!(
        errors.render(Color::Never),
        "error: `service.web.rollout.bake` is not a duration
 --> medeclipse.toml:4:8
  |
4 | bake = 30
  |        ^^ a bare number has no unit
  |
  = help: write \"30s\""
    );
}

#[test]
fn a_key_that_comes_later_says_what_to_do_meanwhile() {
    let errors = refused(&format!("{LEAST}secrets = [\"DATABASE_URL\"]\n"));

    assert_eq!(
        errors.render(Color::Never),
        "error: `service.web.secrets` is not yet supported
 --> medeclipse.toml:3:1
  |
3 | secrets = [\"DATABASE_URL\"]
  | ^^^^^^^ this version would ignore it
  |
  = help: let the program read its secrets from a file meanwhile"
    );
}

#[test]
fn e06_two_services_that_claim_the_same_are_both_shown() {
    let text = "[service.a]\ncommand = [\"a\"]\nhosts = [\"x.example\"]\n\
                [service.b]\ncommand = [\"b\"]\nhosts = [\"X.example\"]\npaths = [\"/\"]\n";

    assert_eq!(
        refused(text).render(Color::Never),
        "error: `a` and `b` both answer for x.example, path /
 --> medeclipse.toml:6:10
  |
3 | hosts = [\"x.example\"]
  |          ----------- `a` here
...
6 | hosts = [\"X.example\"]
  |          ^^^^^^^^^^^ `b` here
  |
  = help: give one of them other `hosts` or other `paths`"
    );
}

#[test]
fn a_deadline_shorter_than_the_bakes_shows_both() {
    let text = format!("{LEAST}[service.web.rollout]\nbake = \"1h\"\ndeadline = \"30m\"\n");

    assert_eq!(
        refused(&text).render(Color::Never),
        "error: `service.web.rollout.deadline` is over before the bakes are
 --> medeclipse.toml:5:12
  |
4 | bake = \"1h\"
  |        ---- a bake of 1h
5 | deadline = \"30m\"
  |            ^^^^^ 30m, but the bakes alone take 1h
  |
  = help: write \"3h10m\" or more, shorten the bakes, or remove it"
    );
}

#[test]
fn bakes_that_contradict_each_other_are_both_shown() {
    let text = format!(
        "{LEAST}[service.web.rollout]\nbake_min = \"1m\"\n\
         [environment.staging.service.web.rollout]\nbake = \"10s\"\n"
    );

    assert_eq!(
        refused(&text).render(Color::Never),
        "error: `service.web.rollout.bake_min` is longer than `bake` in the environment `staging`
 --> medeclipse.toml:4:12
  |
4 | bake_min = \"1m\"
  |            ^^^^ 1m, but the last step is watched 10s
5 | [environment.staging.service.web.rollout]
6 | bake = \"10s\"
  |        ----- the bake
  |
  = help: write \"10s\" or less, or a longer `bake`"
    );
}

#[test]
fn steps_above_what_the_hold_back_leaves_are_shown_with_it() {
    let text = format!(
        "{LEAST}[service.web.rollout]\nstrategy = \"canary\"\nsteps = [5, 85, 100]\nhold_back = \"20%\"\n"
    );

    assert_eq!(
        refused(&text).render(Color::Never),
        "error: `service.web.rollout.steps` has a step above the last one
 --> medeclipse.toml:5:9
  |
5 | steps = [5, 85, 100]
  |         ^^^^^^^^^^^^ 85 %, but the hold-back of 20 % leaves the last step 80 %
6 | hold_back = \"20%\"
  |             ----- stays on stable
  |
  = help: write `hold_back = \"15%\"` or \"off\", or smaller steps before 100"
    );
}

#[test]
fn a_user_that_an_environment_tells_otherwise_shows_both_places() {
    let text = format!(
        "{LEAST}[service.web.judge]\nuser = {{ header = \"X-User\" }}\n\
         [environment.local.service.web.judge]\nuser = {{ cookie = \"sid\" }}\n"
    );

    assert_eq!(
        refused(&text).render(Color::Never),
        "error: a user is told by exactly one of `header` and `cookie`
 --> medeclipse.toml:6:10
  |
4 | user = { header = \"X-User\" }
  |          ------ the header
5 | [environment.local.service.web.judge]
6 | user = { cookie = \"sid\" }
  |          ^^^^^^ `header` is there too
  |
  = help: remove one; what environments differ in stands only under them"
    );
}

#[test]
fn every_mistake_of_a_judge_and_a_monitor_is_told_at_once() {
    let text = format!(
        "{LEAST}[service.web.judge]\nlatency = {{ quantiles = [2], margin = 5, warm_up = \"1h\" }}\nfalse_rollback = 0\n\
         probes = {{ paht = \"/\" }}\n[service.web.rollout.monitor]\nfailing = 3\n\
         checks = [{{ name = \"A\", url = \"/\" }}, {{ name = \"b\", error_rat = \"1%\" }}]\n"
    );

    let places: Vec<_> = refused(&text)
        .items()
        .iter()
        .map(|item| (item.line.unwrap(), item.kind, item.help.clone()))
        .collect();
    let expected = [
        (4, Kind::Value, "write 0.02"),
        (4, Kind::Value, "write \"5%\""),
        (4, Kind::Value, "write something from \"0s\" to \"10m\""),
        (5, Kind::Value, "write something from 0.0001 to 0.1"),
        (6, Kind::Unknown, "write `path`"),
        (8, Kind::Rule, "write 2 or less, or add checks"),
        (9, Kind::Value, "write `a`"),
        (9, Kind::Unknown, "write `error_rate`"),
    ];
    assert_eq!(places, expected.map(|(line, kind, help)| (line, kind, help.to_owned())));
}

#[test]
fn text_that_is_not_toml_is_shown_with_the_quotes_it_lacks() {
    let errors = refused(&format!("{LEAST}[service.web.rollout]\nbake = 10m # long\n"));

    assert_eq!(
        errors.render(Color::Never),
        "error: this is not TOML: string values must be quoted, expected literal string
 --> medeclipse.toml:4:8
  |
4 | bake = 10m # long
  |        ^^^
  |
  = help: texts, durations, sizes and percentages stand in quotes: write `bake = \"10m\"`"
    );
}

#[test]
fn a_mistake_without_a_place_names_the_file() {
    let errors = refused("");

    assert_eq!(
        errors.render(Color::Never),
        "error: the manifest has no service
--> medeclipse.toml
 = help: write `[service.web]` and under it `command = [\"./program\"]`"
    );
    assert_eq!(errors.items()[0].line, None);
}

#[test]
fn colour_is_used_only_when_asked_for() {
    let errors = refused("");

    assert!(!errors.render(Color::Never).contains('\u{1b}'));
    assert!(errors.render(Color::Always).contains('\u{1b}'));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "[service.Web]
command = \"./web --now\"
hosts = [\"https://clinic.example/\"]
health = { live = \"health\", interval = 5 }
memory = \"2GiB\"
[service.Web.rollout]
strategy = \"cannary\"
shield = \"everything\"
[environment.local]
listen = \"localhost:8080\"
[environment.production.service.Web.rollout]
drain = \"5 minutes\"
";

    let items = refused(text).items();
    let told: Vec<(usize, usize, Kind, &str)> =
        items.iter().map(|i| (i.line.unwrap(), i.column.unwrap(), i.kind, i.help.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, 10, Kind::Value, "write `web`"),
            (2, 11, Kind::Value, "write [\"./web\", \"--now\"]"),
            (3, 10, Kind::Value, "write \"clinic.example\""),
            (4, 19, Kind::Value, "write \"/health\""),
            (4, 40, Kind::Value, "write \"5s\""),
            (5, 1, Kind::Unknown, "`memory` belongs in [service.Web.resources]"),
            (7, 12, Kind::Value, "write \"canary\""),
            (8, 10, Kind::Value, "write \"idempotent\" or \"off\""),
            (10, 10, Kind::Value, "write \"127.0.0.1:8080\""),
            (12, 9, Kind::Value, "write \"5m\""),
        ]
    );
}

#[test]
fn syntax_and_meaning_are_told_together() {
    let items = refused("[service.web]\ncommand = [\"./web\"]\nreplica = 2\nexpand = ./x\n").items();

    let kinds: Vec<(Kind, Option<usize>)> = items.iter().map(|item| (item.kind, item.line)).collect();
    assert_eq!(kinds, [(Kind::Unknown, Some(3)), (Kind::Syntax, Some(4))]);
}

#[test]
fn a_list_left_open_is_one_mistake_not_thirty() {
    let items =
        refused("[service.web]\ncommand = [\"./web\"\n[service.web.rollout]\nbake = \"10m\"\n").items();

    assert_eq!(items.len(), 1);
    assert_eq!((items[0].line, items[0].help.as_str()), (Some(3), "close it with `]` or `}`"));
}

#[test]
fn an_override_is_blamed_where_it_was_written() {
    let text = format!(
        "{LEAST}[environment.staging.service.web.rollout]\nbake = \"8d\"\nsteps = [50, 100]\n\
         [environment.staging.service.wbe]\nreplicas = 2\n"
    );

    for environment in ["staging", "local"] {
        let items = refused_for(&text, environment).items();
        let places: Vec<_> = items.iter().map(|item| (item.line.unwrap(), item.kind)).collect();
        assert_eq!(places, [(4, Kind::Value), (5, Kind::Rule), (6, Kind::Unknown)], "{environment}");
    }
}

#[test]
fn a_value_hidden_by_an_override_is_still_checked() {
    let text = format!("{LEAST}expand = 5\n[environment.local.service.web]\nexpand = []\n");

    assert_eq!(refused(&text).items()[0].line, Some(3));
}

#[test]
fn an_environment_that_is_not_there_lists_the_known_ones() {
    let text = format!("{LEAST}[environment.staging]\n[environment.production]\n");

    let errors = refused_for(&text, "stagin");
    assert_eq!(errors.items()[0].message, "the manifest has no environment `stagin`");
    assert_eq!(errors.items()[0].help, "use `--env staging`, or write [environment.stagin]");
    let errors = refused_for(&text, "qa");
    assert_eq!(errors.items()[0].help, "use one of: staging, production, local; or write [environment.qa]");
}

#[test]
fn a_manifest_of_a_megabyte_is_another_file() {
    let errors = refused(&"# long\n".repeat(200_000));

    assert_eq!(errors.items()[0].message, "the manifest has 1400000 bytes, 262144 are possible");
}

#[test]
fn a_hundred_mistakes_are_counted_after_fifty() {
    let lines: String = (0..100).map(|index| format!("x{index} = 1\n")).collect();

    let errors = refused(&format!("{LEAST}{lines}"));
    assert_eq!(errors.items().len(), 100);
    assert!(errors.render(Color::Never).ends_with("\n\n… and 50 more"));
}

/// Declares one test per refusal: its name, the lines under `[service.web]`, what is said.
macro_rules! refusals {
    ($($name:ident: $lines:expr => $said:expr;)*) => {
        $(#[test] fn $name() { assert_eq!(told($lines), $said); })*
    };
}

refusals! {
    e07_stripping_needs_a_prefix: "strip_path = true" =>
        "`service.web.strip_path` has nothing to strip: the service has no `paths`; write `paths = [\"/api\"]`, or remove it";
    no_replica_is_no_service: "replicas = 0" =>
        "`service.web.replicas` is not a whole number or a table: it is less than 1; write something from 1 to 64";
    replicas_end_at_64: "replicas = { max = 65 }" =>
        "`service.web.replicas.max` is not a whole number: it is more than 64; write something from 1 to 64";
    a_host_has_no_port: "hosts = [\"clinic.example:80\"]" =>
        "`service.web.hosts[0]` is not a host name, or `*.` and one: a host has no port; write \"clinic.example\"; ports belong to `listen` of the environment";
    a_wildcard_is_a_whole_first_label: "hosts = [\"a.*.example\"]" =>
        "`service.web.hosts[0]` is not a host name, or `*.` and one: `*` may only be the whole first label; write \"*.clinic.example\"";
    a_host_is_listed_once: "hosts = [\"a.example\", \"A.example\"]" =>
        "`service.web.hosts` lists `a.example` twice: again here; remove one of them";
    a_health_path_begins_with_a_slash: "health = { ready = \"ready\" }" =>
        "`service.web.health.ready` is not a path: a path begins with `/`; write \"/ready\"";
    a_variable_has_a_shell_name: "env = { \"A-B\" = \"1\" }" =>
        "`service.web.env.A-B` is not a variable you can set: a variable's name has letters, digits and `_`, no digit first; write `A_B`";
    the_port_is_not_the_users_to_set: "env = { PORT = \"80\" }" =>
        "`service.web.env.PORT` is not a variable you can set: `PORT` is set for every replica by MedEclipse; remove it; write `${PORT}` in the command or in another variable's value";
    a_variable_is_a_text: "env = { WORKERS = 4 }" =>
        "`service.web.env.WORKERS` is not a text: a number was expected to be a quoted text; write \"4\"";
    a_size_has_a_unit: "resources = { memory = \"2G\" }" =>
        "`service.web.resources.memory` is not a size: there is no unit `G`; write \"2GiB\"";
    cores_are_counted_without_quotes: "resources = { cpu = \"512\" }" =>
        "`service.web.resources.cpu` is not a whole number: this is a text; write 512, without quotes";
    a_percentage_has_its_sign: "judge = { errors = { margin = 0.2 } }" =>
        "`service.web.judge.errors.margin` is not a percentage: a bare number has no unit; write \"20%\", or \"0.2%\" if that is meant";
    steps_rise: "rollout = { strategy = \"canary\", steps = [5, 5, 100] }" =>
        "`service.web.rollout.steps` is not a list of rising weights: the step before has 5 % already; write rising weights, as [5, 25, 100]";
    an_early_end_comes_before_the_end: "rollout = { bake_min = \"15m\" }" =>
        "`service.web.rollout.bake_min` is longer than `bake`: 15m, but the last step is watched 10m, by default; write \"10m\" or less, or a longer `bake`";
    doubt_only_extends: "rollout = { bake = \"1h\", bake_max = \"30m\" }" =>
        "`service.web.rollout.bake_max` is shorter than `bake`: 30m, but the last step is watched 1h; write \"1h\" or more, or a shorter `bake`";
    doubt_ends_after_three_weeks: "rollout = { bake_max = \"22d\" }" =>
        "`service.web.rollout.bake_max` is not a duration: it is more than \"21d\"; write something from \"0s\" to \"21d\"";
    nothing_is_said_about_a_bake_that_was_refused: "rollout = { bake = \"8d\", bake_min = \"1h\" }" =>
        "`service.web.rollout.bake` is not a duration: it is more than \"7d\"; write something from \"0s\" to \"7d\"";
    stable_keeps_at_most_half: "rollout = { hold_back = \"60%\" }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": it is more than \"50%\"; write something from \"0%\" to \"50%\", or \"off\"";
    a_huge_hold_back_is_more_than_half: "rollout = { hold_back = \"999999999999%\" }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": it is more than \"50%\"; write something from \"0%\" to \"50%\", or \"off\"";
    a_hold_back_is_a_whole_percentage: "rollout = { hold_back = \"2.5%\" }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": weights are whole percentages; write \"2%\" or \"3%\", or \"off\"";
    a_hold_back_has_its_sign: "rollout = { hold_back = 5 }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": a bare number has no unit; write \"5%\", or \"off\"";
    no_hold_back_is_called_off: "rollout = { hold_back = \"none\" }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": the percent sign is missing; write a number and the percent sign, as \"5%\", or \"off\"";
    no_hold_back_is_no_flag: "rollout = { hold_back = false }" =>
        "`service.web.rollout.hold_back` is not a whole percentage or \"off\": this is true or false; write \"5%\", or \"off\"";
    the_last_step_is_the_largest: "rollout = { strategy = \"canary\", steps = [5, 99, 100] }" =>
        "`service.web.rollout.steps` has a step above the last one: 99 %, but the hold-back of 5 % leaves the last step 95 %; write `hold_back = \"1%\"` or \"off\", or smaller steps before 100";
    what_is_unproven_has_three_ends: "rollout = { unproven = \"rollback\" }" =>
        "`service.web.rollout.unproven` is not \"promote\", \"hold\" or \"return\": no such choice; write \"promote\", \"hold\" or \"return\"";
    a_monitor_asks_something: "rollout = { monitor = {} }" =>
        "`service.web.rollout.monitor.checks` is missing: it belongs here; write `checks = [{ name = \"web\" }]`";
    a_monitor_has_a_check: "rollout = { monitor = { checks = [] } }" =>
        "`service.web.rollout.monitor.checks` is empty: nothing would be asked; write `checks = [{ name = \"ready\", url = \"/api/health/ready\" }]`, or remove `monitor`";
    a_monitor_has_as_many_checks_as_must_fail: "rollout = { monitor = { failing = 2, checks = [{ name = \"a\", url = \"/\" }] } }" =>
        "`service.web.rollout.monitor.failing` is more than there are checks: 2 must fail, but there is 1 check; write 1 or less, or add checks";
    a_monitor_looks_every_second_at_most: "rollout = { monitor = { every = \"500ms\", checks = [{ name = \"a\", url = \"/\" }] } }" =>
        "`service.web.rollout.monitor.every` is not a duration: it is less than \"1s\"; write something from \"1s\" to \"10m\"";
    checks_of_the_monitor_have_names_of_their_own: "rollout = { monitor = { checks = [{ name = \"a\", url = \"/\" }, { name = \"a\", error_rate = \"1%\" }] } }" =>
        "two checks are called `a`: this one; give each check a name of its own";
    a_check_of_the_monitor_asks_one_thing: "rollout = { monitor = { checks = [{ name = \"a\", url = \"/\", error_rate = \"5%\" }] } }" =>
        "a check of the monitor has exactly one of `url` and `error_rate`: `url` is there too; remove one, or make two checks";
    a_check_of_the_monitor_asks_something: "rollout = { monitor = { checks = [{ name = \"a\" }] } }" =>
        "a check of the monitor has exactly one of `url` and `error_rate`: neither is there; write `url = \"/api/health\"` or `error_rate = \"5%\"`";
    a_check_fails_after_twenty_failures_at_most: "rollout = { monitor = { checks = [{ name = \"a\", url = \"/\", failures = 21 }] } }" =>
        "`service.web.rollout.monitor.checks[0].failures` is not a whole number: it is more than 20; write something from 1 to 20";
    an_error_rate_of_all_would_never_fail: "rollout = { monitor = { checks = [{ name = \"a\", error_rate = \"100%\" }] } }" =>
        "`service.web.rollout.monitor.checks[0].error_rate` is not a percentage: it is more than \"99%\"; write something from \"0%\" to \"99%\"";
    quantiles_rise: "judge = { latency = { quantiles = [0.9, 0.5] } }" =>
        "`service.web.judge.latency.quantiles` is not a list of rising quantiles: 0.9 stands before it; write rising quantiles, as [0.5, 0.9, 0.99]";
    a_quantile_is_a_fraction: "judge = { latency = { quantiles = [0.5, 99] } }" =>
        "`service.web.judge.latency.quantiles[1]` is not a quantile: a quantile lies between 0 and 1; write 0.99";
    a_quantile_is_not_called_by_its_nickname: "judge = { latency = { quantiles = [\"p99\"] } }" =>
        "`service.web.judge.latency.quantiles[0]` is not a quantile: this is a text; write 0.99";
    the_slowest_request_is_no_quantile: "judge = { latency = { quantiles = [1.0] } }" =>
        "`service.web.judge.latency.quantiles[0]` is not a quantile: a quantile lies between 0 and 1; write a number between 0 and 1, as 0.99";
    quantiles_are_four_at_most: "judge = { latency = { quantiles = [0.1, 0.2, 0.3, 0.4, 0.5] } }" =>
        "`service.web.judge.latency.quantiles` is not a list of rising quantiles: a list of 1 to 4 numbers was expected; write [0.5, 0.9, 0.99, 0.999]";
    a_latency_margin_is_a_bucket_at_least: "judge = { latency = { margin = \"1%\" } }" =>
        "`service.web.judge.latency.margin` is not a percentage of at least one histogram bucket: it is less than \"2.2%\"; write something from \"2.2%\" to \"100%\"; it is rounded to histogram buckets of 2.2%, 32 to a doubling";
    a_latency_margin_is_a_doubling_at_most: "judge = { latency = { margin = \"150%\" } }" =>
        "`service.web.judge.latency.margin` is not a percentage of at least one histogram bucket: it is more than \"100%\"; write something from \"2.2%\" to \"100%\"; it is rounded to histogram buckets of 2.2%, 32 to a doubling";
    latency_is_a_table_or_off: "judge = { latency = false }" =>
        "`service.web.judge.latency` is not a table or \"off\": this is true or false; write { quantiles = [0.5, 0.9, 0.99] } or \"off\"";
    latency_has_one_word: "judge = { latency = \"none\" }" =>
        "`service.web.judge.latency` is not a table or \"off\": this is a text; write { quantiles = [0.5, 0.9, 0.99] } or \"off\"";
    false_rollbacks_are_a_tenth_at_most: "judge = { false_rollback = 1 }" =>
        "`service.web.judge.false_rollback` is not a fraction: it is more than 0.1; write something from 0.0001 to 0.1";
    false_rollbacks_are_a_fraction_not_a_percentage: "judge = { false_rollback = \"1%\" }" =>
        "`service.web.judge.false_rollback` is not a fraction: this is a text; write 0.01, without quotes";
    a_number_that_is_none_is_refused: "judge = { false_rollback = nan }" =>
        "`service.web.judge.false_rollback` is not a fraction: this is no finite number; write 0.01";
    a_user_is_told_by_one_thing: "judge = { user = { header = \"X-User\", cookie = \"sid\" } }" =>
        "a user is told by exactly one of `header` and `cookie`: `header` is there too; remove one; what environments differ in stands only under them";
    a_user_is_told_by_something: "judge = { user = {} }" =>
        "a user is told by exactly one of `header` and `cookie`: neither is there; write `cookie = \"sid\"` or `header = \"X-User\"`";
    a_user_is_never_an_address: "judge = { user = { address = true } }" =>
        "unknown key `address` in [service.web.judge.user]: no such key here; known keys: header, cookie";
    a_probe_has_a_path: "judge = { probes = { every = \"10s\" } }" =>
        "`service.web.judge.probes.path` is missing: it belongs here; write `path = \"/api/health\"`";
    a_probe_comes_every_five_minutes_at_least: "judge = { probes = { path = \"/\", every = \"10m\" } }" =>
        "`service.web.judge.probes.every` is not a duration: it is more than \"5m\"; write something from \"1s\" to \"5m\"";
    a_first_look_is_short: "judge = { first_look = \"1h\" }" =>
        "`service.web.judge.first_look` is not a duration: it is more than \"5m\"; write something from \"0s\" to \"5m\"";
    a_first_look_is_below_the_first_step: "judge = { first_look = \"5s\" }\nrollout = { strategy = \"canary\", steps = [1, 100] }" =>
        "`service.web.judge.first_look` comes before a step that is no larger: it has 1 %, and so has the first of `steps`; remove it, or begin `steps` above 1";
    a_deadline_leaves_time_for_the_first_look: "judge = { first_look = \"5m\" }\nrollout = { deadline = \"10m\" }" =>
        "`service.web.rollout.deadline` is over before the bakes are: 10m, but the bakes alone take 15m; write \"45m\" or more, shorten the bakes, or remove it";
    steps_end_with_all_traffic: "rollout = { strategy = \"canary\", steps = [5, 25] }" =>
        "`service.web.rollout.steps` does not end with 100: the last step has all traffic; add 100 at the end";
    no_step_is_above_100: "rollout = { strategy = \"canary\", steps = [5, 200] }" =>
        "`service.web.rollout.steps[1]` is not a weight: it is more than 100; write something from 1 to 100";
    blue_green_has_one_step: "rollout = { steps = [5, 100] }" =>
        "`service.web.rollout.steps` has several steps, but the strategy is blue-green: blue-green is one step of 100; write `strategy = \"canary\"`, or remove `steps`";
    a_bake_lasts_at_most_a_week: "rollout = { bake = \"8d\" }" =>
        "`service.web.rollout.bake` is not a duration: it is more than \"7d\"; write something from \"0s\" to \"7d\"";
    the_candidate_fits_the_service: "rollout = { candidate_replicas = 2 }" =>
        "`service.web.rollout.candidate_replicas` is above the service's `replicas`: the service has at most 1; write 1 or less, or raise `replicas`";
    a_shield_replays_failures_only: "rollout = { shield_statuses = [404] }" =>
        "`service.web.rollout.shield_statuses[0]` is not a status of a failure: it is less than 500; write something from 500 to 599";
    a_sticky_cookie_has_a_name: "rollout = { sticky = {} }" =>
        "`service.web.rollout.sticky.cookie` is missing: it belongs here; write `cookie = \"me_rev\"`";
    a_check_asks_one_thing: "rollout = { checks = [{ name = \"a\", url = \"/\", command = [\"a\"] }] }" =>
        "a check has exactly one of `command` and `url`: `command` is there too; remove one, or make two checks";
    a_check_asks_something: "rollout = { checks = [{ name = \"a\" }] }" =>
        "a check has exactly one of `command` and `url`: neither is there; write `url = \"/api/health\"` or `command = [\"./smoke.sh\"]`";
    a_check_asks_the_candidate_itself: "rollout = { checks = [{ name = \"a\", url = \"http://x.example/y\" }] }" =>
        "`service.web.rollout.checks[0].url` is not a path, with a query if need be: a path is asked of the replica itself, so it names no host; write \"/y\"";
    checks_do_not_take_the_names_of_hooks: "rollout = { checks = [{ name = \"expand\", url = \"/\" }] }" =>
        "no check can be called `expand`: events call something else by this name; give the check another name";
    checks_have_names_of_their_own: "rollout = { checks = [{ name = \"a\", url = \"/\" }, { name = \"a\", url = \"/\" }] }" =>
        "two checks are called `a`: this one; give each check a name of its own";
    a_route_names_whole_segments: "route = [{ path = \"/a/x{id}\" }]" =>
        "`service.web.route[0].path` is not a path, `{name}` standing for one segment: `x{id}` is not `{name}` with letters, digits and `_`; write \"/api/appointments/{id}\": one name, one whole segment";
    a_route_is_there_once: "route = [{ path = \"/a\" }, { path = \"/a\" }]" =>
        "the route `/a` is there twice: again here; remove one of them";
    a_key_of_another_section_is_sent_home: "drain = \"5s\"" =>
        "unknown key `drain` in [service.web]: no such key here; `drain` belongs in [service.web.rollout]";
    a_misspelled_key_that_comes_later_is_not_suggested: "contracts = []" =>
        "unknown key `contracts` in [service.web]: no such key here; `contract` is not yet supported; run the last step of a migration by hand once nothing can roll back any more";
    the_platform_docker_comes_later: "[environment.local]\nplatform = \"docker\"" =>
        "the platform \"docker\" is not yet supported: this version cannot run there; write \"process\": replicas are processes of this machine meanwhile";
    an_invented_platform_is_no_choice: "[environment.local]\nplatform = \"kubernetes\"" =>
        "`environment.local.platform` is not \"process\" or \"ecs\": no such choice; write \"process\" or \"ecs\"";
    a_range_of_ports_rises: "[environment.local]\nports = \"29999-20000\"" =>
        "`environment.local.ports` is not a range of ports: the first port is above the last; write \"20000-29999\"";
    ports_of_the_system_are_refused: "[environment.local]\nports = \"80-90\"" =>
        "`environment.local.ports` is not a range of ports: ports below 1024 belong to the system; start at 1024 or above, as \"20000-29999\"";
    replicas_leave_the_edge_its_port: "[environment.local]\nlisten = \"127.0.0.1:25000\"" =>
        "a port of this environment lies in the range of its replicas, 20000-29999: port 25000; choose a port outside, or another range for `ports`";
    replicas_leave_the_edge_its_default_port: "[environment.local]\nports = \"8000-9000\"" =>
        "port 8080, where `listen` is by default, lies in the range of the replicas: contains 8080; write `listen` with another port, or another range";
    every_replica_and_its_twin_get_a_port: "replicas = 3\n[environment.local]\nports = \"30000-30004\"" =>
        "the range of 5 ports is too small for the replicas: 6 are needed: each replica, and its twin during a rollout; write a larger range, or fewer `replicas`";
    a_key_of_a_certificate_is_not_forgotten: "[environment.local]\ntls = { cert = \"a.pem\" }" =>
        "`environment.local.tls.key` is missing: it belongs here; write `key = \"tls/key.pem\"`";
    a_certificate_of_our_own_has_one_word: "[environment.local]\ntls = \"self\"" =>
        "`environment.local.tls` is not \"self-signed\" or a table: no such choice; write \"self-signed\"";
    acme_is_agreed_to: "hosts = [\"a.example\"]\n[environment.local.acme]\ncontact = [\"a@b.example\"]" =>
        "`environment.local.acme.terms` is missing: it belongs here; write `terms = \"agreed\"`";
    acme_needs_a_host: "hosts = [\"*.a.example\"]\n[environment.local.acme]\nterms = \"agreed\"" =>
        "`acme` has no host to get a certificate for: no service has one in `hosts` without `*`; write `hosts = [\"clinic.example\"]` in a service, or remove `acme`";
    acme_asks_over_tls: "hosts = [\"a.example\"]\n[environment.local.acme]\nterms = \"agreed\"\ndirectory = \"http://a/dir\"" =>
        "`environment.local.acme.directory` is not an https address: it begins with `https://` and names a host; write \"https://acme-v02.api.letsencrypt.org/directory\"";
    acme_is_asked_where_it_listens: "hosts = [\"a.example\"]\n[environment.local.acme]\nterms = \"agreed\"\nchallenge = \"http-01\"" =>
        "`environment.local.acme.challenge` needs an address without TLS: the server asks on port 80; write `listen_http = \"0.0.0.0:80\"` beside `listen`, or \"tls-alpn-01\"";
    e18_names_are_allowed_by_somebody: "hosts = [\"a.example\"]\n[environment.local.acme]\nterms = \"agreed\"\n[environment.local.acme.on_demand]\norders = 3" =>
        "`environment.local.acme.on_demand.allow` is missing: it belongs here; write `allow = \"http://127.0.0.1:9000/allowed\"`";
    e18_who_allows_is_asked_without_a_query: "hosts = [\"a.example\"]\n[environment.local.acme]\nterms = \"agreed\"\n[environment.local.acme.on_demand]\nallow = \"http://127.0.0.1:9000/?x=1\"" =>
        "`environment.local.acme.on_demand.allow` is not an http address without a query: it begins with `http://`, names a host, and has no `?`; write \"http://127.0.0.1:9000/allowed\"";
    addresses_without_tls_are_beside_others: "[environment.local]\nlisten_http = \"127.0.0.1:80\"" =>
        "`environment.local.listen_http` is there without `tls`: without it every address is one without TLS; write `tls = \"self-signed\"` or a table of files beside it, or move it to `listen`";
    an_address_without_tls_is_known: "[environment.local]\ntls = \"self-signed\"\nlisten_http = \"127.0.0.1:0\"" =>
        "`environment.local.listen_http` takes any free port: port 0 cannot be told from those of `listen`; write a port, as \"127.0.0.1:8080\"";
    an_address_has_tls_or_not: "[environment.local]\ntls = \"self-signed\"\nlisten_http = \"127.0.0.1:8080\"" =>
        "`listen` and `listen_http` want the same address: 127.0.0.1:8080; write \"127.0.0.1:8443\" or another address for `listen`";
    the_api_stays_on_loopback: "[environment.local]\napi = \"0.0.0.0:9000\"" =>
        "`environment.local.api` beyond loopback is not yet supported: it would be readable by everyone, without TLS; write \"127.0.0.1:9000\"; reach it through an SSH tunnel";
    the_api_leaves_the_edge_its_default_port: "[environment.local]\napi = \"127.0.0.1:8080\"" =>
        "`api` and `listen` want the same port: port 8080; write \"127.0.0.1:0\" for `api`: any free port, which `medeclipse status` prints";
    api_and_edge_have_ports_of_their_own: "[environment.local]\napi = \"127.0.0.1:9000\"\nlisten = \"0.0.0.0:9000\"" =>
        "`api` and `listen` want the same port: port 9000; write \"127.0.0.1:0\" for `api`: any free port, which `medeclipse status` prints";
}

#[test]
fn texts_of_infrastructure_are_checked_where_they_are_read() {
    for (lines, expected) in [
        ("[environment.local.network]\ncidr = \"10.0.0.1/16\"", "a range of IPv4 addresses"),
        ("[environment.local.network]\ncidr = \"10.0.0.0/40\"", "a range of IPv4 addresses"),
        ("[environment.local.aws]\naccount = \"1111\"", "an AWS account of 12 digits"),
        ("[environment.local.database]\nmaintenance = \"Sunday:04:00-Sun:05:00\"", "a weekly window"),
        ("[environment.local.database.backup]\ndays = 36", "more than 35"),
        ("[environment.local.edge]\nallow_ips = { a = [\"1.2.3\"] }", "a range of IPv4 addresses"),
        ("[environment.local.edge]\ncertificate = \"arn:aws:iam::1:x\"", "the ARN of a certificate"),
        ("[environment.local.logs]\nsecurity_days = 30", "less than 180"),
        ("[service.web.container]\nuser = { uid = 0 }", "less than 1"),
        ("[ci.github]\nrepository = \"clinic\"", "OWNER/NAME"),
        ("[project]\nname = \"p\"\ntitle = \"a ${b}\"", "without quotes"),
        ("[[waiver]]\nrule = \"R-10\"\nreason = \"x\"\nby = \"y\"\nuntil = \"2027-02-29\"", "a date"),
    ] {
        let said = told(lines);
        assert!(said.contains(expected), "{lines}: {said}");
    }
}

#[test]
fn every_key_that_comes_later_is_refused_by_name() {
    let service = ["image = \"a\"", "secrets = [\"A\"]", "contract = []", "guard = { waf = {} }"];
    let root = ["alarm.high_cpu = {}", "notify.slack = {}"];
    let environment = ["platform = \"ecs\"", "platform = \"container-apps\""];
    let texts = (service.iter().map(|line| format!("{LEAST}{line}\n")))
        .chain(root.iter().map(|line| format!("{line}\n{LEAST}")))
        .chain(environment.iter().map(|line| format!("{LEAST}[environment.local]\n{line}\n")));

    for text in texts {
        let items = refused(&text).items();
        assert_eq!(items.len(), 1, "{text}");
        assert_eq!(items[0].kind, Kind::NotYetSupported, "{text}");
        assert!(
            items[0].help.contains("meanwhile") || items[0].help.contains("by hand"),
            "{}",
            items[0].help
        );
    }
}

#[test]
fn items_are_objects_for_machines() {
    let items = refused(&format!("{LEAST}replica = 2\n")).items();

    let json = serde_json::to_value(&items[0]).unwrap();
    let expected = serde_json::json!({
        "kind": "unknown", "line": 3, "column": 1,
        "message": "unknown key `replica` in [service.web]: no such key here", "help": "write `replicas`",
    });
    assert_eq!(json, expected);
}
