//! Reads where the certificates of an environment come from: `tls`. Refuses what speaks of TLS where there is none.

use super::Absent::{Is, Means, Refused};
use super::infra::words;
use super::{Section, Shape, key, text};
use crate::error::{Kind, Mistake};
use crate::read::Fields;
use crate::tls::{Acme, CertificateFiles, Challenge, OnDemand, Tls};

/// Certificates beside the first: an edge with more hosts than this has a wildcard, or another proxy.
const MORE_MAX: usize = 64;
/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// A fifth of what Let's Encrypt takes of one account (300 in three hours): the rest is for renewals.
const ORDERS: u64 = 20;

pub(crate) static TLS: Section = Section {
    name: "environment.NAME.tls",
    doc: "The certificates of an environment's addresses; changed files are taken up while it runs.",
    keys: &[
        key(
            "cert",
            Shape::Text(&text::PEM_CERT),
            Refused,
            "The certificate and what it was signed by, PEM; relative to the manifest.",
        ),
        key("key", Shape::Text(&text::PEM_KEY), Refused, "Its key, PEM; relative to the manifest."),
        key(
            "more",
            Shape::Tables { of: &CERTIFICATE, max: MORE_MAX },
            Means("none"),
            "Further certificates; the name a client asks for chooses, the first serves all others.",
        ),
    ],
};

pub(crate) static CERTIFICATE: Section = Section {
    name: "environment.NAME.tls.more",
    doc: "One further certificate.",
    keys: &[
        key("cert", Shape::Text(&text::PEM_CERT), Refused, "The certificate and what it was signed by, PEM."),
        key("key", Shape::Text(&text::PEM_KEY), Refused, "Its key, PEM."),
    ],
};

pub(crate) static ACME: Section = Section {
    name: "environment.NAME.acme",
    doc: "An ACME server (RFC 8555), where a certificate for each host of the services is got and renewed. The hosts must lead here: to port 443, or to port 80 where there is `listen_http`.",
    keys: &[
        key(
            "terms",
            Shape::Choice(&["agreed"]),
            Refused,
            "That you agree to the terms of service of that server.",
        ),
        key(
            "directory",
            Shape::Text(&text::DIRECTORY),
            Is("\"https://acme-v02.api.letsencrypt.org/directory\""),
            "The server's directory; the default is Let's Encrypt.",
        ),
        key(
            "contact",
            Shape::Texts { of: &words::EMAIL, min: 0, max: 8 },
            Is("[]"),
            "Whom the server may write to.",
        ),
        key(
            "root",
            Shape::Text(&text::PEM_CERT),
            Means("those this system trusts"),
            "The authority behind the certificate of the server itself, PEM, for servers of one's own; relative to the manifest.",
        ),
        key(
            "challenge",
            Shape::Choice(&["tls-alpn-01", "http-01"]),
            Means("`tls-alpn-01`; after a failure the other one, where there is `listen_http`"),
            "How it is proven that a host leads here: in a handshake on port 443, or by a request on port 80.",
        ),
        key(
            "on_demand",
            Shape::Table(&ON_DEMAND),
            Means("other names get no certificate"),
            "Certificates for further names, when their first client comes.",
        ),
    ],
};

pub(crate) static ON_DEMAND: Section = Section {
    name: "environment.NAME.acme.on_demand",
    doc: "Names that no service has in `hosts`: the first handshake for one waits until its certificate is there. Every other name is refused.",
    keys: &[
        key(
            "allow",
            Shape::Text(&text::ENDPOINT),
            Refused,
            "Asked with `?host=NAME` before a certificate is ordered: 200 within 2 s allows it, everything else refuses.",
        ),
        key("orders", Shape::Integer { min: 1, max: 1000 }, Is("20"), "Orders an hour at most."),
    ],
};

/// Returns where certificates are got. The names are filled in by the caller.
pub(crate) fn read_acme(fields: &Fields<'_>) -> Option<Acme> {
    let acme = fields.table("acme")?;
    // There is only one word.
    acme.choice::<String>("terms");
    let challenge = acme.choice::<Challenge>("challenge");
    if let Some(at) = challenge.as_ref().filter(|at| at.value == Challenge::Http01)
        && !fields.has("listen_http")
    {
        let what = format!("`{}` needs an address without TLS", acme.path_of("challenge"));
        let mistake = Mistake::at(Kind::Rule, at.span.clone(), what).why("the server asks on port 80");
        fields.note(mistake.help("write `listen_http = \"0.0.0.0:80\"` beside `listen`, or \"tls-alpn-01\""));
    }
    let contact = acme.texts("contact").map(|at| at.value).unwrap_or_default();
    Some(Acme {
        directory: acme.text("directory").map_or_else(|| DIRECTORY.to_owned(), |at| at.value),
        contact: contact.into_iter().map(|at| format!("mailto:{}", at.value)).collect(),
        root: acme.text("root").map(|at| at.value.into()),
        challenge: challenge.map(|at| at.value),
        names: Vec::new(),
        on_demand: read_on_demand(&acme),
    })
}

fn read_on_demand(acme: &Fields<'_>) -> Option<OnDemand> {
    let on_demand = acme.table("on_demand")?;
    let orders = on_demand.integer("orders").map_or(ORDERS, |at| at.value);
    Some(OnDemand {
        allow: on_demand.text("allow")?.value,
        orders: u32::try_from(orders).expect("BUG: its bounds are those of the key"),
    })
}

/// Returns what the environment says about TLS. The names of a certificate of our own are filled in by the caller.
pub(crate) fn read(fields: &Fields<'_>) -> Option<Tls> {
    if !fields.is_table("tls") {
        // There is only one word.
        return fields.choice::<String>("tls").map(|_| Tls::SelfSigned { names: Vec::new() });
    }
    let tls = fields.table("tls")?;
    let files = |fields: &Fields<'_>| {
        let (cert, key) = (fields.text("cert")?.value, fields.text("key")?.value);
        Some(CertificateFiles { cert: cert.into(), key: key.into() })
    };
    let more = tls.tables("more");
    let all = std::iter::once(files(&tls)).chain(more.iter().map(files)).flatten().collect();
    Some(Tls::Files(all))
}

/// `listen_http` speaks of addresses beside those that have TLS.
pub(crate) fn require_tls(fields: &Fields<'_>) {
    if fields.has("tls") || fields.has("acme") || !fields.has("listen_http") {
        return;
    }
    let what = format!("`{}` is there without `tls`", fields.path_of("listen_http"));
    let mistake = Mistake::at(Kind::Rule, fields.key_span("listen_http"), what);
    let mistake = mistake.why("without it every address is one without TLS");
    fields.note(
        mistake.help("write `tls = \"self-signed\"` or a table of files beside it, or move it to `listen`"),
    );
}
