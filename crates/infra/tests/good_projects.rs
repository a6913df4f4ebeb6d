//! Good projects of many kinds: nothing is found in them, and one changed fact is.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures")]

mod fixture;

use fixture::{all, judged, told, tree};

#[test]
fn nothing_is_found_in_good_projects() {
    let projects = all("good");
    assert!(projects.len() >= 15, "{} projects", projects.len());

    let mut wrong = Vec::new();
    for (name, text) in &projects {
        let tree = tree(text);
        let report = judged(&tree);
        wrong.extend(told(&tree, &report).into_iter().map(|line| format!("{name}: {line}")));
        wrong.extend(report.unreadable.iter().map(|(path, why)| format!("{name}: {path}: {why}")));
    }
    assert!(wrong.is_empty(), "{} false findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// One changed fact.
struct Mutation {
    project: String,
    file: String,
    old: String,
    new: String,
    rule: String,
    places: [String; 2],
}

fn mutations() -> Vec<Mutation> {
    let text = std::fs::read_to_string(fixture::fixtures().join("mutations.txt")).expect("the table");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.starts_with("there, "))
        .map(|line| format!("{line}\n"))
        .collect();
    let blocks =
        text.split("\n\n").map(str::trim).filter(|block| !block.is_empty() && !block.starts_with('#'));
    blocks.map(mutation).collect()
}

fn mutation(block: &str) -> Mutation {
    let lines: Vec<&str> = block.lines().collect();
    let [project, file, old, new, expected] = lines.as_slice() else { panic!("five lines: {block}") };
    let unescaped = |text: &str| text.get(2..).unwrap_or("").replace("\\n", "\n");
    let words: Vec<&str> = expected.split(' ').collect();
    Mutation {
        project: (*project).to_owned(),
        file: (*file).to_owned(),
        old: unescaped(old),
        new: unescaped(new),
        rule: words[0].to_owned(),
        places: [words[1].to_owned(), words[2].to_owned()],
    }
}

#[test]
fn each_changed_fact_is_found_with_both_its_places() {
    let projects: std::collections::BTreeMap<String, String> = all("good").into_iter().collect();
    let mutations = mutations();
    assert!(mutations.len() >= 60, "{} mutations", mutations.len());

    let mut missed = Vec::new();
    let mut by_topic: std::collections::BTreeMap<String, (usize, usize)> = std::collections::BTreeMap::new();
    for mutation in &mutations {
        let mut tree = tree(&projects[&mutation.project]);
        let text = String::from_utf8(tree[&mutation.file].to_vec()).expect("text");
        assert!(
            text.contains(&mutation.old),
            "{}: {} does not contain {:?}",
            mutation.project,
            mutation.file,
            mutation.old
        );
        tree.insert(
            mutation.file.clone(),
            std::sync::Arc::from(text.replacen(&mutation.old, &mutation.new, 1).as_bytes()),
        );
        let report = judged(&tree);
        let found = report.findings.iter().any(|finding| {
            let other = finding.other.as_ref().map_or("-", |(place, _)| place.path.as_str());
            finding.rule == mutation.rule
                && finding.at.path == mutation.places[0]
                && (other == mutation.places[1] || mutation.places[1] == "-")
        });
        let topic = mutation.rule.split('/').next().unwrap_or_default().to_owned();
        let counts = by_topic.entry(topic).or_default();
        counts.1 += 1;
        counts.0 += usize::from(found);
        if !found {
            missed.push(format!(
                "{} {} {:?} -> {}\n    found: {:?}",
                mutation.project,
                mutation.file,
                mutation.new,
                mutation.rule,
                told(&tree, &report)
            ));
        }
    }
    for (topic, (found, all)) in &by_topic {
        println!("recall {topic:<10} {found}/{all}");
    }
    assert!(missed.is_empty(), "{} of {} missed:\n{}", missed.len(), mutations.len(), missed.join("\n"));
}
