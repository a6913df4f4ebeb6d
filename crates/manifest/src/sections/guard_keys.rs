//! Describes the keys of `[service.NAME.guard]`: shapes, bounds, defaults. `guard` reads them.

use super::Absent::{Is, Means, Refused};
use super::{Key, Section, Shape, key, later, text};
use rollout::names::Millis;

/// The one preset there is.
pub(super) const PRESET_STRATEGY: &str = "strategy";

const MODES: Shape = Shape::Choice(&["block", "count"]);
/// Sixteen rules of rate are more than anybody can explain to a user.
const RATES_MAX: usize = 16;
const NETWORKS_MAX: usize = 64;
const LIMIT: Shape = Shape::Integer { min: 1, max: 100_000_000 };
const WINDOW: Shape = Shape::Duration { min: Millis::seconds(1), max: Millis::seconds(86_400) };

pub(crate) static GUARD: Section = Section {
    name: "service.NAME.guard",
    doc: "What is refused before a replica sees it. A rule that is not written is off; what is refused counts neither for a release nor against it.",
    keys: &[
        key(
            "preset",
            Shape::Choice(&[PRESET_STRATEGY]),
            Means("only the rules that are written"),
            "`strategy`: 2000 requests in 5 minutes for every client and the countries FR, BE, CH, LU, MC in mode `count`; what is written beside it replaces its part.",
        ),
        key(
            "trusted_proxies",
            Shape::Texts { of: &text::NETWORK, min: 0, max: NETWORKS_MAX },
            Is("[]"),
            "Networks of the proxies in front: only they are believed about the client's address, request id and TLS.",
        ),
        key(
            "forwarded",
            Shape::Choice(&["x-forwarded-for", "forwarded"]),
            Is("\"x-forwarded-for\""),
            "The header those proxies write; the other one is never read.",
        ),
        key(
            "rate",
            Shape::OneOf(&[Shape::Table(&RATE), Shape::Tables { of: &RATE, max: RATES_MAX }]),
            Means("no limit"),
            "How many requests are taken: one limit, or a list of them; 429 beyond.",
        ),
        key(
            "login",
            Shape::Table(&LOGIN),
            Means("no stricter limit"),
            "A stricter limit for paths where passwords are tried.",
        ),
        key(
            "countries",
            Shape::Table(&COUNTRIES),
            Means("every country"),
            "From which countries requests are taken; 403 otherwise.",
        ),
        key(
            "head",
            Shape::Table(&HEAD),
            Means("the edge's own bounds: 64KiB, 128 fields"),
            "How large a request's head may be; 414 or 431 beyond.",
        ),
        key(
            "body",
            Shape::Table(&BODY),
            Means("no limit"),
            "How large a request's body may be, and how slow; 413 or 408 beyond.",
        ),
        later("waf", "remove it; put a proxy that knows attacks in front meanwhile"),
    ],
};

const fn mode(otherwise: &'static str) -> Key {
    key(
        "mode",
        MODES,
        Is(otherwise),
        "`count` only counts what would be refused: begin with it, look at `medeclipse status`, then `block`.",
    )
}

const fn except() -> Key {
    key(
        "except",
        Shape::Texts { of: &text::TEMPLATE, min: 0, max: NETWORKS_MAX },
        Is("[]"),
        "Route templates the rule does not look at.",
    )
}

const fn window() -> Key {
    key("window", WINDOW, Is("\"1m\""), "The time `limit` is for; the bucket refills evenly over it.")
}

const fn burst() -> Key {
    key("burst", LIMIT, Means("a tenth of `limit`, at least 20"), "How many may come at once.")
}

const fn known() -> Key {
    key(
        "known",
        Shape::Tables { of: &KNOWN, max: NETWORKS_MAX },
        Means("nobody"),
        "Networks with another limit or none: a hospital behind one address, partners, monitors.",
    )
}

pub(crate) static RATE: Section = Section {
    name: "service.NAME.guard.rate",
    doc: "A limit: a bucket of `burst` requests for each key, refilled with `limit` in `window`.",
    keys: &[
        key(
            "name",
            Shape::Text(&text::NAME),
            Means("`rate`, the next ones `rate-2`, `rate-3`, …"),
            "How counts and logs call it.",
        ),
        key("limit", LIMIT, Refused, "How many requests in `window`."),
        window(),
        burst(),
        key(
            "key",
            Shape::Choice(&["client", "header", "route", "client-and-route"]),
            Is("\"client\""),
            "Whose requests are counted together: one address (of IPv6 a /64), one value of `header`, one route, or one address on one route.",
        ),
        key(
            "header",
            Shape::Text(&text::PRINCIPAL),
            Means("no header is read"),
            "The header that names the user, with `key = \"header\"`; its value is hashed, requests without it count by client.",
        ),
        known(),
        except(),
        mode("\"block\""),
    ],
};

pub(crate) static LOGIN: Section = Section {
    name: "service.NAME.guard.login",
    doc: "A limit by client for the paths where passwords are tried, however they are spelled.",
    keys: &[
        key(
            "paths",
            Shape::Texts { of: &text::PREFIX, min: 1, max: NETWORKS_MAX },
            Refused,
            "Path prefixes.",
        ),
        key("limit", LIMIT, Refused, "How many requests in `window`."),
        window(),
        burst(),
        known(),
        mode("\"block\""),
    ],
};

pub(crate) static KNOWN: Section = Section {
    name: "service.NAME.guard.known",
    doc: "Networks with a limit of their own.",
    keys: &[
        key(
            "networks",
            Shape::Texts { of: &text::NETWORK, min: 1, max: NETWORKS_MAX },
            Refused,
            "As CIDR writes them.",
        ),
        key(
            "limit",
            LIMIT,
            Means("not limited"),
            "How many requests in the rule's `window`, for each address.",
        ),
    ],
};

pub(crate) static COUNTRIES: Section = Section {
    name: "service.NAME.guard.countries",
    doc: "From which countries requests are taken. Either `allow` or `deny`.",
    keys: &[
        key(
            "allow",
            Shape::Texts { of: &text::COUNTRY, min: 1, max: 250 },
            Means("`deny` must be there"),
            "Codes of the only countries.",
        ),
        key(
            "deny",
            Shape::Texts { of: &text::COUNTRY, min: 1, max: 250 },
            Means("`allow` must be there"),
            "Codes of the countries that are not.",
        ),
        key(
            "database",
            Shape::Text(&text::FILE),
            Means("the rule matches nothing, and says so"),
            "A file in MaxMind's format (`.mmdb`), relative to the manifest; read again when it changes.",
        ),
        key(
            "unknown",
            Shape::Choice(&["allow", "deny"]),
            Is("\"allow\""),
            "What an address without a country is; counted apart.",
        ),
        except(),
        mode("\"count\""),
    ],
};

pub(crate) static HEAD: Section = Section {
    name: "service.NAME.guard.head",
    doc: "How large a request's head may be.",
    keys: &[
        key(
            "uri",
            Shape::Size { min: 64, max: 65_536 },
            Means("the edge's own bound"),
            "Bytes of path and query.",
        ),
        key("fields", Shape::Integer { min: 4, max: 128 }, Means("the edge's own bound"), "Header fields."),
        key(
            "bytes",
            Shape::Size { min: 256, max: 65_536 },
            Means("the edge's own bound"),
            "Bytes of all names and values.",
        ),
        except(),
        mode("\"block\""),
    ],
};

pub(crate) static BODY: Section = Section {
    name: "service.NAME.guard.body",
    doc: "How large a request's body may be, and how slow. Nothing is buffered: a body without a length is cut where it becomes too large.",
    keys: &[
        key("max", Shape::Size { min: 1, max: 1 << 42 }, Means("no limit"), "Bytes of one body."),
        key(
            "rate_min",
            Shape::Size { min: 1, max: 1 << 30 },
            Means("a body may be slow, but not silent for 60s"),
            "Bytes a second, on average over the time the edge waits for the client, after 5s.",
        ),
        key(
            "routes",
            Shape::Tables { of: &ROUTE_BODY, max: NETWORKS_MAX },
            Means("`max` for every route"),
            "Routes with another maximum: uploads of images.",
        ),
        mode("\"block\""),
    ],
};

pub(crate) static ROUTE_BODY: Section = Section {
    name: "service.NAME.guard.body.routes",
    doc: "A route with a maximum of its own.",
    keys: &[
        key("path", Shape::Text(&text::TEMPLATE), Refused, "The template; `{id}` stands for one segment."),
        key("max", Shape::Size { min: 1, max: 1 << 42 }, Refused, "Bytes of one body."),
    ],
};
