//! What code scanning is given is SARIF 2.1.0, by the standard's own schema.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures")]

mod fixture;

use boon::{Compiler, SchemaIndex, Schemas};
use fixture::{all, fixtures, folder, judged, tree};
use infra::lint::report::sarif;
use infra::tree::Tree;
use serde_json::Value;
use std::sync::Arc;

const SCHEMA: &str = include_str!("data/sarif-2.1.0.json");

fn schema() -> (Schemas, SchemaIndex) {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let mut compiler = Compiler::new();
    let mut schemas = Schemas::new();
    compiler.enable_format_assertions();
    compiler.add_resource("sarif.json", schema).expect("a schema");
    let index = compiler.compile("sarif.json", &mut schemas).expect("a schema that compiles");
    (schemas, index)
}

fn written(tree: &Tree) -> Value {
    sarif(tree, &judged(tree), "1.0.0")
}

#[test]
fn every_report_holds_the_schema() {
    let (schemas, index) = schema();
    let mut trees = vec![("strategy".to_owned(), folder(&fixtures().join("strategy")))];
    for (name, text) in all("rules") {
        trees.extend(text.split("=== ").skip(1).map(|block| (name.clone(), tree(block))));
    }
    trees.extend(all("good").into_iter().map(|(name, text)| (name, tree(&text))));
    let odd = [("broken file/é.tf", "resource \"a\" {\n"), ("a b.sh", "set -e\ncurl http://x.example/a\n")];
    trees.push((
        "odd".to_owned(),
        odd.map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes()))).into(),
    ));

    let (mut results, mut fixes) = (0, 0);
    for (name, tree) in &trees {
        let report = written(tree);
        if let Err(error) = schemas.validate(&report, index) {
            panic!("{name}: {error:#}");
        }
        let told = report["runs"][0]["results"].as_array().expect("results");
        results += told.len();
        fixes += told.iter().filter(|result| result["fixes"].is_array()).count();
    }
    println!("{} reports, {results} results, {fixes} fixes hold the schema of SARIF 2.1.0", trees.len());
    assert!(results > 200 && fixes > 5, "{results} results, {fixes} fixes");
}

#[test]
fn the_schema_refuses_what_is_no_sarif() {
    let (schemas, index) = schema();
    let good = written(&folder(&fixtures().join("strategy")));
    let spoilt = [
        ("/runs/0/results/0/level", Value::from("severe")),
        ("/runs/0/results/0/message", Value::from("a text")),
        ("/runs/0/results/0/locations/0/physicalLocation/region/startLine", Value::from(0)),
        ("/version", Value::from("2.0.0")),
    ];

    for (place, with) in spoilt {
        let mut report = good.clone();
        *report.pointer_mut(place).expect("a place of the report") = with;
        assert!(schemas.validate(&report, index).is_err(), "{place}");
    }
}
