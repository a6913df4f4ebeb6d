//! Holds the templates and fills them. A name that a template uses and the model lacks is a bug of ours: it panics in every test.

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, syntax::SyntaxConfig};

macro_rules! templates {
    ($list:ident, $folder:literal, [$($name:literal),* $(,)?]) => {
        pub const $list: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $name)))),*];
    };
}

templates!(
    AWS,
    "aws",
    [
        "terraform.tf",
        "variables.tf",
        "network.tf",
        "security.tf",
        "keys.tf",
        "data.tf",
        "secrets.tf",
        "service.tf",
        "balancer.tf",
        "edge.tf",
        "firewall.tf",
        "observability.tf",
        "alarms.tf",
        "dns.tf",
        "backup.tf",
        "outputs.tf",
    ]
);
templates!(
    AZURE,
    "azure",
    ["terraform.tf", "variables.tf", "network.tf", "data.tf", "service.tf", "observability.tf", "outputs.tf"]
);
templates!(CLOUDFLARE, "cloudflare", ["main.tf"]);
templates!(
    BOOTSTRAP,
    "bootstrap",
    ["terraform.tf", "state.tf", "identity.tf", "registry.tf", "zone.tf", "audit.tf", "outputs.tf"]
);
templates!(REPOSITORY, "repository", ["Dockerfile", "dockerignore", "compose.yaml", "deploy.yml"]);

/// Returns an engine with every template. Guillemets, because HCL, YAML and workflows use every other bracket.
pub fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    let syntax = SyntaxConfig::builder()
        .block_delimiters("<%", "%>")
        .variable_delimiters("«", "»")
        .comment_delimiters("<#", "#>")
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("BUG: the delimiters differ");
    engine.set_syntax(syntax);
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    // `true`, not Python's `True`.
    engine.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool => minijinja::escape_formatter(
            out,
            state,
            &Value::from(if value.is_true() { "true" } else { "false" }),
        ),
        _ => minijinja::escape_formatter(out, state, value),
    });
    // HCL's texts are JSON's, but for the two openings of a template.
    engine.add_filter("hcl", |text: &str| quoted(text).replace("${", "$${").replace("%{", "%%{"));
    engine.add_filter("json", quoted);
    // Compose replaces `$NAME` in every text of its file.
    engine.add_filter("compose", |text: &str| quoted(text).replace('$', "$$"));
    engine.add_filter("pairs", |map: Value| -> Vec<Vec<Value>> {
        let keys = map.try_iter().expect("BUG: a map is iterated");
        keys.map(|key| vec![key.clone(), map.get_item(&key).unwrap_or_default()]).collect()
    });
    let lists = [
        ("aws", AWS),
        ("azure", AZURE),
        ("cloudflare", CLOUDFLARE),
        ("bootstrap", BOOTSTRAP),
        ("repository", REPOSITORY),
    ];
    for (folder, list) in lists {
        for (name, text) in list {
            engine
                .add_template_owned(format!("{folder}/{name}"), *text)
                .expect("BUG: a template can be read");
        }
    }
    engine
}

/// Fills a template.
///
/// # Panics
///
/// When it uses a name the model lacks; every template is filled by the tests.
pub fn fill(engine: &Environment<'_>, name: &str, context: Value) -> String {
    let filled = engine.get_template(name).and_then(|template| template.render(context));
    filled.unwrap_or_else(|error| panic!("BUG: the template {name}: {error:#}"))
}

/// Makes something of ours visible to templates.
pub fn value<T: serde::Serialize>(of: &T) -> Value {
    Value::from(Serde(of))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("BUG: a text is JSON")
}
