//! Compares transactions with what the servers' files say: [`Judge`] decides each one by what its messages ask, and
//! [`Judgements`] counts, per source and server, which decision met which outcome.

mod message;
mod tally;

use super::compare::Question;
use super::{Acl, Decision, Word};
use crate::config::OwnServer;
use crate::decode::detail::DetailLimits;
use crate::decode::message::NOTAUTH;
use crate::transact::Transaction;
use crate::transact::in_flight::Transport;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
pub use tally::{Judgements, Tally, Verdicts, agrees, turns_away};

/// Reason for no verdict: the request may have been for another server at the same address.
pub const OTHER_PORT: &str = "the file does not listen on the port that was asked; FILE@ADDR compares it all the same";
/// Reason for no verdict: the request is behind a proxy's header that names a client.
pub const BEHIND_PROXY: &str = "a proxy's header names the client, and whether the server believes it is not evaluated";

/// The decision about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Index of the file that speaks for the server.
    pub acl: Option<usize>,
    /// What it says.
    pub decision: Decision,
}

/// Decides transactions one after the other.
#[derive(Debug)]
pub struct Judge {
    acls: Arc<[Acl]>,
    limits: DetailLimits,
    /// A file also speaks for ports on which it does not listen.
    any_port: bool,
    /// Index of the file that speaks for each server.
    speaks: HashMap<IpAddr, Option<usize>>,
}

impl Judge {
    /// For these files; `limits` bounds the messages that are decoded for their signature.
    pub fn new(acls: Arc<[Acl]>, limits: DetailLimits) -> Self {
        Self { acls, limits, any_port: false, speaks: HashMap::new() }
    }

    /// To whatever port requests came: the user who compares two files says that the traffic is theirs.
    #[must_use]
    pub fn of_any_port(self) -> Self {
        Self { any_port: true, ..self }
    }

    /// The files.
    pub fn acls(&self) -> &Arc<[Acl]> {
        &self.acls
    }

    /// The file that speaks for a server.
    pub fn speaks_for(&mut self, server: IpAddr) -> Option<usize> {
        /// Most servers remembered; a capture of a resolver's own queries has very many.
        const SERVERS: usize = 65_536;
        if let Some(known) = self.speaks.get(&server) {
            return *known;
        }
        let found = self.acls.iter().position(|acl| acl.speaks_for(server));
        if self.speaks.len() < SERVERS {
            self.speaks.insert(server, found);
        }
        found
    }

    /// Decides a transaction, and returns the question it asks.
    pub fn decide(&mut self, transaction: &Transaction<'_>) -> (Judged, Option<Question>) {
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        let Some(number) = self.speaks_for(server) else {
            return (Judged { acl: None, decision: Decision::unknown("server not bound", None) }, None);
        };
        if !self.any_port && !self.acls[number].speaks_for_port(server, transaction.ports.1) {
            return (Judged { acl: Some(number), decision: Decision::unknown(OTHER_PORT, None) }, None);
        }
        match message::question(transaction, self.limits) {
            Ok(question) => {
                let decided = self.acls[number].decide(&question.ask(source, server));
                // The file allows it to whoever has the key, and the server says that this client does not have it: by
                // the response code, or where no view serves clients without a key, by the error in its own signature
                // (RFC 8945 section 5.3.2).
                let not_accepted = decided.word == Word::Allow
                    && question.key.is_some()
                    && (transaction.message.as_ref().is_some_and(|message| message.rcode == NOTAUTH)
                        || message::signature_error(transaction.response_bytes, self.limits)
                            .is_some_and(|error| error != 0));
                let decision = if not_accepted {
                    Decision::unknown("the server did not accept the signature", None)
                } else {
                    decided
                };
                (Judged { acl: Some(number), decision }, Some(question))
            }
            Err(reason) => {
                let decision = self.without_question(number, source, server, transaction.transport, reason);
                (Judged { acl: Some(number), decision }, None)
            }
        }
    }

    /// Decides without a question, as far as that is possible: only when no question would be answered.
    fn without_question(
        &self,
        number: usize,
        source: IpAddr,
        server: IpAddr,
        transport: Transport,
        reason: &'static str,
    ) -> Decision {
        let question = Question { transport, ..Question::default() };
        let decision = self.acls[number].decide(&question.ask(source, server));
        if decision.word == Word::Drop { decision } else { Decision::unknown(reason, None) }
    }

    /// Verdict and rule as rows print them.
    pub fn words(&mut self, transaction: &Transaction<'_>) -> (&'static str, String) {
        let (judged, _) = self.decide(transaction);
        let rule = judged.acl.zip(judged.decision.rule).map(|(number, rule)| self.acls[number].rule(rule).to_string());
        (judged.decision.word.name(), rule.unwrap_or_default())
    }
}

/// True when a file names this server, rather than speaking for every one. Requests by the server's own host are then
/// decided, too.
pub fn names_server(acls: &[Acl], server: IpAddr) -> bool {
    acls.iter().any(|acl| acl.bound().contains(&server))
}

/// The addresses of the servers that the files speak for.
pub fn own_servers(acls: &[Acl]) -> Vec<OwnServer> {
    acls.iter().flat_map(Acl::bound).map(|address| OwnServer { address, length: None }).collect()
}
