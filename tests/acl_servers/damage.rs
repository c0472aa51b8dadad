//! A damaged configuration gives an error with its place, or a configuration that decides; never a panic.

use super::grammar::{self, Dialect, Random};
use super::{load, predicted, servers};
use dnsrefused::expect::acl::{Acl, Word};

/// A configuration with one to three bytes, words or lines changed, left out, doubled or moved.
fn damage(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..=random.below(3) {
        let lines: Vec<&str> = text.lines().collect();
        let at = |random: &mut Random| {
            let mut at = random.below(text.len().max(1));
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        text = match random.below(9) {
            // A byte is left out, doubled, or becomes another one.
            0 => {
                let at = at(random);
                format!("{}{}", &text[..at], text[at..].chars().skip(1).collect::<String>())
            }
            1 => {
                let at = at(random);
                let other = random.one(&[
                    "{", "}", ";", "!", "\"", "'", "#", "/", "*", "\\", "\0", "\u{202e}", ":", ".", "9", "x", "\n", " ",
                ]);
                format!("{}{other}{}", &text[..at], &text[at..])
            }
            2 => {
                let at = at(random);
                let other = random.one(&["{", "}", ";", "!", "x", "0", " "]);
                format!("{}{other}{}", &text[..at], text[at..].chars().skip(1).collect::<String>())
            }
            // It ends early.
            3 => text[..at(random)].to_owned(),
            // A line is left out, doubled, or stands elsewhere.
            4..=6 if !lines.is_empty() => {
                let mut lines = lines.clone();
                let from = random.below(lines.len());
                let line = lines[from];
                match random.below(3) {
                    0 => drop(lines.remove(from)),
                    1 => lines.insert(from, line),
                    _ => {
                        lines.remove(from);
                        let to = random.below(lines.len() + 1);
                        lines.insert(to, line);
                    }
                }
                lines.join("\n") + "\n"
            }
            // A word becomes another one of the text.
            _ => {
                let words: Vec<&str> = text.split_whitespace().collect();
                if words.is_empty() {
                    continue;
                }
                let (one, other) = (words[random.below(words.len())], words[random.below(words.len())]);
                text.replacen(one, other, 1)
            }
        };
    }
    text
}

#[test]
fn damaged_configurations_are_errors_with_their_place_or_decide() {
    let (mut errors, mut loaded) = (0, 0);
    for dialect in Dialect::ALL {
        let mut random = Random::new(20_251_231);
        for _ in 0..600 {
            let whole = grammar::configuration(dialect, &mut random);
            let text = damage(&whole, &mut random);
            match Acl::from_text(dialect.argument(), &text, &servers()) {
                Ok(acl) => {
                    loaded += 1;
                    for question in grammar::questions(dialect, &mut random).iter().take(10) {
                        let (word, why) = predicted(&acl, question);
                        assert!(
                            word != Word::Unknown || !why.starts_with("None"),
                            "unknown without a reason: {question}"
                        );
                    }
                }
                Err(error) => {
                    errors += 1;
                    assert_eq!(error.exit_code(), 2);
                    let line = error.to_string();
                    let place = line.split(": ").nth(1).unwrap_or_default();
                    let numbers: Vec<&str> = place.rsplit(':').take(2).collect();
                    let located = numbers.len() == 2
                        && numbers.iter().all(|number| number.parse::<u64>().is_ok_and(|number| number > 0));
                    assert!(located, "{line}\n{text}");
                    assert!(error.shown.is_some(), "{line}");
                    assert!(!line.contains('\n') && line.len() < 600, "{line}");
                }
            }
        }
    }
    assert!(errors > 400 && loaded > 50, "{errors} errors, {loaded} loaded");
}

/// What the servers' own checkers refuse, and this tool reads over: mistakes in statements that say nothing of access.
#[test]
fn the_servers_own_checkers_refuse_little_more() {
    if std::env::var_os("DNSREFUSED_LAB").is_none() {
        println!("skipped: DNSREFUSED_LAB is not set");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for dialect in Dialect::ALL {
        let checker = if dialect == Dialect::Bind { "named-checkconf" } else { "unbound-checkconf" };
        let path = folder.path().join("checked.conf");
        let mut random = Random::new(20_251_231);
        let mut more = Vec::new();
        for _ in 0..600 {
            let text = damage(&grammar::configuration(dialect, &mut random), &mut random);
            if Acl::from_text(dialect.argument(), &text, &servers()).is_err() {
                continue;
            }
            std::fs::write(&path, &text).expect("a file");
            let Ok(output) = std::process::Command::new(checker).arg(&path).current_dir(folder.path()).output() else {
                println!("skipped: {checker} is not installed");
                return;
            };
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                more.push(String::from_utf8_lossy(&said).lines().take(2).collect::<Vec<_>>().join(" | "));
            }
        }
        println!("{checker} refuses {} more:\n{}", more.len(), more.join("\n"));
        // Users, interfaces and modules that the machine does not have are among them.
        assert!(more.len() <= 20, "{checker}: {}", more.len());
    }
}

#[test]
fn what_is_undamaged_decides_everything() {
    for dialect in Dialect::ALL {
        let mut random = Random::new(7);
        for _ in 0..100 {
            let acl = load(dialect, &grammar::configuration(dialect, &mut random));
            for question in grammar::questions(dialect, &mut random) {
                let (word, why) = predicted(&acl, &question);
                assert_ne!(word, Word::Unknown, "{question} {why}");
            }
        }
    }
}
