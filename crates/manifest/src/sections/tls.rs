//! Reads where the certificates of an environment come from: `tls`. Refuses what speaks of TLS where there is none.

use super::Absent::{Means, Refused};
use super::{Section, Shape, key, text};
use crate::error::{Kind, Mistake};
use crate::read::Fields;
use crate::tls::{CertificateFiles, Tls};

/// Certificates beside the first: an edge with more hosts than this has a wildcard, or another proxy.
const MORE_MAX: usize = 64;

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
    if fields.has("tls") || !fields.has("listen_http") {
        return;
    }
    let what = format!("`{}` is there without `tls`", fields.path_of("listen_http"));
    let mistake = Mistake::at(Kind::Rule, fields.key_span("listen_http"), what);
    let mistake = mistake.why("without it every address is one without TLS");
    fields.note(
        mistake.help("write `tls = \"self-signed\"` or a table of files beside it, or move it to `listen`"),
    );
}
