//! Keeps `docs/manifest.md` true: its tables are drawn from the sections, its example is read. Only tests need it.

use crate::sections::{Absent, Key, ROOT, Section, Shape};
use crate::{Color, parse};
use rollout::names::Millis;
use rollout::plan::MonitorAsk;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
const BEGIN: &str = "<!-- keys: drawn from the code, run the tests with UPDATE_DOCS=1 -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn the_tables_of_the_reference_are_those_of_the_code() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    let (before, rest) = committed.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut tables = String::new();
    draw(&ROOT, &mut tables);

    let drawn = format!("{before}{BEGIN}\n{tables}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(COMMITTED, &drawn).unwrap();
    } else {
        assert!(committed == drawn, "docs/manifest.md is old: run the tests with UPDATE_DOCS=1");
    }
}

#[test]
fn every_example_of_the_reference_is_a_manifest() {
    let text = std::fs::read_to_string(COMMITTED).unwrap();

    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let environments = ["local", "staging"].into_iter();
        for environment in environments.filter(|name| *name == "local" || example.contains(name)) {
            let read = parse(example, "docs/manifest.md", environment);
            read.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never)));
        }
    }
}

/// The rule of `HealthMonitor` as strategies write it by hand: four checks every 30 s for 10 minutes, two failing at once.
#[test]
fn the_monitor_of_the_reference_is_the_rule_written_by_hand() {
    let text = std::fs::read_to_string(COMMITTED).unwrap();
    let (_, rest) = text.split_once("<!-- the monitor, tested -->\n```toml\n").unwrap();
    let example = rest.split("```").next().unwrap();

    let rollout = parse(example, "docs/manifest.md", "local").unwrap().services.remove(0).rollout;

    let monitor = rollout.monitor.unwrap();
    assert_eq!((monitor.every, monitor.during), (Millis::seconds(30), Some(Millis::seconds(600))));
    assert_eq!((monitor.failing, monitor.attribute), (2, false));
    let names: Vec<&str> = monitor.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["database", "redis", "api", "error-rate"]);
    assert!(monitor.checks.iter().all(|check| check.failures == 1));
    assert!(monitor.checks[..3].iter().all(|check| matches!(check.ask, MonitorAsk::Url(_))));
    assert_eq!(monitor.checks[3].ask, MonitorAsk::ErrorRate(0.05));
}

#[test]
fn the_manifest_of_the_readme_is_a_manifest() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();

    let read = parse(example, "README.md", "local");

    assert_eq!(read.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never))).services.len(), 1);
}

/// Every section with defaults, and what must stand before a key of it, after the least a service needs.
const LEAST_BEFORE: [(&str, &str); 35] = [
    ("service.NAME", ""),
    ("service.NAME.replicas", "[service.web.replicas]\n"),
    ("service.NAME.health", "[service.web.health]\n"),
    ("service.NAME.rollout", "[service.web.rollout]\n"),
    ("service.NAME.rollout.connections", "[service.web.rollout.connections]\n"),
    ("service.NAME.rollout.hooks", "[service.web.rollout.hooks]\n"),
    ("service.NAME.rollout.checks", "[[service.web.rollout.checks]]\nname = \"a\"\nurl = \"/\"\n"),
    ("service.NAME.rollout.readiness", "[service.web.rollout.readiness]\n"),
    ("service.NAME.rollout.mirror", "[service.web.rollout.mirror]\n"),
    ("service.NAME.route", "[[service.web.route]]\npath = \"/a\"\n"),
    (
        "service.NAME.rollout.monitor",
        "[service.web.rollout.monitor]\nchecks = [{ name = \"a\", url = \"/\" }]\n",
    ),
    (
        "service.NAME.rollout.monitor.checks",
        "[[service.web.rollout.monitor.checks]]\nname = \"a\"\nurl = \"/\"\n",
    ),
    ("service.NAME.judge", "[service.web.judge]\n"),
    ("service.NAME.judge.latency", "[service.web.judge.latency]\n"),
    ("service.NAME.judge.probes", "[service.web.judge.probes]\npath = \"/\"\n"),
    ("service.NAME.judge.errors", "[service.web.judge.errors]\n"),
    ("service.NAME.guard", "[service.web.guard]\n"),
    ("service.NAME.guard.rate", "[service.web.guard.rate]\nlimit = 50\n"),
    ("service.NAME.guard.login", "[service.web.guard.login]\nlimit = 50\npaths = [\"/a\"]\n"),
    ("service.NAME.guard.countries", "[service.web.guard.countries]\nallow = [\"FR\"]\n"),
    ("service.NAME.guard.head", "[service.web.guard.head]\n"),
    ("service.NAME.guard.body", "[service.web.guard.body]\n"),
    ("service.NAME.headers", "[service.web.headers]\n"),
    ("environment.NAME", "[environment.local]\n"),
    ("environment.NAME.acme", "hosts = [\"a.example\"]\n[environment.local.acme]\nterms = \"agreed\"\n"),
    (
        "environment.NAME.acme.on_demand",
        "[environment.local.acme]\nterms = \"agreed\"\n[environment.local.acme.on_demand]\nallow = \"http://a/b\"\n",
    ),
    ("project", "[project]\nname = \"p\"\n"),
    ("ci.github", "[ci.github]\nrepository = \"a/b\"\n"),
    ("compliance", "[compliance]\n"),
    (
        "compliance.hds_hosts.NAME",
        "[compliance.hds_hosts.aws]\ncertificate = \"1\"\nexpires = \"2027-01-01\"\n",
    ),
    ("service.NAME.container", "[service.web.container]\n"),
    ("environment.NAME.aws", "[environment.local.aws]\naccount = \"111111111111\"\n"),
    ("environment.NAME.network", "[environment.local.network]\n"),
    ("environment.NAME.edge", "[environment.local.edge]\n"),
    ("environment.NAME.alerts", "[environment.local.alerts]\n"),
];

#[test]
fn every_default_that_is_stated_is_the_real_one() {
    let mut tried = 0;
    for (section, before) in LEAST_BEFORE {
        let before = format!("[service.web]\ncommand = [\"./web\"]\n{before}");
        let without = parse(&before, "medeclipse.toml", "local").unwrap();
        for key in find(&ROOT, section).unwrap().supported() {
            let Absent::Is(default) = key.absent else { continue };
            let with = parse(&format!("{before}{} = {default}\n", key.name), "medeclipse.toml", "local");
            let with = with.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never)));
            assert_eq!(with, without, "{section}.{}", key.name);
            tried += 1;
        }
    }
    let mut all = 0;
    count_defaults(&ROOT, &mut all);
    assert_eq!(tried, all, "a section with defaults is not in the list above");
}

fn find(section: &'static Section, name: &str) -> Option<&'static Section> {
    if section.name == name {
        return Some(section);
    }
    section.supported().filter_map(|key| key.shape.section()).find_map(|inner| find(inner, name))
}

fn count_defaults(section: &'static Section, all: &mut usize) {
    for key in inner_first(section) {
        *all += usize::from(matches!(key.absent, Absent::Is(_)));
        if let Some(inner) = key.shape.section() {
            count_defaults(inner, all);
        }
    }
}

/// Returns the keys of a section; an environment's services are described once, at the top.
fn inner_first(section: &'static Section) -> impl Iterator<Item = &'static Key> {
    section.supported().filter(|key| !(section.name == "environment.NAME" && key.name == "service"))
}

fn draw(section: &'static Section, out: &mut String) {
    if !section.name.is_empty() {
        out.push_str(&format!("### `[{}]`\n\n{}\n\n", section.name, section.doc));
        out.push_str("| key | meaning | default | bounds |\n|---|---|---|---|\n");
        for key in section.supported() {
            out.push_str(&row(key));
        }
        out.push('\n');
    }
    for inner in inner_first(section).filter_map(|key| key.shape.section()) {
        draw(inner, out);
    }
}

fn row(key: &Key) -> String {
    let default = match key.absent {
        Absent::Refused => "must be there".to_owned(),
        Absent::Is(toml) => format!("`{toml}`"),
        Absent::Means(meaning) => meaning.to_owned(),
    };
    let bounds = match &key.shape {
        Shape::Table(of) => format!("see `{}`", of.name),
        Shape::Tables { of, max } => format!("up to {max} tables, see `{}`", of.name),
        shape => shape.bounds(),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{}` | {} | {} | {} |\n", key.name, cell(key.doc), cell(&default), cell(&bounds))
}
