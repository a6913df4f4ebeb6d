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
bake_max = \"1h\"
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
            (8, 1, Kind::NotYetSupported, "remove it; `bake` and `deadline` bound the time meanwhile"),
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

    assert_eq!(errors.items()[0].message, "the manifest has 1400000 bytes, 1048576 are possible");
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
    a_shield_that_replays_comes_later: "rollout = { shield = \"idempotent\" }" =>
        "`service.web.rollout.shield = \"idempotent\"` is not yet supported: this version would ignore it; write \"off\" or remove it; a failed request is not sent again meanwhile";
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
    a_misspelled_key_that_comes_later_is_not_suggested: "secret = []" =>
        "unknown key `secret` in [service.web]: no such key here; `secrets` is not yet supported; let the program read its secrets from a file meanwhile";
    the_platform_docker_comes_later: "[environment.local]\nplatform = \"docker\"" =>
        "the platform \"docker\" is not yet supported: this version cannot run there; write \"process\": replicas are processes of this machine meanwhile";
    an_invented_platform_is_no_choice: "[environment.local]\nplatform = \"kubernetes\"" =>
        "`environment.local.platform` is not \"process\": no such choice; write \"process\"";
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
    the_api_stays_on_loopback: "[environment.local]\napi = \"0.0.0.0:9000\"" =>
        "`environment.local.api` beyond loopback is not yet supported: it would be readable by everyone, without TLS; write \"127.0.0.1:9000\"; reach it through an SSH tunnel";
    the_api_leaves_the_edge_its_default_port: "[environment.local]\napi = \"127.0.0.1:8080\"" =>
        "`api` and `listen` want the same port: port 8080; write \"127.0.0.1:0\" for `api`: any free port, which `medeclipse status` prints";
    api_and_edge_have_ports_of_their_own: "[environment.local]\napi = \"127.0.0.1:9000\"\nlisten = \"0.0.0.0:9000\"" =>
        "`api` and `listen` want the same port: port 9000; write \"127.0.0.1:0\" for `api`: any free port, which `medeclipse status` prints";
}

#[test]
fn every_key_that_comes_later_is_refused_by_name() {
    let service = ["image = \"a\"", "secrets = []", "contract = []", "guard = {}"];
    let judge = ["latency = {}", "false_rollback = 0.01", "user = {}", "probes = {}"];
    let rollout = ["bake_min = \"1s\"", "bake_max = \"1s\"", "hold_back = \"5%\"", "unproven = \"hold\""];
    let root = ["alarm.high_cpu = {}", "notify.slack = {}"];
    let environment = [
        "tls = {}",
        "region = \"a\"",
        "standby = \"azure\"",
        "platform = \"ecs\"",
        "platform = \"container-apps\"",
    ];
    let texts = (service.iter().map(|line| format!("{LEAST}{line}\n")))
        .chain(judge.iter().map(|line| format!("{LEAST}[service.web.judge]\n{line}\n")))
        .chain(rollout.iter().map(|line| format!("{LEAST}[service.web.rollout]\n{line}\n")))
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
