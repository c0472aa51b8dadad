//! Writes the totals as a JSON object, and names response codes.

use super::{Counts, time};
use crate::config::Outcome;
use crate::report::Totals;
use serde::Serialize;
use serde::ser::Serializer;
use std::borrow::Cow;

/// What was counted over all inputs.
#[derive(Serialize)]
pub struct TotalsJson {
    frames: u64,
    messages_udp: u64,
    messages_tcp: u64,
    queries: u64,
    responses: u64,
    rcodes: Pairs,
    transactions: u64,
    outcomes: Pairs,
    refused: u64,
    refused_restored: u64,
    refused_unsolicited: u64,
    first: Option<String>,
    last: Option<String>,
}

impl TotalsJson {
    /// The entry of a report's totals; `digits` are the decimal places of their times.
    pub fn of(totals: &Totals, digits: usize) -> Self {
        let rcodes = totals.rcodes.iter().map(|(code, count)| (rcode_name(*code).into_owned(), *count)).collect();
        let outcomes = Outcome::ALL
            .iter()
            .map(|(name, outcome)| ((*name).to_owned(), totals.outcomes[*outcome as usize]))
            .collect();
        Self {
            frames: totals.frames,
            messages_udp: totals.messages_udp,
            messages_tcp: totals.messages_tcp,
            queries: totals.queries,
            responses: totals.responses,
            rcodes: Pairs(rcodes),
            transactions: totals.transactions,
            outcomes: Pairs(outcomes),
            refused: totals.outcomes[Outcome::Refused as usize],
            refused_restored: totals.refused_restored,
            refused_unsolicited: totals.refused_unsolicited,
            first: time(totals.first, digits),
            last: time(totals.last, digits),
        }
    }
}

/// Counts by name as an object, in the order given.
struct Pairs(Vec<(String, u64)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Counts(&self.0).serialize(serializer)
    }
}

/// Names of response codes (IANA registry "DNS RCODEs"); others as `RCODE12`.
pub fn rcode_name(code: u16) -> Cow<'static, str> {
    let name = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        16 => "BADVERS",
        17 => "BADKEY",
        18 => "BADTIME",
        19 => "BADMODE",
        20 => "BADNAME",
        21 => "BADALG",
        22 => "BADTRUNC",
        23 => "BADCOOKIE",
        _ => return format!("RCODE{code}").into(),
    };
    name.into()
}
