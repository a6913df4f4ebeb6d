//! What holds for any tree of files, for `script/test` and `script/fuzz`: it is judged or named as unreadable, twice the same,
//! on any number of threads; every place lies in its file; a fix leaves text.

use super::report;
use super::run::{Options, fixed, lint};
use crate::tree::Tree;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Any bytes as files, each behind a line `-- path --`.
pub fn tree(input: &[u8]) {
    let mut files = Tree::new();
    let mut open: Option<(String, Vec<u8>)> = None;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default().trim_end();
        let head = text.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
        match (head, &mut open) {
            (Some(path), _) => {
                files.extend(open.take().map(|(path, bytes)| (path, Arc::from(bytes))));
                open = Some((path.to_owned(), Vec::new()));
            }
            (None, Some((_, bytes))) => bytes.extend_from_slice(line),
            (None, None) => {}
        }
    }
    files.extend(open.map(|(path, bytes)| (path, Arc::from(bytes))));
    holds(&files);
}

fn holds(files: &Tree) {
    let options = |threads| Options { today: "2026-11-28".to_owned(), threads, baseline: BTreeSet::new() };
    let one = lint(files, &options(1));
    let two = lint(files, &options(3));
    assert_eq!(one.findings, two.findings, "threads change what is found");
    assert_eq!(one.unchecked, two.unchecked);

    for finding in &one.findings {
        let others = finding.other.iter().map(|(place, _)| place);
        for place in std::iter::once(&finding.at).chain(others).chain(finding.fix.iter().map(|fix| &fix.at)) {
            let bytes = files.get(&place.path).expect("a file of the tree");
            assert!(place.span.start <= place.span.end && place.span.end <= bytes.len(), "{finding:?}");
        }
    }
    report::text(files, &one, report::Color::No);
    report::sarif(files, &one, "0");
    report::github(files, &one);
    fixed(files, &one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const WORDS: &[&str] = &[
        "\n-- Dockerfile --\n",
        "\n-- main.tf --\n",
        "\n-- task.json --\n",
        "\n-- .github/workflows/a.yml --\n",
        "\n-- a.sh --\n",
        "\n-- compose.yaml --\n",
        "resource \"aws_kms_key\" \"a\" {",
        "${var.environment}",
        "${each.value}",
        "jsonencode([",
        "<<EOF\n",
        "EOF\n",
        "containerDefinitions",
        "$(",
        "${{ ",
        " }}",
        "&a [*a, *a]",
        "{\"a\":",
        "é",
        "\u{0}",
        "\\\n",
        "`",
        "\"\"\"",
        "*/",
    ];

    #[test]
    fn any_tree_is_judged() {
        Target { name: "lint_tree", words: WORDS, runs: 120 }.hold(tree);
    }

    /// Judges one file, and how long that may take of one processor.
    fn within(path: &str, bytes: Vec<u8>, seconds: u64) -> super::super::run::Report {
        let files: Tree = [(path.to_owned(), Arc::from(bytes))].into();
        let options = Options { today: "2026-11-28".to_owned(), threads: 1, baseline: BTreeSet::new() };
        let mut report = None;
        let took = noise::cpu_time(|| report = Some(lint(&files, &options)));
        assert!(took < std::time::Duration::from_secs(seconds), "{path} took {took:?}");
        report.expect("judged above")
    }

    /// Names that each use another one ten times: written out, more than a billion.
    fn bomb(one: &str, level: impl Fn(usize) -> String) -> Vec<u8> {
        let levels: String = (1..=12).map(|at| format!("  l{at} = {}\n", level(at - 1))).collect();
        format!("locals {{\n  l0 = {one}\n{levels}}}\nresource \"aws_ecs_cluster\" \"a\" {{\n  name = local.l12\n}}\nresource \"aws_ecs_service\" \"a\" {{\n  for_each = toset(local.l12)\n  name = each.key\n}}\n").into_bytes()
    }

    #[test]
    fn terraform_that_multiplies_ends_within_bounds() {
        let texts = bomb("\"${var.x}\"", |at| format!("\"{}\"", format!("${{local.l{at}}}").repeat(10)));
        let lists =
            bomb("[\"a\", \"b\"]", |at| format!("concat({})", vec![format!("local.l{at}"); 10].join(", ")));
        let loops = bomb("[\"a\", \"b\"]", |at| {
            format!("[for x in concat(local.l{at}, local.l{at}, local.l{at}) : [x, x, x]]")
        });
        for bytes in [texts, lists, loops] {
            assert!(within("main.tf", bytes, 30).unreadable.is_empty());
        }
    }

    #[test]
    fn hostile_files_end_in_a_reason_within_bounds() {
        let deep = |text: &str, times: usize| text.repeat(times).into_bytes();
        let refused = [
            ("ecs-task.json", deep("[", 1_000_000)),
            ("compose.yml", deep("[", 200_000)),
            ("compose.yml", deep("- ", 100_000)),
            ("a.tf", format!("a = {}", "(".repeat(100_000)).into_bytes()),
            ("a.tf", format!("a = \"{}\"", "x".repeat(300_000)).into_bytes()),
            ("a.tf", deep("a {\n", 50_000)),
            ("Dockerfile", vec![0xff; 1000]),
            ("compose.yml", vec![b'a'; 5 << 20]),
        ];
        for (path, bytes) in refused {
            let report = within(path, bytes, 20);
            assert_eq!(report.unreadable.len(), 1, "{path}: {:?}", report.findings);
        }
        let judged = [
            ("a.sh", deep("$(", 90_000)),
            ("a.sh", deep("if x; then ", 15_000)),
            ("a.js", deep("(", 3_000)),
            ("a.js", deep("class A { a() { this.b(", 500)),
            ("a.py", deep("\"\"\"", 60_001)),
            ("Dockerfile", format!("FROM a\nRUN {}", "a \\\n".repeat(100_000)).into_bytes()),
        ];
        for (path, bytes) in judged {
            let report = within(path, bytes, 20);
            assert!(report.unreadable.is_empty(), "{path}: {:?}", report.unreadable);
        }
    }
}
