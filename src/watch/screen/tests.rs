//! Pictures of the screen as text, and keys pressed on it.

use super::draw::draw;
use super::keys::Key;
use super::*;
use crate::capture::losses::InterfaceLoss;
use crate::watch::snapshot::{Loss, samples};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

const LOOK: Look = Look { color: false, unicode: true };
const USUAL: (u16, u16) = (80, 24);

fn buffer(screen: &mut Screen, snapshot: &Snapshot, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| _ = draw(frame, screen, snapshot, samples::at(41))).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of a picture, without blanks at their ends.
fn painted(screen: &mut Screen, snapshot: &Snapshot, size: (u16, u16)) -> Vec<String> {
    let buffer = buffer(screen, snapshot, size);
    let row = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..size.1).map(|y| row(y).trim_end().to_owned()).collect()
}

/// Presses keys; what the last one asks for.
fn press(screen: &mut Screen, keys: &[Key], snapshot: &Snapshot) -> Asked {
    let snapshot = Arc::new(snapshot.clone());
    keys.iter().map(|key| screen.key(*key, &snapshot, 5)).last().unwrap()
}

fn text(words: &str) -> Vec<Key> {
    words.chars().map(Key::Char).collect()
}

/// The addresses listed, in order.
fn listed(screen: &Screen, snapshot: &Snapshot) -> Vec<String> {
    screen.rows(snapshot).iter().map(|row| row.source.addr().to_string()).collect()
}

#[test]
fn what_the_server_saw_is_not_claimed_where_it_is_not_known() {
    let heading =
        |at_servers| painted(&mut Screen::new(LOOK), &Snapshot { at_servers, ..samples::snapshot() }, USUAL)[7].clone();
    assert!(heading(true).starts_with("  SOURCE THE SERVER SAW REFUSED"));
    assert!(heading(false).starts_with("  SOURCE SEEN HERE      REFUSED"));
}

#[test]
fn the_overview_on_a_terminal_of_eighty_by_twenty_four() {
    let lines = painted(&mut Screen::new(LOOK), &samples::snapshot(), USUAL);
    let wanted = [
        "dnsrefused  ns1  any                                             09:00:40Z, 40 s",
        "REFUSED 1,312 of 21,488 client queries (6.1 %), 3 sources turned away",
        "LOST: kernel 7, interface unavailable, own 0  of 83,412 packets  ring 64 MiB",
        "Refused per second, last 40 s: now 78, most 78",
        "                                                                    ▁▁▂▃▃▄▄▅▆▆▇█",
        "                                                            ▄▄▅▆▆▇██████████████",
        "                                                            ████████████████████",
        "  SOURCE THE SERVER SAW REFUSED NOW/S ANSWERED SINCE     FILE SAYS",
        "> 192.0.2.45              1,191  31.4        0 09:00:20Z refuse unbound.conf:42",
        "  192.0.2.46                118   2.0        0 09:00:20Z refuse unbound.conf:42",
        "  198.51.100.7                7     ?        3 09:00:20Z refuse unbound.conf:42",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "FINDINGS 1 critical                                             sources 1-3 of 3",
        "critical Observed: 192.0.2.45 was refused 1,187 times by 10.20.30.40 and is in",
        "  no inventory line.",
        "q quit  Enter source  s sort: now  / filter  p pause  f findings  ? help",
    ];
    assert_eq!(lines, wanted, "\n{}", lines.join("\n"));
}

#[test]
fn what_happened_last_is_said_on_every_view_and_findings_say_of_what_time_they_are() {
    let happened = |number: i64| (samples::at(number), format!("eth{number} is gone"));
    let mut snapshot = Snapshot { happened: vec![happened(30)], ..samples::snapshot() };
    let mut screen = Screen::new(LOOK);
    let lines = painted(&mut screen, &snapshot, USUAL);
    assert_eq!(lines[19], "FINDINGS 1 critical                                             sources 1-3 of 3");
    assert_eq!(lines[22], "09:00:30Z eth30 is gone");
    assert!(lines[23].starts_with("q quit"));
    // A picture that is held does not hide it.
    press(&mut screen, &text("p"), &snapshot);
    (snapshot.findings_since, snapshot.happened) = (Some(samples::at(36)), vec![happened(30), happened(31)]);
    assert_eq!(painted(&mut screen, &snapshot, USUAL)[22], "09:00:31Z eth31 is gone (1 earlier: f)");
    press(&mut screen, &text("p"), &snapshot);
    let lines = painted(&mut screen, &snapshot, USUAL);
    assert!(lines[19].starts_with("FINDINGS since 09:00:36Z 1 critical "), "{}", lines[19]);
    let none = Snapshot { findings: Vec::new(), severities: [0; 3], ..snapshot.clone() };
    assert!(painted(&mut screen, &none, USUAL).iter().any(|line| line.starts_with("No findings since 09:00:36Z ")));
    let of_interval = "Findings of the present interval, since 09:00:36Z; earlier ones are in its reports";
    for (view, lines) in [(View::Source, 1), (View::Findings, 1), (View::Help, 0)] {
        let mut screen = Screen { view, ..Screen::new(LOOK) };
        screen.selected = Some((snapshot.rows[0].source, snapshot.rows[0].server));
        let page = painted(&mut screen, &snapshot, (100, 40));
        assert_eq!(page.iter().filter(|line| *line == of_interval).count(), lines, "{view:?}");
        assert!(page[38].starts_with("09:00:31Z eth31 is gone"), "{view:?}");
        let earlier = page.iter().filter(|line| *line == "  09:00:30Z eth30 is gone").count();
        assert_eq!(earlier, usize::from(view == View::Findings), "{view:?}");
    }
}

#[test]
fn loss_and_the_answer_stand_on_every_view_and_small_windows_do_not_panic() {
    let snapshot = samples::snapshot();
    for view in [View::Overview, View::Source, View::Findings, View::Help] {
        for size in [(80, 24), (80, 4), (60, 10), (200, 60), (20, 8), (5, 3), (1, 1), (80, 1)] {
            let mut screen = Screen { view, ..Screen::new(LOOK) };
            let lines = painted(&mut screen, &snapshot, size);
            if size.0 >= 20 && size.1 >= 3 {
                assert!(
                    lines[1].starts_with("REFUSED 1,312") && lines[2].starts_with("LOST: kernel 7"),
                    "{view:?} {size:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_known_is_not_called_zero() {
    let said = |loss| painted(&mut Screen::new(LOOK), &Snapshot { loss, ..samples::snapshot() }, USUAL)[2].clone();
    let none = Loss {
        kernel_seen: Some(9),
        kernel_dropped: Some(0),
        interface_dropped: InterfaceLoss::Exactly(0),
        own_dropped: Some(0),
    };
    assert!(said(none).starts_with("No loss: kernel 0, interface 0, own 0  of 9 packets"));
    assert!(
        said(Loss { interface_dropped: InterfaceLoss::Unknown, ..none })
            .starts_with("Loss: kernel 0, interface unavailable, own 0")
    );
    assert!(
        said(Loss::default()).starts_with("Loss: kernel unavailable, interface unavailable, own unavailable  ring")
    );
}

#[test]
fn before_the_first_snapshot_and_without_refusals() {
    let lines = painted(&mut Screen::new(LOOK), &Snapshot::default(), USUAL);
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("dnsrefused  the capture begins", "No client query so far"));
    let quiet =
        Snapshot { outcomes: [5, 0, 0, 0, 0, 0, 0], rows: Vec::new(), findings: Vec::new(), ..samples::snapshot() };
    let lines = painted(&mut Screen::new(LOOK), &quiet, USUAL);
    assert_eq!(lines[1], "NOTHING REFUSED in 5 client queries");
    assert!(lines.contains(&"  Nobody was turned away".to_owned()));
    let silent = Snapshot { outcomes: [5, 0, 0, 3, 0, 0, 0], ..samples::snapshot() };
    assert_eq!(
        painted(&mut Screen::new(LOOK), &silent, USUAL)[1],
        "Nothing refused in 8 client queries, but 3 sources turned away"
    );
}

#[test]
fn sources_are_sorted_filtered_and_chosen() {
    let mut snapshot = samples::snapshot();
    snapshot.rows[1].per_second = Some(99.0);
    snapshot.rows[2].last_refused = Some(samples::at(40));
    snapshot.rows[2].outcomes[1] = 200;
    let mut screen = Screen::new(LOOK);
    let (a, b, c) = ("192.0.2.45", "192.0.2.46", "198.51.100.7");
    for (sort, order) in [("now", [b, a, c]), ("refused", [a, c, b]), ("last", [c, a, b]), ("source", [a, b, c])] {
        assert_eq!((screen.sort.name(), listed(&screen, &snapshot)), (sort, order.map(str::to_owned).to_vec()));
        press(&mut screen, &text("s"), &snapshot);
    }
    assert_eq!(screen.sort, Sort::Rate, "round again");
    // The choice stays with the source when the order changes.
    press(&mut screen, &[Key::Down, Key::Char('s')], &snapshot);
    assert_eq!(screen.place(&screen.rows(&snapshot)), 0);
    press(&mut screen, &[Key::End, Key::Down, Key::PageUp, Key::Home, Key::Down], &snapshot);
    assert_eq!(screen.place(&screen.rows(&snapshot)), 1);
    // Keys are text while a filter is typed, and every word said of a source counts.
    press(&mut screen, &text("/INTRANETq"), &snapshot);
    assert!(painted(&mut screen, &snapshot, USUAL)[23].starts_with("filter: INTRANETq_"));
    press(&mut screen, &[Key::Backspace, Key::Enter], &snapshot);
    assert_eq!(listed(&screen, &snapshot), [a]);
    assert!(painted(&mut screen, &snapshot, USUAL)[23].starts_with("filter \"INTRANET\": 1 of 3"));
    press(&mut screen, &[Key::Escape], &snapshot);
    press(&mut screen, &[text("/unbound.conf:42"), vec![Key::Enter]].concat(), &snapshot);
    assert_eq!(listed(&screen, &snapshot).len(), 3);
    press(&mut screen, &[text("/"), vec![Key::Escape]].concat(), &snapshot);
    assert!(screen.filter.is_empty() && !screen.typing);
    press(&mut screen, &[Key::Char('/')].into_iter().chain(text(&"x".repeat(500))).collect::<Vec<_>>(), &snapshot);
    assert_eq!(screen.filter.len(), 60);
    assert!(painted(&mut screen, &snapshot, USUAL).contains(&"  No source matches the filter".to_owned()));
    assert_eq!(press(&mut screen, &[Key::Interrupt], &snapshot), Asked::Quit);
}

#[test]
fn a_held_picture_stays_but_loss_goes_on() {
    let mut screen = Screen::new(LOOK);
    press(&mut screen, &text("p"), &samples::snapshot());
    let later = Snapshot {
        now: samples::at(41),
        outcomes: [0, 9_999, 0, 0, 0, 0, 0],
        rows: Vec::new(),
        loss: Loss { kernel_dropped: Some(500), ..samples::snapshot().loss },
        ..samples::snapshot()
    };
    let lines = painted(&mut screen, &later, USUAL);
    assert!(lines[0].ends_with("PAUSED at 09:00:40Z, 40 s"), "{}", lines[0]);
    assert!(lines[1].starts_with("REFUSED 1,312 ") && lines[2].starts_with("LOST: kernel 500,"));
    press(&mut screen, &text("p"), &later);
    assert!(painted(&mut screen, &later, USUAL)[1].starts_with("REFUSED 9,999 "));
    let old = Snapshot { now: samples::at(30), ..samples::snapshot() };
    assert!(painted(&mut screen, &old, USUAL)[0].ends_with("NO NEWS for 11 s"));
}

#[test]
fn a_source_is_told_in_full() {
    let snapshot = samples::snapshot();
    let mut screen = Screen::new(LOOK);
    press(&mut screen, &[Key::End, Key::Enter], &snapshot);
    let lines = painted(&mut screen, &snapshot, USUAL);
    for wanted in [
        "198.51.100.7 at server 10.20.30.40",
        "  16 queries: answered 3, refused 7, denied 0, silent 3, tcp-rejected 2,",
        "  Refused ? per second over the last 10 s",
        "  Refused first 09:00:20Z, last 09:00:39Z",
        "  Inventory: unlisted",
        "  The server's file says: refuse unbound.conf:42",
        "  a\\.b.example A",
        "  mail.corp.example MX",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}\n{}", lines.join("\n"));
    }
    assert!(!lines.join("\n").contains("CRITICAL"), "the finding is about another source");
    press(&mut screen, &[Key::Escape, Key::Home, Key::Enter], &snapshot);
    let lines = painted(&mut screen, &snapshot, USUAL).join("\n");
    assert!(
        lines.contains("\nCRITICAL unlisted-source-refused-1 (inferred)\n") && lines.contains("\n  NEXT Ask who"),
        "{lines}"
    );
    let gone = Snapshot { rows: Vec::new(), ..snapshot };
    assert!(painted(&mut screen, &gone, USUAL)[3].starts_with("This source is not among"));
}

#[test]
fn pages_scroll_to_their_end_and_no_further() {
    let mut snapshot = samples::snapshot();
    snapshot.findings = vec![snapshot.findings[0].clone(); 50];
    let mut screen = Screen::new(LOOK);
    press(&mut screen, &[text("f"), vec![Key::PageDown; 100]].concat(), &snapshot);
    let lines = painted(&mut screen, &snapshot, USUAL);
    assert!(lines[21].starts_with("  NEXT Ask") && lines[22].is_empty(), "{}", lines.join("\n"));
    press(&mut screen, &[Key::Home], &snapshot);
    assert!(painted(&mut screen, &snapshot, USUAL)[3].starts_with("CRITICAL unlisted-source-refused-1"));
    press(&mut screen, &text("?"), &snapshot);
    let help = painted(&mut screen, &snapshot, USUAL).join("\n");
    assert!(help.contains("Our servers' own queries: 5,906, 41 of them refused"), "{help}");
    press(&mut screen, &text("?"), &snapshot);
    assert_eq!(screen.view, View::Overview);
}

#[test]
fn colours_only_where_they_are_wanted_and_nothing_but_ascii_where_not() {
    let snapshot = samples::snapshot();
    let plain = buffer(&mut Screen::new(LOOK), &snapshot, USUAL);
    assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(plain[(0, 1)].modifier.contains(Modifier::BOLD) && plain[(10, 8)].modifier.contains(Modifier::REVERSED));
    let coloured = buffer(&mut Screen::new(Look { color: true, unicode: false }), &snapshot, USUAL);
    assert_eq!((coloured[(0, 1)].fg, coloured[(0, 2)].fg), (Color::Red, Color::Yellow));
    assert!(coloured.content().iter().all(|cell| cell.symbol().is_ascii()));
}

#[test]
fn nothing_that_controls_a_terminal_reaches_it() {
    let mut snapshot = samples::snapshot();
    snapshot.node = "ns1\u{1b}[2J\u{202e}".to_owned();
    snapshot.interfaces = vec!["eth\u{7}0\n".to_owned()];
    let lines = painted(&mut Screen::new(LOOK), &snapshot, USUAL);
    assert!(lines[0].starts_with("dnsrefused  ns1\\u{1b}[2J\\u{202e}  eth\\u{7}0\\u{a}"), "{}", lines[0]);
}

#[test]
fn the_locale_says_whether_bars_have_eighths() {
    let look = |variables: &[(&str, &str)]| {
        let held = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        Look::of(false, held).unicode
    };
    assert!(look(&[("LANG", "de_DE.UTF-8")]) && look(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
    assert!(!look(&[]) && !look(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
}
