//! Describes in words the places of a configuration where a list or block would have to be added.

use super::text::{Files, Span};
use crate::error::escape_text;

/// Text to be inserted, with spaces around it where they are missing.
pub fn spaced(text: &str, at: u32, inserted: &str) -> String {
    let after_space = text[..at as usize].ends_with(char::is_whitespace);
    if after_space { format!("{inserted} ") } else { format!(" {inserted} ") }
}

/// Iterates over what is outside quotes and comments, with positions.
fn code(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let (at, tail) = (from, &text[from..]);
            let c = tail.chars().next()?;
            let inside = if c == '"' {
                let mut escaped = false;
                let end = tail[1..].find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                end.map(|end| end + 2)
            } else if c == '#' || tail.starts_with("//") {
                tail.find('\n')
            } else if let Some(comment) = tail.strip_prefix("/*") {
                comment.find("*/").map(|end| end + 4)
            } else {
                from += c.len_utf8();
                return Some((at, c));
            };
            from = inside.map_or(text.len(), |end| at + end);
        }
    })
}

/// The list element at a position, for people; `None` where the list ends there.
fn element_at(text: &str, at: u32) -> Option<String> {
    const LONGEST: usize = 40;
    let rest = text.get(at as usize..).unwrap_or("").trim_start();
    if rest.starts_with('}') {
        return None;
    }
    if rest.starts_with(['#', '/']) {
        return Some("what follows".to_owned());
    }
    let mut depth = 0;
    let ends = |(_, c): &(usize, char)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        *c == ';' && depth == 0
    };
    let end = code(rest).find(ends).map_or(rest.len(), |(at, _)| at + 1);
    let words: Vec<&str> = rest[..end].split_whitespace().take(LONGEST).collect();
    let mut shown: String = words.join(" ").chars().take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown = shown.chars().take(LONGEST - 3).chain(['.'; 3]).collect();
    }
    Some(escape_text(&shown))
}

/// Where to insert into a list: before which of its elements, or at its end.
pub fn in_list(files: &Files, span: Span, list: &str) -> String {
    let text = files.list().get(span.file as usize).map_or("", |file| &*file.text);
    match element_at(text, span.start) {
        Some(next) => format!("before {next}{}", of_list(files, span, list, "in")),
        None => format!("at the end{}", of_list(files, span, list, "of")),
    }
}

/// The end of a block by the words before its brace: `at the end of view inside`.
pub fn at_the_end(files: &Files, head: Span) -> String {
    let words: Vec<&str> = files.text(head).split_whitespace().collect();
    format!("at the end of {}", escape_text(&words.join(" ")))
}

/// Names the list within a line, where the line has several lists or does not name it.
fn of_list(files: &Files, span: Span, list: &str, of: &str) -> String {
    let line = files.whole_line(span);
    let mut text = vec![b' '; files.text(line).len()];
    code(files.text(line)).filter(|(_, c)| c.is_ascii()).for_each(|(at, c)| text[at] = c as u8);
    let text = String::from_utf8_lossy(&text);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    // Where lists of this name begin in the line.
    let begins: Vec<usize> = text
        .match_indices(list)
        .filter(|(at, _)| !text[..*at].ends_with(word) && text[at + list.len()..].trim_start().starts_with('{'))
        .map(|(at, _)| at)
        .collect();
    // Another list of this name may begin after the end of this one.
    let before = begins.iter().filter(|at| **at < (span.start - line.start) as usize).count();
    match begins.len() {
        0 => format!(" {of} {list}"),
        _ if before == 0 => format!(" {of} {list} (not one after it in this line)"),
        1 if text.matches('{').count() > 1 => format!(" {of} {list}"),
        1 => String::new(),
        all => format!(" {of} {list} (number {before} of {all} in this line)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_quotes_or_comments_ends_no_element_and_begins_no_list() {
        for (text, shown) in [
            ("!\"a } ; b\"; c;", "!\"a } ; b\";"),
            ("\"a \\\" ; b\"; c;", "\"a \\\" ; b\";"),
            ("!{ a; /* } ; */ b; }; c;", "!{ a; /* } ; */ b; };"),
            ("a // ; x\n ; c;", "a // ; x ;"),
            ("a # \u{e4} ; \" /*\n ; c;", "a # \u{e4} ; \" /* ;"),
        ] {
            assert_eq!(element_at(text, 0).as_deref(), Some(shown), "{text}");
        }
        let list = |text: &str| {
            let mut files = Files::new(None);
            let file = files.open_text("named.conf", text).unwrap();
            let at = text.rfind("10.1").unwrap() as u32;
            in_list(&files, Span { file, start: at, end: at }, "allow-query")
        };
        assert_eq!(list("allow-query { 10.1.0.0/16; }; # not allow-query { any; };"), "before 10.1.0.0/16;");
        assert_eq!(list("/* allow-query { any; }; */ allow-query { 10.1.0.0/16; };"), "before 10.1.0.0/16;");
        assert_eq!(
            list("acl \"allow-query {\" { any; }; allow-query { 10.1.0.0/16; };"),
            "before 10.1.0.0/16; in allow-query"
        );
        let two = "allow-query { any; }; allow-query /* { */ { 10.1.0.0/16; };";
        assert_eq!(list(two), "before 10.1.0.0/16; in allow-query (number 2 of 2 in this line)");
    }
}
