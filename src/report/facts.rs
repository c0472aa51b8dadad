//! What the row of a transaction will say ([`Facts`]), packed into few bytes while it waits to be written.
//!
//! A written row is several times as long, and most of it is the same in every row. Facts that need the whole messages
//! are read from them here.

use super::cell::{write_list, write_number};
use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::decode::detail::{self, Detail, DetailLimits};
use crate::decode::message::{HEADER, Message, Transport};
use crate::decode::name::{plain_len, read_name};
use crate::decode::{Point, proxy};
use crate::expect::acl::judge::Judge;
use crate::sources::FrameRef;
use crate::transact::Transaction;
use crate::transact::in_flight::Sighting;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a row says of a transaction, except what is known only at the end of the capture or follows from its client's
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Source of the query.
    pub client: IpAddr,
    /// Its destination.
    pub server: IpAddr,
    /// Ports of client and server.
    pub ports: (u16, u16),
    /// What became of the query.
    pub outcome: Outcome,
    /// UDP or TCP.
    pub transport: Transport,
    /// Point at which the query was captured, or else the response.
    pub point: Point,
    /// Time and frame of the query, or of the first segment of a rejected connection.
    pub query: Option<(Timestamp, FrameRef)>,
    /// Time and frame of the response, which may be in another input, or of the segment that ended the connection.
    pub response: Option<(Timestamp, FrameRef)>,
    /// Message identifier.
    pub id: Option<u16>,
    /// Operation code.
    pub opcode: Option<u8>,
    /// The second 16 bits of the header of the response, or else of the query.
    pub flags: Option<u16>,
    /// Response code; `None` when there is no response message.
    pub rcode: Option<u16>,
    /// The question, from whichever message contains it.
    pub asked: Option<Asked<'a>>,
    /// How the question is known.
    pub known: Known,
    /// Columns that few rows have.
    pub texts: Texts<'a>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Wire bytes, without compression.
    pub name: Cow<'a, [u8]>,
    /// QTYPE.
    pub record_type: u16,
    /// QCLASS.
    pub class: u16,
}

/// How the question is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// There was no response to repeat it.
    Asked,
    /// The response repeats it.
    Echoed,
    /// The response has none; it was taken from its query.
    Restored,
    /// It is not known.
    Unknown,
}

impl Known {
    const ALL: [Known; 4] = [Known::Asked, Known::Echoed, Known::Restored, Known::Unknown];

    /// The word in rows.
    pub fn word(self) -> &'static str {
        match self {
            Known::Asked => "",
            Known::Echoed => "echoed",
            Known::Restored => "restored",
            Known::Unknown => "unknown",
        }
    }
}

/// Columns that are stored as they are printed, in the order of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// Codes of extended errors (RFC 8914).
    ExtendedErrors,
    /// Extra texts of extended errors.
    ExtendedErrorTexts,
    /// Client subnet (RFC 7871).
    ClientSubnet,
    /// The client that a proxy's header names.
    Identity,
    /// Name of the key that signed the message.
    KeyName,
    /// The verdict of the server's configuration.
    Verdict,
    /// The rule of that verdict.
    Rule,
}

/// The [`Text`]s of a row while it waits. Most rows have none, and should not pay for seven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts<'a> {
    /// One bit for each that is present.
    present: u8,
    /// Length and bytes of each that is present.
    bytes: Cow<'a, [u8]>,
}

impl<'a> Texts<'a> {
    /// Appends one, unless it is empty.
    fn put(&mut self, text: Text, value: &[u8]) {
        debug_assert!(self.present >> text as u8 == 0, "{text:?} is out of order");
        if !value.is_empty() {
            self.present |= 1 << text as u8;
            let bytes = self.bytes.to_mut();
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }

    /// One of them; empty when absent.
    pub fn get(&self, text: Text) -> &[u8] {
        let bit = 1 << text as u8;
        if self.present & bit == 0 {
            return &[];
        }
        let mut rest = &self.bytes[..];
        for _ in 0..(self.present & (bit - 1)).count_ones() {
            rest = split_text(rest).map_or(&[], |(_, behind)| behind);
        }
        split_text(rest).map_or(&[], |(value, _)| value)
    }

    /// Reads those with these bits from the start of `bytes`.
    fn take(present: u8, bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        for _ in 0..present.count_ones() {
            rest = split_text(rest)?.1;
        }
        Some(Self { present, bytes: Cow::Borrowed(&bytes[..bytes.len() - rest.len()]) })
    }
}

/// Splits off the text at the start.
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

impl<'a> Facts<'a> {
    /// The facts of a transaction's row. Counts messages that could not be decoded in full in `without_detail`.
    pub fn of(
        transaction: &Transaction<'a>,
        judge: Option<&mut Judge>,
        limits: DetailLimits,
        without_detail: &mut u64,
    ) -> Self {
        let Transaction { ends, query, response, message, response_bytes, .. } = *transaction;
        let (proxy_header, query_bytes) = proxy::split(transaction.query_bytes);
        let mut detail = |message: &[u8]| {
            let detail = if message.is_empty() { return None } else { detail::read(message, limits) };
            *without_detail += u64::from(detail.is_none());
            detail
        };
        let (query_detail, response_detail) = (detail(query_bytes), detail(response_bytes));
        let header = if response_bytes.len() >= HEADER { response_bytes } else { query_bytes };
        // A response to a proxy's header has the operation code that the header seemed to have.
        let of_opcode = if proxy_header.is_some() { query_bytes } else { header };
        let (question, known) = question(query_bytes, message.as_ref(), response_bytes);
        // Type and class follow the name; without them the question is not complete.
        let asked = question.and_then(|(name, rest)| {
            let [[one, two], [three, four]] = *rest.first_chunk::<4>()?.as_chunks::<2>().0 else { return None };
            Some(Asked { name, record_type: u16::from_be_bytes([one, two]), class: u16::from_be_bytes([three, four]) })
        });
        // A truncated question is not reported.
        let known =
            if asked.is_none() && matches!(known, Known::Echoed | Known::Restored) { Known::Unknown } else { known };
        let sighting = query.or(response);
        let time_and_frame = |seen: Sighting| (seen.recorded_time(), seen.frame);

        let mut texts = Texts::default();
        if let Some(errors) =
            response_detail.as_ref().map(|detail| &detail.extended_errors).filter(|all| !all.is_empty())
        {
            let (mut codes, mut words) = (Vec::new(), Vec::new());
            write_list(errors.iter(), &mut codes, |(code, _), out| write_number(*code, out));
            let with_text = errors.iter().filter(|(_, text)| !text.is_empty());
            write_list(with_text, &mut words, |(_, text), out| out.extend_from_slice(text));
            texts.put(Text::ExtendedErrors, &codes);
            texts.put(Text::ExtendedErrorTexts, &words);
        }
        let either = |of: fn(&Detail) -> Option<&[u8]>| {
            query_detail.as_ref().and_then(of).or(response_detail.as_ref().and_then(of)).unwrap_or_default()
        };
        texts.put(Text::ClientSubnet, either(|detail| detail.client_subnet.as_deref().map(str::as_bytes)));
        if let Some(client) = proxy_header.and_then(|header| header.client) {
            texts.put(Text::Identity, proxy::identity(client).as_bytes());
        }
        texts.put(Text::KeyName, either(|detail| detail.key_name.as_deref()));
        if let Some((verdict, rule)) = judge.map(|judge| judge.words(transaction)) {
            texts.put(Text::Verdict, verdict.as_bytes());
            texts.put(Text::Rule, rule.as_bytes());
        }
        Self {
            client: ends.source(),
            server: ends.destination(),
            ports: transaction.ports,
            outcome: transaction.outcome,
            transport: transaction.transport,
            point: sighting.map_or_else(Point::default, |seen| seen.point),
            query: query.map(time_and_frame),
            response: response.map(time_and_frame),
            id: transaction.id,
            opcode: of_opcode.get(..HEADER).map(|header| header[2] >> 3 & 15),
            flags: header.get(..HEADER).map(|header| u16::from_be_bytes([header[2], header[3]])),
            rcode: message.map(|message| message.rcode),
            asked,
            known,
            texts,
        }
    }

    /// The frame that puts rows in order; `None` when neither query nor response was captured.
    pub fn frame(&self) -> Option<FrameRef> {
        self.query.or(self.response).map(|(_, frame)| frame)
    }

    /// Appends the facts in the form that [`Facts::from_bytes`] reads.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        let asked = self.asked.as_ref();
        let (query, response) = (self.query.unwrap_or_default(), self.response.unwrap_or_default());
        let numbers = [self.point.to_bits(), query.0.0 as u64, query.1.frame, response.0.0 as u64, response.1.frame];
        let present = [
            self.query.is_some(),
            self.response.is_some(),
            self.id.is_some(),
            self.opcode.is_some(),
            self.flags.is_some(),
            self.rcode.is_some(),
            asked.is_some(),
        ];
        let present = bits(present) | u16::from(self.texts.present) << 7;
        let shorts = [
            present,
            self.ports.0,
            self.ports.1,
            self.id.unwrap_or_default(),
            self.flags.unwrap_or_default(),
            self.rcode.unwrap_or_default(),
            asked.map_or(0, |asked| asked.record_type),
            asked.map_or(0, |asked| asked.class),
        ];
        let bytes = [
            self.outcome as u8,
            self.transport as u8,
            self.opcode.unwrap_or_default(),
            self.known as u8,
            asked.map_or(0, |asked| asked.name.len() as u8),
        ];
        out.extend_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
        out.extend_from_slice([query.1.input, response.1.input].map(u32::to_le_bytes).as_flattened());
        out.extend_from_slice(shorts.map(u16::to_le_bytes).as_flattened());
        out.extend_from_slice(&bytes);
        put_address(self.client, out);
        put_address(self.server, out);
        if let Some(asked) = asked {
            out.extend_from_slice(&asked.name);
        }
        if !self.texts.bytes.is_empty() {
            out.extend_from_slice(&self.texts.bytes);
        }
    }

    /// Reads what [`Facts::to_bytes`] wrote, and nothing else.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_first_chunk::<40>()?;
        let [point, query_time, query_frame, response_time, response_frame] =
            array::<8, 5>(numbers).map(u64::from_le_bytes);
        let (inputs, rest) = rest.split_first_chunk::<8>()?;
        let [query_input, response_input] = array::<4, 2>(inputs).map(u32::from_le_bytes);
        let (shorts, rest) = rest.split_first_chunk::<16>()?;
        let [present, client_port, server_port, id, flags, rcode, record_type, class] =
            array::<2, 8>(shorts).map(u16::from_le_bytes);
        let (&[outcome, transport, opcode, known, name_len], rest) = rest.split_first_chunk::<5>()?;
        let (client, rest) = take_address(rest)?;
        let (server, rest) = take_address(rest)?;
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let has = |bit: usize| present >> bit & 1 == 1;
        let texts = Texts::take((present >> 7) as u8, rest)?;
        Some(Self {
            client,
            server,
            ports: (client_port, server_port),
            outcome: Outcome::ALL.get(usize::from(outcome))?.1,
            transport: if transport == Transport::Udp as u8 { Transport::Udp } else { Transport::Tcp },
            point: Point::from_bits(point),
            query: has(0)
                .then_some((Timestamp(query_time as i64), FrameRef { input: query_input, frame: query_frame })),
            response: has(1).then_some((
                Timestamp(response_time as i64),
                FrameRef { input: response_input, frame: response_frame },
            )),
            id: has(2).then_some(id),
            opcode: has(3).then_some(opcode),
            flags: has(4).then_some(flags),
            rcode: has(5).then_some(rcode),
            asked: has(6).then_some(Asked { name: Cow::Borrowed(name), record_type, class }),
            known: *Known::ALL.get(usize::from(known))?,
            texts,
        })
    }
}

/// Packs flags into bits, the lowest first.
fn bits<const COUNT: usize>(all: [bool; COUNT]) -> u16 {
    all.into_iter().enumerate().fold(0, |bits, (at, one)| bits | u16::from(one) << at)
}

/// Reads an array of numbers from bytes.
fn array<const LEN: usize, const COUNT: usize>(bytes: &[u8]) -> [[u8; LEN]; COUNT] {
    let mut all = [[0; LEN]; COUNT];
    all.as_flattened_mut().copy_from_slice(bytes);
    all
}

/// The name of a question as wire bytes, and what follows it in the message.
type Name<'m> = (Cow<'m, [u8]>, &'m [u8]);

/// The question to print, from whichever message contains it, and how it is known.
fn question<'m>(query: &'m [u8], message: Option<&Message>, response: &'m [u8]) -> (Option<Name<'m>>, Known) {
    if let Some(message) = message {
        let echoed = if message.question.is_known() { question_name(response) } else { None };
        match echoed {
            Some(name) => (Some(name), Known::Echoed),
            None => question_name(query).map_or((None, Known::Unknown), |name| (Some(name), Known::Restored)),
        }
    } else {
        // Without a response, nothing could echo the question.
        question_name(query).map_or((None, Known::Unknown), |name| (Some(name), Known::Asked))
    }
}

/// The name of a message's first question.
fn question_name(message: &[u8]) -> Option<Name<'_>> {
    if message.len() <= HEADER || message[4..6] == [0, 0] {
        return None;
    }
    // Such names are hardly ever compressed.
    let (name, end) = match plain_len(&message[HEADER..]) {
        Some(len) => (Cow::Borrowed(&message[HEADER..HEADER + len]), HEADER + len),
        None => {
            let (name, end) = read_name(message, HEADER).ok()?;
            (Cow::Owned(name.as_bytes().to_vec()), end)
        }
    };
    Some((name, &message[end..]))
}

/// Appends an address for [`take_address`].
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

/// Splits off the address at the start.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Text {
        const ALL: [Text; 7] = [
            Text::ExtendedErrors,
            Text::ExtendedErrorTexts,
            Text::ClientSubnet,
            Text::Identity,
            Text::KeyName,
            Text::Verdict,
            Text::Rule,
        ];
    }

    fn bytes(longest: usize) -> impl Strategy<Value = Cow<'static, [u8]>> {
        proptest::collection::vec(any::<u8>(), 0..=longest).prop_map(Cow::Owned)
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    prop_compose! {
        fn seen()(time in any::<i64>(), input in any::<u32>(), frame in any::<u64>()) -> (Timestamp, FrameRef) {
            (Timestamp(time), FrameRef { input, frame })
        }
    }

    prop_compose! {
        fn facts()(
            (client, server, ports) in (address(), address(), any::<(u16, u16)>()),
            (outcome, tcp, known) in (0..Outcome::ALL.len(), any::<bool>(), 0..Known::ALL.len()),
            point in any::<u64>(),
            (query, response) in (proptest::option::of(seen()), proptest::option::of(seen())),
            (id, opcode, flags, rcode) in any::<(Option<u16>, Option<u8>, Option<u16>, Option<u16>)>(),
            asked in proptest::option::of((bytes(255), any::<(u16, u16)>())),
            texts in proptest::array::uniform7(bytes(3)),
            long in proptest::option::of(0..Text::ALL.len()),
        ) -> (Facts<'static>, [Cow<'static, [u8]>; 7]) {
            let mut values = texts;
            if let Some(long) = long {
                values[long] = Cow::Owned(vec![b'x'; 70_000]);
            }
            let mut texts = Texts::default();
            for (text, value) in Text::ALL.into_iter().zip(&values) {
                texts.put(text, value);
            }
            let (outcome, known) = (Outcome::ALL[outcome].1, Known::ALL[known]);
            let transport = if tcp { Transport::Tcp } else { Transport::Udp };
            let asked = asked.map(|(name, (record_type, class))| Asked { name, record_type, class });
            let point = Point::from_bits(point);
            (Facts {
                client, server, ports, outcome, transport, point, query, response, id, opcode, flags, rcode, asked,
                known, texts,
            }, values)
        }
    }

    proptest! {
        #[test]
        fn what_waits_comes_back((facts, texts) in facts()) {
            for (at, text) in Text::ALL.into_iter().enumerate() {
                prop_assert_eq!(facts.texts.get(text), &texts[at][..]);
            }
            let mut kept = Vec::new();
            facts.to_bytes(&mut kept);
            prop_assert_eq!(Facts::from_bytes(&kept), Some(facts));
            for len in 0..kept.len().min(200) {
                prop_assert_eq!(Facts::from_bytes(&kept[..len]), None);
            }
        }
    }
}
