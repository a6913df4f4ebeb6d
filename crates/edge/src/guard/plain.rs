//! Reads a path as the most forgiving server would, so that another spelling of it does not slip past a rule.
//! Changes nothing that is passed on.

use std::borrow::Cow;

/// Returns the path with escapes resolved, parameters, dots and doubled slashes gone, and whether it was so already.
pub(crate) fn plain(path: &str) -> Cow<'_, str> {
    let odd = |bytes: &[u8]| {
        bytes.iter().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
            || bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
    };
    if !odd(path.as_bytes()) {
        return Cow::Borrowed(path);
    }
    let decoded = decoded(path).replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let mut text: String = kept.iter().map(|segment| format!("/{segment}")).collect();
    if text.is_empty() || decoded.ends_with('/') {
        text.push('/');
    }
    Cow::Owned(text)
}

/// Whether a path is a prefix's own or below it, capitals or not.
pub(crate) fn is_under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    let Some(start) = path.get(..prefix.len()) else { return false };
    let rest = &path[prefix.len()..];
    start.eq_ignore_ascii_case(prefix) && (rest.is_empty() || rest.starts_with('/'))
}

fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut text, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                text.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                text.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_path_is_the_same_path() {
        for spelling in [
            "/api/auth",
            "//api/auth",
            "/api//auth",
            "/./api/auth",
            "/x/../api/auth",
            "/api/%61uth",
            "/api%2fauth",
            "/api;v=1/auth;jsessionid=x",
            "/api\\auth",
            "/API/Auth",
            "/../api/auth/",
            "/api/auth/token",
        ] {
            assert!(is_under(&plain(spelling), "/api/auth"), "{spelling} is {}", plain(spelling));
        }
        for other in ["/api/author", "/api", "/", "/api/x/auth", "/api/auth/../x"] {
            assert!(!is_under(&plain(other), "/api/auth"), "{other}");
        }
        assert!(is_under("/anything", "/"));
    }

    proptest! {
        #[test]
        fn any_path_is_survived_and_stays_plain(path in "/[ -~\u{e9}]{0,60}") {
            let once = plain(&path).into_owned();

            prop_assert!(once.starts_with('/') && !once.contains("//"));
            let _ = is_under(&path, "/\u{e9}a");
        }
    }
}
