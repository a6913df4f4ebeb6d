//! Reads waivers, for `lint` and `infra check` alike: in a comment on or above the line, or in the manifest. One without reason or end waives
//! nothing; one that has ended is itself a finding.

use crate::finding::{Place, Span};
use crate::tree::Tree;

/// The word a comment begins a waiver with.
const MARK: &str = "medeclipse:allow ";

/// A finding that is allowed for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// A rule, or a topic: `image/`.
    pub rule: String,
    /// Which files, by pattern, as seen from the manifest's folder or as the comment's own.
    pub path: String,
    /// The lines it holds for; all of the file when it comes from the manifest.
    pub lines: Option<(usize, usize)>,
    pub until: Option<String>,
    pub reason: Option<String>,
    /// Who accepts it; a comment has its author in the history.
    pub by: Option<String>,
    pub at: Place,
}

/// What is wrong with a waiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub rule: &'static str,
    pub message: String,
    pub instead: &'static str,
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

    /// Why it is accepted, by whom, until when.
    pub fn told(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let by = self.by.as_ref().map(|by| format!("{by}, ")).unwrap_or_default();
        format!("{} ({by}until {})", text(&self.reason), text(&self.until))
    }

    fn covers(&self, rule: &str, path: &str, line: usize) -> bool {
        let named = self.rule == rule || (self.rule.ends_with('/') && rule.starts_with(&self.rule));
        let placed = path == self.path || self.lines.is_none() && matches(&self.path, path);
        named && placed && self.lines.is_none_or(|(first, last)| first <= line && line <= last)
    }

    fn problem(&self, today: &str) -> Option<Problem> {
        let problem = |rule, message, instead| Some(Problem { rule, message, instead, at: self.at.clone() });
        if !self.is_complete() {
            return problem(
                "waiver/incomplete",
                format!("the waiver of `{}` has no end or no reason: it waives nothing", self.rule),
                "`until=YYYY-MM-DD reason=\"…\"`",
            );
        }
        if self.is_over(today) {
            return problem(
                "waiver/expired",
                format!(
                    "the waiver of `{}` ended on {}",
                    self.rule,
                    self.until.as_deref().unwrap_or_default()
                ),
                "mend what it waived, or give it a new end and reason",
            );
        }
        None
    }
}

/// The waivers of what is looked at.
#[derive(Debug, Clone, Default)]
pub struct Waivers<'w> {
    list: Vec<Waiver>,
    today: &'w str,
    tree: Option<&'w Tree>,
    /// Where the tree lies, as its waivers see it: `infrastructure/`, or nothing.
    base: String,
}

impl<'w> Waivers<'w> {
    /// Reads those of a tree, its manifests included. `today` is `YYYY-MM-DD`.
    pub fn read(tree: &'w Tree, today: &'w str) -> Self {
        Self::beside(tree, today, "", None)
    }

    /// Reads those of a tree and of a manifest beside it, from whose folder the tree lies at `base`.
    pub fn beside(tree: &'w Tree, today: &'w str, base: &str, manifest: Option<(&str, &str)>) -> Self {
        let base = if base.is_empty() { String::new() } else { format!("{base}/") };
        let mut list = Vec::new();
        for (path, bytes) in tree {
            let Ok(text) = std::str::from_utf8(bytes) else { continue };
            if text.contains(MARK) {
                in_comments(&base, path, text, &mut list);
            }
            if crate::tree::file_name(path) == "medeclipse.toml" {
                in_manifest(path, &format!("{base}{}", crate::tree::folder(path)), text, &mut list);
            }
        }
        if let Some((path, text)) = manifest {
            in_manifest(path, "", text, &mut list);
        }
        Self { list, today, tree: Some(tree), base }
    }

    /// Returns the waiver that covers a finding today.
    pub fn of(&self, rule: &str, at: &Place) -> Option<&Waiver> {
        let text = self.tree.and_then(|tree| std::str::from_utf8(tree.get(&at.path)?).ok()).unwrap_or("");
        let (line, _) = crate::lint::doc::line_column(text, at.span.start);
        let path = format!("{}{}", self.base, at.path);
        self.list
            .iter()
            .find(|it| it.is_complete() && !it.is_over(self.today) && it.covers(rule, &path, line))
    }

    /// Returns what is wrong with them.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.list.iter().filter_map(|waiver| waiver.problem(self.today))
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

fn in_comments(base: &str, path: &str, text: &str, found: &mut Vec<Waiver>) {
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
                path: format!("{base}{path}"),
                lines: Some((index + 1, last + 1)),
                until: value("until"),
                reason: value("reason"),
                by: value("by"),
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
fn in_manifest(path: &str, folder: &str, text: &str, found: &mut Vec<Waiver>) {
    let Ok(table) = toml::de::DeTable::parse(text) else { return };
    let Some(list) = table.get_ref().get("waiver").and_then(|value| value.get_ref().as_array()) else {
        return;
    };
    for item in list {
        let Some(waiver) = item.get_ref().as_table() else { continue };
        let value = |key: &str| waiver.get(key).and_then(|value| value.get_ref().as_str()).map(str::to_owned);
        let named = value("path").unwrap_or_else(|| "**".to_owned());
        let folder = folder.trim_end_matches('/');
        found.push(Waiver {
            rule: value("rule").unwrap_or_default(),
            path: if folder.is_empty() { named } else { format!("{folder}/{named}") },
            lines: None,
            until: value("until"),
            reason: value("reason"),
            by: value("by"),
            at: Place { path: path.to_owned(), span: Span::new(item.span().start, item.span().end) },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const TODAY: &str = "2026-11-28";

    fn tree(files: &[(&str, &str)]) -> Tree {
        files.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
    }

    /// Whether a finding of `image/unpinned` in a line, counted from 1, is waived.
    fn waived(waivers: &Waivers<'_>, path: &str, text: &str, line: usize) -> bool {
        let start = text.split('\n').take(line - 1).map(|line| line.len() + 1).sum();
        waivers
            .of("image/unpinned", &Place { path: path.to_owned(), span: Span::new(start, start) })
            .is_some()
    }

    fn problems(waivers: &Waivers<'_>) -> Vec<&'static str> {
        waivers.problems().map(|problem| problem.rule).collect()
    }

    #[test]
    fn a_comment_waives_its_line_or_the_next_until_it_ends() {
        let text = "# medeclipse:allow image/unpinned until=2027-01-01 reason=\"no registry\"\n# more\nFROM x\nFROM y\n";
        for base in ["", "images"] {
            let files = tree(&[("Dockerfile", text)]);
            let waivers = Waivers::beside(&files, TODAY, base, None);
            assert!(waived(&waivers, "Dockerfile", text, 3));
            assert!(!waived(&waivers, "Dockerfile", text, 4));
        }
        let over = text.replace("2027", "2026");
        let files = tree(&[("Dockerfile", &over)]);
        let waivers = Waivers::read(&files, TODAY);
        assert!(!waived(&waivers, "Dockerfile", &over, 3));
        assert_eq!(problems(&waivers), ["waiver/expired"]);
        let files = tree(&[("Dockerfile", "# medeclipse:allow image/unpinned\nFROM x\n")]);
        assert_eq!(problems(&Waivers::read(&files, TODAY)), ["waiver/incomplete"]);
    }

    #[test]
    fn a_manifest_waives_the_same_files_from_wherever_they_are_looked_at() {
        let toml = "[[waiver]]\nrule = \"image/\"\npath = \"infrastructure/**/*.tf\"\nreason = \"r\"\nby = \"ops\"\nuntil = \"2027-01-01\"\n";
        let whole = tree(&[("medeclipse.toml", toml)]);
        let below = Tree::new();
        let seen_whole = Waivers::read(&whole, TODAY);
        let seen_below = Waivers::beside(&below, TODAY, "infrastructure", Some(("medeclipse.toml", toml)));

        for (path, expected) in [("a/b/x.tf", true), ("x.tf", true), ("x.yaml", false)] {
            assert_eq!(waived(&seen_below, path, "", 1), expected, "{path}");
            assert_eq!(waived(&seen_whole, &format!("infrastructure/{path}"), "", 1), expected, "{path}");
            assert!(!waived(&seen_whole, path, "", 1), "{path} lies elsewhere");
        }
        assert_eq!(seen_below.list[0].told(), "r (ops, until 2027-01-01)");
    }

    #[test]
    fn without_a_path_it_holds_below_its_manifest() {
        let toml =
            "[[waiver]]\nrule = \"image/unpinned\"\nreason = \"r\"\nby = \"ops\"\nuntil = \"2027-01-01\"\n";
        let files = tree(&[("one/medeclipse.toml", toml)]);
        let waivers = Waivers::read(&files, TODAY);

        assert!(waived(&waivers, "one/deep/Dockerfile", "", 1));
        assert!(!waived(&waivers, "two/Dockerfile", "", 1));
    }
}
