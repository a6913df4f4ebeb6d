//! Runs all rules over a tree, on several threads, and puts what they found in one order.

use super::graph::Graph;
use super::parts;
use super::rules::{self, Out, Rule};
use super::sources::Sources;
use crate::finding::{Finding, Place, Severity, Unchecked};
use crate::tree::Tree;
use crate::waiver::Waivers;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// `YYYY-MM-DD`: versions end and waivers end by it.
    pub today: String,
    /// Threads that read and judge.
    pub threads: usize,
    /// Fingerprints that are known already.
    pub baseline: BTreeSet<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Worst first; then by place.
    pub findings: Vec<Finding>,
    /// In the order of `findings`.
    pub fingerprints: Vec<String>,
    pub unchecked: Vec<Unchecked>,
    /// Path and why.
    pub unreadable: Vec<(String, String)>,
    pub waived: usize,
    pub known: usize,
    pub files: usize,
}

impl Report {
    /// How many findings are at least as bad as `level`.
    pub fn at_least(&self, level: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity <= level).count()
    }
}

/// What was found in one project.
struct Part {
    findings: Vec<Finding>,
    unchecked: Vec<Unchecked>,
    unreadable: Vec<(String, String)>,
}

/// Judges a tree, each project in it by itself.
pub fn lint(tree: &Tree, options: &Options) -> Report {
    let mut report = Report { files: tree.len(), ..Report::default() };
    let mut findings = Vec::new();
    for part in parts(tree, options) {
        findings.extend(part.findings);
        report.unchecked.extend(part.unchecked);
        report.unreadable.extend(part.unreadable);
    }
    let waivers = Waivers::read(tree, &options.today);
    let before = findings.len();
    findings.retain(|finding: &Finding| waivers.of(finding.rule, &finding.at).is_none());
    report.waived = before - findings.len();
    findings.extend(waivers.problems().map(|problem| Finding {
        rule: problem.rule,
        severity: Severity::High,
        message: problem.message,
        at: problem.at,
        other: None,
        instead: problem.instead.to_owned(),
        fix: None,
    }));
    findings.sort_by(|a, b| {
        (a.severity, &a.at, a.rule, &a.message).cmp(&(b.severity, &b.at, b.rule, &b.message))
    });
    findings.dedup();
    report.unchecked.sort();
    report.unchecked.dedup();
    let prints = fingerprints(tree, &findings);
    let before = findings.len();
    let left = findings.into_iter().zip(prints).filter(|(_, print)| !options.baseline.contains(print));
    (report.findings, report.fingerprints) = left.unzip();
    report.known = before - report.findings.len();
    report
}

/// Many projects are shared out among the threads; within a few, the files and rules are.
fn parts(tree: &Tree, options: &Options) -> Vec<Part> {
    let projects = parts::projects(tree);
    let threads = options.threads.max(1);
    if projects.len() < 2 * threads {
        return projects.iter().map(|(folder, files)| project(folder, files, options, threads)).collect();
    }
    let size = projects.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let one = |(folder, files): &(String, Tree)| project(folder, files, options, 1);
        let parts: Vec<_> = projects
            .chunks(size)
            .map(|chunk| scope.spawn(move || chunk.iter().map(one).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("BUG: a project is judged")).collect()
    })
}

/// Judges one project, and says its places as seen from the whole tree.
fn project(folder: &str, files: &Tree, options: &Options, threads: usize) -> Part {
    let graph = Graph::new(Sources::read(files, threads), options.today.clone());
    let (mut findings, mut unchecked) = judge(&graph, threads);
    let back = |place: &mut Place| place.path = below(folder, &place.path);
    for finding in &mut findings {
        back(&mut finding.at);
        finding.other.iter_mut().for_each(|(place, _)| back(place));
        finding.fix.iter_mut().for_each(|fix| back(&mut fix.at));
    }
    unchecked.iter_mut().filter_map(|unknown| unknown.at.as_mut()).for_each(back);
    let unreadable = graph.sources.unreadable.into_iter().map(|(path, why)| (below(folder, &path), why));
    Part { findings, unchecked, unreadable: unreadable.collect() }
}

fn below(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

fn judge(graph: &Graph, threads: usize) -> (Vec<Finding>, Vec<Unchecked>) {
    let all: Vec<&'static Rule> = rules::all().collect();
    if threads == 1 {
        return merged(all.into_iter().map(|rule| Out::of(graph, rule)));
    }
    let size = all.len().div_ceil(threads).max(1);
    let done: Vec<(Vec<Finding>, Vec<Unchecked>)> = std::thread::scope(|scope| {
        let parts: Vec<_> = all
            .chunks(size)
            .map(|chunk| {
                scope.spawn(move || chunk.iter().map(|rule| Out::of(graph, rule)).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("BUG: a rule ends")).collect()
    });
    merged(done.into_iter())
}

fn merged(done: impl Iterator<Item = (Vec<Finding>, Vec<Unchecked>)>) -> (Vec<Finding>, Vec<Unchecked>) {
    let (mut findings, mut unchecked) = (Vec::new(), Vec::new());
    for (found, unknown) in done {
        findings.extend(found);
        unchecked.extend(unknown);
    }
    (findings, unchecked)
}

/// What a finding is recognised by when lines move: rule, both paths, what stands there, and which of the same it is.
fn fingerprints(tree: &Tree, findings: &[Finding]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    findings
        .iter()
        .map(|finding| {
            let slice = |place: &Place| {
                let bytes = tree.get(&place.path).map_or(&[][..], |bytes| &**bytes);
                let text = bytes.get(place.span.start..place.span.end).unwrap_or_default();
                String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let other = finding.other.as_ref().map_or("", |(place, _)| place.path.as_str());
            let own = format!("{}\n{}\n{other}\n{}", finding.rule, finding.at.path, slice(&finding.at));
            let count = seen.entry(own.clone()).or_default();
            *count += 1;
            let digest = Sha256::digest(format!("{own}\n{count}"));
            digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        })
        .collect()
}

/// Carries out the fixes of a report: path to new text. Fixes that overlap an earlier one are left.
pub fn fixed(tree: &Tree, report: &Report) -> (BTreeMap<String, String>, usize) {
    let mut by_path: BTreeMap<&str, Vec<&crate::finding::Fix>> = BTreeMap::new();
    for fix in report.findings.iter().filter_map(|finding| finding.fix.as_ref()) {
        by_path.entry(&fix.at.path).or_default().push(fix);
    }
    let mut changed = BTreeMap::new();
    let mut count = 0;
    for (path, mut fixes) in by_path {
        let Some(Ok(text)) = tree.get(path).map(|bytes| std::str::from_utf8(bytes)) else { continue };
        fixes.sort();
        fixes.dedup();
        let mut done = String::new();
        let mut at = 0;
        for fix in fixes {
            let (start, end) = (fix.at.span.start, fix.at.span.end);
            if start < at || end > text.len() || !text.is_char_boundary(start) || !text.is_char_boundary(end)
            {
                continue;
            }
            done.push_str(&text[at..start]);
            done.push_str(&fix.with);
            at = end;
            count += 1;
        }
        done.push_str(&text[at..]);
        changed.insert(path.to_owned(), done);
    }
    (changed, count)
}
