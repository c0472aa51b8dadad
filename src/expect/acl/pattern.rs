//! Expands patterns in include statements to file names as glob(3) does for the servers (measured with BIND 9.18 and
//! Unbound 1.17).

use super::text::Files;
use crate::config::ACL_FILES;
use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest file name looked up, as on Linux.
const LONGEST: usize = 4096;

/// The dialect of patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `*`, `?` and `[...]`.
    Bind,
    /// Also `{this,that}`, and `~` at the beginning.
    Unbound,
}

impl Style {
    /// True when a name is a pattern.
    pub fn is_pattern(self, named: &str) -> bool {
        named.contains(['*', '?', '[']) || (self == Style::Unbound && named.contains(['{', '~']))
    }
}

/// The files that a pattern names, sorted by name: below the root when it is absolute, else in the first of `folders`
/// that has any. `Ok(None)` when a folder that would be searched is missing here, so that what the server finds is not
/// known.
pub fn matching(
    files: &mut Files,
    style: Style,
    pattern: &str,
    folders: &[PathBuf],
) -> Result<Option<Vec<PathBuf>>, String> {
    if pattern.len() > LONGEST {
        return Err(format!("a name of more than {LONGEST} bytes"));
    }
    let alternatives = match style {
        Style::Bind => vec![pattern.to_owned()],
        Style::Unbound => alternatives(pattern)?,
    };
    let mut all_searched = true;
    for folder in folders {
        let (mut found, mut searched) = (Vec::new(), true);
        for alternative in &alternatives {
            // The file does not say whose home this is.
            let home = style == Style::Unbound && alternative.starts_with('~');
            match if home { None } else { search(files, Path::new(alternative), folder)? } {
                Some(more) => found.extend(more),
                None => searched = false,
            }
        }
        if searched && !found.is_empty() {
            return Ok(Some(found));
        }
        all_searched &= searched;
    }
    Ok(all_searched.then(Vec::new))
}

/// The files named by a pattern without braces; a relative one is looked up in this folder.
fn search(files: &mut Files, pattern: &Path, folder: &Path) -> Result<Option<Vec<PathBuf>>, String> {
    // The path before the pattern has no wildcards, whatever characters it holds.
    let (base, inside) = if pattern.is_absolute() {
        let base = files.below_root(Path::new("/"));
        let inside = files.below_root(pattern);
        let inside = inside.strip_prefix(&base).unwrap_or(pattern).to_path_buf();
        (base, inside)
    } else {
        (folder.to_path_buf(), pattern.to_path_buf())
    };
    let mut found = vec![base];
    // True when folders were chosen from existing ones by a wildcard.
    let mut chosen = false;
    for part in inside.components() {
        let Ok(pieces) = pieces(part.as_os_str().as_bytes()) else { return Ok(None) };
        if let Some(literal) = literal(&pieces) {
            for path in &mut found {
                path.push(OsStr::from_bytes(&literal));
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let entries = match files.entries(folder) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) && (chosen || error.kind() == ErrorKind::NotADirectory) => continue,
                Err(_) => return Ok(None),
            };
            let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
            next.extend(names.filter(|name| fits(&pieces, name.as_bytes())).map(|name| folder.join(name)));
            if next.len() > ACL_FILES {
                return Err(format!("more than {ACL_FILES} names that fit this pattern"));
            }
        }
        (found, chosen) = (next, true);
    }
    let mut there = Vec::with_capacity(found.len());
    for path in found {
        match files.is_there(&path) {
            Ok(true) => there.push(path),
            Ok(false) if chosen || path.parent().is_none_or(|parent| parent == Path::new("") || parent.exists()) => {}
            _ => return Ok(None),
        }
    }
    there.sort_by(|one, two| one.as_os_str().cmp(two.as_os_str()));
    Ok(Some(there))
}

/// True when nothing has this name.
pub fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Expands the braces of a pattern to all alternatives, in order.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    let mut left = vec![pattern.to_owned()];
    let mut done = Vec::new();
    let mut steps = 0;
    while let Some(next) = left.pop() {
        steps += 1;
        if steps > 2 * ACL_FILES {
            return Err(format!("more than {ACL_FILES} alternatives in braces"));
        }
        let Some(cuts) = first_braces(&next) else {
            done.push(next);
            continue;
        };
        let (before, after) = (&next[..cuts[0]], &next[cuts[cuts.len() - 1] + 1..]);
        left.extend(cuts.windows(2).rev().map(|pair| format!("{before}{}{after}", &next[pair[0] + 1..pair[1]])));
    }
    Ok(done)
}

/// Positions of the first opening brace, its commas and its closing brace; `None` when it is not closed.
fn first_braces(pattern: &str) -> Option<Vec<usize>> {
    let (mut cuts, mut depth, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => {
                depth += 1;
                if depth == 1 {
                    cuts.push(at);
                }
            }
            b',' if depth == 1 => cuts.push(at),
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    cuts.push(at);
                    return Some(cuts);
                }
            }
            _ => {}
        }
    }
    None
}

/// A piece of a pattern for one component of a path.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Any bytes, or none.
    Run,
    /// Any byte.
    Any,
    /// This byte.
    Byte(u8),
    /// A byte in one of these ranges, or in none of them.
    Set { inside: bool, ranges: Vec<(u8, u8)> },
}

/// A set contains a named class such as `[:digit:]`, whose members depend on the server's locale.
#[derive(Debug)]
struct ByName;

/// Splits a component of a path into pieces.
fn pieces(part: &[u8]) -> Result<Vec<Piece>, ByName> {
    let mut pieces = Vec::with_capacity(part.len());
    let mut at = 0;
    while let Some(byte) = part.get(at) {
        at += 1;
        pieces.push(match byte {
            b'*' => Piece::Run,
            b'?' => Piece::Any,
            b'\\' if at < part.len() => {
                at += 1;
                Piece::Byte(part[at - 1])
            }
            b'[' => match set(&part[at..])? {
                Some((piece, length)) => {
                    at += length;
                    piece
                }
                // Not closed: a bracket like any other byte.
                None => Piece::Byte(b'['),
            },
            byte => Piece::Byte(*byte),
        });
    }
    Ok(pieces)
}

/// Parses a set after its opening bracket, and returns it with its length; `None` when it is not closed.
fn set(text: &[u8]) -> Result<Option<(Piece, usize)>, ByName> {
    let mut at = usize::from(matches!(text.first(), Some(b'!' | b'^')));
    let inside = at == 0;
    let start = at;
    let mut ranges = Vec::new();
    // One byte, perhaps escaped by a backslash.
    let byte = |at: &mut usize| {
        *at += usize::from(text.get(*at) == Some(&b'\\'));
        *at += 1;
        text.get(*at - 1).copied()
    };
    loop {
        match text.get(at..).unwrap_or_default() {
            [] => return Ok(None),
            [b']', ..] if at > start => return Ok(Some((Piece::Set { inside, ranges }, at + 1))),
            [b'[', b':' | b'=' | b'.', ..] => return Err(ByName),
            _ => {}
        }
        let Some(first) = byte(&mut at) else { return Ok(None) };
        let is_range = text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|next| *next != b']');
        let mut last = first;
        if is_range {
            at += 1;
            match byte(&mut at) {
                Some(byte) => last = byte,
                None => return Ok(None),
            }
        }
        ranges.push((first, last));
    }
}

/// The literal name of pieces without wildcards.
fn literal(pieces: &[Piece]) -> Option<Vec<u8>> {
    pieces.iter().map(|piece| if let Piece::Byte(byte) = piece { Some(*byte) } else { None }).collect()
}

/// True when the pieces match a name. A dot at its start must be matched literally.
fn fits(pieces: &[Piece], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pieces.first() != Some(&Piece::Byte(b'.')) {
        return false;
    }
    let takes = |piece: &Piece, byte: u8| match piece {
        Piece::Run => false,
        Piece::Any => true,
        Piece::Byte(this) => *this == byte,
        Piece::Set { inside, ranges } => ranges.iter().any(|(first, last)| (*first..=*last).contains(&byte)) == *inside,
    };
    let (mut at, mut from) = (0, 0);
    // Position of the last `*`, and how much of the name it has taken so far.
    let mut run: Option<(usize, usize)> = None;
    while from < name.len() {
        if pieces.get(at) == Some(&Piece::Run) {
            run = Some((at, from));
            at += 1;
        } else if pieces.get(at).is_some_and(|piece| takes(piece, name[from])) {
            at += 1;
            from += 1;
        } else if let Some((back, tried)) = run {
            run = Some((back, tried + 1));
            at = back + 1;
            from = tried + 1;
        } else {
            return false;
        }
    }
    pieces[at..].iter().all(|piece| *piece == Piece::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pattern names in a folder with these files, with the folder's own name left out.
    fn named(style: Style, pattern: &str) -> Option<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["acl1.conf", "acl2.conf", "acl-.conf", ".acl3.conf", "a/acl.conf", "a-b/acl.conf", "empty/x", "d.conf/x"]
        {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let mut files = Files::new(None);
        let absolute = pattern.replace('@', folder.path().to_str().unwrap());
        let found = matching(&mut files, style, &absolute, &[folder.path().to_path_buf()]).unwrap()?;
        Some(
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned()).collect(),
        )
    }

    /// Expected: what unbound-checkconf 1.17 read of the same files, and named-checkconf 9.18 for patterns of BIND.
    /// Where it read nothing although a folder is not there, only our copy may lack it: then nothing is known.
    #[test]
    fn patterns_name_what_the_servers_read() {
        for (pattern, expected) in [
            ("@/acl[12].conf", Some(&["acl1.conf", "acl2.conf"][..])),
            ("@/acl[^1].conf", Some(&["acl-.conf", "acl2.conf"])),
            ("@/acl[!1-].conf", Some(&["acl2.conf"])),
            ("@/acl[0-9].conf", Some(&["acl1.conf", "acl2.conf"])),
            ("@/acl[]1].conf", Some(&["acl1.conf"])),
            ("@/acl[12.conf", Some(&[])),
            ("@/*/acl.conf", Some(&["a-b/acl.conf", "a/acl.conf"])),
            ("@/a*/ac?.c*", Some(&["a-b/acl.conf", "a/acl.conf"])),
            ("@/*/none/*.conf", Some(&[])),
            ("@/empty/*.conf", Some(&[])),
            ("@/acl1.conf/*.conf", Some(&[])),
            ("@/acl\\1*.conf", Some(&["acl1.conf"])),
            ("@/*acl3.conf", Some(&[])),
            ("@/.*3.conf", Some(&[".acl3.conf"])),
            ("acl?.conf", Some(&["acl-.conf", "acl1.conf", "acl2.conf"])),
            ("./a/../acl[1].conf", Some(&["a/../acl1.conf"])),
            ("@/none/*.conf", None),
            ("@/none/*/x.conf", None),
            ("@/acl[[:digit:]].conf", None),
        ] {
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(named(Style::Unbound, pattern), expected, "{pattern}");
            assert_eq!(named(Style::Bind, pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn braces_and_homes_are_unbounds() {
        for (pattern, expected) in [
            ("@/acl{2,1,9}.conf", Some(&["acl2.conf", "acl1.conf"][..])),
            ("@/{a{-b,},empty}/acl.conf", Some(&["a-b/acl.conf", "a/acl.conf"])),
            ("@/acl\\{2,1}.conf", Some(&[])),
            ("@/acl{1.conf", Some(&[])),
            ("@/{none,empty}/*.conf", None),
            ("@/none/{a,b}.conf", None),
            ("~/acl*.conf", None),
        ] {
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(named(Style::Unbound, pattern), expected, "{pattern}");
        }
        assert_eq!(named(Style::Bind, "@/acl{1,2}.con*"), Some(Vec::new()));
        assert!(!Style::Bind.is_pattern("a{b,c}") && Style::Unbound.is_pattern("a{b,c}"));
    }

    #[test]
    fn patterns_have_bounds() {
        let mut files = Files::new(None);
        let mut fails =
            |pattern: String| matching(&mut files, Style::Unbound, &pattern, &[PathBuf::new()]).unwrap_err();
        assert!(fails("{a,b}".repeat(20)).contains("alternatives"));
        assert!(fails("*".repeat(5000)).contains("4096 bytes"));
        // Nested braces end, too.
        let nested = format!("{}{}", "{".repeat(2000), "}".repeat(2000));
        assert_eq!(matching(&mut files, Style::Unbound, &nested, &[PathBuf::from("/")]), Ok(Some(vec!["/".into()])));
    }
}
