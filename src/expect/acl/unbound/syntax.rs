//! Parses the text of unbound.conf into statements: a name with a colon and as many values as it takes, with includes
//! in their place.

use super::names;
use crate::config::ACL_DEPTH;
use crate::error::Error;
use crate::expect::acl::pattern::{self, Style};
use crate::expect::acl::spelling::suggestion;
use crate::expect::acl::text::{Files, Span};
use std::path::{Path, PathBuf};

/// A statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its name.
    pub name: &'static str,
    /// Its values without quotes, in order.
    pub values: Vec<Span>,
    /// From the name to the last value.
    pub span: Span,
    /// Number of the clause it is in, counted from 0 over all files.
    pub clause: usize,
}

/// The result of parsing.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Names of the clauses in order.
    pub clauses: Vec<&'static str>,
    /// Statements of all clauses, in order.
    pub statements: Vec<Statement>,
    /// Include statements whose file is missing here.
    pub missing: Vec<Span>,
}

/// Parses a file and everything it includes.
pub fn parse(files: &mut Files, first: u32) -> Result<Parsed, Error> {
    let main = files.list()[first as usize].path.clone();
    let folder = main.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut reader = Reader { files, parsed: Parsed::default(), open: None, folders: vec![folder] };
    reader.file(first, 0)?;
    Ok(reader.parsed)
}

struct Reader<'a> {
    files: &'a mut Files,
    parsed: Parsed,
    /// The current clause.
    open: Option<usize>,
    /// The folder in which relative names are looked up.
    folders: Vec<PathBuf>,
}

/// A place in one file.
struct Cursor {
    file: u32,
    at: usize,
}

impl Cursor {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    /// Skips white space and comments; false at the end of the file.
    fn skip(&mut self, bytes: &[u8]) -> bool {
        while let Some(byte) = bytes.get(self.at) {
            if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if *byte == b'#' {
                while bytes.get(self.at).is_some_and(|byte| *byte != b'\n') {
                    self.at += 1;
                }
            } else {
                return true;
            }
        }
        false
    }
}

impl Reader<'_> {
    fn file(&mut self, file: u32, depth: usize) -> Result<(), Error> {
        let mut cursor = Cursor { file, at: 0 };
        if self.files.list()[file as usize].text.starts_with('\u{feff}') {
            cursor.at = 3;
        }
        loop {
            let bytes = self.files.list()[file as usize].text.as_bytes();
            if !cursor.skip(bytes) {
                return Ok(());
            }
            let start = cursor.at;
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
            while bytes.get(cursor.at).is_some_and(is_name) {
                cursor.at += 1;
            }
            let span = cursor.span(start, cursor.at.max(start + 1));
            if cursor.at == start || bytes.get(cursor.at) != Some(&b':') {
                return Err(self.files.error(span, "a name followed by a colon was expected"));
            }
            cursor.at += 1;
            self.files.go_on(span)?;
            let name = self.files.text(span).to_owned();
            self.statement(&name, span, &mut cursor, depth)?;
        }
    }

    fn statement(&mut self, name: &str, span: Span, cursor: &mut Cursor, depth: usize) -> Result<(), Error> {
        let known = |list: &'static [&'static str]| list.iter().find(|known| **known == name).copied();
        if name == "include" || name == "include-toplevel" {
            let value = self.value(name, span, cursor)?;
            if name == "include-toplevel" {
                self.open = None;
            }
            self.include(value, span.to(value), depth)?;
            if name == "include-toplevel" {
                self.open = None;
            }
            return Ok(());
        }
        if let Some(clause) = known(names::CLAUSES) {
            self.open = Some(self.parsed.clauses.len());
            self.parsed.clauses.push(clause);
            return Ok(());
        }
        let arity = [names::ONE, names::TWO, names::THREE];
        let Some((count, name)) =
            arity.iter().enumerate().find_map(|(index, list)| known(list).map(|name| (index + 1, name)))
        else {
            let hint = suggestion(&[names::ONE, names::TWO, names::THREE, names::CLAUSES], name);
            let hint = hint.map_or_else(
                || {
                    "no statement of Unbound has this name (other files than those of BIND and Unbound are not read)"
                        .to_owned()
                },
                |name| format!("no statement has this name; perhaps {name} is meant"),
            );
            return Err(self.files.error(span, &hint));
        };
        let Some(clause) = self.open else {
            return Err(self.files.error(span, "a statement stands in a clause such as server:"));
        };
        if !names::belongs(self.parsed.clauses[clause], name) {
            let what = format!("{name} does not stand in {}:", self.parsed.clauses[clause]);
            return Err(self.files.error(span, &what));
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.value(name, span, cursor)?);
        }
        let span = values.last().map_or(span, |last| span.to(*last));
        if name == "directory" && self.parsed.clauses[clause] == "server" {
            let named = self.files.text(values[0]).to_owned();
            if Path::new(&named).is_absolute() {
                self.folders.insert(0, self.files.below_root(Path::new(&named)));
                self.folders.truncate(2);
            }
        }
        self.parsed.statements.push(Statement { name, values, span, clause });
        Ok(())
    }

    /// The next value.
    fn value(&self, name: &str, of: Span, cursor: &mut Cursor) -> Result<Span, Error> {
        let bytes = self.files.list()[cursor.file as usize].text.as_bytes();
        if !cursor.skip(bytes) {
            return Err(self.files.error(of, &format!("{name} lacks a value")));
        }
        let start = cursor.at;
        if let quote @ (b'"' | b'\'') = bytes[start] {
            cursor.at += 1;
            loop {
                match bytes.get(cursor.at) {
                    None | Some(b'\n') => {
                        return Err(self
                            .files
                            .error(cursor.span(start, start + 1), "this quoted value does not end on its line"));
                    }
                    Some(byte) if *byte == quote => break,
                    Some(_) => cursor.at += 1,
                }
            }
            cursor.at += 1;
            return Ok(cursor.span(start + 1, cursor.at - 1));
        }
        while let Some(byte) = bytes.get(cursor.at) {
            match byte {
                b'"' | b'\'' => break,
                b'\\' if cursor.at + 1 < bytes.len() => cursor.at += 2,
                byte if byte.is_ascii_whitespace() => break,
                _ => cursor.at += 1,
            }
        }
        let mut end = cursor.at.min(bytes.len());
        // A span must end between characters.
        while !self.files.list()[cursor.file as usize].text.is_char_boundary(end) {
            end += 1;
        }
        cursor.at = end;
        let value = cursor.span(start, end);
        // A missing value takes the name of the next statement, which then is an error.
        let text = self.files.text(value);
        if let Some(word) = text.strip_suffix(':')
            && [names::CLAUSES, names::ONE, names::TWO, names::THREE].iter().any(|list| list.contains(&word))
        {
            return Err(self.files.error(of, &format!("{name} lacks a value")));
        }
        Ok(value)
    }

    fn include(&mut self, value: Span, span: Span, depth: usize) -> Result<(), Error> {
        if depth >= ACL_DEPTH {
            return Err(self.files.error(value, &format!("more than {ACL_DEPTH} includes inside each other")));
        }
        let named = self.files.text(value).to_owned();
        if Style::Unbound.is_pattern(&named) {
            let found = pattern::matching(self.files, Style::Unbound, &named, &self.folders);
            // A pattern may match nothing; the server continues as well.
            let Some(found) = found.map_err(|what| self.files.error(value, &what))? else {
                self.parsed.missing.push(span);
                return Ok(());
            };
            for path in found {
                match self.files.include_found(path) {
                    Ok(Some(file)) => self.file(file, depth + 1)?,
                    Ok(None) => self.parsed.missing.push(span),
                    Err(what) => return Err(self.files.error(value, &what)),
                }
            }
            return Ok(());
        }
        match self.files.include(&named, &self.folders) {
            Ok(Some(file)) => self.file(file, depth + 1),
            Ok(None) => {
                self.parsed.missing.push(span);
                Ok(())
            }
            Err(what) => Err(self.files.error(value, &what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Files, Parsed), Error> {
        let mut files = Files::new(None);
        let first = files.open_text("unbound.conf", text)?;
        let parsed = parse(&mut files, first)?;
        Ok((files, parsed))
    }

    #[test]
    fn values_are_quoted_or_not_and_may_stand_on_the_next_line() {
        let text = "server: # one\n interface:10.0.0.1\n access-control: 10.0.0.0/8#x\n\tallow\n local-data: 'a. A 10.0.0.1' # x\nview:\n name: \"v\"\n";
        let (files, parsed) = parsed(text).unwrap();
        assert_eq!(parsed.clauses, ["server", "view"]);
        let shown: Vec<Vec<&str>> = parsed
            .statements
            .iter()
            .map(|statement| statement.values.iter().map(|value| files.text(*value)).collect())
            .collect();
        assert_eq!(shown, [vec!["10.0.0.1"], vec!["10.0.0.0/8#x", "allow"], vec!["a. A 10.0.0.1"], vec!["v"]]);
        assert_eq!((files.line(parsed.statements[1].span), parsed.statements[3].clause), (3, 1));
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        for (text, place, what) in [
            ("server:\n acces-control: 10.0.0.0/8 allow", "unbound.conf:2:2", "perhaps access-control is meant"),
            ("access-control: 10.0.0.0/8 allow", "unbound.conf:1:1", "in a clause"),
            ("server:\n access-control: 10.0.0.0/8\n verbosity: 1", "unbound.conf:2:2", "lacks a value"),
            ("server:\n access-control: 10.0.0.0/8", "unbound.conf:2:2", "lacks a value"),
            ("server:\n access-control 10.0.0.0/8 allow", "unbound.conf:2:2", "followed by a colon"),
            ("server:\n local-data: \"a. A 1.2.3.4\n", "unbound.conf:2:14", "does not end"),
            ("server:\n verbosity: 1 2", "unbound.conf:2:15", "followed by a colon"),
            (
                "server:\n verbosity: 1\nview:\n access-control: 10.0.0.0/8 allow",
                "unbound.conf:4:2",
                "not stand in view:",
            ),
            ("server:\n for-downstream: yes", "unbound.conf:2:2", "not stand in server:"),
            ("server:\n }", "unbound.conf:2:2", "followed by a colon"),
        ] {
            let error = parsed(text).map(|_| ()).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("error[E-ACL]: {place}: ")) && error.contains(what),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn patterns_and_clauses_of_included_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let main = write(
            "etc/unbound.conf",
            "include-toplevel: \"/etc/conf.d/*.conf\"\nserver:\n include: \"/etc/more\"\n verbosity: 2\n include: /etc/none*.conf\n",
        );
        write("etc/conf.d/b.conf", "server:\n access-control: 10.0.0.0/8 refuse\n");
        write("etc/conf.d/a.conf", "server:\n access-control: 10.0.0.0/8 allow\n");
        write("etc/conf.d/.c.conf", "broken");
        write("etc/more", "access-control: 11.0.0.0/8 allow");
        let mut files = Files::new(Some(folder.path()));
        let first = files.open(&main).unwrap();
        let parsed = parse(&mut files, first).unwrap();
        let shown: Vec<&str> =
            parsed.statements.iter().map(|statement| files.text(*statement.values.last().unwrap())).collect();
        assert_eq!(shown, ["allow", "refuse", "allow", "2"]);
        assert!(parsed.missing.is_empty());
        // On the server, a folder that is missing here may contain anything.
        std::fs::rename(folder.path().join("etc/conf.d"), folder.path().join("etc/other.d")).unwrap();
        let mut files = Files::new(Some(folder.path()));
        let first = files.open(&main).unwrap();
        let parsed = parse(&mut files, first).unwrap();
        let missing: Vec<&str> = parsed.missing.iter().map(|span| files.text(*span)).collect();
        assert_eq!(missing, ["include-toplevel: \"/etc/conf.d/*.conf"]);
    }
}
