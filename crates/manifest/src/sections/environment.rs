//! Reads `[environment.NAME]`: where the services run. Overrides of services under it are merged before; see `merge`.

use super::Absent::{Is, Means};
use super::infra::{self, place};
use super::{Section, Shape, key, service, text, tls};
use crate::error::{Kind, Mistake, Span};
use crate::infra::Place;
use crate::read::{At, Fields};
use crate::service::EnvironmentConfig;
use crate::units;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(crate) static ENVIRONMENT: Section = Section {
    name: "environment.NAME",
    doc: "One place where the services run; `--env NAME` chooses it, `local` is the default.",
    keys: &[
        key(
            "platform",
            Shape::Choice(&["process", "ecs"]),
            Is("\"process\""),
            "What runs the replicas: processes of this machine. `ecs` can be rendered (`medeclipse infra`), not yet deployed to.",
        ),
        key(
            "listen",
            Shape::OneOf(&[
                Shape::Text(&text::ADDRESS),
                Shape::Texts { of: &text::ADDRESS, min: 1, max: 16 },
            ]),
            Is("\"127.0.0.1:8080\""),
            "Where requests are taken; one address or a list. Port 0 takes any free port.",
        ),
        key(
            "tls",
            Shape::OneOf(&[Shape::Choice(&["self-signed"]), Shape::Table(&tls::TLS)]),
            Means("requests come without TLS"),
            "Certificates of those addresses: files, or one the edge makes for itself.",
        ),
        key(
            "acme",
            Shape::Table(&tls::ACME),
            Means("no certificate is ordered"),
            "Certificates that the edge orders and renews by itself; what the files of `tls` cover is not ordered.",
        ),
        key(
            "listen_http",
            Shape::OneOf(&[
                Shape::Text(&text::ADDRESS),
                Shape::Texts { of: &text::ADDRESS, min: 1, max: 16 },
            ]),
            Means("no address is without TLS where there is `tls`"),
            "Addresses without TLS beside those of `listen`; port 0 is not possible here.",
        ),
        key(
            "redirect",
            Shape::Flag,
            Is("true"),
            "Whether requests to `listen_http` are sent to the addresses with TLS rather than served.",
        ),
        key(
            "proxy_protocol",
            Shape::Texts { of: &text::IP, min: 0, max: 64 },
            Is("[]"),
            "Proxies in front whose connections begin with a PROXY header (version 1 or 2), which says who the client is.",
        ),
        key(
            "ports",
            Shape::Text(&text::PORTS),
            Is("\"20000-29999\""),
            "The first and last port replicas may get.",
        ),
        key(
            "api",
            Shape::Text(&text::ADDRESS),
            Is("\"127.0.0.1:0\""),
            "Where the dashboard and the read-only API listen, on loopback; port 0 takes any free port.",
        ),
        key(
            "service",
            Shape::Named { of: &service::SERVICE, name: &text::NAME },
            Means("every service as above"),
            "Keys of services that differ here: `[environment.NAME.service.NAME]`. Tables are merged, everything else is replaced.",
        ),
        key(
            "class",
            Shape::Choice(&["production", "staging", "development"]),
            Means("by name"),
            "What an environment is for; decides what its infrastructure is made of.",
        ),
        key("region", Shape::Text(&infra::words::REGION), Means("`eu-west-3`"), "The region of its cloud."),
        key("standby", Shape::Choice(&["none", "azure"]), Is("\"none\""), "Where its standby stands."),
        key("aws", Shape::Table(&place::AWS), Means("nothing is rendered for AWS"), "The account."),
        key("network", Shape::Table(&place::NETWORK), Means("by class"), "The network."),
        key("database", Shape::Table(&place::DATABASE), Means("no database"), "PostgreSQL."),
        key("cache", Shape::Table(&place::CACHE), Means("no cache"), "Redis."),
        key("edge", Shape::Table(&place::EDGE), Means("by class"), "What stands before the balancer."),
        key("dns", Shape::Table(&place::DNS), Means("its defaults"), "Names and failover."),
        key("backup", Shape::Table(&place::BACKUP), Means("by class"), "Copies elsewhere."),
        key("logs", Shape::Table(&place::LOGS), Means("its defaults"), "How long logs are kept."),
        key("alerts", Shape::Table(&place::ALERTS), Means("nobody is told"), "Whom alarms reach."),
        key("azure", Shape::Table(&infra::standby::AZURE), Means("no standby"), "The standby site."),
    ],
};

/// Platforms that come later, so that they are not called unknown.
const PLATFORMS_LATER: &[&str] = &["docker", "ecs", "container-apps"];

/// An environment, and where its ports are written.
pub(crate) struct Read {
    pub config: EnvironmentConfig,
    pub place: Place,
    pub ports_span: Option<Span>,
}

/// Returns an environment that says nothing about itself.
pub(crate) fn default(name: &str) -> EnvironmentConfig {
    EnvironmentConfig {
        name: name.to_owned(),
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
        ports: (20_000, 29_999),
        api: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls: None,
        acme: None,
        listen_http: Vec::new(),
        redirect: true,
        proxy_protocol: Vec::new(),
    }
}

pub(crate) fn read(name: &str, fields: &Fields<'_>) -> Read {
    let otherwise = default(name);
    read_platform(fields);
    let listen = read_listen(fields, "listen");
    let listen_http = read_listen(fields, "listen_http");
    require_known_ports(fields, &listen_http);
    tls::require_tls(fields);
    let api = fields.text("api").map(|at| parsed(&at));
    let ports = fields.text("ports").map(|at| {
        let range = units::ports(&at.value).expect("BUG: a range was checked when it was read");
        At { value: range, span: at.span }
    });
    if let Some(api) = &api {
        require_loopback(fields, api);
    }
    require_two_lists(fields, &listen, &listen_http);
    let all: Vec<At<SocketAddr>> = listen.iter().chain(&listen_http).cloned().collect();
    require_apart(fields, &all, &api, &ports);
    let ports_span = ports.as_ref().map(|at| at.span.clone());
    let config = EnvironmentConfig {
        listen: match listen.is_empty() {
            true => otherwise.listen,
            false => listen.into_iter().map(|at| at.value).collect(),
        },
        ports: ports.map_or(otherwise.ports, |at| at.value),
        api: api.map_or(otherwise.api, |at| at.value),
        tls: tls::read(fields),
        acme: tls::read_acme(fields),
        listen_http: listen_http.into_iter().map(|at| at.value).collect(),
        redirect: fields.flag("redirect").is_none_or(|redirect| redirect.value),
        proxy_protocol: read_proxies(fields),
        name: otherwise.name,
    };
    Read { config, place: place::read(fields), ports_span }
}

fn read_platform(fields: &Fields<'_>) {
    match fields.raw_text("platform") {
        Some(later) if PLATFORMS_LATER.contains(&later.value.as_str()) => {
            let what = format!("the platform \"{}\" is not yet supported", later.value);
            let mistake =
                Mistake::at(Kind::NotYetSupported, later.span, what).why("this version cannot run there");
            fields.note(mistake.help("write \"process\": replicas are processes of this machine meanwhile"));
        }
        _ => {
            // The only platform needs no further reading.
            fields.choice::<String>("platform");
        }
    }
}

fn read_listen(fields: &Fields<'_>, name: &str) -> Vec<At<SocketAddr>> {
    let texts = match fields.is_list(name) {
        true => fields.texts(name).map(|at| at.value).unwrap_or_default(),
        false => fields.text(name).into_iter().collect(),
    };
    texts.iter().map(parsed).collect()
}

fn read_proxies(fields: &Fields<'_>) -> Vec<IpAddr> {
    let texts = fields.texts("proxy_protocol").map(|at| at.value).unwrap_or_default();
    let address =
        |text: &At<String>| text.value.parse().expect("BUG: an address was checked when it was read");
    texts.iter().map(address).collect()
}

/// What comes in on an address decides whether it is TLS, so that address must be known.
fn require_known_ports(fields: &Fields<'_>, listen_http: &[At<SocketAddr>]) {
    for address in listen_http.iter().filter(|address| address.value.port() == 0) {
        let what = format!("`{}` takes any free port", fields.path_of("listen_http"));
        let mistake = Mistake::at(Kind::Rule, address.span.clone(), what);
        let mistake = mistake.why("port 0 cannot be told from those of `listen`");
        fields.note(mistake.help(format!("write a port, as \"{}:8080\"", address.value.ip())));
    }
}

/// An address is one with TLS or one without.
fn require_two_lists(fields: &Fields<'_>, listen: &[At<SocketAddr>], listen_http: &[At<SocketAddr>]) {
    let by_default = default("").listen;
    for address in listen_http {
        let twin = listen.iter().find(|twin| twin.value == address.value);
        if twin.is_none() && (fields.has("listen") || !by_default.contains(&address.value)) {
            continue;
        }
        let what = "`listen` and `listen_http` want the same address";
        let mistake = Mistake::at(Kind::Rule, address.span.clone(), what).why(address.value.to_string());
        let mistake =
            twin.into_iter().fold(mistake, |mistake, twin| mistake.also(twin.span.clone(), "and here"));
        fields.note(mistake.help("write \"127.0.0.1:8443\" or another address for `listen`"));
    }
}

fn parsed(text: &At<String>) -> At<SocketAddr> {
    let address = text.value.parse().expect("BUG: an address was checked when it was read");
    At { value: address, span: text.span.clone() }
}

/// Beyond loopback the API needs a token and TLS.
fn require_loopback(fields: &Fields<'_>, api: &At<SocketAddr>) {
    if !api.value.ip().is_loopback() {
        let what = format!("`{}` beyond loopback is not yet supported", fields.path_of("api"));
        let mistake = Mistake::at(Kind::NotYetSupported, api.span.clone(), what);
        let mistake = mistake.why("it would be readable by everyone, without TLS");
        fields.note(
            mistake.help(format!("write \"127.0.0.1:{}\"; reach it through an SSH tunnel", api.value.port())),
        );
    }
}

/// The edge, the API and the replicas must not want the same port.
fn require_apart(
    fields: &Fields<'_>,
    listen: &[At<SocketAddr>],
    api: &Option<At<SocketAddr>>,
    ports: &Option<At<(u16, u16)>>,
) {
    let otherwise = default("");
    if let Some(api) = api.as_ref().filter(|api| api.value.port() != 0) {
        let twin = listen.iter().find(|listen| listen.value.port() == api.value.port());
        let by_default = !fields.has("listen") && otherwise.listen[0].port() == api.value.port();
        if twin.is_some() || by_default {
            let mistake = Mistake::at(Kind::Rule, api.span.clone(), "`api` and `listen` want the same port");
            let mistake = mistake.why(format!("port {}", api.value.port()));
            let mistake = mistake
                .help("write \"127.0.0.1:0\" for `api`: any free port, which `medeclipse status` prints");
            fields.note(
                twin.into_iter().fold(mistake, |mistake, twin| mistake.also(twin.span.clone(), "and here")),
            );
        }
    }
    let (first, last) = ports.as_ref().map_or(otherwise.ports, |at| at.value);
    let range = first..=last;
    for address in listen.iter().chain(api).filter(|address| range.contains(&address.value.port())) {
        let what = format!("a port of this environment lies in the range of its replicas, {first}-{last}");
        let mistake = Mistake::at(Kind::Rule, address.span.clone(), what);
        let mistake = mistake.why(format!("port {}", address.value.port()));
        let mistake = mistake.help("choose a port outside, or another range for `ports`");
        fields
            .note(ports.iter().fold(mistake, |mistake, ports| mistake.also(ports.span.clone(), "the range")));
    }
    if let Some(ports) = ports
        && !fields.has("listen")
        && range.contains(&otherwise.listen[0].port())
    {
        let what = "port 8080, where `listen` is by default, lies in the range of the replicas";
        let mistake = Mistake::at(Kind::Rule, ports.span.clone(), what).why("contains 8080");
        fields.note(mistake.help("write `listen` with another port, or another range"));
    }
}
