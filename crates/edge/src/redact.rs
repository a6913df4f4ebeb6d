//! Makes of a request what may be shown to anybody: plain words stay, whatever could be a name, a number or a key goes.
//! Refuses to guess in favour of showing: a word that is hidden costs a glance, one that is shown may cost a patient.
//! A name that is a plain word cannot be told from a route's; templates in the manifest (`routes`) can.

use http::Method;

/// What stands for a hidden segment.
const HIDDEN: &str = "{…}";
/// Segments shown of a path; the rest is one hidden segment.
const SEGMENTS: usize = 8;
/// Names of parameters shown.
const PARAMETERS: usize = 8;
/// Bytes of a segment, and of a parameter's name, that may be shown.
const SEGMENT_BYTES: usize = 32;
/// Letters of one word: `recommendations` has 15.
const WORD_LETTERS: usize = 16;

/// Returns the method if it is one everybody uses: others are the client's own text.
pub(crate) fn method(method: &Method) -> &'static str {
    let usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    usual.into_iter().find(|usual| *usual == method.as_str()).unwrap_or("OTHER")
}

/// Returns a path with every segment hidden that is not made of plain words.
pub(crate) fn path(path: &str) -> String {
    let mut segments = path.split('/').skip(usize::from(path.starts_with('/')));
    let mut shown = String::new();
    for segment in segments.by_ref().take(SEGMENTS) {
        shown.push('/');
        shown.push_str(if segment.is_empty() || is_plain(segment) { segment } else { HIDDEN });
    }
    if segments.next().is_some() {
        shown.push('/');
        shown.push_str(HIDDEN);
    }
    shown
}

/// Returns the names of a query's parameters that are made of plain words, each once. Never a value.
pub(crate) fn parameters(query: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for pair in query.unwrap_or_default().split(['&', ';']) {
        // Without an equals sign it may be a value as well as a name.
        let Some((name, _)) = pair.split_once('=') else { continue };
        if names.len() < PARAMETERS && is_plain(name) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Whether a text is one to three words joined by `-`, `_` or `.`, or the version of an interface (`v2`).
fn is_plain(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    let words = text.split(['-', '_', '.']);
    text.len() <= SEGMENT_BYTES
        && words.clone().count() <= 3
        && words.clone().all(|word| is_version(word) || is_word(word))
}

fn is_version(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|number| {
        (1..=2).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Whether a text could be said: letters alone, small ones but for the first of a hump (`labResults`), with vowels where
/// a word has them. Base64 has humps of all sizes, hexadecimal digits are the letters to f.
fn is_word(word: &str) -> bool {
    let letters = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters && has_humps(word) && is_pronounceable(word) && !(word.len() >= 6 && is_hex(word))
}

/// Whether capitals begin parts of three letters or more, and no part is longer than a word.
fn has_humps(word: &str) -> bool {
    let capitals = word.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
    let mut starts: Vec<usize> = capitals.map(|(place, _)| place).collect();
    let has_capitals = !starts.is_empty();
    starts.insert(0, 0);
    starts.dedup();
    starts.push(word.len());
    let mut parts = starts.windows(2).map(|ends| ends[1] - ends[0]);
    parts.all(|letters| letters <= WORD_LETTERS && (letters >= 3 || !has_capitals))
}

/// Whether consonants stand in rows of four at most, and a word longer than `http` or `css` has a vowel.
fn is_pronounceable(word: &str) -> bool {
    let is_vowel = |byte: u8| b"aeiouy".contains(&byte.to_ascii_lowercase());
    let longest = word.as_bytes().split(|byte| is_vowel(*byte)).map(<[u8]>::len).max().unwrap_or(0);
    longest <= 4
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_and_what_could_be_a_secret_goes() {
        for (seen, shown) in [
            ("/", "/"),
            ("/api/v2/appointments", "/api/v2/appointments"),
            ("/api/appointments/17/notes", "/api/appointments/{…}/notes"),
            ("/.well-known/security.txt", "/.well-known/security.txt"),
            ("/lab-results/labResults/MedicationRequest", "/lab-results/labResults/MedicationRequest"),
            ("/static/app.3f2a9c.js", "/static/{…}"),
            ("/a/550e8400-e29b-41d4-a716-446655440000", "/a/{…}"),
            ("/a/deadbeef/eyJhbGciOiJIUzI1NiJ9/QWxhZGRpbg", "/a/{…}/{…}/{…}"),
            ("/users/alice@example.org/caf%C3%A9", "/users/{…}/{…}"),
            ("/session;id=abc/x", "/{…}/x"),
            ("/xkcdqwrtz/TOKEN/aBcDeF", "/{…}/{…}/{…}"),
            ("/a//b/", "/a//b/"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/{…}"),
            ("*", "/{…}"),
        ] {
            assert_eq!(path(seen), shown, "{seen}");
        }
    }

    #[test]
    fn a_query_is_the_names_of_its_parameters() {
        for (query, names) in [
            (None, vec![]),
            (Some("page=2&user_id=7&page=3&sort="), vec!["page", "user_id", "sort"]),
            (Some("hunter"), vec![]),
            (Some("9f86d081884c7d65=1&x-amz-signature=00&filter%5Ba%5D=1"), vec!["x-amz-signature"]),
            (Some("averyveryveryverylongnameindeedthatgoeson=1"), vec![]),
        ] {
            assert_eq!(parameters(query), names, "{query:?}");
        }
    }

    #[test]
    fn a_method_nobody_knows_is_not_repeated() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"s3cr3t").unwrap()), "OTHER");
    }

    /// What keys, numbers and addresses look like.
    fn secret() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,16}",
            "[0-9a-f]{6,40}",
            "[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}",
            "[A-Za-z0-9_-]{24,64}",
            "[A-Za-z0-9+]{15}[0-9]==",
            "eyJ[A-Za-z0-9_-]{8,20}\\.[A-Za-z0-9_-]{20,40}",
            "[a-z]{2,8}@[a-z]{2,8}\\.(org|com)",
            "[a-z]{2,6}%40[a-z]{2,6}",
            "[a-z]{3,8}[0-9]{1,4}",
            "sk_live_[A-Za-z0-9]{24}",
            "[A-Z]{4,12}",
        ]
    }

    proptest! {
        #[test]
        fn no_secret_is_shown_in_whatever_place_it_stands(secret in secret(), before in "(/[a-z]{1,6}){0,3}", after in "(/[a-z]{1,6}){0,3}") {
            let shown = path(&format!("{before}/{secret}{after}"));
            let names = parameters(Some(&format!("{secret}=1&a={secret}&{secret}&b[{secret}]=2&c={secret}={secret}")));

            prop_assert!(!shown.split('/').any(|segment| segment == secret), "{shown}");
            prop_assert!(shown.contains(HIDDEN));
            prop_assert_eq!(names, ["a", "c"]);
        }

        #[test]
        fn what_is_shown_is_short_and_of_harmless_letters(path_seen in "\\PC{0,200}", query in "\\PC{0,200}") {
            let shown = path(&path_seen);
            let names = parameters(Some(&query));

            prop_assert!(shown.split('/').all(|part| part == HIDDEN || part.len() <= SEGMENT_BYTES + 1 && part.is_ascii()));
            prop_assert!(names.len() <= PARAMETERS && names.iter().all(|name| name.len() <= SEGMENT_BYTES + 1 && name.is_ascii()));
        }
    }
}
