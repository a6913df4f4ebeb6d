//! What nobody means to write: `parse` answers, renders and never panics, whatever the text.
#![allow(clippy::unwrap_used)]

use manifest::{Color, default_text, parse};
use proptest::prelude::*;

const COMPLETE: &str = include_str!("complete.toml");

/// Pieces that make a manifest almost right.
const PIECES: [&str; 24] = [
    "[service.web]\n",
    "[[service.web.route]]\n",
    "[service.",
    "[environment.local]\n",
    "service",
    "command",
    "=",
    " = ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "'''",
    ",",
    ".",
    "#",
    "\n",
    "\r\n",
    "é",
    "10m",
    "0x1F",
    "1979-05-27",
];

/// Reads for two environments and looks at everything that is said.
fn survives(text: &str) {
    for environment in ["local", "staging", ""] {
        if let Err(errors) = parse(text, "medeclipse.toml", environment) {
            let items = errors.items();
            assert!(!items.is_empty());
            let lines: Vec<_> = items.iter().map(|item| (item.line, item.column)).collect();
            assert!(lines.is_sorted(), "{lines:?}");
            assert!(!errors.render(Color::Never).is_empty() && !errors.render(Color::Always).is_empty());
        }
    }
}

fn cut(text: &str, at: usize) -> usize {
    let at = at % (text.len() + 1);
    (0..=at).rev().find(|&index| text.is_char_boundary(index)).unwrap()
}

/// Takes the `#` away from every setting of the manual.
fn uncommented(text: &str) -> String {
    let setting =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    text.lines().map(|line| setting(line) + "\n").collect()
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        survives(&pieces.concat());
    }

    #[test]
    fn a_manifest_with_a_part_cut_out_is_answered(from in any::<usize>(), length in 0usize..200) {
        let text = format!("{COMPLETE}{}", default_text("other"));
        let from = cut(&text, from);
        let to = cut(&text[from..], length.min(text.len() - from)) + from;
        survives(&format!("{}{}", &text[..from], &text[to..]));
    }

    #[test]
    fn a_manifest_with_pieces_thrown_in_is_answered(
        places in prop::collection::vec((any::<usize>(), prop::sample::select(&PIECES[..])), 1..5),
    ) {
        let mut text = COMPLETE.to_owned();
        for (at, piece) in places {
            text.insert_str(cut(&text, at), piece);
        }
        survives(&text);
    }

    #[test]
    fn a_manifest_with_lines_in_another_order_is_answered(seed in any::<u64>()) {
        let manual = uncommented(&default_text("web"));
        let mut lines: Vec<&str> = manual.lines().collect();
        let mut state = seed | 1;
        for index in (1..lines.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            lines.swap(index, (state >> 33) as usize % (index + 1));
        }
        survives(&lines.join("\n"));
    }

    #[test]
    fn every_value_may_be_of_another_type(key in 0usize..120, value in prop::sample::select(&[
        "1", "-1", "1.5", "true", "[]", "{}", "[[]]", "\"\"", "\"\\u0000\"", "1979-05-27", "[1, \"a\", {}]", "{ a = {} }",
        "99999999999999999999999999", "nan", "\"é\"", "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
    ][..])) {
        let manual = uncommented(&default_text("web"));
        let settings: Vec<usize> =
            manual.lines().enumerate().filter(|(_, line)| line.contains(" = ")).map(|(index, _)| index).collect();
        let chosen = settings[key % settings.len()];
        let line = |(index, line): (usize, &str)| match line.split_once(" = ") {
            Some((key, _)) if index == chosen => format!("{key} = {value}\n"),
            _ => format!("{line}\n"),
        };
        assert!(parse(&manual, "medeclipse.toml", "local").is_ok());
        survives(&manual.lines().enumerate().map(line).collect::<String>());
    }
}

#[test]
fn deep_nesting_is_refused_and_breaks_nothing() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(50_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]\n", "a.".repeat(100_000)),
    ] {
        survives(&text);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_no_mistake() {
    let text = format!("\u{feff}{}", COMPLETE.replace('\n', "\r\n"));

    assert!(parse(&text, "medeclipse.toml", "local").is_ok());
}
