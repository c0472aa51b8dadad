//! What one source did at one server ([`SourceRow`]): counts and times; kept apart from them, because most sources have
//! neither, how it was turned away ([`Refusals`]) and everything rarer ([`Rare`]).

use super::FrameRef;
use crate::capture::Timestamp;
use crate::config::Outcome;

/// What one source did at one server. `queries` counts messages, everything else transactions. It is kept small,
/// because there may be hundreds of thousands: what most sources do not have is boxed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// Query messages, retransmissions and copies included.
    pub queries: u64,
    /// Transactions answered.
    pub answered: u64,
    /// Transactions without a response, except silent ones.
    pub unanswered: u64,
    /// Transactions over TCP.
    pub tcp: u64,
    /// Messages from or to the source.
    messages: Span,
    /// When it was seen on a DNS port without a message that counts: in a message with a truncated header, a connection
    /// without messages, the first fragment of a packet, or a packet quoted by an ICMP error.
    without_message: Span,
    refusals: Option<Box<Refusals>>,
    rare: Option<Box<Rare>>,
}

/// How a source was turned away. Kept apart from what is rarer, because in a flood there may be hundreds of thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Transactions refused.
    pub count: u64,
    /// Times of the queries that were refused or denied.
    pub asked: Span,
    /// Frames of the responses to the first of them; at most `Limits::finding_frames`.
    pub frames: Vec<FrameRef>,
}

/// First and last time of something, if it happened at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: Timestamp,
    last: Timestamp,
}

impl Default for Span {
    fn default() -> Self {
        Self { first: Timestamp(i64::MAX), last: Timestamp(i64::MIN) }
    }
}

impl Span {
    /// First and last time.
    pub fn ends(self) -> Option<(Timestamp, Timestamp)> {
        (self.first <= self.last).then_some((self.first, self.last))
    }

    /// Notes a time.
    #[inline]
    pub fn note(&mut self, time: Timestamp) {
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: Span) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// What most sources do not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rare {
    /// Transactions denied otherwise than by REFUSED.
    pub denied: u64,
    /// Transactions that met silence at the server.
    pub silent: u64,
    /// TCP connections the server ended without a byte.
    pub tcp_rejected: u64,
    /// Responses without a query.
    pub unsolicited: u64,
    /// REFUSED responses without a query, part of `unsolicited`.
    pub refused_unsolicited: u64,
    /// REFUSED responses that decide no query, by [`ExtraRefusal`].
    pub extra_refusals: [u64; ExtraRefusal::ALL.len()],
    /// Refused queries that a second response answers.
    pub answered_second: u64,
    /// Answered transactions whose answer is an error, which says nothing about access; only counted where answers
    /// matter.
    pub errors: u64,
    /// Frames of the first answers; at most `Limits::finding_frames`, and only where answers matter.
    pub answered_frames: Vec<FrameRef>,
}

/// Why a REFUSED response decides no query, although a query with the same ports and ID was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraRefusal {
    /// It came after the time-out.
    Late,
    /// It has another question, or another operation.
    OtherQuestion,
    /// Another response, which was not REFUSED, came first.
    Second,
}

impl ExtraRefusal {
    /// Each with its name among the anomalies.
    pub const ALL: [(&'static str, ExtraRefusal); 3] = [
        ("refused_late", ExtraRefusal::Late),
        ("refused_other_question", ExtraRefusal::OtherQuestion),
        ("refused_second", ExtraRefusal::Second),
    ];

    /// Text of each, short and in full.
    pub fn words(self) -> [&'static str; 2] {
        match self {
            Self::Late => ["late", "after the time-out of the query (--timeout), which counts as unanswered"],
            Self::OtherQuestion => ["with another question", "with another question than the query of its port and id"],
            Self::Second => ["as a second response", "after another response to the same query, which counts"],
        }
    }
}

/// Never turned away.
static NO_REFUSALS: Refusals =
    Refusals { count: 0, asked: Span { first: Timestamp(i64::MAX), last: Timestamp(i64::MIN) }, frames: Vec::new() };

/// Nothing rare.
static NOTHING: Rare = Rare {
    denied: 0,
    silent: 0,
    tcp_rejected: 0,
    unsolicited: 0,
    refused_unsolicited: 0,
    extra_refusals: [0; ExtraRefusal::ALL.len()],
    answered_second: 0,
    errors: 0,
    answered_frames: Vec::new(),
};

impl Refusals {
    /// Notes a query that was turned away, and the frame of its response; at most `frames` are kept.
    pub fn note(&mut self, time: Timestamp, frame: FrameRef, frames: usize) {
        if time != Timestamp::UNTIMED {
            self.asked.note(time);
        }
        if self.frames.len() < frames {
            if self.frames.is_empty() {
                // Most rows have one frame, and there may be very many rows.
                self.frames.reserve_exact(1);
            }
            self.frames.push(frame);
        }
    }

    fn add(&mut self, other: &Refusals, frames: usize) {
        self.count += other.count;
        self.asked.add(other.asked);
        merge_frames(&mut self.frames, &other.frames, frames);
    }
}

impl Rare {
    /// Adds transactions of an outcome that is counted here.
    pub fn add_outcome(&mut self, outcome: Outcome, count: u64) {
        match outcome {
            Outcome::Denied => self.denied += count,
            Outcome::Silent => self.silent += count,
            Outcome::TcpRejected => self.tcp_rejected += count,
            Outcome::Unsolicited => self.unsolicited += count,
            Outcome::Answered | Outcome::Refused | Outcome::Unanswered => {}
        }
    }

    /// True when the source received something from the server, answers and plain refusals not counted.
    pub fn heard(&self) -> bool {
        self.has_answers() || self.tcp_rejected + self.unsolicited > 0
    }

    /// True when the server responded to a query, answers and plain refusals not counted.
    fn has_answers(&self) -> bool {
        self.denied + self.extra_refusals.iter().sum::<u64>() > 0
    }

    fn add(&mut self, other: &Rare, frames: usize) {
        self.denied += other.denied;
        self.silent += other.silent;
        self.tcp_rejected += other.tcp_rejected;
        self.unsolicited += other.unsolicited;
        self.refused_unsolicited += other.refused_unsolicited;
        for (sum, more) in self.extra_refusals.iter_mut().zip(other.extra_refusals) {
            *sum += more;
        }
        self.answered_second += other.answered_second;
        self.errors += other.errors;
        merge_frames(&mut self.answered_frames, &other.answered_frames, frames);
    }
}

impl SourceRow {
    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        let rare = self.rare();
        match outcome {
            Outcome::Answered => self.answered,
            Outcome::Refused => self.refusals().count,
            Outcome::Denied => rare.denied,
            Outcome::Silent => rare.silent,
            Outcome::TcpRejected => rare.tcp_rejected,
            Outcome::Unanswered => self.unanswered,
            Outcome::Unsolicited => rare.unsolicited,
        }
    }

    /// Adds transactions of an outcome.
    pub fn add_outcome(&mut self, outcome: Outcome, count: u64) {
        match outcome {
            Outcome::Answered => self.answered += count,
            Outcome::Refused => self.refusals_mut().count += count,
            Outcome::Unanswered => self.unanswered += count,
            rare => self.rare_mut().add_outcome(rare, count),
        }
    }

    /// All transactions.
    pub fn transactions(&self) -> u64 {
        let rare = self.rare();
        self.answered + self.unanswered + self.refusals().count + rare.denied + rare.silent + rare.tcp_rejected
    }

    /// Transactions over UDP.
    pub fn udp(&self) -> u64 {
        self.transactions() - self.tcp
    }

    /// A row with these parts, and otherwise empty.
    pub fn of_few(without_message: Span, refusals: Option<Box<Refusals>>, rare: Option<Box<Rare>>) -> Self {
        Self { without_message, refusals, rare, ..Self::default() }
    }

    /// How the source was turned away.
    pub fn refusals(&self) -> &Refusals {
        self.refusals.as_deref().unwrap_or(&NO_REFUSALS)
    }

    /// The same for changing it.
    pub fn refusals_mut(&mut self) -> &mut Refusals {
        self.refusals.get_or_insert_default()
    }

    /// What most sources never have.
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    /// The same for changing it.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// True when the source was seen on a DNS port, but no message from or to it was read.
    pub fn is_without_message(&self) -> bool {
        let rare = self.rare();
        let counted = self.queries + self.transactions() + rare.unsolicited + rare.extra_refusals.iter().sum::<u64>();
        self.without_message.ends().is_some() && self.messages.ends().is_none() && counted == 0
    }

    /// Time of the first message from or to the source; of its first packet, where there is no message.
    pub fn first(&self) -> Option<Timestamp> {
        self.seen_at().map(|(first, _)| first)
    }

    /// Time of the last such packet.
    pub fn last(&self) -> Option<Timestamp> {
        self.seen_at().map(|(_, last)| last)
    }

    fn seen_at(&self) -> Option<(Timestamp, Timestamp)> {
        self.messages.ends().or(self.without_message.ends())
    }

    /// True when the source received something from the server: a response, or the end of its TCP connection.
    pub fn heard(&self) -> bool {
        self.answered > 0 || self.refusals().count > 0 || self.rare().heard()
    }

    /// True when the server responded to a query of the source.
    pub fn has_answers(&self) -> bool {
        self.answered > 0 || self.refusals().count > 0 || self.rare().has_answers()
    }

    /// Notes the time of a message.
    #[inline]
    pub fn seen(&mut self, time: Timestamp) {
        if time != Timestamp::UNTIMED {
            self.messages.note(time);
        }
    }

    /// Keeps the lowest `most` frames of each kind.
    pub fn keep_frames(&mut self, most: usize) {
        let kept = [
            self.refusals.as_mut().map(|refusals| &mut refusals.frames),
            self.rare.as_mut().map(|rare| &mut rare.answered_frames),
        ];
        for frames in kept.into_iter().flatten().filter(|frames| frames.len() > most) {
            frames.sort_unstable();
            frames.truncate(most);
            frames.shrink_to_fit();
        }
    }

    /// Adds another row to this one; at most `frames` frames of each kind are kept.
    pub fn add(&mut self, other: &SourceRow, frames: usize) {
        self.queries += other.queries;
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.tcp += other.tcp;
        self.messages.add(other.messages);
        self.without_message.add(other.without_message);
        if let Some(refusals) = &other.refusals {
            self.refusals_mut().add(refusals, frames);
        }
        if let Some(rare) = &other.rare {
            self.rare_mut().add(rare, frames);
        }
    }
}

/// Keeps the lowest `most` frames of both lists.
fn merge_frames(into: &mut Vec<FrameRef>, from: &[FrameRef], most: usize) {
    // Mostly frames come in order, and those kept are the first. A frame may be there twice: one segment brings several
    // messages.
    let in_order = into.is_sorted_by(|one, next| one < next);
    let adds_none = into.len() == most && in_order && from.iter().all(|frame| Some(frame) >= into.last());
    if !from.is_empty() && !adds_none {
        into.extend_from_slice(from);
        into.sort_unstable();
        into.dedup();
        into.truncate(most);
    }
}
