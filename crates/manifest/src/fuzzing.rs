//! Says what holds for any text given to `parse`, for `script/test` and `script/fuzz`. Built for nobody else.
//! Knows no key: a manifest written anew, every table inline and every text escaped, must mean what it meant.

use crate::{Color, ManifestErrors, parse};
use std::fmt::Write;
use toml::de::{DeTable, DeValue};

/// `parse` answers; its errors point into the file and say what to do; what it read survives being written anew.
///
/// # Panics
///
/// Where that does not hold.
pub fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for environment in ["local", "staging"] {
        match parse(text, "medeclipse.toml", environment) {
            Err(errors) => points_into(text, &errors),
            Ok(manifest) => {
                let anew = written(text);
                let again = parse(&anew, "medeclipse.toml", environment);
                assert_eq!(Ok(&manifest), again.as_ref(), "written anew as {anew}");
                let sent = serde_json::to_vec(&manifest).expect("a manifest has a JSON form");
                let received = serde_json::from_slice(&sent).expect("what was sent can be read");
                assert_eq!(manifest, received, "sent to the engine");
            }
        }
    }
}

fn points_into(text: &str, errors: &ManifestErrors) {
    let items = errors.items();
    assert!(!items.is_empty(), "an error without a mistake");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut before = (0, 0);
    for item in &items {
        assert!(!item.message.is_empty() && !item.help.is_empty(), "{item:?} does not say what or what next");
        let (Some(line), Some(column)) = (item.line, item.column) else { continue };
        let length = lines.get(line - 1).map(|line| line.chars().count());
        assert!(length.is_some_and(|length| column <= length + 1), "{item:?} lies outside the file");
        assert!(before <= (line, column), "{item:?} is not in the order of the file");
        before = (line, column);
    }
    assert!(!errors.render(Color::Never).is_empty() && !errors.render(Color::Always).is_empty());
    assert!(!errors.to_string().is_empty() && !errors.next().is_empty());
}

/// Returns a manifest that can be read in another spelling.
fn written(text: &str) -> String {
    let root = DeTable::parse(text).expect("what parse took is TOML");
    let mut anew = String::new();
    for (key, value) in in_order(root.get_ref()) {
        writeln!(anew, "{} = {}", quoted(key), inline(value)).expect("a text takes text");
    }
    anew
}

/// Returns the entries in the order of the file: the order of services means something.
fn in_order<'t>(table: &'t DeTable<'_>) -> Vec<(&'t str, &'t DeValue<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect()
}

fn inline(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(list) => {
            let each: Vec<String> = list.iter().map(|element| inline(element.get_ref())).collect();
            format!("[{}]", each.join(", "))
        }
        DeValue::Table(table) => {
            let entries = in_order(table).into_iter();
            let each: Vec<String> =
                entries.map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", each.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).expect("a text takes text"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const WORDS: &[&str] = &[
        "[service.web]\n",
        "[[service.web.route]]\n",
        "[service.web.rollout]\n",
        "[service.web.judge]\n",
        "[environment.staging]\n",
        "[environment.staging.service.web]\n",
        "command = [\"./a\"]\n",
        "health = { ready = \"/r\" }\n",
        "replicas = { min = 1, max = 2 }\n",
        "steps = [5, 100]\n",
        "hosts = [\"a.example\"]\n",
        "paths = [\"/a\"]\n",
        "ports = \"1-2\"\n",
        "strategy = \"blue-green\"\n",
        "\"off\"",
        "\"10m\"",
        "\"1.5s\"",
        "\"5%\"",
        "\"2GiB\"",
        "${PORT}",
        "service.web.",
        "\"\"\"",
        "'''",
        "\\u0000",
        "\r\n",
        "= ",
        "{ ",
        " }",
        "[",
        "]",
        "#",
        "é",
        "\u{feff}",
        "1979-05-27T07:32:00Z",
        "0xFF",
        "nan",
    ];

    /// As much text as is read, of one kind each: the time must grow with the text, not with its square.
    #[test]
    fn no_text_takes_long_to_refuse() {
        const BYTES: usize = 250_000;
        const MOST: std::time::Duration = std::time::Duration::from_secs(20);
        let numbered = |line: &dyn Fn(usize) -> String| -> String {
            let mut text = String::from("[service.web]\ncommand = [\"./a\"]\n");
            (0..)
                .map(line)
                .take_while(|line| {
                    text.push_str(line);
                    text.len() < BYTES
                })
                .count();
            text
        };
        let texts: [(&str, &dyn Fn(usize) -> String); 12] = [
            ("broken lines", &|_| "a\n".to_owned()),
            ("unknown keys", &|n| format!("k{n} = 1\n")),
            ("the same key", &|_| "command = 1\n".to_owned()),
            ("services", &|n| format!("[service.s{n}]\ncommand = [\"a\"]\n")),
            ("environments", &|n| format!("[environment.e{n}]\n")),
            ("overrides", &|n| format!("[environment.e{n}.service.web]\ncomand = 1\n")),
            ("open lists", &|_| "x = [\n".to_owned()),
            ("open tables", &|_| "x = {".to_owned()),
            ("deep keys", &|_| "a.".to_owned()),
            ("routes", &|n| format!("[[service.web.route]]\npath = \"/a{n}\"\n")),
            ("long lines", &|n| format!("k{n} = \"é\" ")),
            ("comments", &|_| "# é\r\n".to_owned()),
        ];
        for (kind, line) in texts {
            let text = numbered(line);
            let took = noise::cpu_time(|| manifest(text.as_bytes()));
            assert!(took < MOST, "{kind}: {took:?}");
            println!("{kind}: {} bytes in {took:?}", text.len());
        }
    }

    #[test]
    fn any_manifest_is_read_or_refused_in_its_place_and_survives_being_written_anew() {
        Target { name: "manifest", words: WORDS, runs: 4_000 }.hold(manifest);
    }
}
