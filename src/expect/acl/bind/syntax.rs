//! Parses the text of named.conf into statements: words, quoted strings, `!`, `/` and blocks up to a semicolon, with
//! includes in their place.

use crate::config::ACL_DEPTH;
use crate::error::Error;
use crate::expect::acl::pattern::{self, Style};
use crate::expect::acl::text::{Files, Span};
use std::path::{Path, PathBuf};

/// A statement or list element, up to its semicolon.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its parts; never empty.
    pub items: Vec<Item>,
    /// From the first part to the last, with their quotes.
    pub span: Span,
}

/// A part of a statement.
#[derive(Debug, Clone)]
pub enum Item {
    /// A word without quotes.
    Word(Span),
    /// A quoted string; the span is what is between the quotes.
    Quoted(Span),
    /// `!`.
    Not(Span),
    /// `/`.
    Slash(Span),
    /// `=`, only in a few options.
    Equals(Span),
    /// `{ ... }`.
    Block(Block),
}

/// Statements in braces.
#[derive(Debug, Clone)]
pub struct Block {
    /// The statements.
    pub statements: Vec<Statement>,
    /// From brace to brace.
    pub span: Span,
}

impl Item {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Item::Word(span) | Item::Quoted(span) | Item::Not(span) | Item::Slash(span) | Item::Equals(span) => *span,
            Item::Block(block) => block.span,
        }
    }

    /// The same with its quotes.
    fn written(&self) -> Span {
        let (span, quote) = (self.span(), u32::from(matches!(self, Item::Quoted(_))));
        Span { start: span.start - quote, end: span.end + quote, ..span }
    }
}

/// The result of parsing.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The statements of all files.
    pub statements: Vec<Statement>,
    /// Include statements whose file is missing here.
    pub missing: Vec<Span>,
}

/// Statements whose blocks contain statements, and so may contain `include`.
const MAPS: [&str; 12] = [
    "options",
    "view",
    "zone",
    "server",
    "key",
    "logging",
    "controls",
    "statistics-channels",
    "dnssec-policy",
    "tls",
    "http",
    "channel",
];

/// Parses a file and everything it includes.
pub fn parse(files: &mut Files, first: u32) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    let main = files.list()[first as usize].path.clone();
    let folder = main.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut reader = Reader { files, missing: Vec::new(), folders: vec![folder], includes: 0 };
    reader.file(first, &mut parsed.statements)?;
    parsed.missing = reader.missing;
    Ok(parsed)
}

struct Reader<'a> {
    files: &'a mut Files,
    missing: Vec<Span>,
    /// Where relative names are looked up: `directory`, then the folder of the main file.
    folders: Vec<PathBuf>,
    includes: usize,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    Quoted,
    Not,
    Slash,
    Equals,
    Open,
    Close,
    Semicolon,
    End,
}

/// Splits one file into tokens.
struct Lexer {
    file: u32,
    at: usize,
}

impl Lexer {
    /// The next token and where it stands.
    fn next(&mut self, files: &Files) -> Result<(Token, Span), Error> {
        let bytes = files.list()[self.file as usize].text.as_bytes();
        let span = |start: usize, end: usize| Span { file: self.file, start: start as u32, end: end as u32 };
        loop {
            match bytes.get(self.at..).unwrap_or_default() {
                [] => return Ok((Token::End, span(bytes.len(), bytes.len()))),
                [space, ..] if space.is_ascii_whitespace() || *space == 0x0b => self.at += 1,
                [b'#', ..] | [b'/', b'/', ..] => {
                    while self.at < bytes.len() && bytes[self.at] != b'\n' {
                        self.at += 1;
                    }
                }
                [b'/', b'*', rest @ ..] => match rest.windows(2).position(|pair| pair == b"*/") {
                    Some(end) => self.at += end + 4,
                    None => return Err(files.error(span(self.at, self.at + 2), "this comment does not end")),
                },
                _ => break,
            }
        }
        let start = self.at;
        self.at += 1;
        let token = match bytes[start] {
            b'{' => Token::Open,
            b'}' => Token::Close,
            b';' => Token::Semicolon,
            b'!' => Token::Not,
            b'/' => Token::Slash,
            b'=' => Token::Equals,
            b'"' => {
                loop {
                    match bytes.get(self.at) {
                        None => {
                            return Err(files.error(span(start, start + 1), "this quoted string does not end"));
                        }
                        Some(b'"') => break,
                        Some(b'\\') => self.at += 2,
                        Some(_) => self.at += 1,
                    }
                }
                self.at += 1;
                return Ok((Token::Quoted, span(start + 1, self.at - 1)));
            }
            0 => return Err(files.error(span(start, start + 1), "a zero byte")),
            _ => {
                let ends = |byte: u8| {
                    byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}' | b';' | b'"' | b'!' | b'/' | b'=')
                };
                while self.at < bytes.len() && !ends(bytes[self.at]) && bytes[self.at] != 0 {
                    self.at += 1;
                }
                Token::Word
            }
        };
        Ok((token, span(start, self.at)))
    }
}

impl Reader<'_> {
    fn file(&mut self, file: u32, into: &mut Vec<Statement>) -> Result<(), Error> {
        let mut lexer = Lexer { file, at: 0 };
        if self.files.list()[file as usize].text.starts_with('\u{feff}') {
            lexer.at = 3;
        }
        self.statements(&mut lexer, into, None, true, 0)
    }

    /// Parses statements up to the brace that closes `open`, or to the end of the file.
    fn statements(
        &mut self,
        lexer: &mut Lexer,
        into: &mut Vec<Statement>,
        open: Option<Span>,
        map: bool,
        depth: usize,
    ) -> Result<(), Error> {
        let mut items: Vec<Item> = Vec::new();
        loop {
            let (token, span) = lexer.next(self.files)?;
            match token {
                Token::Word => items.push(Item::Word(span)),
                Token::Quoted => items.push(Item::Quoted(span)),
                Token::Not => items.push(Item::Not(span)),
                Token::Slash => items.push(Item::Slash(span)),
                Token::Equals => items.push(Item::Equals(span)),
                Token::Open => {
                    if depth >= ACL_DEPTH {
                        return Err(self.files.error(span, &format!("more than {ACL_DEPTH} blocks inside each other")));
                    }
                    let inner_map = map && items.first().is_some_and(|item| self.is_map(item));
                    let mut block = Block { statements: Vec::new(), span };
                    self.statements(lexer, &mut block.statements, Some(span), inner_map, depth + 1)?;
                    block.span.end = lexer.at as u32;
                    items.push(Item::Block(block));
                }
                Token::Semicolon => {
                    self.files.go_on(span)?;
                    let (Some(first), Some(last)) = (items.first(), items.last()) else {
                        return Err(self.files.error(span, "a statement was expected before this semicolon"));
                    };
                    let statement =
                        Statement { span: first.written().to(last.written()), items: std::mem::take(&mut items) };
                    if map && self.is_include(&statement) {
                        self.include(&statement, into)?;
                    } else {
                        self.note_directory(&statement, map);
                        into.push(statement);
                    }
                }
                Token::Close | Token::End => {
                    if let Some(last) = items.last() {
                        let last = last.span();
                        let at = Span { start: last.end, end: last.end + 1, ..last };
                        return Err(self.files.error(at, "a semicolon is missing here"));
                    }
                    return match (token, open) {
                        (Token::Close, Some(_)) | (Token::End, None) => Ok(()),
                        (Token::Close, None) => Err(self.files.error(span, "this brace closes nothing")),
                        (_, Some(open)) => Err(self.files.error(open, "this brace is not closed")),
                        (_, None) => Ok(()),
                    };
                }
            }
        }
    }

    fn is_map(&self, item: &Item) -> bool {
        matches!(item, Item::Word(span) if MAPS.iter().any(|map| map.eq_ignore_ascii_case(self.files.text(*span))))
    }

    fn is_include(&self, statement: &Statement) -> bool {
        matches!(statement.items.first(), Some(Item::Word(span)) if self.files.text(*span).eq_ignore_ascii_case("include"))
    }

    /// From a `directory` statement on, relative names are looked up there.
    fn note_directory(&mut self, statement: &Statement, map: bool) {
        if let (true, [Item::Word(word), Item::Quoted(name)]) = (map, statement.items.as_slice())
            && self.files.text(*word).eq_ignore_ascii_case("directory")
        {
            let named = Path::new(self.files.text(*name)).to_path_buf();
            let folder = if named.is_absolute() {
                self.files.below_root(&named)
            } else {
                self.folders.last().map_or_else(PathBuf::new, |main| main.join(&named))
            };
            if self.folders.len() > 1 {
                self.folders.remove(0);
            }
            self.folders.insert(0, folder);
        }
    }

    fn include(&mut self, statement: &Statement, into: &mut Vec<Statement>) -> Result<(), Error> {
        let [_, Item::Quoted(name) | Item::Word(name)] = statement.items.as_slice() else {
            return Err(self.files.error(statement.span, "include takes one file name in quotes"));
        };
        if self.includes >= ACL_DEPTH {
            return Err(self.files.error(*name, &format!("more than {ACL_DEPTH} includes inside each other")));
        }
        let named = self.files.text(*name).to_owned();
        if !Style::Bind.is_pattern(&named) {
            let found = self.files.include(&named, &self.folders);
            return self.included(found, *name, statement, into);
        }
        let found = pattern::matching(self.files, Style::Bind, &named, &self.folders);
        let found = found.map_err(|what| self.files.error(*name, &what))?.unwrap_or_default();
        // A pattern that matches nothing is an error for named, too.
        if found.is_empty() {
            self.missing.push(statement.span);
        }
        // The last match is read first (measured with 9.18).
        for path in found.into_iter().rev() {
            let found = self.files.include_found(path);
            self.included(found, *name, statement, into)?;
        }
        Ok(())
    }

    /// Parses an included file that was opened.
    fn included(
        &mut self,
        found: Result<Option<u32>, String>,
        name: Span,
        statement: &Statement,
        into: &mut Vec<Statement>,
    ) -> Result<(), Error> {
        match found.map_err(|what| self.files.error(name, &what))? {
            Some(file) => {
                self.includes += 1;
                self.file(file, into)?;
                self.includes -= 1;
            }
            None => self.missing.push(statement.span),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Files, Parsed), Error> {
        let mut files = Files::new(None);
        let first = files.open_text("named.conf", text)?;
        let parsed = parse(&mut files, first)?;
        Ok((files, parsed))
    }

    #[test]
    fn comments_of_three_styles_and_quotes_are_read() {
        let text = "# one; {\n// two ; }\n/* three\n ; */ options { directory \"a;b\\\" {\"; };zone x{};\n";
        let (files, parsed) = parsed(text).unwrap();
        assert_eq!(parsed.statements.len(), 2);
        let Item::Block(block) = &parsed.statements[0].items[1] else { panic!() };
        assert_eq!(files.text(block.statements[0].items[1].span()), "a;b\\\" {");
        assert_eq!(files.line(parsed.statements[0].span), 4);
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        for (text, place, what) in [
            ("options {\n  recursion no\n};", "named.conf:2:15", "a semicolon is missing"),
            ("options {\n  recursion no;\n", "named.conf:1:9", "not closed"),
            ("a;\n};\n", "named.conf:2:1", "closes nothing"),
            ("a;\n;\n", "named.conf:2:1", "before this semicolon"),
            ("a \"b;\n", "named.conf:1:3", "does not end"),
            ("a; /* b;\n", "named.conf:1:4", "does not end"),
            ("a \0;\n", "named.conf:1:3", "zero byte"),
            ("include;", "named.conf:1:1", "one file name"),
            ("a b", "named.conf:1:4", "a semicolon is missing"),
        ] {
            let error = parsed(text).map(|_| ()).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("error[E-ACL]: {place}: ")) && error.contains(what),
                "{text:?}: {error}"
            );
        }
        assert!(parsed(&"a {".repeat(100_000)).map(|_| ()).unwrap_err().to_string().contains("inside each other"));
    }

    #[test]
    fn includes_are_found_below_the_root_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let main = write(
            "etc/bind/named.conf",
            "include \"/etc/bind/more\"; options { directory \"/var/x\"; include \"rel\"; };\ninclude \"gone\";",
        );
        write("etc/bind/more", "acl a { any; };");
        write("var/x/rel", "recursion no;");
        let mut files = Files::new(Some(folder.path()));
        let first = files.open(&main).unwrap();
        let found = parse(&mut files, first).unwrap();
        assert_eq!((found.statements.len(), found.missing.len(), files.list().len()), (2, 1, 3));
        let Item::Block(block) = &found.statements[1].items[1] else { panic!() };
        assert_eq!(block.statements.len(), 2);

        let round = write("etc/round", "include \"/etc/round\";");
        let mut files = Files::new(Some(folder.path()));
        let first = files.open(&round).unwrap();
        assert!(parse(&mut files, first).unwrap_err().to_string().contains("inside each other"));
    }

    /// Checked with named-checkconf -p of 9.18.
    #[test]
    fn files_that_a_pattern_names_are_read_from_the_last_to_the_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("one.zones", "acl one { any; };"), ("two.zones", "acl two { any; };"), ("x", "broken")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = |named: &str| {
            let main = folder.path().join("named.conf");
            std::fs::write(&main, format!("include \"{named}\";")).unwrap();
            let mut files = Files::new(None);
            let first = files.open(&main).unwrap();
            let found = parse(&mut files, first).unwrap();
            let of = |statement: &Statement| files.text(statement.items[1].span()).to_owned();
            (found.statements.iter().map(of).collect::<Vec<_>>(), found.missing.len())
        };
        assert_eq!(read("*.zones"), (vec!["two".to_owned(), "one".to_owned()], 0));
        assert_eq!(read("[o]ne.*"), (vec!["one".to_owned()], 0));
        assert_eq!(read("*.none"), (vec![], 1), "named does not start");
        assert_eq!(read("none/*.zones"), (vec![], 1));
    }
}
