//! Makes the columns of a row ([`Columns`]): the one place where rows are put into words.

use super::cell::{write_address, write_flags, write_list, write_number};
use super::facts::{Facts, Text};
use super::json::rcode_name;
use super::row::RowText;
use super::rows::RowInput;
use crate::capture::Timestamp;
use crate::capture::time::{TimeWriter, write_microseconds};
use crate::config::SKEW;
use crate::decode::name::write_name;
use crate::decode::{Interface, detail};
use crate::expect::Inventory;
use crate::expect::inventory::{Expected, Row};
use crate::sources::{FrameRef, Leg};
use std::sync::Arc;

/// Makes the columns of rows.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    inputs: Vec<RowInput>,
    inventory: Option<Arc<Inventory>>,
    /// `file:line` of each inventory line, formatted once.
    rules: Vec<String>,
    times: TimeWriter,
}

impl Columns {
    /// For rows about these inputs.
    pub fn new(inputs: Vec<RowInput>, inventory: Option<Arc<Inventory>>) -> Self {
        Self {
            rules: inventory.iter().flat_map(|inventory| inventory.rows()).map(Row::rule).collect(),
            inputs,
            inventory,
            times: TimeWriter::default(),
        }
    }

    /// Sets the digits of the fraction of each input's timestamps, once they are known.
    pub fn set_time_digits(&mut self, digits: &[usize]) {
        for (input, digits) in self.inputs.iter_mut().zip(digits) {
            input.time_digits = *digits;
        }
    }

    /// Writes the row of these facts, in the order of [`super::row::COLUMNS`]. The leg is written as the most frequent
    /// one, and the interface of a section without its name.
    pub fn print(&mut self, facts: &Facts<'_>, text: &mut RowText) {
        let inputs = &self.inputs;
        let input = facts.frame().and_then(|frame| inputs.get(frame.input as usize));
        let expected = self.inventory.as_ref().map(|inventory| inventory.decide(facts.client));
        let (times, rules) = (&mut self.times, &self.rules);
        text.clear();
        let mut time = |seen: Option<(Timestamp, FrameRef)>, out: &mut Vec<u8>| {
            if let Some((time, frame)) = seen.filter(|(time, _)| *time != Timestamp::UNTIMED) {
                times.write(time, inputs.get(frame.input as usize).map_or(6, |input| input.time_digits), out);
            }
        };
        text.push(|out| time(facts.query, out));
        text.push(|out| time(facts.response, out));
        text.push(|out| {
            if let (Some((asked, _)), Some((answered, _)), Some(_)) = (facts.query, facts.response, facts.rcode)
                && asked != Timestamp::UNTIMED
                && answered != Timestamp::UNTIMED
            {
                let nanoseconds = answered.0.saturating_sub(asked.0);
                // A response captured a moment before its query: the two were handled by different processors. Longer
                // before: the clock stepped back, and the time between them is not known.
                if nanoseconds >= -SKEW {
                    write_microseconds(nanoseconds.max(0), out);
                }
            }
        });
        text.push(|out| out.extend_from_slice(Leg::Client.name().as_bytes()));
        text.push(|out| out.extend_from_slice(facts.outcome.name().as_bytes()));
        text.push(|out| {
            if let Some(rcode) = facts.rcode {
                out.extend_from_slice(rcode_name(rcode).as_bytes());
            }
        });
        text.push(|out| out.extend_from_slice(facts.transport.name().as_bytes()));
        text.push(|out| write_address(facts.client, out));
        text.push(|out| write_number(facts.ports.0, out));
        text.push(|out| write_address(facts.server, out));
        text.push(|out| write_number(facts.ports.1, out));
        text.push(|out| {
            if let Some(id) = facts.id {
                write_number(id, out);
            }
        });
        text.push(|out| {
            if let Some(opcode) = facts.opcode {
                detail::write_opcode(opcode, out);
            }
        });
        let asked = facts.asked.as_ref();
        text.push(|out| {
            if let Some(asked) = asked {
                write_name(&asked.name, out);
            }
        });
        text.push(|out| {
            if let Some(asked) = asked {
                detail::write_type(asked.record_type, out);
            }
        });
        text.push(|out| {
            if let Some(asked) = asked {
                detail::write_class(asked.class, out);
            }
        });
        text.push(|out| out.extend_from_slice(facts.known.word().as_bytes()));
        text.push(|out| {
            if let Some(flags) = facts.flags {
                write_flags(flags, out);
            }
        });
        for kept in [Text::ExtendedErrors, Text::ExtendedErrorTexts, Text::ClientSubnet, Text::Identity, Text::KeyName]
        {
            text.push(|out| out.extend_from_slice(facts.texts.get(kept)));
        }
        text.push(|out| {
            let tagged = facts.point.vlans().into_iter().filter(|vlan| *vlan != 0);
            write_list(tagged, out, write_number);
        });
        text.push(|out| {
            if let Interface::Host(index) = facts.point.interface() {
                write_number(index, out);
            }
        });
        text.push(|out| out.extend_from_slice(expected.map_or("", |expected| expected.word()).as_bytes()));
        text.push(|out| {
            let row = expected.and_then(Expected::row);
            out.extend_from_slice(row.map_or("", |row| &rules[row.index]).as_bytes());
        });
        text.push(|out| out.extend_from_slice(facts.texts.get(Text::Verdict)));
        text.push(|out| out.extend_from_slice(facts.texts.get(Text::Rule)));
        // The mechanism is not determined by any stage so far.
        text.push(|_| {});
        text.push(|out| out.extend_from_slice(input.map_or("", |input| &input.name).as_bytes()));
        for seen in [facts.query, facts.response] {
            text.push(|out| {
                if let Some((_, frame)) = seen {
                    write_number(frame.frame, out);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Known, Texts};
    use super::super::row::COLUMNS;
    use super::*;
    use crate::config::Outcome;
    use crate::decode::Point;
    use crate::decode::message::Transport;
    use std::net::IpAddr;

    #[test]
    fn each_time_has_the_digits_of_its_own_input() {
        let inputs = [("micro", 6), ("nano", 9)].map(|(name, time_digits)| RowInput { name: name.into(), time_digits });
        let at = |time, input, frame| Some((Timestamp(time), FrameRef { input, frame }));
        let facts = Facts {
            client: IpAddr::from([10, 0, 0, 1]),
            server: IpAddr::from([10, 0, 0, 53]),
            ports: (4000, 53),
            outcome: Outcome::Refused,
            transport: Transport::Udp,
            point: Point::default(),
            query: at(1_000, 0, 7),
            response: at(2_345, 1, 1),
            id: None,
            opcode: None,
            flags: None,
            rcode: Some(5),
            asked: None,
            known: Known::Unknown,
            texts: Texts::default(),
        };
        let mut columns = Columns::new(inputs.into(), None);
        let mut row = RowText::default();
        columns.print(&facts, &mut row);
        let value = |name| {
            let at = COLUMNS.iter().position(|(column, _)| *column == name).unwrap();
            String::from_utf8_lossy(row.column(at)).into_owned()
        };
        assert_eq!(value("time"), "1970-01-01T00:00:00.000001Z");
        assert_eq!(value("response_time"), "1970-01-01T00:00:00.000002345Z");
        assert_eq!(
            (value("input"), value("query_frame"), value("response_frame")),
            ("micro".into(), "7".into(), "1".into())
        );
    }
}
