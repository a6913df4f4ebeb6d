//! Writes the manifest `medeclipse init` begins with: commented, complete, the manual.
//! Lines that begin with `#` and no space are settings: take the `#` away to use them. Tests do exactly that.

use crate::sections::text::nearest_name;

/// Returns a commented manifest with one service. A name that cannot be one is turned into the nearest that can.
pub fn default_text(name: &str) -> String {
    TEMPLATE.replace("SERVICE", &nearest_name(name))
}

const TEMPLATE: &str = include_str!("default.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::environment::ENVIRONMENT;
    use crate::sections::service::SERVICE;
    use crate::sections::{Absent, ROOT, Section, Shape};
    use crate::{Color, parse, parse_all};
    use rollout::plan::{RolloutSettings, Strategy};

    /// Takes the `#` away from every line that is a setting.
    fn uncommented(text: &str) -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    fn read(text: &str) -> crate::service::ServiceConfig {
        let manifest = parse(text, "medeclipse.toml", "local");
        manifest.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never))).services.remove(0)
    }

    #[test]
    fn the_manual_is_a_manifest_with_every_default() {
        let service = read(&default_text("My Clinic!"));

        assert_eq!(service.name, "my-clinic");
        assert_eq!(service.command, ["./my-clinic"]);
        assert_eq!(service.rollout, RolloutSettings::default());
    }

    #[test]
    fn the_manual_with_every_example_uncommented_is_a_manifest_too() {
        let service = read(&uncommented(&default_text("clinic")));

        assert_eq!(service.rollout.strategy, Strategy::Canary);
        assert_eq!(service.rollout.checks.len(), 2);
        assert_eq!(service.rollout.monitor.unwrap().checks.len(), 2);
    }

    #[test]
    fn the_deadline_of_the_manual_is_the_computed_one() {
        let manual = uncommented(&default_text("clinic"));
        let (manual, _) = manual.split_once("[environment.local.service").unwrap();

        let rollout = read(manual).rollout;
        assert_eq!(rollout.deadline, rollout.deadline_enough());
    }

    #[test]
    fn the_manual_has_every_supported_key_and_its_default() {
        let text = uncommented(&default_text("clinic"));
        let manual: toml::Table = toml::from_str(&text).unwrap();

        let mut missing = Vec::new();
        compare(&ROOT, &toml::Value::Table(manual), &mut missing);
        for example in EXAMPLES {
            let place = missing.iter().position(|line| line.starts_with(example));
            missing.remove(place.unwrap_or_else(|| panic!("{example}: but it is")));
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    /// Keys whose example differs from the default on purpose; the manual says so in words.
    const EXAMPLES: [&str; 11] = [
        "service.NAME.replicas is not",
        "service.NAME.replicas.min is not",
        "service.NAME.env is not",
        "service.NAME.expand is not",
        "service.NAME.rollout.strategy is not",
        "service.NAME.rollout.checks is not",
        "service.NAME.rollout.hooks.before_deploy is not",
        "service.NAME.rollout.hooks.after_deploy is not",
        // Only with `key = "header"`.
        "service.NAME.guard.rate.header is missing",
        // Either `allow` or `deny`.
        "service.NAME.guard.countries.deny is missing",
        // Exactly one of `header` and `cookie`.
        "service.NAME.judge.user.cookie is missing",
    ];

    const OF_THIS_MACHINE: [&str; 10] = [
        "platform",
        "listen",
        "ports",
        "api",
        "tls",
        "acme",
        "service",
        "listen_http",
        "redirect",
        "proxy_protocol",
    ];

    /// Keys only `medeclipse infra` reads: `infra.toml` beside the tests of this crate shows them all.
    fn of_infra(section: &str, key: &str) -> bool {
        match section {
            "" => matches!(key, "project" | "ci" | "compliance" | "waiver"),
            "service.NAME" => matches!(key, "container" | "secrets"),
            "environment.NAME" => !OF_THIS_MACHINE.contains(&key),
            _ => false,
        }
    }

    #[test]
    fn the_example_of_infrastructure_has_every_key_of_infrastructure() {
        let text = include_str!("../tests/infra.toml");
        let example: toml::Table = toml::from_str(text).unwrap();
        parse_all(text, "infra.toml").unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never)));

        let mut missing = Vec::new();
        for (section, name) in [(&ROOT, ""), (&SERVICE, "service"), (&ENVIRONMENT, "environment")] {
            let table = match name {
                "" => &example,
                "service" => example[name]["web"].as_table().unwrap(),
                _ => example[name]["production"].as_table().unwrap(),
            };
            for key in section.supported().filter(|key| of_infra(section.name, key.name)) {
                let Some(found) = table.get(key.name) else {
                    missing.push(key.name.to_owned());
                    continue;
                };
                let Some(inner) = key.shape.section() else { continue };
                let found = match &key.shape {
                    Shape::Named { .. } => found.as_table().unwrap().values().next().unwrap(),
                    _ => found,
                };
                present(inner, found, &mut missing);
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    fn present(section: &Section, value: &toml::Value, missing: &mut Vec<String>) {
        for key in section.supported() {
            let found = match value {
                toml::Value::Array(list) => list.iter().find_map(|element| element.get(key.name)),
                value => value.get(key.name),
            };
            match (found, key.shape.section()) {
                (None, _) => missing.push(format!("{}.{}", section.name, key.name)),
                (Some(toml::Value::Table(table)), Some(inner))
                    if matches!(key.shape, Shape::Named { .. }) =>
                {
                    present(inner, table.values().next().unwrap(), missing);
                }
                (Some(found), Some(inner)) => present(inner, found, missing),
                (Some(_), None) => {}
            }
        }
    }

    fn compare(section: &Section, value: &toml::Value, missing: &mut Vec<String>) {
        for key in section.supported().filter(|key| !of_infra(section.name, key.name)) {
            let name = format!("{}.{}", section.name, key.name);
            // One check has `command`, the other `url`: the first of a list stands for all but these.
            let found = match value {
                toml::Value::Array(list) => list.iter().find_map(|element| element.get(key.name)),
                value => value.get(key.name),
            };
            let Some(found) = found else {
                missing.push(format!("{name} is missing"));
                continue;
            };
            if let Absent::Is(default) = key.absent {
                let table: toml::Table = toml::from_str(&format!("value = {default}")).unwrap();
                if table["value"] != *found {
                    missing.push(format!("{name} is not {default}"));
                }
            }
            match (&key.shape, key.shape.section()) {
                (Shape::Named { .. }, Some(_)) if section.name == "environment.NAME" => {}
                (Shape::Named { .. }, Some(inner)) => {
                    let first = found.as_table().unwrap().values().next().unwrap();
                    compare(inner, first, missing);
                }
                (_, Some(inner)) => compare(inner, found, missing),
                _ => {}
            }
        }
    }

    #[test]
    fn lines_of_the_manual_fit_a_terminal() {
        let long: Vec<&str> = TEMPLATE.lines().filter(|line| line.chars().count() > 120).collect();

        assert_eq!(long, Vec::<&str>::new());
    }
}
