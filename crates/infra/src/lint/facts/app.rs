//! Finds what programs read and serve: environment variables, routes, ports. Just enough to compare with what runs them.

use crate::lint::doc::At;
use crate::lint::read::code::{Language, Lexeme, Source};
use crate::lint::sources::Sources;

/// An environment variable that a program reads.
#[derive(Debug, Clone)]
pub struct EnvRead {
    pub name: String,
    pub at: At,
    /// Whether it has a value without being set.
    pub optional: bool,
}

/// What a program serves.
#[derive(Debug, Default)]
pub struct App {
    pub reads: Vec<EnvRead>,
    pub routes: Vec<(String, At)>,
    /// Where other routes are mounted: `/api`.
    pub prefixes: Vec<String>,
    /// What stands before every route of the program, but for those that are excluded: then nothing is claimed.
    pub global_prefix: Option<String>,
    pub ports: Vec<(u32, At)>,
    /// Every text of the program: a path that stands there is not called missing.
    pub texts: Vec<String>,
    /// Whether files are served by name: then any path may exist.
    pub serves_files: bool,
}

const VERBS: &[&str] =
    &["get", "post", "put", "patch", "delete", "all", "head", "options", "any", "GET", "POST"];
const CLIENTS: &[&str] =
    &["axios", "http", "https", "client", "request", "got", "requests", "httpx", "fetch", "session", "cy"];

/// Reads what the sources below a folder say, tests left out.
pub fn app(sources: &Sources, folder: &str) -> App {
    let mut app = App::default();
    for source in sources.code_below(folder) {
        let path = &sources.files[source.file].path;
        if is_test(path) {
            continue;
        }
        file_routes(path, source, &mut app);
        scan(source, &mut app);
    }
    spring(sources, folder, &mut app);
    app
}

/// The port of Spring's `application.yml` and `application.properties`.
fn spring(sources: &Sources, folder: &str, app: &mut App) {
    let below =
        |path: &str| folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    for (file, root) in &sources.yaml {
        let path = &sources.files[*file].path;
        let named = matches!(crate::tree::file_name(path), "application.yml" | "application.yaml");
        if named
            && below(path)
            && !is_test(path)
            && let Some(node) = root.path(&["server", "port"])
            && let Some(port) = node.scalar().and_then(|text| text.parse().ok())
        {
            app.ports.push((port, node.at));
        }
    }
    for (at, file) in sources.files.iter().enumerate() {
        if crate::tree::file_name(&file.path) != "application.properties"
            || !below(&file.path)
            || is_test(&file.path)
        {
            continue;
        }
        let mut start = 0;
        for line in file.text.split_inclusive('\n') {
            if let Some(value) = line.trim().strip_prefix("server.port=")
                && let Ok(port) = value.trim().parse()
            {
                app.ports.push((port, At::new(at, start, start + line.trim_end().len())));
            }
            start += line.len();
        }
    }
}

pub fn is_test(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    [
        ".test.",
        ".spec.",
        "/tests/",
        "/test/",
        "__tests__",
        "/e2e/",
        "_test.",
        "/mocks/",
        "/scripts/",
        ".config.",
        "/cypress/",
    ]
    .iter()
    .any(|mark| format!("/{lower}").contains(mark))
        || crate::tree::file_name(&lower).starts_with("test_")
}

/// Next.js makes routes of files.
fn file_routes(path: &str, source: &Source, app: &mut App) {
    if source.language != Language::Script {
        return;
    }
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let at = At::new(source.file, 0, 0);
    let shown = format!("/{stem}");
    if let Some(start) = shown.find("/pages/") {
        let route = &shown[start + "/pages".len()..];
        let route = route.strip_suffix("/index").unwrap_or(route);
        if !route.starts_with("/_") {
            app.routes.push((if route.is_empty() { "/".to_owned() } else { route.to_owned() }, at));
        }
    }
    if let Some(start) = shown.find("/app/") {
        let route = &shown[start + "/app".len()..];
        if let Some(route) = route.strip_suffix("/route").or_else(|| route.strip_suffix("/page")) {
            let parts: Vec<&str> =
                route.split('/').filter(|part| !part.is_empty() && !part.starts_with('(')).collect();
            app.routes.push((format!("/{}", parts.join("/")), at));
        }
    }
}

fn scan(source: &Source, app: &mut App) {
    for at in 0..source.tokens.len() {
        let token = &source.tokens[at];
        if token.lexeme == Lexeme::Text {
            app.texts.push(token.text.clone());
            let before = at.checked_sub(1).map_or("", |before| source.tokens[before].text.as_str());
            if token.text.starts_with('/') && matches!(before, "===" | "==" | "case" | "in") {
                app.routes.push((token.text.clone(), token.at));
            }
        }
        if token.lexeme == Lexeme::Name {
            env_read(source, at, app);
            port(source, at, app);
        }
        if source.is(at, "(") {
            route(source, at, app);
        }
    }
}

fn env_read(source: &Source, at: usize, app: &mut App) {
    let text = |at: usize| source.tokens.get(at).filter(|token| token.lexeme == Lexeme::Text);
    let optional_after = |at: usize| {
        ["||", "??", "?", ",", "or", "&&", "===", "==", "!==", "!="].iter().any(|sign| source.is(at, sign))
            && !source.is(at, ",")
    };
    let mut push = |name: &str, span: At, optional: bool| {
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            app.reads.push(EnvRead { name: name.to_owned(), at: span, optional });
        }
    };
    if source.is(at, "env")
        && at >= 2
        && source.is(at - 1, ".")
        && ["process", "Bun", "meta"].iter().any(|owner| source.is(at - 2, owner))
    {
        if source.is(at + 1, ".") || source.is(at + 1, "?.") {
            if let Some(name) = source.tokens.get(at + 2) {
                let asserted = source.is(at + 3, "!");
                let tested = at >= 4
                    && ["!", "(", "&&", "||"].iter().any(|sign| source.is(at - 3, sign))
                    && !asserted
                    && source.is(at - 4, "if");
                push(&name.text, name.at, optional_after(at + 3) || tested);
            }
        } else if source.is(at + 1, "[") {
            if let Some(name) = text(at + 2) {
                push(&name.text, name.at, optional_after(at + 4));
            }
        } else if at >= 5 && source.is(at - 3, "=") && source.is(at - 4, "}") {
            let mut back = at - 5;
            while !source.is(back, "{") && back > 0 {
                let token = &source.tokens[back];
                if token.lexeme == Lexeme::Name {
                    push(&token.text, token.at, source.is(back + 1, "="));
                }
                back -= 1;
            }
        }
    }
    let reader =
        matches!(source.tokens[at].text.as_str(), "getenv" | "Getenv" | "LookupEnv" | "var" | "var_os")
            && source.is(at + 1, "(")
            || (source.is(at, "get") && at >= 2 && source.is(at - 2, "environ") && source.is(at + 1, "("));
    if reader && let Some(name) = text(at + 2) {
        let lookup = source.is(at, "LookupEnv") || source.is(at, "var_os");
        let go = source.language == Language::Go;
        push(
            &name.text,
            name.at,
            lookup
                || go
                || source.is(at + 3, ",")
                || source.is(at + 4, "or")
                || source.is(at, "get") && !source.is(at + 3, ",") && source.is(at + 4, "or"),
        );
    }
    if source.is(at, "environ")
        && source.is(at + 1, "[")
        && let Some(name) = text(at + 2)
    {
        push(&name.text, name.at, false);
    }
}

/// Whether a name means a port: `PORT`, `httpPort`, `port`.
fn is_port_name(name: &str) -> bool {
    matches!(
        name,
        "PORT" | "port" | "Port" | "HTTP_PORT" | "APP_PORT" | "SERVER_PORT" | "listenPort" | "httpPort"
    )
}

fn port(source: &Source, at: usize, app: &mut App) {
    let number = |at: usize| -> Option<(u32, At)> {
        let token = source.tokens.get(at)?;
        let port: u32 = token.text.replace('_', "").parse().ok()?;
        (matches!(token.lexeme, Lexeme::Number | Lexeme::Text) && (1..=65_535).contains(&port))
            .then_some((port, token.at))
    };
    let name = source.tokens[at].text.as_str();
    if name == "listen" && source.is(at + 1, "(") {
        app.ports.extend(number(at + 2));
    }
    // `PORT || 3000`, `"PORT", "8080"`, `port = 8000`, `port: 3000`.
    if is_port_name(name) && ["||", "??", "=", ":"].iter().any(|sign| source.is(at + 1, sign)) {
        app.ports.extend(number(at + 2));
    }
    if matches!(name, "getenv" | "get")
        && source.tokens.get(at + 2).is_some_and(|token| token.text == "PORT")
        && source.is(at + 3, ",")
    {
        app.ports.extend(number(at + 4));
    }
    if matches!(name, "ListenAndServe" | "bind" | "run" | "Run" | "Listen") && source.is(at + 1, "(") {
        let text = (at + 2..at + 6)
            .filter_map(|at| source.tokens.get(at))
            .find(|token| token.lexeme == Lexeme::Text && token.text.contains(':'));
        if let Some(token) = text
            && let Some(port) = token.text.rsplit(':').next().and_then(|port| port.parse().ok())
        {
            app.ports.push((port, token.at));
        }
    }
}

fn route(source: &Source, open: usize, app: &mut App) {
    let Some(name) = open.checked_sub(1).map(|at| &source.tokens[at]) else { return };
    let receiver =
        if open >= 3 && source.is(open - 2, ".") { source.tokens[open - 3].text.as_str() } else { "" };
    let first = source.tokens.get(open + 1).filter(|token| token.lexeme == Lexeme::Text);
    match name.text.as_str() {
        "static" | "StaticFiles" | "serveStatic" | "FileServer" | "ServeDir" | "WhiteNoise" | "sendFile" => {
            app.serves_files = true
        }
        "use" | "nest" | "include_router" | "register" | "mount" | "Group" | "setGlobalPrefix" | "prefix"
        | "basePath" | "include" => {
            app.prefixes.extend(
                first
                    .filter(|text| text.text.starts_with('/') || name.text == "setGlobalPrefix")
                    .map(|text| format!("/{}", text.text.trim_matches('/'))),
            );
            keyword_prefix(source, open, app);
            if name.text == "setGlobalPrefix" && source.is(open + 2, ")") {
                app.global_prefix = first.map(|text| format!("/{}", text.text.trim_matches('/')));
            }
        }
        "APIRouter" | "Blueprint" | "Controller" | "RequestMapping" => {
            if let Some(text) = first {
                app.prefixes.push(format!("/{}", text.text.trim_matches('/')));
                app.routes.push((format!("/{}", text.text.trim_matches('/')), text.at));
            }
            keyword_prefix(source, open, app);
        }
        "route" | "HandleFunc" | "Handle" | "add_url_rule" | "add_api_route" | "path" | "Get" | "Post"
        | "Health" | "register_route" => {
            if let Some(text) = first {
                let path = text.text.rsplit(' ').next().unwrap_or_default();
                app.routes.push((format!("/{}", path.trim_start_matches('/')), text.at));
            }
        }
        verb if VERBS.contains(&verb) && !receiver.is_empty() && !CLIENTS.contains(&receiver) => {
            if let Some(text) = first.filter(|text| text.text.starts_with('/')) {
                app.routes.push((text.text.clone(), text.at));
            }
        }
        _ => {}
    }
}

/// `prefix="/api"`, `url_prefix="/api"`, `prefix: '/api'`.
fn keyword_prefix(source: &Source, open: usize, app: &mut App) {
    let end = source.matching(open).unwrap_or(open).min(open + 60);
    for at in open..end {
        if source.tokens[at].text.contains("prefix")
            && (source.is(at + 1, "=") || source.is(at + 1, ":"))
            && let Some(text) = source.tokens.get(at + 2).filter(|token| token.lexeme == Lexeme::Text)
        {
            app.prefixes.push(text.text.clone());
        }
    }
}

impl App {
    /// Whether a request for a path is answered by a route that is written down.
    pub fn answers(&self, path: &str) -> bool {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let fits = |route: &str| same_path(route, path);
        let outside = |prefix: &String| !format!("{path}/").starts_with(&format!("{prefix}/"));
        if self.global_prefix.as_ref().is_some_and(outside) && !self.serves_files {
            return self.texts.iter().any(|text| text == path);
        }
        self.serves_files
            || self.routes.iter().any(|(route, _)| fits(route))
            || self.prefixes.iter().any(|prefix| {
                self.routes.iter().any(|(route, _)| fits(&format!("{}{route}", prefix.trim_end_matches('/'))))
            })
            || self.prefixes.iter().any(|outer| {
                self.prefixes
                    .iter()
                    .any(|inner| self.routes.iter().any(|(route, _)| fits(&format!("{outer}{inner}{route}"))))
            })
            || self.texts.iter().any(|text| text == path || text.trim_end_matches('/') == path)
    }
}

/// Whether a route with parameters means a path.
fn same_path(route: &str, path: &str) -> bool {
    let parts =
        |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (route, path) = (parts(route), parts(path));
    let is_open = |part: &str| part.starts_with([':', '[', '{', '<', '*']);
    if route
        .last()
        .is_some_and(|last| last.contains('*') || last.starts_with("[...") || last.starts_with("[[..."))
    {
        return path.len() + 1 >= route.len()
            && route.iter().zip(&path).take(route.len() - 1).all(|(a, b)| a == b || is_open(a));
    }
    route.len() == path.len() && route.iter().zip(&path).all(|(a, b)| a == b || is_open(a))
}
