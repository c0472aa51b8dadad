//! Capture times: nanoseconds since 1970-01-01 UTC, never the wall clock.

/// A time in nanoseconds since 1970-01-01T00:00:00Z, from a capture. Saturates at years 1677 and 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp(pub i64);

/// Resolution of an interface's timestamps (pcapng `if_tsresol`), to convert them to nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Units of this many nanoseconds.
    Multiply(u64),
    /// This many units per nanosecond.
    Divide(u64),
    /// Units of 2^-n seconds.
    Binary(u8),
    /// Cannot be represented; times of the interface are unknown.
    Unusable,
}

impl Resolution {
    /// From the value of `if_tsresol`: a negative power of ten, or of two when the top bit is set.
    pub fn from_option(value: u8) -> Self {
        let exponent = u32::from(value & 0x7f);
        match (value & 0x80 != 0, exponent) {
            (true, 0..=63) => Resolution::Binary(exponent as u8),
            (false, 0..=9) => Resolution::Multiply(10u64.pow(9 - exponent)),
            (false, 10..=28) => Resolution::Divide(10u64.pow(exponent - 9)),
            _ => Resolution::Unusable,
        }
    }

    /// Digits that timestamps carry of the fraction of a second.
    pub fn digits(self) -> usize {
        match self {
            Resolution::Multiply(1_000_000..) => 3,
            Resolution::Multiply(1000..) => 6,
            _ => 9,
        }
    }

    /// Nanoseconds of `units` since 1970 plus `offset_seconds`; the flag says that the value had to be saturated or is
    /// unknown.
    #[inline]
    pub fn nanoseconds(self, units: u64, offset_seconds: i64) -> (Timestamp, bool) {
        let wide = match self {
            Resolution::Multiply(by) => i128::from(units) * i128::from(by),
            Resolution::Divide(by) => i128::from(units / by),
            Resolution::Binary(shift) => (i128::from(units) * 1_000_000_000) >> shift,
            Resolution::Unusable => return (Timestamp(0), true),
        };
        let wide = wide + i128::from(offset_seconds) * 1_000_000_000;
        i64::try_from(wide).map_or_else(
            |_| (Timestamp(if wide < 0 { i64::MIN } else { i64::MAX }), true),
            |nanoseconds| (Timestamp(nanoseconds), false),
        )
    }
}

impl Timestamp {
    /// The capture does not say when (pcapng simple packet blocks); earlier than any real time.
    pub const UNKNOWN: Timestamp = Timestamp(i64::MIN);
    /// Assigned to packets of a time line before the first one with a time, and to all in rows without a time: a moment
    /// at which nobody captured. It is never printed.
    pub const UNTIMED: Timestamp = Timestamp(0);

    /// The time as RFC 3339 UTC with `digits` of the fraction (0, 3, 6 or 9).
    pub fn to_rfc3339(self, digits: usize) -> String {
        let mut out = Vec::with_capacity(30);
        TimeWriter::default().write(self, digits, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads RFC 3339 (`2025-12-31T09:04:10.5Z`, offsets allowed, space for `T`) or seconds since 1970.
    pub fn parse(text: &str) -> Option<Timestamp> {
        if let Some(seconds) = parse_decimal_seconds(text) {
            return Some(seconds);
        }
        let bytes = text.as_bytes();
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let part = text.get(range)?;
            if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
        };
        let separators = [(4, b'-'), (7, b'-')];
        if bytes.len() < 10 || separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month as u64, day as u64) {
            return None;
        }
        let midnight = days * 86_400;
        if bytes.len() == 10 {
            return Some(Timestamp(midnight.checked_mul(1_000_000_000)?));
        }
        if !matches!(bytes[10], b'T' | b't' | b' ') || bytes.get(13) != Some(&b':') || bytes.get(16) != Some(&b':') {
            return None;
        }
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut rest = text.get(19..)?;
        let mut fraction = 0;
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            fraction = after[..digits].parse::<i64>().ok()? * 10i64.pow(9 - digits as u32);
            rest = &after[digits..];
        }
        let offset = match rest.as_bytes() {
            [] | [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
                let two = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
                let (hours, minutes) = (two(*h1, *h2), two(*m1, *m2));
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
            }
            _ => return None,
        };
        let seconds = midnight + hour * 3600 + minute * 60 + second - offset;
        Some(Timestamp(seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?))
    }
}

/// Seconds since 1970 with an optional fraction, such as `1700000000.25`.
fn parse_decimal_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 || whole.len() < 5 {
        return None;
    }
    let nanoseconds = fraction.parse::<i64>().ok()? * 10i64.pow(9 - fraction.len() as u32);
    Some(Timestamp(whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?))
}

/// Writes times as RFC 3339 UTC. Most times are in the same second as the one before, whose text is kept.
#[derive(Debug, Clone)]
pub struct TimeWriter {
    second: i64,
    text: [u8; 20],
}

impl Default for TimeWriter {
    fn default() -> Self {
        // A second in which no time is.
        Self { second: i64::MIN, text: [0; 20] }
    }
}

impl TimeWriter {
    /// Appends a time; `digits` of the fraction are written (0, 3, 6 or 9).
    pub fn write(&mut self, time: Timestamp, digits: usize, out: &mut Vec<u8>) {
        let (second, fraction) = (time.0.div_euclid(1_000_000_000), time.0.rem_euclid(1_000_000_000) as u32);
        if second != self.second {
            (self.second, self.text) = (second, text_of_second(second));
        }
        let mut text = [b'Z'; 30];
        text[..20].copy_from_slice(&self.text);
        let len = match digits {
            0 => {
                text[19] = b'Z';
                20
            }
            6 => {
                put(&mut text[20..26], fraction / 1000);
                27
            }
            _ => {
                put(&mut text[20..29], fraction);
                text[20 + digits] = b'Z';
                21 + digits
            }
        };
        // Copies all digits and then truncates: a fixed number of characters is copied without a call.
        let end = out.len() + len;
        out.extend_from_slice(&text);
        out.truncate(end);
    }
}

/// Text of a second since 1970, up to the point before the fraction.
fn text_of_second(second: i64) -> [u8; 20] {
    let (year, month, day) = civil_from_days(second.div_euclid(86_400));
    let in_day = second.rem_euclid(86_400) as u32;
    let mut text = *b"0000-00-00T00:00:00.";
    put(&mut text[0..4], year as u32);
    put(&mut text[5..7], month as u32);
    put(&mut text[8..10], day as u32);
    put(&mut text[11..13], in_day / 3600);
    put(&mut text[14..16], in_day / 60 % 60);
    put(&mut text[17..19], in_day % 60);
    text
}

/// Writes `value` as decimal digits that fill `digits`, two at a time.
#[inline]
fn put(digits: &mut [u8], mut value: u32) {
    let (first, pairs) = digits.as_rchunks_mut::<2>();
    for pair in pairs.iter_mut().rev() {
        let two = (value % 100) as u8;
        *pair = [b'0' + two / 10, b'0' + two % 10];
        value /= 100;
    }
    if let [digit] = first {
        *digit = b'0' + (value % 10) as u8;
    }
}

/// Year, month, day of a day number (Gregorian calendar, 1970-01-01 is day 0).
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Day number of a date (Gregorian calendar, 1970-01-01 is day 0).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Appends a duration of `nanoseconds` as decimal microseconds (`12.5`), without trailing zeros.
pub fn write_microseconds(nanoseconds: i64, out: &mut Vec<u8>) {
    let (whole, part) = (nanoseconds / 1000, (nanoseconds % 1000).unsigned_abs() as u32);
    if nanoseconds < 0 && whole == 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if part != 0 {
        let mut text = *b".000";
        put(&mut text[1..], part);
        let zeros = text.iter().rev().take_while(|digit| **digit == b'0').count();
        out.extend_from_slice(&text[..text.len() - zeros]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_known_times() {
        // Expected values from `date -u -d @N`.
        assert_eq!(Timestamp(0).to_rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(1_700_000_000_123_456_789).to_rfc3339(9), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(Timestamp(951_827_696_000_000_000).to_rfc3339(6), "2000-02-29T12:34:56.000000Z");
        assert_eq!(Timestamp(4_294_967_295_000_000_000).to_rfc3339(3), "2106-02-07T06:28:15.000Z");
        assert_eq!(Timestamp(-1).to_rfc3339(9), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn reads_back_what_it_prints() {
        for nanoseconds in [0, 1_700_000_000_123_456_789, 951_827_696_000_000_000, 86_399_999_999_999] {
            assert_eq!(Timestamp::parse(&Timestamp(nanoseconds).to_rfc3339(9)), Some(Timestamp(nanoseconds)));
        }
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20+01:00"), Some(Timestamp(1_700_000_000_000_000_000)));
        assert_eq!(Timestamp::parse("1700000000.5"), Some(Timestamp(1_700_000_000_500_000_000)));
        assert_eq!(Timestamp::parse("2024-02-29"), Some(Timestamp(1_709_164_800_000_000_000)));
        for bad in ["", "now", "2023-13-01", "2023-11-14T25:00:00Z", "2023-11-14T22:13:20.Z", "2023-11-14T22:13"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
        // Days that there are not, and offsets that no place has.
        for bad in ["2023-02-29", "2023-02-31T00:00:00Z", "2023-04-31", "2023-00-10", "2023-01-00", "2100-02-29"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
        for bad in ["2023-11-14T22:13:20+24:00", "2023-11-14T22:13:20-01:60"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn resolutions_never_overflow() {
        for value in 0..=255 {
            let (_, odd) = Resolution::from_option(value).nanoseconds(u64::MAX, i64::MAX);
            assert!(odd, "{value}: the largest time cannot fit");
        }
        assert_eq!(Resolution::from_option(6).nanoseconds(1_700_000_000_000_001, 0).0.0, 1_700_000_000_000_001_000);
        assert_eq!(Resolution::from_option(0x8a).nanoseconds(1536, 1).0.0, 2_500_000_000);
    }

    #[test]
    fn microseconds_are_decimal() {
        let text = |ns| {
            let mut out = Vec::new();
            write_microseconds(ns, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(0), text(1500), text(-500), text(12_345_678)], ["0", "1.5", "-0.5", "12345.678"]);
    }
}
