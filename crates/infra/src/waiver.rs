//! Reads waivers: in a comment on or above the line, or in the manifest. One without reason or end waives nothing;
//! one that has ended is itself a finding.

use crate::finding::{Finding, Place, Severity, Span};
use crate::tree::Tree;

/// The word a comment begins a waiver with.
const MARK: &str = "medeclipse:allow ";

/// A finding that is allowed for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// A rule, or a topic: `image/`.
    pub rule: String,
    pub path: String,
    /// The lines it holds for; all of the file when it comes from the manifest.
    pub lines: Option<(usize, usize)>,
    pub until: Option<String>,
    pub reason: Option<String>,
    pub at: Place,
}

impl Waiver {
    /// Whether it says everything it must.
    pub fn is_complete(&self) -> bool {
        let date = |text: &String| text.len() == 10 && text.chars().all(|c| c.is_ascii_digit() || c == '-');
        self.until.as_ref().is_some_and(date)
            && self.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty())
    }

    pub fn is_over(&self, today: &str) -> bool {
        self.until.as_deref().is_some_and(|until| until < today)
    }

    fn covers(&self, rule: &str, path: &str, line: usize) -> bool {
        let named = self.rule == rule || (self.rule.ends_with('/') && rule.starts_with(&self.rule));
        let placed = path == self.path || self.lines.is_none() && matches(&self.path, path);
        named && placed && self.lines.is_none_or(|(first, last)| first <= line && line <= last)
    }
}

/// `dir/**`, `*.tf`, `**/Dockerfile`: one star within a part, two for any parts.
fn matches(pattern: &str, path: &str) -> bool {
    fn parts(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => (0..=path.len()).any(|skip| parts(rest, &path[skip..])),
            ([first, rest @ ..], [own, more @ ..]) => part(first, own) && parts(rest, more),
            _ => false,
        }
    }
    fn part(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((head, tail)) => {
                text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
            }
        }
    }
    let split = |text: &'_ str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, path) = (split(pattern), split(path));
    parts(
        &pattern.iter().map(String::as_str).collect::<Vec<_>>(),
        &path.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// Reads all waivers of a tree.
pub fn read(tree: &Tree) -> Vec<Waiver> {
    let mut found = Vec::new();
    for (path, bytes) in tree {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        if text.contains(MARK) {
            in_comments(path, text, &mut found);
        }
        if crate::tree::file_name(path) == "medeclipse.toml" {
            in_manifest(path, text, &mut found);
        }
    }
    found
}

fn in_comments(path: &str, text: &str, found: &mut Vec<Waiver>) {
    let mut start = 0;
    let lines: Vec<&str> = text.split('\n').collect();
    for (index, line) in lines.iter().enumerate() {
        if let Some(at) = line.find(MARK) {
            let rest = &line[at + MARK.len()..];
            let rule = rest.split_whitespace().next().unwrap_or_default().to_owned();
            let value = |key: &str| {
                let after = &rest[rest.find(&format!("{key}="))? + key.len() + 1..];
                Some(match after.strip_prefix('"') {
                    Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
                    None => after.split_whitespace().next().unwrap_or_default().to_owned(),
                })
            };
            let before = line[..at].trim();
            let alone = matches!(before, "#" | "//" | "--" | "/*" | "<!--" | ";");
            // Alone on its line it holds for the next line that is no comment.
            let last = if alone {
                (index + 1..lines.len()).find(|next| !is_comment(lines[*next])).unwrap_or(index)
            } else {
                index
            };
            found.push(Waiver {
                rule,
                path: path.to_owned(),
                lines: Some((index + 1, last + 1)),
                until: value("until"),
                reason: value("reason"),
                at: Place {
                    path: path.to_owned(),
                    span: Span::new(start + at, start + line.trim_end().len()),
                },
            });
        }
        start += line.len() + 1;
    }
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') || line.starts_with("//") || line.starts_with("--")
}

/// `[[waiver]] rule, path, reason, by, until` of a manifest; a file that is no TOML is the manifest's own error.
fn in_manifest(path: &str, text: &str, found: &mut Vec<Waiver>) {
    let Ok(table) = toml::de::DeTable::parse(text) else { return };
    let Some(list) = table.get_ref().get("waiver").and_then(|value| value.get_ref().as_array()) else {
        return;
    };
    for item in list {
        let Some(waiver) = item.get_ref().as_table() else { continue };
        let value = |key: &str| waiver.get(key).and_then(|value| value.get_ref().as_str()).map(str::to_owned);
        let folder = crate::tree::folder(path);
        let named = value("path").unwrap_or_default();
        found.push(Waiver {
            rule: value("rule").unwrap_or_default(),
            path: if folder.is_empty() { named } else { format!("{folder}/{named}") },
            lines: None,
            until: value("until"),
            reason: value("reason"),
            at: Place { path: path.to_owned(), span: Span::new(item.span().start, item.span().end) },
        });
    }
}

/// Takes away what is waived, and adds what is wrong with waivers. `line` says the line of a finding.
pub fn apply(
    findings: Vec<Finding>,
    waivers: &[Waiver],
    today: &str,
    line: impl Fn(&Place) -> usize,
) -> (Vec<Finding>, usize) {
    let before = findings.len();
    let holds = |finding: &Finding| {
        let line = line(&finding.at);
        waivers.iter().any(|waiver| {
            waiver.is_complete()
                && !waiver.is_over(today)
                && waiver.covers(finding.rule, &finding.at.path, line)
        })
    };
    let mut left: Vec<Finding> = findings.into_iter().filter(|finding| !holds(finding)).collect();
    let waived = before - left.len();
    for waiver in waivers {
        let problem = if !waiver.is_complete() {
            Some((
                "waiver/incomplete",
                format!("the waiver of `{}` has no end or no reason: it waives nothing", waiver.rule),
                "`until=YYYY-MM-DD reason=\"…\"`",
            ))
        } else if waiver.is_over(today) {
            Some((
                "waiver/expired",
                format!(
                    "the waiver of `{}` ended on {}",
                    waiver.rule,
                    waiver.until.as_deref().unwrap_or_default()
                ),
                "mend what it waived, or give it a new end and reason",
            ))
        } else {
            None
        };
        if let Some((rule, message, instead)) = problem {
            left.push(Finding {
                rule,
                severity: Severity::High,
                message,
                at: waiver.at.clone(),
                other: None,
                instead: instead.to_owned(),
                fix: None,
            });
        }
    }
    (left, waived)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn finding(rule: &'static str, path: &str) -> Finding {
        let at = Place { path: path.to_owned(), span: Span::new(0, 1) };
        Finding {
            rule,
            severity: Severity::High,
            message: String::new(),
            at,
            other: None,
            instead: String::new(),
            fix: None,
        }
    }

    fn left(text: &str, path: &str, line: usize) -> Vec<&'static str> {
        let tree: Tree = [(path.to_owned(), Arc::from(text.as_bytes()))].into();
        let (left, _) = apply(vec![finding("image/unpinned", path)], &read(&tree), "2026-11-28", |_| line);
        left.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_comment_waives_its_line_or_the_next_until_it_ends() {
        let waiver = "# medeclipse:allow image/unpinned until=2027-01-01 reason=\"no registry\"\n# more\nFROM x\nFROM y\n";
        assert_eq!(left(waiver, "Dockerfile", 3), Vec::<&str>::new());
        assert_eq!(left(waiver, "Dockerfile", 4), ["image/unpinned"]);
        assert_eq!(
            left(&waiver.replace("2027", "2026"), "Dockerfile", 3),
            ["image/unpinned", "waiver/expired"]
        );
        assert_eq!(
            left("# medeclipse:allow image/unpinned\nFROM x\n", "Dockerfile", 2),
            ["image/unpinned", "waiver/incomplete"]
        );
    }

    #[test]
    fn a_manifest_waives_paths_by_pattern() {
        let toml = "[[waiver]]\nrule = \"image/unpinned\"\npath = \"**/Dockerfile*\"\nreason = \"r\"\nby = \"ops\"\nuntil = \"2027-01-01\"\n";
        let tree: Tree = [("medeclipse.toml".to_owned(), Arc::from(toml.as_bytes()))].into();
        let waivers = read(&tree);
        let (left, waived) = apply(
            vec![
                finding("image/unpinned", "a/b/Dockerfile.web"),
                finding("image/root-user", "Dockerfile.web"),
            ],
            &waivers,
            "2026-11-28",
            |_| 9,
        );

        assert_eq!((left.len(), waived), (1, 1));
    }
}
