//! Questions as tests write them, to verdicts as tests read them.

use super::compare::Question;
use super::{Acl, Cookie, name};
use crate::transact::in_flight::Transport;

/// Evaluates `SOURCE [to ADDR] [key K] [tcp] [nord] [update|notify] [class N] [cookie LEN|none] [sections A N R] [TYPE]
/// [NAME]` and says the verdict and its line. The server is 10.53.0.1.
pub fn verdict(acl: &Acl, asked: &str) -> String {
    let mut words = asked.split(' ');
    let source = words.next().unwrap().parse().unwrap();
    let mut destination = "10.53.0.1".parse().unwrap();
    let mut question = Question { qname: name::parse_name("other.example").unwrap(), ..Question::default() };
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap();
        match word {
            "to" => destination = next().parse().unwrap(),
            "key" => question.key = name::parse_name(next()),
            "tcp" => question.transport = Transport::Tcp,
            "nord" => question.rd = false,
            "update" => (question.opcode, question.qtype) = (5, 6),
            "notify" => (question.opcode, question.qtype) = (4, 6),
            "class" => question.qclass = next().parse().unwrap(),
            "cookie" => question.cookie = next().parse().map_or(Cookie::Absent, Cookie::Present),
            "sections" => question.sections = [0; 3].map(|_: u16| next().parse().unwrap()),
            word => match name::parse_type(word) {
                Some(qtype) => question.qtype = qtype,
                None => question.qname = name::parse_name(word).unwrap(),
            },
        }
    }
    let request = question.ask(source, destination);
    let decision = acl.decide(&request);
    let (explained, steps) = acl.explain(&request);
    assert_eq!(decision, explained, "a trace changes nothing");
    assert!(steps.len() < 40);
    let line = decision.rule.map_or(0, |rule| acl.rule(rule).line);
    format!("{} {line}", decision.word.name())
}
