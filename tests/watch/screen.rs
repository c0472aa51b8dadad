//! The screen, through a terminal multiplexer.

use super::lab::{Lab, PROGRAM, is_installed};
use super::{ask, running_live, server};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A terminal of eighty by twenty-four with a shell in it.
struct Terminal {
    name: String,
}

impl Terminal {
    fn open(lab: &Lab, name: &str, environment: &str) -> Self {
        let terminal = Self { name: format!("dnsrefused-{}-{name}", std::process::id()) };
        let shell = format!("cd {} && exec env {environment} sh", lab.folder.path().display());
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &shell]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.name, "-f", "/dev/null"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys by their names.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a command line.
    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    /// What stands on the terminal; all that ever stood there with `history`.
    fn shows(&self, history: bool) -> String {
        let from = if history { "-500" } else { "0" };
        self.tmux(&["capture-pane", "-p", "-S", from])
    }

    /// Waits until it shows something.
    fn wait_for(&self, wanted: &str) -> String {
        let began = Instant::now();
        loop {
            let shown = self.shows(false);
            if shown.contains(wanted) {
                return shown;
            }
            assert!(began.elapsed() < Duration::from_secs(15), "no {wanted:?} in\n{shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).stderr(Stdio::null()).status();
    }
}

/// The command line that shows the screen in the server's namespace, between two looks at the terminal's settings.
fn screen_line(lab: &Lab, options: &str) -> String {
    let namespace = lab.command("server", "true");
    let namespace = namespace.get_args().nth(2).unwrap().to_string_lossy().into_owned();
    format!(
        "stty -a > before; ip netns exec {namespace} {PROGRAM} live -i eth0 --screen --node ns1 {options}; \
         echo ended with $?; stty -a > after"
    )
}

#[test]
fn the_screen_shows_who_is_turned_away_and_gives_the_terminal_back() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "keys", "LANG=C.UTF-8");
    terminal.enter(&screen_line(&lab, "--acl unbound.conf --expect clients.csv"));
    terminal.wait_for("No client query so far");
    ask(&lab, "10.20.30.2", 5, "a.test", "NOERROR");
    ask(&lab, "10.20.30.3", 3, "intranet.test", "REFUSED");
    ask(&lab, "10.20.30.4", 2, "evil\\027[2J.test", "REFUSED");
    let shown = terminal.wait_for("REFUSED 5 of 10 client queries (50.0 %), 2 sources turned away");
    assert!(shown.starts_with("dnsrefused  ns1  eth0 "), "{shown}");
    assert!(shown.contains("No loss: kernel 0, interface 0, own 0  of "), "{shown}");
    assert!(shown.contains("> 10.20.30.3                  3 "), "{shown}");
    assert!(shown.contains("  10.20.30.4                  2 "), "{shown}");
    assert!(shown.contains(" refuse unbound.conf:10\n") && shown.contains("FINDINGS 1 critical"), "{shown}");

    // Into a source; what is on the wire drives no terminal.
    terminal.press(&["Down", "Enter"]);
    let shown = terminal.wait_for("10.20.30.4 at server 10.20.30.40");
    assert!(shown.contains("  evil\\027\\0912J.test A\n"), "{shown}");
    assert!(shown.contains("\nREFUSED 5 of 10 ") && shown.contains("\nNo loss: "), "{shown}");
    terminal.press(&["Escape"]);
    terminal.wait_for("SOURCE THE SERVER SAW");
    // Only some of them.
    terminal.press(&["/", "i", "n", "t", "r", "a", "Enter"]);
    let shown = terminal.wait_for("filter \"intra\": 1 of 2");
    assert!(shown.contains("> 10.20.30.3 ") && !shown.contains("  10.20.30.4 "), "{shown}");
    terminal.press(&["Escape"]);
    terminal.press(&["s"]);
    terminal.wait_for("s sort: refused");
    terminal.press(&["?"]);
    let shown = terminal.wait_for("sandbox: uid ");
    assert!(shown.contains("capabilities none, no new privileges, Landlock ABI "), "{shown}");
    terminal.press(&["?"]);
    // A picture that is held.
    terminal.press(&["p"]);
    terminal.wait_for("PAUSED at ");
    ask(&lab, "10.20.30.3", 1, "intranet.test", "REFUSED");
    std::thread::sleep(Duration::from_millis(1500));
    terminal.wait_for("REFUSED 5 of 10 ");
    terminal.press(&["p"]);
    terminal.wait_for("REFUSED 6 of 11 ");
    // Another size.
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.wait_for("REFUSED 6 of 11 client queries (54.5 %), 2 sources turned away");
    // And back, with the report on the normal screen.
    terminal.press(&["q"]);
    let shown = terminal.wait_for("ended with 0");
    assert!(shown.contains("\nLedgers closed"), "{shown}");
    let all = terminal.shows(true);
    assert!(all.contains("REFUSED 6 of 11 client queries (54.5 %), 2 sources; answered 5"), "{all}");
    assert!(!all.contains("NOW/S"), "nothing of the screen stays:\n{all}");
    lab.wait_for("after", "icanon");
    assert_eq!(
        lab.read("before").replace("rows 24; columns 80", ""),
        lab.read("after").replace("rows 30; columns 100", "")
    );
}

#[test]
fn a_signal_gives_the_terminal_back_and_no_colour_is_no_colour() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "signal", "LANG=C NO_COLOR=1");
    terminal.enter(&screen_line(&lab, "--every 1h"));
    assert!(
        terminal.wait_for("ended with 2").contains("error[E-USAGE]: --screen: with --every the reports need a file")
    );
    terminal.enter("clear");
    terminal.enter(&screen_line(&lab, ""));
    terminal.wait_for("No client query so far");
    ask(&lab, "10.20.30.3", 1, "a.test", "REFUSED");
    let shown = terminal.wait_for("REFUSED 1 of 1 client query (100 %), 1 source turned away");
    assert!(shown.is_ascii(), "{shown}");
    let painted = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(painted.contains("\u{1b}[1m") && painted.contains(";7m"), "bold and reversed: {painted:?}");
    assert!(
        !["\u{1b}[31m", "\u{1b}[33m", "[38;", "\u{1b}[91m"].iter().any(|color| painted.contains(color)),
        "{painted:?}"
    );
    let pid = running_live(&lab);
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    let shown = terminal.wait_for("ended with 0");
    assert!(shown.contains("\nLedgers closed"), "{shown}");
    lab.wait_for("after", "icanon");
    assert_eq!(lab.read("before"), lab.read("after"));
    // A terminal that can show none is left alone.
    terminal.enter(&format!("clear; export TERM=dumb; {}", screen_line(&lab, "")));
    let said = terminal.wait_for("ended with 2");
    assert!(said.contains("can show no screen") && !said.contains("sandbox:"), "{said}");
}

#[test]
fn two_signals_at_once_give_the_terminal_back_too() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "signals", "LANG=C");
    terminal.enter(&screen_line(&lab, ""));
    terminal.wait_for("No client query so far");
    let twice = format!("kill -TERM {pid}; kill -INT {pid}", pid = running_live(&lab));
    assert!(Command::new("sh").args(["-c", &twice]).status().unwrap().success());
    terminal.wait_for("ended with 0");
    lab.wait_for("after", "icanon");
    assert_eq!(lab.read("before"), lab.read("after"));
}

#[test]
fn a_signal_that_is_no_request_to_end_gives_the_terminal_back_too() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "quit", "LANG=C");
    for signal in ["QUIT", "USR2", "ABRT"] {
        let _ = fs::remove_file(lab.path("after"));
        terminal.enter("clear");
        terminal.enter(&screen_line(&lab, ""));
        terminal.wait_for("No client query so far");
        let pid = running_live(&lab).to_string();
        // One that asks for a report says where that is.
        assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
        terminal.wait_for("a report was made (SIGUSR1); it is printed when this screen ends");
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let shown = terminal.wait_for("ended with 0");
        assert!(shown.contains("\nLedgers closed"), "{signal}: {shown}");
        lab.wait_for("after", "icanon");
        assert_eq!(lab.read("before"), lab.read("after"), "{signal}");
    }
}

#[test]
fn the_shell_has_the_terminal_while_it_is_stopped() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "job", "LANG=C");
    terminal.enter("set -m; PS1='$ '");
    for by_key in [true, false] {
        terminal.enter("clear");
        terminal.enter(&screen_line(&lab, "").replace("; echo", "; stty -a > stopped; echo"));
        terminal.wait_for("No client query so far");
        let pid = running_live(&lab).to_string();
        if by_key {
            terminal.press(&["C-z"]);
        } else {
            assert!(Command::new("kill").args(["-TSTP", &pid]).status().unwrap().success());
        }
        lab.wait_for("stopped", "icanon");
        assert_eq!(lab.read("before"), lab.read("stopped"), "{by_key}");
        assert!(!terminal.shows(false).contains("No client query so far"), "{by_key}");
        // It goes on with a whole picture.
        terminal.enter("clear; echo; echo; echo; echo left behind; fg");
        let shown = terminal.wait_for("Nobody was turned away");
        assert!(shown.contains("No client query so far") && !shown.contains("left behind"), "{by_key}: {shown}");
        terminal.press(&["q"]);
        terminal.wait_for("Ledgers closed");
        let _ = fs::remove_file(lab.path("stopped"));
    }
    // Without a shell that could let it go on it is not stopped.
    let line = screen_line(&lab, "");
    terminal.enter(&format!("clear; exec {}", line.split("; ").nth(1).unwrap()));
    terminal.wait_for("No client query so far");
    terminal.press(&["C-z"]);
    std::thread::sleep(Duration::from_millis(600));
    let stat = fs::read_to_string(format!("/proc/{}/stat", running_live(&lab))).unwrap();
    assert!(!stat.contains(") T "), "{stat}");
    assert!(terminal.shows(false).contains("No client query so far"));
}
