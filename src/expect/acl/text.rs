//! Text of configuration files with places: [`Files`] reads them (below `--root` when given), knows the line and column
//! of every [`Span`], and turns one into an error that shows it.

use crate::capture::Timestamp;
use crate::capture::open::is_capture;
use crate::config::{ACL_FILE_BYTES, ACL_FILES, ACL_TOTAL_BYTES};
use crate::error::{Error, ErrorKind, escape_text};
use crate::expect::acl::pattern::is_absent;
use crate::expect::{open, open_regular};
use ariadne::{CharSet, Config, IndexType, Label, Report, ReportKind, Source};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A range of text in a file, as byte offsets from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Index of the file among those read.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// From the start of this span to the end of `last`, in the same file.
    #[must_use]
    pub fn to(self, last: Span) -> Span {
        if self.file == last.file { Span { end: last.end.max(self.end), ..self } } else { self }
    }
}

/// A file that was read.
#[derive(Debug)]
pub struct SourceFile {
    /// Its name as the user would look for it.
    pub name: String,
    /// The path from which it was read.
    pub path: PathBuf,
    /// Its text; invalid UTF-8 is replaced.
    pub text: String,
    /// When it was last changed, when that is known.
    pub modified: Option<Timestamp>,
    /// SHA-256 of its bytes as they were read.
    pub sha256: [u8; 32],
    lines: Vec<u32>,
}

/// A file as reports cite it, to show which bytes were evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    /// Its name, escaped.
    pub name: String,
    /// When it was last changed, when that is known.
    pub modified: Option<Timestamp>,
    /// SHA-256 of its bytes in hexadecimal digits, as `sha256sum` prints it.
    pub sha256: String,
}

impl Cited {
    fn of(file: &SourceFile) -> Self {
        let sha256 = file.sha256.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Self {
            name: escape_text(&file.name),
            modified: file.modified,
            sha256: sha256.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect(),
        }
    }
}

impl fmt::Display for Cited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(time) = self.modified {
            write!(f, ", modified {}", time.to_rfc3339(0))?;
        }
        write!(f, ", SHA-256 {}", self.sha256)
    }
}

/// Reads files and their spans.
struct Content {
    text: String,
    modified: Option<Timestamp>,
    sha256: [u8; 32],
}

impl Content {
    fn of_text(text: String) -> Self {
        let sha256 = Sha256::digest(text.as_bytes()).into();
        Self { text, modified: None, sha256 }
    }
}

/// How many files and bytes were read, and what they say.
#[derive(Debug, Default)]
pub struct Files {
    list: Vec<SourceFile>,
    root: Option<PathBuf>,
    bytes: u64,
    /// Texts that replace files on disk, to try out a change.
    instead: BTreeMap<PathBuf, String>,
    /// Paths at which included files were missing, and folders that were searched for them.
    looked: BTreeSet<PathBuf>,
    /// Included files that exist but may not be read.
    forbidden: BTreeSet<PathBuf>,
    /// A flag, set by a signal, that ends the reading.
    interrupted: Option<Arc<AtomicBool>>,
}

impl Files {
    /// An empty set; names in include statements are looked up below `root`, if given.
    pub fn new(root: Option<&Path>) -> Self {
        Self { root: root.map(Path::to_path_buf), ..Self::default() }
    }

    /// Replaces files on disk by these texts.
    #[must_use]
    pub fn with_texts(mut self, texts: BTreeMap<PathBuf, String>) -> Self {
        self.instead = texts;
        self
    }

    /// Lets a signal that sets this flag end reading and compiling, which takes seconds for long lists.
    #[must_use]
    pub fn until(mut self, interrupted: Option<Arc<AtomicBool>>) -> Self {
        self.interrupted = interrupted;
        self
    }

    /// To be called at every statement: an error when the reading was ended.
    pub fn go_on(&self, at: Span) -> Result<(), Error> {
        let interrupted = self.interrupted.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
        if interrupted { Err(self.error(at, "a signal ended the reading here")) } else { Ok(()) }
    }

    /// The files read so far.
    pub fn list(&self) -> &[SourceFile] {
        &self.list
    }

    /// Reads the main file.
    pub fn open(&mut self, path: &Path) -> Result<u32, Error> {
        let name = path.to_string_lossy().into_owned();
        let failed = |detail: String| Error::new(ErrorKind::Usage, "E-ACL", name.clone(), detail);
        let content =
            self.read(path).map_err(|error| failed(format!("cannot be read: {error}; nothing was evaluated")))?;
        self.add(name.clone(), path.to_path_buf(), content).map_err(failed)
    }

    /// Adds text that is in no file.
    pub fn open_text(&mut self, name: &str, text: &str) -> Result<u32, Error> {
        self.add(name.to_owned(), PathBuf::from(name), Content::of_text(text.to_owned()))
            .map_err(|detail| Error::new(ErrorKind::Usage, "E-ACL", name, detail))
    }

    /// Reads an included file: below the root when its name is absolute, else in the first of `folders` that has it.
    /// `Ok(None)` when there is no such file.
    pub fn include(&mut self, named: &str, folders: &[PathBuf]) -> Result<Option<u32>, String> {
        for path in self.candidates(named, folders) {
            if let Some(file) = self.include_found(path)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Reads an included file at a known path. A file that may not be read counts as missing.
    pub fn include_found(&mut self, path: PathBuf) -> Result<Option<u32>, String> {
        match self.read(&path) {
            Ok(content) => {
                let name = path.to_string_lossy().into_owned();
                self.add(name, path, content).map(Some)
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(error) => {
                self.note_forbidden(&error, &path);
                self.look_for(path);
                Ok(None)
            }
        }
    }

    /// Remembers a path at which a file may appear later.
    fn look_for(&mut self, place: PathBuf) {
        if self.looked.len() < ACL_FILES {
            self.looked.insert(place);
        }
    }

    /// The entries of a folder that is searched for included files.
    pub fn entries(&mut self, folder: &Path) -> std::io::Result<std::fs::ReadDir> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        self.look_for(folder.to_path_buf());
        let entries = std::fs::read_dir(folder);
        if let Err(error) = &entries {
            self.note_forbidden(error, folder);
        }
        entries
    }

    /// True when the path exists, even as a dangling link.
    pub fn is_there(&mut self, path: &Path) -> std::io::Result<bool> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) => {
                self.note_forbidden(&error, path);
                self.look_for(path.to_path_buf());
                if is_absent(&error) { Ok(false) } else { Err(error) }
            }
        }
    }

    fn note_forbidden(&mut self, error: &std::io::Error, path: &Path) {
        if error.kind() == std::io::ErrorKind::PermissionDenied && self.forbidden.len() < ACL_FILES {
            self.forbidden.insert(path.to_path_buf());
        }
    }

    /// Paths at which included files were missing, and folders that were searched: when something changes there, the
    /// configuration may change.
    pub fn looked(&self) -> impl Iterator<Item = &Path> {
        self.looked.iter().map(PathBuf::as_path)
    }

    /// Included files, and folders of such files, that exist but may not be read.
    pub fn forbidden(&self) -> impl Iterator<Item = &Path> {
        self.forbidden.iter().map(PathBuf::as_path)
    }

    /// True when both have read the same bytes from the same files with the same times.
    pub fn are_as(&self, other: &Files) -> bool {
        let facts = |file: &SourceFile| (file.path.clone(), file.sha256, file.modified);
        self.list.iter().map(facts).eq(other.list.iter().map(facts)) && self.forbidden == other.forbidden
    }

    /// The paths that a name in a configuration may mean.
    pub fn candidates(&self, named: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
        let path = Path::new(named);
        if path.is_absolute() {
            return vec![self.below_root(path)];
        }
        folders.iter().map(|folder| folder.join(path)).collect()
    }

    /// Maps an absolute path of the server to this host.
    pub fn below_root(&self, path: &Path) -> PathBuf {
        let Some(root) = &self.root else { return path.to_path_buf() };
        let mut inside = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(part) => inside.push(part),
                Component::ParentDir => drop(inside.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        root.join(inside)
    }

    /// The files read so far, as they are cited; the main one first.
    pub fn cited(&self) -> Vec<Cited> {
        self.list.iter().map(Cited::of).collect()
    }

    fn read(&self, path: &Path) -> std::io::Result<Content> {
        if let Some(text) = self.instead.get(path) {
            return Ok(Content::of_text(text.clone()));
        }
        let too_large = |most: u64| {
            let text = format!("more than {most} bytes of configuration");
            std::io::Error::new(std::io::ErrorKind::InvalidData, text)
        };
        if self.list.len() >= ACL_FILES {
            let text = format!("more than {ACL_FILES} included files");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
        let mut bytes = Vec::new();
        // An included file is read at once, or not at all.
        let file = if self.list.is_empty() { open(path) } else { open_regular(path) }?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        file.take(ACL_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > ACL_FILE_BYTES {
            return Err(too_large(ACL_FILE_BYTES));
        }
        if is_capture(&bytes) {
            let text = "this is a capture, not a server's configuration: captures are named without an option";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
        if self.bytes + bytes.len() as u64 > ACL_TOTAL_BYTES {
            return Err(too_large(ACL_TOTAL_BYTES));
        }
        Ok(Content {
            sha256: Sha256::digest(&bytes).into(),
            modified: since.map(|since| Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))),
            text: match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            },
        })
    }

    fn add(&mut self, name: String, path: PathBuf, content: Content) -> Result<u32, String> {
        let Content { text, modified, sha256 } = content;
        if text.len() as u64 > ACL_TOTAL_BYTES {
            return Err(format!("more than {ACL_TOTAL_BYTES} bytes"));
        }
        self.bytes += text.len() as u64;
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.list.push(SourceFile { name, path, text, modified, sha256, lines });
        Ok(self.list.len() as u32 - 1)
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.list
            .get(span.file as usize)
            .and_then(|file| file.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// The file's name of a span.
    pub fn name(&self, span: Span) -> &str {
        self.list.get(span.file as usize).map_or("", |file| &file.name)
    }

    /// The 1-based line of a span.
    pub fn line(&self, span: Span) -> u64 {
        self.line_index(span) as u64 + 1
    }

    fn line_index(&self, span: Span) -> usize {
        let lines = self.list.get(span.file as usize).map_or(&[][..], |file| &file.lines);
        lines.partition_point(|start| *start <= span.start).saturating_sub(1)
    }

    /// The whole line a span starts in, without its end.
    pub fn whole_line(&self, span: Span) -> Span {
        let Some(file) = self.list.get(span.file as usize) else { return span };
        let index = self.line_index(span);
        let start = file.lines[index];
        let next = file.lines.get(index + 1).copied().unwrap_or(file.text.len() as u32);
        let text = file.text.get(start as usize..next as usize).unwrap_or("");
        Span { file: span.file, start, end: start + text.trim_end_matches(['\n', '\r']).len() as u32 }
    }

    /// The line of a span for people: trimmed, escaped, and not longer than a line on a screen.
    pub fn show_line(&self, span: Span) -> String {
        const LONGEST: usize = 120;
        let line = self.text(self.whole_line(span)).trim();
        // A list may be one long line of which each element is shown, so only the shown part is looked at.
        let mut shown: Vec<char> = line.chars().take(LONGEST + 1).map(|c| if c == '\t' { ' ' } else { c }).collect();
        if shown.len() > LONGEST {
            shown.truncate(LONGEST - 3);
            shown.extend(['.'; 3]);
        }
        escape_text(&shown.into_iter().collect::<String>())
    }

    /// The note on an include statement whose file is missing here.
    pub fn says_missing(&self, span: Span) -> String {
        format!(
            "{}:{}: the included file is not here (--root DIR says where absolute names are), so that nothing is decided",
            escape_text(self.name(span)),
            self.line(span)
        )
    }

    /// An error that names file, line and column, and shows the place.
    pub fn error(&self, span: Span, message: &str) -> Error {
        let line = self.whole_line(span);
        let before = self.text(Span { end: span.start, ..line });
        let column = before.chars().count() + 1;
        let object = format!("{}:{}:{column}", self.name(span), self.line(span));
        let detail = format!("{message}; nothing was evaluated");
        Error::new(ErrorKind::Usage, "E-ACL", object, detail).showing(self.excerpt(span, message))
    }

    /// The line with the span marked below it.
    fn excerpt(&self, span: Span, message: &str) -> String {
        /// Characters shown before and after the mark of a very long line.
        const AROUND: usize = 70;
        let line = self.whole_line(span);
        let plain = |text: &str| -> Vec<char> {
            text.chars().map(|c| if escape_text(&c.to_string()).chars().count() == 1 { c } else { ' ' }).collect()
        };
        let mut before = plain(self.text(Span { end: span.start.min(line.end), ..line }));
        let marked = plain(self.text(Span { start: span.start, end: span.end.clamp(span.start, line.end), ..line }));
        let mut after = plain(self.text(Span { start: span.end.clamp(span.start, line.end), ..line }));
        before.drain(..before.len().saturating_sub(AROUND));
        let marked: Vec<char> = marked.into_iter().take(AROUND).collect();
        after.truncate(AROUND);
        // Empty lines before the text make its line number right; a very long file does without.
        let above = Some(self.line_index(span)).filter(|lines| *lines <= 100_000).unwrap_or(0);
        let start = above + before.len();
        let end = start + marked.len().max(1);
        let mut shown: String = "\n".repeat(above);
        shown.extend(before.into_iter().chain(marked).chain(after));
        while shown.chars().count() < end {
            shown.push(' ');
        }
        let id = escape_text(self.name(span));
        let config = Config::default().with_color(false).with_char_set(CharSet::Ascii).with_index_type(IndexType::Char);
        let label = Label::new((id.clone(), start..end)).with_message(escape_text(message));
        let report = Report::build(ReportKind::Error, (id.clone(), start..end))
            .with_config(config)
            .with_message(escape_text(message))
            .with_label(label)
            .finish();
        let source = Source::from(shown);
        let mut out = Vec::new();
        // Writing to memory cannot fail; an error would only lose the picture.
        let _ = report.write((id, source), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_columns() {
        let mut files = Files::new(None);
        let file = files.open_text("named.conf", "options {\n\u{e9}\tallow-query { 10.0.0.0/33; };\r\n};").unwrap();
        let start = files.list()[0].text.find("10.0").unwrap() as u32;
        let span = Span { file, start, end: start + 11 };
        let error = files.error(span, "not a prefix");
        assert!(error.to_string().starts_with("error[E-ACL]: named.conf:2:17: not a prefix"), "{error}");
        assert_eq!(error.exit_code(), 2);
        let shown = error.shown.as_deref().unwrap();
        assert!(shown.contains("named.conf:2:17") && shown.contains("10.0.0.0/33; };"), "{shown}");
        assert_eq!(files.show_line(span), "\u{e9} allow-query { 10.0.0.0/33; };");
    }

    #[test]
    fn a_file_is_cited_with_the_digest_of_its_bytes() {
        let mut files = Files::new(None);
        files.open_text("a\n.conf", "abc").unwrap();
        // FIPS 180-4, the example of one block.
        assert_eq!(
            files.cited()[0].to_string(),
            "a\\u{a}.conf, SHA-256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        // No UTF-8: the digest is of the bytes, not of what was made of them.
        std::fs::write(&path, b"\xff").unwrap();
        files.open(&path).unwrap();
        let cited = &files.cited()[1];
        assert_eq!(cited.sha256, "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89");
        assert!(cited.modified.is_some());
    }

    #[test]
    fn the_picture_of_a_hostile_line_stays_small_and_plain() {
        let mut files = Files::new(None);
        let text = format!("{}\u{1b}[2J{}\n", "\u{202e}".repeat(9000), "y".repeat(100_000));
        let file = files.open_text("a\u{1b}b", &text).unwrap();
        let shown = files.error(Span { file, start: 27_000, end: 27_004 }, "odd").shown.unwrap();
        assert!(shown.len() < 2000 && !shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        let end = files.list()[0].text.len() as u32;
        assert!(files.error(Span { file, start: end, end }, "the end").shown.is_some());
    }

    #[test]
    fn names_stay_below_the_root() {
        let files = Files::new(Some(Path::new("/srv/copy")));
        assert_eq!(files.below_root(Path::new("/etc/bind/../x")), Path::new("/srv/copy/etc/x"));
        assert_eq!(files.below_root(Path::new("/../../etc/passwd")), Path::new("/srv/copy/etc/passwd"));
    }
}
