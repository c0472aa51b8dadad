//! Transactions to rows in input order: [`Rows`] takes them as they close, and writes those of the wanted legs at the
//! end, when it is known which addresses are servers.

use super::cell::{write_address, write_flags, write_list, write_number};
use super::json::rcode_name;
use super::row::{COLUMNS, RowText};
use super::spool::{Records, Sorted, Spool};
use crate::capture::time::{TimeWriter, write_microseconds};
use crate::config::{Limits, SKEW};
use crate::decode::detail::{self, Detail, DetailLimits};
use crate::decode::message::{HEADER, Message};
use crate::decode::name::{plain_len, read_name, write_name};
use crate::decode::{Interface, Point, proxy};
use crate::error::Error;
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::judge::Judge;
use crate::expect::inventory::{Expected, Row};
use crate::sources::{FrameRef, Leg};
use crate::transact::Transaction;
use crate::transact::flights::Sighting;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What a row needs to know of an input.
#[derive(Debug, Clone)]
pub struct RowInput {
    /// Its name, escaped.
    pub name: String,
    /// Digits of the fraction of its timestamps.
    pub time_digits: usize,
}

/// Makes and holds rows.
pub struct Rows {
    spool: Spool,
    /// What the spool became.
    sorted: Option<Sorted>,
    inputs: Vec<RowInput>,
    inventory: Option<Arc<Inventory>>,
    /// What servers' configurations say; nothing without one.
    judge: Option<Judge>,
    /// `file:line` of each inventory line, made once.
    rules: Vec<String>,
    limits: DetailLimits,
    times: TimeWriter,
    text: RowText,
    record: Vec<u8>,
    failed: Option<Error>,
    /// Messages of rows that could not be decoded in full.
    pub without_detail: u64,
}

/// Position of a column.
fn position(name: &str) -> usize {
    COLUMNS.iter().position(|(column, _)| *column == name).unwrap_or(COLUMNS.len())
}

impl Rows {
    /// No rows yet.
    pub fn new(inputs: Vec<RowInput>, inventory: Option<Arc<Inventory>>, acls: &Arc<[Acl]>, limits: &Limits) -> Self {
        let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
        Self {
            spool: Spool::new(limits.spool_bytes),
            sorted: None,
            inputs,
            judge: (!acls.is_empty()).then(|| Judge::new(Arc::clone(acls), detail)),
            rules: inventory.iter().flat_map(|inventory| inventory.rows()).map(Row::rule).collect(),
            inventory,
            limits: detail,
            times: TimeWriter::default(),
            text: RowText::default(),
            record: Vec::new(),
            failed: None,
            without_detail: 0,
        }
    }

    /// Digits of the fraction of the finest input's timestamps.
    pub fn time_digits(&self) -> usize {
        self.inputs.iter().map(|input| input.time_digits).max().unwrap_or(6)
    }

    /// Takes a transaction.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        if self.failed.is_some() {
            return;
        }
        self.fill(transaction);
        self.record.clear();
        let (client, server) = (transaction.ends.source(), transaction.ends.destination());
        put_address(client, &mut self.record);
        put_address(server, &mut self.record);
        let sighting = transaction.query.or(transaction.response);
        let frame = sighting.map_or(FrameRef { input: 0, frame: 0 }, |seen| seen.frame);
        let section = match sighting.map(|seen| seen.point.interface()) {
            Some(Interface::Section(number)) => number,
            _ => u32::MAX,
        };
        self.record.extend_from_slice(&frame.input.to_le_bytes());
        self.record.extend_from_slice(&section.to_le_bytes());
        self.text.to_bytes(&mut self.record);
        if let Err(error) = self.spool.push((frame.input, frame.frame), &self.record) {
            self.failed = Some(error);
        }
    }

    /// The row of a transaction whose leg and interface are known already, to be written at once.
    pub fn one(&mut self, transaction: &Transaction<'_>, leg: Leg, interface: Option<&str>) -> &RowText {
        self.fill(transaction);
        self.text.change(position("leg"), leg.name().as_bytes());
        if let Some(name) = interface {
            self.text.change(position("interface"), name.as_bytes());
        }
        &self.text
    }

    /// All are pushed: sorts them. `reading` as in [`Spool::into_sorted`].
    pub fn sort(&mut self, reading: impl FnOnce(Box<dyn Records>) -> Box<dyn Records>) {
        match std::mem::take(&mut self.spool).into_sorted(reading) {
            Ok(sorted) => self.sorted = Some(sorted),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// Hands out the rows of wanted legs in input order, sorting them first if need be. `leg` decides from client and
    /// server, `interface` names an interface of an input. Returns the number of rows made.
    pub fn write<'n>(
        mut self,
        leg: impl Fn(IpAddr, IpAddr) -> Leg,
        wanted: impl Fn(Leg) -> bool,
        interface: impl Fn(u32, u32) -> Option<&'n str>,
        mut write: impl FnMut(&RowText),
    ) -> Result<u64, Error> {
        if self.sorted.is_none() {
            self.sort(|records| records);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(mut sorted) = self.sorted else { return Ok(0) };
        let (leg_at, interface_at) = (position("leg"), position("interface"));
        let (verdict_at, rule_at) = (position("verdict"), position("rule"));
        let acls = self.judge.as_ref().map(|judge| Arc::clone(judge.acls()));
        let mut text = RowText::default();
        let mut made = 0;
        while let Some(record) = sorted.next_record()? {
            let Some((client, rest)) = take_address(record) else { continue };
            let Some((server, rest)) = take_address(rest) else { continue };
            let leg = leg(client, server);
            let Some((numbers, columns)) = rest.split_first_chunk::<8>() else { continue };
            if !wanted(leg) {
                continue;
            }
            let number =
                |at: usize| u32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
            let name = interface(number(0), number(4));
            // A file that names no server speaks for those its own server's clients ask only.
            let apart = leg != Leg::Client
                && acls.as_ref().is_some_and(|acls| !crate::expect::acl::judge::names_server(acls, server));
            text.read_bytes(columns);
            text.change(leg_at, leg.name().as_bytes());
            if let Some(name) = name {
                text.change(interface_at, name.as_bytes());
            }
            if apart {
                text.change(verdict_at, b"unknown");
                text.change(rule_at, b"");
            }
            write(&text);
            made += 1;
        }
        Ok(made)
    }

    /// Fills the columns, in the order of [`COLUMNS`].
    fn fill(&mut self, transaction: &Transaction<'_>) {
        let Transaction { ends, query, response, message, response_bytes, .. } = *transaction;
        let (header, query_bytes) = proxy::split(transaction.query_bytes);
        let identity = header.and_then(|header| header.client).map(proxy::identity).unwrap_or_default();
        let sighting = query.or(response);
        let point = sighting.map_or_else(Point::default, |seen| seen.point);
        let query_detail = self.detail(query_bytes);
        let response_detail = self.detail(response_bytes);
        let expected = self.inventory.as_ref().map(|inventory| inventory.decide(ends.source()));
        let proxied = header.is_some();
        let (verdict, rule) = self.judge.as_mut().map(|judge| judge.words(transaction)).unwrap_or_default();
        let header = if response_bytes.len() >= HEADER { response_bytes } else { query_bytes };
        let (name, question) = question(query_bytes, message.as_ref(), response_bytes);
        let (inputs, rules, times) = (&self.inputs, &self.rules, &mut self.times);
        let text = &mut self.text;
        text.clear();
        let mut time = |seen: Option<Sighting>, out: &mut Vec<u8>| {
            if let Some(seen) = seen {
                let digits = inputs.get(seen.frame.input as usize).map_or(6, |input| input.time_digits);
                times.write(seen.time, digits, out);
            }
        };
        text.push(|out| time(query, out));
        text.push(|out| time(response, out));
        text.push(|out| {
            if let (Some(query), Some(response), Some(_)) = (query, response, message) {
                let nanoseconds = response.time.0.saturating_sub(query.time.0);
                // Captured a moment before its query: the two were handled by different processors. Longer before: the
                // clock stepped back, and how long it took is not known.
                if nanoseconds >= -SKEW {
                    write_microseconds(nanoseconds.max(0), out);
                }
            }
        });
        // The leg is known at the end; most rows are of clients.
        text.push(|out| out.extend_from_slice(Leg::Client.name().as_bytes()));
        text.push(|out| out.extend_from_slice(transaction.outcome.name().as_bytes()));
        text.push(|out| {
            if let Some(message) = message {
                out.extend_from_slice(rcode_name(message.rcode).as_bytes());
            }
        });
        text.push(|out| out.extend_from_slice(transaction.transport.name().as_bytes()));
        text.push(|out| write_address(ends.source(), out));
        text.push(|out| write_number(transaction.ports.0, out));
        text.push(|out| write_address(ends.destination(), out));
        text.push(|out| write_number(transaction.ports.1, out));
        text.push(|out| {
            if let Some(id) = transaction.id {
                write_number(id, out);
            }
        });
        text.push(|out| {
            // What answers a proxy's header has the operation code that the header seems to have.
            let header = if proxied { query_bytes } else { header };
            if header.len() >= HEADER {
                detail::write_opcode(header[2] >> 3 & 15, out);
            }
        });
        // Type and class stand behind the name; without them the question is not whole.
        let asked = name.as_ref().and_then(|(name, rest)| {
            let [[one, two], [three, four]] = *rest.first_chunk::<4>()?.as_chunks::<2>().0 else { return None };
            Some((name, u16::from_be_bytes([one, two]), u16::from_be_bytes([three, four])))
        });
        text.push(|out| {
            if let Some((name, _, _)) = asked {
                write_name(name, out);
            }
        });
        text.push(|out| {
            if let Some((_, record_type, _)) = asked {
                detail::write_type(record_type, out);
            }
        });
        text.push(|out| {
            if let Some((_, _, class)) = asked {
                detail::write_class(class, out);
            }
        });
        text.push(|out| out.extend_from_slice(question.as_bytes()));
        text.push(|out| {
            if header.len() >= HEADER {
                write_flags(u16::from_be_bytes([header[2], header[3]]), out);
            }
        });
        let errors = response_detail.as_ref().map_or(&[][..], |detail| &detail.extended_errors);
        text.push(|out| write_list(errors.iter(), out, |(code, _), out| write_number(*code, out)));
        text.push(|out| {
            let with_text = errors.iter().filter(|(_, text)| !text.is_empty());
            write_list(with_text, out, |(_, text), out| out.extend_from_slice(text));
        });
        let either = |of: fn(&Detail) -> Option<&[u8]>, out: &mut Vec<u8>| {
            let value = query_detail.as_ref().and_then(of).or(response_detail.as_ref().and_then(of));
            out.extend_from_slice(value.unwrap_or_default());
        };
        text.push(|out| either(|detail| detail.client_subnet.as_deref().map(str::as_bytes), out));
        text.push(|out| out.extend_from_slice(identity.as_bytes()));
        text.push(|out| either(|detail| detail.key_name.as_deref(), out));
        text.push(|out| {
            let tagged = point.vlans().into_iter().filter(|vlan| *vlan != 0);
            write_list(tagged, out, write_number);
        });
        text.push(|out| {
            if let Interface::Host(index) = point.interface() {
                write_number(index, out);
            }
        });
        text.push(|out| out.extend_from_slice(expected.map_or("", |expected| expected.word()).as_bytes()));
        text.push(|out| {
            let row = expected.and_then(Expected::row);
            out.extend_from_slice(row.map_or("", |row| &rules[row.index]).as_bytes());
        });
        text.push(|out| out.extend_from_slice(verdict.as_bytes()));
        text.push(|out| out.extend_from_slice(rule.as_bytes()));
        // The mechanism is of a stage that is not asked here.
        text.push(|_| {});
        text.push(|out| {
            let input = sighting.and_then(|seen| inputs.get(seen.frame.input as usize));
            out.extend_from_slice(input.map_or("", |input| &input.name).as_bytes());
        });
        for seen in [query, response] {
            text.push(|out| {
                if let Some(seen) = seen {
                    write_number(seen.frame.frame, out);
                }
            });
        }
    }

    fn detail(&mut self, message: &[u8]) -> Option<Detail> {
        if message.is_empty() {
            return None;
        }
        let detail = detail::read(message, self.limits);
        self.without_detail += u64::from(detail.is_none());
        detail
    }
}

/// A question's name as wire bytes, and where what follows it in the message begins.
type Name<'m> = (Cow<'m, [u8]>, &'m [u8]);

/// The question that is printed, from whichever message has it, and how it is known.
fn question<'m>(query: &'m [u8], message: Option<&Message>, response: &'m [u8]) -> (Option<Name<'m>>, &'static str) {
    if let Some(message) = message {
        let echoed = if message.question.is_known() { question_name(response) } else { None };
        match echoed {
            Some(name) => (Some(name), "echoed"),
            None => question_name(query).map_or((None, "unknown"), |name| (Some(name), "restored")),
        }
    } else {
        // Without a response there was nothing to echo the question.
        question_name(query).map_or((None, "unknown"), |name| (Some(name), ""))
    }
}

/// The name of a message's first question.
fn question_name(message: &[u8]) -> Option<Name<'_>> {
    if message.len() <= HEADER || message[4..6] == [0, 0] {
        return None;
    }
    // Hardly any of them is compressed.
    let (name, end) = match plain_len(&message[HEADER..]) {
        Some(len) => (Cow::Borrowed(&message[HEADER..HEADER + len]), HEADER + len),
        None => {
            let (name, end) = read_name(message, HEADER).ok()?;
            (Cow::Owned(name.as_bytes().to_vec()), end)
        }
    };
    Some((name, &message[end..]))
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn take_address(bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (family, rest) = bytes.split_first()?;
    if *family == 4 {
        let (octets, rest) = rest.split_first_chunk::<4>()?;
        Some((IpAddr::V4(Ipv4Addr::from(*octets)), rest))
    } else {
        let (octets, rest) = rest.split_first_chunk::<16>()?;
        Some((IpAddr::V6(Ipv6Addr::from(*octets)), rest))
    }
}
