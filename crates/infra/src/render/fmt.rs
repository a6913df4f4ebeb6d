//! Brings HCL into the form of `terraform fmt`: two spaces a level, `=` of neighbours in one column, single blank lines.
//! Takes what our templates write; heredocs of others are not its business.

/// Returns the text as `terraform fmt` would leave it.
pub fn hcl(text: &str) -> String {
    aligned(&indented(text))
}

/// One line: its depth and its content.
struct Line {
    depth: usize,
    text: String,
}

fn indented(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut depth = 0usize;
    for content in text.lines().map(str::trim) {
        if content.is_empty() {
            let opened =
                lines.last().is_none_or(|line| line.text.is_empty() || line.text.ends_with(['{', '[', '(']));
            if !opened {
                lines.push(Line { depth: 0, text: String::new() });
            }
            continue;
        }
        let (change, closes) = brackets(content);
        if closes && lines.last().is_some_and(|line| line.text.is_empty()) {
            lines.pop();
        }
        let own = depth.saturating_sub(usize::from(closes));
        lines.push(Line { depth: own, text: content.to_owned() });
        // Brackets that open together on a line count as one level, as the formatter has it.
        depth = depth.saturating_add_signed(change.signum());
    }
    while lines.last().is_some_and(|line| line.text.is_empty()) {
        lines.pop();
    }
    lines
}

/// Returns how many more brackets a line opens than it closes, and whether it closes one it did not open.
fn brackets(content: &str) -> (isize, bool) {
    let (mut level, mut least) = (0isize, 0isize);
    for byte in code(content).bytes() {
        match byte {
            b'{' | b'[' | b'(' => level += 1,
            b'}' | b']' | b')' => level -= 1,
            _ => {}
        }
        least = least.min(level);
    }
    (level, least < 0)
}

/// Returns the line without its comment and the insides of its texts.
fn code(content: &str) -> String {
    let mut kept = String::new();
    let mut in_text = false;
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_text => {
                characters.next();
            }
            '"' => in_text = !in_text,
            '#' if !in_text => break,
            _ if !in_text => kept.push(character),
            _ => {}
        }
    }
    kept
}

/// Returns the name before a single `=`.
fn key(line: &Line) -> Option<&str> {
    let name = &line.text[..line.text.find(" = ")?];
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:\"".contains(&byte));
    plain.then_some(name)
}

/// Gives neighbours with a name before `=` one column. A value of several lines ends its neighbourhood and has no column.
fn aligned(lines: &[Line]) -> String {
    let mut widths = vec![0usize; lines.len()];
    let mut start = 0;
    while start < lines.len() {
        let single = |line: &Line| key(line).is_some() && brackets(&line.text).0 == 0;
        let group = lines[start..].iter().take_while(|line| single(line) && line.depth == lines[start].depth);
        let end = start + group.count();
        let width = lines[start..end].iter().filter_map(key).map(str::len).max().unwrap_or(0);
        widths[start..end].fill(width);
        start = end.max(start + 1);
    }
    let mut text = String::new();
    for (line, width) in lines.iter().zip(widths) {
        if !line.text.is_empty() {
            text.push_str(&"  ".repeat(line.depth));
        }
        match key(line) {
            Some(name) if width > 0 => text.push_str(&format!("{name:width$}{}", &line.text[name.len()..])),
            _ => text.push_str(&line.text),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_column_and_blocks_are_indented() {
        let text = "resource \"a\" \"b\" {\n\nname = \"x # y = {\"\nlong_name = 1\nlist = [\n\"a\",\n]\n\n\n  tags = {\nA = 1\nBcd = 2 # why\n  }\n\n}\n\n";

        assert_eq!(
            hcl(text),
            "resource \"a\" \"b\" {\n  name      = \"x # y = {\"\n  long_name = 1\n  list = [\n    \"a\",\n  ]\n\n  tags = {\n    A   = 1\n    Bcd = 2 # why\n  }\n}\n"
        );
    }
}
