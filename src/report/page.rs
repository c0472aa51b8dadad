//! Text laid out for a terminal of 80 columns ([`Page`]): wrapping, numbers, times and the few colours.

use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use std::io::{self, Write};

/// Width of a page in columns.
pub const WIDTH: usize = 80;

/// A page being written.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    color: bool,
}

/// How a word is highlighted on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Turned away, or critical.
    Red,
    /// Somebody should look.
    Yellow,
    /// As it should be.
    Green,
    /// A heading.
    Bold,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(out: &'a mut dyn Write, color: bool) -> Self {
        Self { out, color }
    }

    /// A line as given.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.trim_end().as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// An empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Wrapped text: `lead` before the first line, and `indent` blanks before the others.
    pub fn wrapped(&mut self, lead: &str, text: &str, indent: usize) -> io::Result<()> {
        self.inked(None, lead, text, indent)
    }

    /// The same with the lead in colour.
    pub fn inked(&mut self, ink: Option<Ink>, lead: &str, text: &str, indent: usize) -> io::Result<()> {
        let first_width = WIDTH.saturating_sub(lead.chars().count());
        let lines = wrap(text, first_width, WIDTH.saturating_sub(indent));
        let lead = match (self.color, ink) {
            (true, Some(ink)) => paint(ink, lead),
            _ => lead.to_owned(),
        };
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                self.line(&format!("{lead}{line}"))?;
            } else {
                self.line(&format!("{:indent$}{line}", ""))?;
            }
        }
        Ok(())
    }
}

/// A word in colour; blanks around it stay as they are.
fn paint(ink: Ink, text: &str) -> String {
    let code = match ink {
        Ink::Red => "1;31",
        Ink::Yellow => "1;33",
        Ink::Green => "32",
        Ink::Bold => "1",
    };
    let word = text.trim();
    let start = text.len() - text.trim_start().len();
    format!("{}\u{1b}[{code}m{word}\u{1b}[0m{}", &text[..start], &text[start + word.len()..])
}

/// Breaks text at blanks; a word longer than a line gets its own line. Returns at least one line.
pub fn wrap(text: &str, first_width: usize, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        let limit = if lines.len() == 1 { first_width } else { width };
        let Some(line) = lines.last_mut() else { break };
        if used > 0 && used + 1 + length > limit {
            lines.push(word.to_owned());
            used = length;
        } else {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

/// A number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 source`, `2 sources`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// What interfaces lost, as far as they report it.
pub fn interface_loss(loss: InterfaceLoss) -> String {
    match loss {
        InterfaceLoss::Unknown => "unavailable".to_owned(),
        InterfaceLoss::AtLeast(count) => format!("at least {}", grouped(count)),
        InterfaceLoss::Exactly(count) => grouped(count),
    }
}

/// `1 packet`, `at least 2 packets`: what interfaces lost, as far as they report it.
pub fn lost_packets(loss: InterfaceLoss) -> String {
    let packets = if loss.known() == Some(1) { "packet" } else { "packets" };
    format!("{} {packets}", interface_loss(loss))
}

/// A share of a whole as a percentage, never rounded to 0 % or 100 % unless it is exactly that.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part == whole {
        return "100 %".to_owned();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    match tenths {
        0 => "under 0.1 %".to_owned(),
        1000.. => "over 99.9 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// Prints times of one capture as briefly as is unambiguous.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    one_day: bool,
}

impl Clock {
    /// Makes a printer for a capture between these times.
    pub fn of(first: Option<Timestamp>, last: Option<Timestamp>) -> Self {
        let day = |time: Option<Timestamp>| time.map(|time| time.to_rfc3339(0)[..10].to_owned());
        Self { one_day: day(first) == day(last) }
    }

    /// `09:04:10`, with month and day where the capture covers several days.
    fn short(self, time: Timestamp) -> String {
        let text = time.to_rfc3339(0);
        if self.one_day { text[11..19].to_owned() } else { format!("{} {}", &text[5..10], &text[11..16]) }
    }

    /// `09:04:10..09:04:40`.
    pub fn range(self, first: Option<Timestamp>, last: Option<Timestamp>) -> String {
        match (first.map(|time| self.short(time)), last.map(|time| self.short(time))) {
            (Some(first), Some(last)) if first != last => format!("{first}..{last}"),
            (Some(only), _) | (None, Some(only)) => only,
            (None, None) => "-".to_owned(),
        }
    }

    /// `2025-12-31 09:04:10Z to 09:04:40Z`.
    pub fn span(self, first: Timestamp, last: Timestamp) -> String {
        let digits = if first.to_rfc3339(0) == last.to_rfc3339(0) { 3 } else { 0 };
        let long = |time: Timestamp| time.to_rfc3339(digits).replace('T', " ");
        let (first, last) = (long(first), long(last));
        if first[..10] == last[..10] { format!("{first} to {}", &last[11..]) } else { format!("{first} to {last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_shares_honest() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(1312, 21480), "6.1 %");
        assert_eq!(percent(0, 10), "0 %");
        assert_eq!(percent(10, 10), "100 %");
        assert_eq!(percent(1, 1_000_000), "under 0.1 %");
        assert_eq!(percent(999_999, 1_000_000), "over 99.9 %");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "over 99.9 %");
    }

    #[test]
    fn text_wraps_at_the_width_and_long_words_stay_whole() {
        assert_eq!(wrap("aa bb cc", 5, 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aa bb cc", 2, 5), ["aa", "bb cc"]);
        assert_eq!(wrap("a bbbbbbbb c", 4, 4), ["a", "bbbbbbbb", "c"]);
        assert_eq!(wrap("", 4, 4), [""]);
    }

    #[test]
    fn colours_are_around_words_only() {
        let mut out = Vec::new();
        Page::new(&mut out, true).inked(Some(Ink::Red), "REFUSED ", "all", 2).unwrap();
        Page::new(&mut out, false).inked(Some(Ink::Red), "REFUSED ", "all", 2).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\u{1b}[1;31mREFUSED\u{1b}[0m all\nREFUSED all\n");
    }

    #[test]
    fn times_are_short_within_a_day_only() {
        let (morning, evening) = (Timestamp(1_767_171_850_000_000_000), Timestamp(1_767_171_880_000_000_000));
        let next_day = Timestamp(1_767_258_250_000_000_000);
        let clock = Clock::of(Some(morning), Some(evening));
        assert_eq!(clock.range(Some(morning), Some(evening)), "09:04:10..09:04:40");
        assert_eq!(clock.range(Some(morning), Some(morning)), "09:04:10");
        assert_eq!(clock.range(None, None), "-");
        assert_eq!(clock.span(morning, evening), "2025-12-31 09:04:10Z to 09:04:40Z");
        assert_eq!(
            clock.span(morning, Timestamp(morning.0 + 723_000_000)),
            "2025-12-31 09:04:10.000Z to 09:04:10.723Z"
        );
        let clock = Clock::of(Some(morning), Some(next_day));
        assert_eq!(clock.range(Some(morning), Some(next_day)), "12-31 09:04..01-01 09:04");
        assert_eq!(clock.span(morning, next_day), "2025-12-31 09:04:10Z to 2026-01-01 09:04:10Z");
    }
}
