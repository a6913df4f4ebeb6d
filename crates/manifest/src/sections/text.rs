//! Checks the short texts of a manifest: names, hosts, paths, addresses.
//! Each [`Text`] says what it is, shows one, and returns the text in its one spelling, or why it is none.

use crate::units::{self, Refusal};
use rollout::guard::{Network, NetworkError};
use std::net::SocketAddr;

/// A kind of text.
pub(crate) struct Text {
    /// Fits after "is not".
    pub noun: &'static str,
    pub example: &'static str,
    /// For the JSON Schema; never stricter than `read`.
    pub pattern: &'static str,
    pub read: fn(&str) -> Result<String, Refusal>,
}

pub(crate) static NAME: Text = Text {
    noun: "a name (a letter, then up to 30 letters, digits and dashes, all lower case)",
    example: "web",
    pattern: "^[a-z][a-z0-9-]{0,30}$",
    read: name,
};

pub(crate) static FILE: Text =
    Text { noun: "a file or folder", example: "dist/", pattern: "^.+$", read: plain };

pub(crate) static PLAIN: Text = Text { noun: "a text", example: "team", pattern: "^.+$", read: plain };

pub(crate) static HOST: Text = Text {
    noun: "a host name, or `*.` and one",
    example: "clinic.example",
    pattern: r"^(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
    read: host,
};

pub(crate) static PATH: Text = Text { noun: "a path", example: "/api", pattern: r"^/[^?#\s]*$", read: path };

pub(crate) static PREFIX: Text =
    Text { noun: "a path without a query", example: "/api", pattern: r"^/[^?#\s]*$", read: prefix };

pub(crate) static TEMPLATE: Text = Text {
    noun: "a path, `{name}` standing for one segment",
    example: "/api/appointments/{id}",
    pattern: r"^/[^?#\s]*$",
    read: template,
};

pub(crate) static QUERY_PATH: Text = Text {
    noun: "a path, with a query if need be",
    example: "/api/health",
    pattern: r"^/[^#\s]*$",
    read: query_path,
};

pub(crate) static HEADER: Text = token_like("X-Canary");

pub(crate) static COOKIE: Text = token_like("me_rev");

pub(crate) static USER_HEADER: Text = token_like("X-User");

pub(crate) static USER_COOKIE: Text = token_like("sid");

pub(crate) static PRINCIPAL: Text = token_like("Authorization");

pub(crate) static NETWORK: Text = Text {
    noun: "a network as CIDR writes it, or one address",
    example: "10.0.0.0/8",
    pattern: r"^[0-9A-Fa-f:.]+(/\d+)?$",
    read: network,
};

pub(crate) static COUNTRY: Text = Text {
    noun: "the code of a country (ISO 3166-1, two letters)",
    example: "FR",
    pattern: "^[A-Za-z]{2}$",
    read: country,
};

pub(crate) static HEADER_VALUE: Text = Text {
    noun: "the value of a header, in visible ASCII",
    example: "default-src 'self'",
    pattern: r"^[\x20-\x7E]+$",
    read: header_value,
};

const fn token_like(example: &'static str) -> Text {
    Text { noun: "a name HTTP allows", example, pattern: r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", read: token }
}

pub(crate) static VARIABLE: Text = Text {
    noun: "letters, digits and `_`, no digit first",
    example: "RUST_LOG",
    pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
    read: variable,
};

pub(crate) static ADDRESS: Text = Text {
    noun: "an IP address and a port",
    example: "127.0.0.1:8080",
    pattern: r"^(\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):\d+$",
    read: address,
};

pub(crate) static IP: Text =
    Text { noun: "an IP address", example: "10.0.0.5", pattern: r"^[0-9A-Fa-f:.]+$", read: ip };

pub(crate) static DIRECTORY: Text = Text {
    noun: "an https address",
    example: "https://acme-v02.api.letsencrypt.org/directory",
    pattern: r"^https://[^\s/?#]+[^\s#]*$",
    read: directory,
};

pub(crate) static ENDPOINT: Text = Text {
    noun: "an http address without a query",
    example: "http://127.0.0.1:9000/allowed",
    pattern: r"^http://[^\s/?#@]+[^\s?#]*$",
    read: endpoint,
};

pub(crate) static PEM_CERT: Text =
    Text { noun: "a file", example: "tls/fullchain.pem", pattern: "^.+$", read: plain };

pub(crate) static PEM_KEY: Text =
    Text { noun: "a file", example: "tls/key.pem", pattern: "^.+$", read: plain };

pub(crate) static PORTS: Text =
    Text { noun: "a range of ports", example: "20000-29999", pattern: r"^\d+-\d+$", read: ports };

fn name(text: &str) -> Result<String, Refusal> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 31 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    let reason = "a name is a letter, then up to 30 letters, digits and dashes, all lower case";
    Err(Refusal::new(reason, format!("write `{}`", nearest_name(text))))
}

/// Turns any text into a valid name: `My Clinic!` into `my-clinic`.
pub(crate) fn nearest_name(text: &str) -> String {
    let dashed: String =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let joined = words.join("-");
    let trimmed = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let short: String = trimmed.chars().take(31).collect();
    let short = short.trim_end_matches('-');
    if short.is_empty() { "web".to_owned() } else { short.to_owned() }
}

fn plain(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("it is empty", "write something, or remove the key"));
    }
    without_nul(text)
}

/// Refuses the byte no argument and no variable of a program can hold.
pub(crate) fn without_nul(text: &str) -> Result<String, Refusal> {
    match text.contains('\0') {
        true => {
            Err(Refusal::new("it contains a zero byte, which no program can be given", "remove `\\u0000`"))
        }
        false => Ok(text.to_owned()),
    }
}

/// RFC 1123, section 2.1, and one leading `*`.
fn host(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, rest)) = lower.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(Refusal::new("a host has no scheme", format!("write \"{host}\"")));
    }
    if let Some((host, after)) = lower.split_once('/') {
        let help = format!("write \"{host}\" here and `paths = [\"/{after}\"]`");
        return Err(Refusal::new("a host has no path", help));
    }
    if let Some((host, port)) = lower.split_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let help = format!("write \"{host}\"; ports belong to `listen` of the environment");
        return Err(Refusal::new("a host has no port", help));
    }
    let labels = lower.strip_prefix("*.").unwrap_or(&lower);
    if labels.contains('*') {
        return Err(Refusal::new("`*` may only be the whole first label", "write \"*.clinic.example\""));
    }
    if lower.len() > 253 || !labels.split('.').all(is_label) {
        let reason = "labels are 1 to 63 letters, digits and dashes, with no dash at an end";
        let help = match lower.is_ascii() {
            true => "write a name like \"clinic.example\"",
            false => "write the name as DNS does, beginning with \"xn--\"",
        };
        return Err(Refusal::new(reason, help));
    }
    Ok(lower)
}

fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn path(text: &str) -> Result<String, Refusal> {
    let path = query_path(text)?;
    match path.split_once('?') {
        Some((before, _)) => Err(Refusal::new("a query does not belong here", format!("write \"{before}\""))),
        None => Ok(path),
    }
}

fn query_path(text: &str) -> Result<String, Refusal> {
    if let Some((_, rest)) = text.split_once("://") {
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let reason = "a path is asked of the replica itself, so it names no host";
        return Err(Refusal::new(reason, format!("write \"/{path}\"")));
    }
    if !text.starts_with('/') {
        return Err(Refusal::new("a path begins with `/`", format!("write \"/{text}\"")));
    }
    if text.contains(|c: char| c == '#' || !c.is_ascii_graphic()) {
        let reason = "a path has no spaces, no `#` and only visible ASCII";
        return Err(Refusal::new(reason, "write other characters as `%20` and the like"));
    }
    Ok(text.to_owned())
}

/// A prefix matches on segment borders, so `/api/` is `/api`.
fn prefix(text: &str) -> Result<String, Refusal> {
    let path = path(text)?;
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

fn template(text: &str) -> Result<String, Refusal> {
    let path = path(text)?;
    let mut names = Vec::new();
    for segment in path.split('/').filter(|segment| segment.contains(['{', '}'])) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(name) if variable_like(name) && !names.contains(&name) => names.push(name),
            Some(name) if variable_like(name) => {
                return Err(Refusal::new(format!("`{{{name}}}` stands there twice"), "use two names"));
            }
            _ => {
                let reason = format!("`{segment}` is not `{{name}}` with letters, digits and `_`");
                return Err(Refusal::new(
                    reason,
                    "write \"/api/appointments/{id}\": one name, one whole segment",
                ));
            }
        }
    }
    Ok(path)
}

/// RFC 9110, section 5.6.2.
fn token(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => {
            let reason = "HTTP names have letters, digits and a few signs, no space, no colon";
            let kept: String =
                text.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            Err(Refusal::new(
                reason,
                format!("write \"{}\"", if kept.is_empty() { "X-Canary" } else { &kept }),
            ))
        }
    }
}

fn network(text: &str) -> Result<String, Refusal> {
    match text.parse::<Network>() {
        Ok(network) => Ok(network.to_string()),
        Err(error @ NetworkError::HostBits(network)) => {
            Err(Refusal::new(error.to_string(), format!("write \"{network}\", or the address alone")))
        }
        Err(error @ (NetworkError::Address(_) | NetworkError::Bits(_))) => {
            Err(Refusal::new(error.to_string(), "write \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\""))
        }
    }
}

fn country(text: &str) -> Result<String, Refusal> {
    match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err(Refusal::new("a country's code has two letters", "write \"FR\" and the like")),
    }
}

fn header_value(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    match !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(
            "a header's value is one line of visible ASCII",
            "write it on one line, or remove the key",
        )),
    }
}

fn variable_like(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(fits)
}

/// The platform sets PORT, HOST and MEDECLIPSE_… itself: a value here would be lost without a word.
pub(crate) fn variable(text: &str) -> Result<String, Refusal> {
    if matches!(text, "PORT" | "HOST") {
        let reason = format!("`{text}` is set for every replica by MedEclipse");
        let help = format!("remove it; write `${{{text}}}` in the command or in another variable's value");
        return Err(Refusal::new(reason, help));
    }
    if text.starts_with("MEDECLIPSE_") {
        let reason = "names that begin with `MEDECLIPSE_` are set for every replica by MedEclipse";
        return Err(Refusal::new(reason, "choose another name"));
    }
    match variable_like(text) {
        true => Ok(text.to_owned()),
        false => {
            let kept: String =
                text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let digit = kept.starts_with(|c: char| c.is_ascii_digit());
            let better = if digit || kept.is_empty() { format!("_{kept}") } else { kept };
            let reason = "a variable's name has letters, digits and `_`, no digit first";
            Err(Refusal::new(reason, format!("write `{better}`")))
        }
    }
}

fn address(text: &str) -> Result<String, Refusal> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    let port = |port: &str| port.parse::<u16>().is_ok();
    let help = match text.rsplit_once(':') {
        Some(("" | "*", number)) if port(number) => format!("write \"0.0.0.0:{number}\" for every interface"),
        Some(("localhost", number)) if port(number) => format!("write \"127.0.0.1:{number}\""),
        None if port(text) => format!("write \"127.0.0.1:{text}\""),
        _ if text.parse::<std::net::Ipv4Addr>().is_ok() => format!("write \"{text}:8080\""),
        _ => "write \"127.0.0.1:8080\", or \"0.0.0.0:8080\" for every interface".to_owned(),
    };
    Err(Refusal::new("an address is an IP address, a colon and a port", help))
}

fn ip(text: &str) -> Result<String, Refusal> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let help = match text.parse::<SocketAddr>() {
        Ok(address) => format!("write \"{}\"", address.ip()),
        Err(_) => "write \"10.0.0.5\" or \"2001:db8::5\"".to_owned(),
    };
    Err(Refusal::new("it is one address, without a port", help))
}

fn directory(text: &str) -> Result<String, Refusal> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let fits = host.is_some_and(|host| !host.is_empty()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && !text.contains('#') {
        return Ok(text.to_owned());
    }
    let help = format!("write \"{}\"", DIRECTORY.example);
    Err(Refusal::new("it begins with `https://` and names a host", help))
}

/// It is asked beside the edge, on this machine or a private network, so it has no TLS.
fn endpoint(text: &str) -> Result<String, Refusal> {
    let rest = text.strip_prefix("http://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
    let fits = !host.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte))
        && port.is_none_or(|port| port.parse::<u16>().is_ok());
    if fits {
        return Ok(text.to_owned());
    }
    let help = format!("write \"{}\"", ENDPOINT.example);
    Err(Refusal::new("it begins with `http://`, names a host, and has no `?`", help))
}

fn ports(text: &str) -> Result<String, Refusal> {
    units::ports(text).map(|_| text.to_owned())
}
