//! Parses single values on the command line.

use crate::capture::Timestamp;
use crate::config::OwnServer;
use crate::expect::acl::name;
use crate::expect::inventory::{read_prefix, unmapped};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// A domain name in wire form.
#[derive(Debug, Clone)]
pub(super) struct WireText(pub(super) Vec<u8>);

pub(super) fn parse_wire_name(text: &str) -> Result<WireText, String> {
    name::parse_name(text).map(WireText).ok_or_else(|| "not a domain name".to_string())
}

pub(super) fn parse_record_type(text: &str) -> Result<u16, String> {
    name::parse_type(text).ok_or_else(|| "not a record type such as A, AXFR or TYPE65280".to_string())
}

pub(super) fn parse_opcode(text: &str) -> Result<u8, String> {
    let known = [("QUERY", 0), ("IQUERY", 1), ("STATUS", 2), ("NOTIFY", 4), ("UPDATE", 5), ("DSO", 6)];
    let named = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, code)| *code);
    named
        .or_else(|| text.parse().ok().filter(|code| *code < 16))
        .ok_or_else(|| "not an opcode such as QUERY or UPDATE".to_string())
}

pub(super) fn parse_server(text: &str) -> Result<OwnServer, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(OwnServer { address, length: None });
    }
    let (address, length) = text.split_once('/').ok_or("neither an address nor ADDR/LEN")?;
    let address: IpAddr = address.parse().map_err(|_| "not an address")?;
    let longest = if address.is_ipv6() { 128 } else { 32 };
    match length.parse::<u8>() {
        Ok(length) if length <= longest => Ok(OwnServer { address, length: Some(length) }),
        _ => Err(format!("the length is a number up to {longest}")),
    }
}

pub(super) fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let net = read_prefix(text).map(|net| unmapped(net).trunc());
    net.ok_or_else(|| "neither an address nor a prefix such as 10.21.0.0/16".to_string())
}

/// A source to be explained.
pub(super) fn parse_source(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| match read_prefix(text) {
        Some(_) => "explain takes single addresses; acl check --expect asks for every part of a prefix".to_string(),
        None => "not an address".to_string(),
    })
}

pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not a time such as 2025-12-31T09:04:10Z or seconds since 1970".to_string())
}

/// A number with a unit: `500ms`, `5s`, `10m`, `1h`; without one, seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration_up_to(text, Duration::from_secs(86_400), "a duration from 1ms to 24h")
}

/// The same for how long a run takes.
pub(super) fn parse_long_duration(text: &str) -> Result<Duration, String> {
    duration_up_to(text, Duration::from_secs(366 * 86_400), "a duration from 1ms to 366d")
}

fn duration_up_to(text: &str, most: Duration, range: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("not a duration such as 500ms, 5s or 10m".to_string()),
    };
    let number: f64 = number.parse().map_err(|_| "not a duration such as 500ms, 5s or 10m".to_string())?;
    let total = number * seconds;
    if (0.001..=most.as_secs_f64()).contains(&total) {
        Ok(Duration::from_secs_f64(total))
    } else {
        Err(range.to_string())
    }
}

/// A number of bytes with a unit of 1024: `512K`, `64M`, `1G`, or as the units are written out, `64MiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size such as 512K, 64M or 1G, up to 2G".to_string();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // What libpcap takes is a signed 32-bit number.
    number.checked_mul(1 << shift).filter(|bytes| (4096..1 << 31).contains(bytes)).ok_or_else(wrong)
}
