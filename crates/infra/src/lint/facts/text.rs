//! Reads texts that have holes in the manner of shells, workflows and templates.

use crate::lint::value::{Piece, Value};

/// Reads `$NAME`, `${NAME}`, `${NAME:-x}`, `${{ expr }}`, `<NAME>`, `{{ NAME }}`, `%NAME%` and placeholders such as `ACCOUNT_ID` as holes.
pub fn value(text: &str) -> Value {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some((name, length)) = hole(rest, plain.chars().last()) {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Hole(name));
            at += length;
            continue;
        }
        let Some(next) = rest.chars().next() else { break };
        plain.push(next);
        at += next.len_utf8();
    }
    pieces.push(Piece::Text(plain));
    Value::of(pieces)
}

fn hole(rest: &str, before: Option<char>) -> Option<(String, usize)> {
    let between = |open: &str, close: &str| {
        let inside = rest.strip_prefix(open)?;
        let end = inside.find(close)?;
        Some((inside[..end].trim().to_owned(), open.len() + end + close.len()))
    };
    if rest.starts_with("${{") {
        return between("${{", "}}");
    }
    if rest.starts_with("{{") {
        return between("{{", "}}");
    }
    if rest.starts_with("${") {
        let (name, length) = between("${", "}")?;
        let end = name.find([':', '-', '%', '#', '/']).unwrap_or(name.len());
        return Some((name[..end].to_owned(), length));
    }
    if rest.starts_with("$(") {
        return between("$(", ")").map(|(_, length)| ("a command".to_owned(), length));
    }
    if let Some(after) = rest.strip_prefix('$') {
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
        return (end > 0).then(|| (after[..end].to_owned(), end + 1));
    }
    if rest.starts_with('<') {
        let (name, length) = between("<", ">")?;
        return (!name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ')))
        .then_some((name, length));
    }
    if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
        for word in ["AWS_ACCOUNT_ID", "ACCOUNT_ID", "ACCOUNT", "AWS_REGION", "REGION"] {
            let end = rest.strip_prefix(word).map(|rest| rest.chars().next());
            if end.is_some_and(|next| next.is_none_or(|c| !c.is_alphanumeric() && c != '_')) {
                return Some((word.to_lowercase(), word.len()));
            }
        }
    }
    None
}

/// What remains of a name once environments are taken out: two names that agree in it resemble each other.
pub fn bare(value: &Value) -> String {
    let shown: String = value
        .pieces()
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(_) => "\u{0}".to_owned(),
        })
        .collect();
    let words = shown.split(['/', '-', '_', '.', ':']);
    words
        .filter(|word| {
            !word.is_empty() && !word.contains('\u{0}') && !crate::lint::value::is_environment(word)
        })
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join("/")
}

/// The value of text between two marks of another one.
pub fn after(text: &Value, mark: &str) -> Option<Value> {
    let shown = text.to_string();
    shown.find(mark).map(|at| value(&shown[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_of_all_manners_are_seen() {
        for text in ["$ENV", "${ENV}", "${ENV:-x}", "${{ env.ENV }}", "<ENV>", "{{ENV}}"] {
            assert!(
                matches!(value(&format!("a-{text}-b")), Value::Pattern(pieces) if pieces.len() == 3),
                "{text}"
            );
        }
        assert_eq!(value("a-b").known(), Some("a-b"));
        assert_eq!(value("arn:aws:iam::ACCOUNT:role/x").holes(), ["account"]);
    }

    #[test]
    fn names_resemble_each_other_without_their_environment() {
        assert_eq!(bare(&value("shop/${env}/database")), bare(&value("shop/database")));
        assert_ne!(bare(&value("shop/database")), bare(&value("shop/cache")));
    }
}
