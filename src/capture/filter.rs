//! Compiles BPF expressions (pcap-filter(7)) with libpcap and applies them to the frames of files.

use crate::error::Error;
use pcap::{BpfProgram, Capture, Linktype};

/// libpcap's own number (DLT) for a LINKTYPE_ value; on Linux they differ for raw IP and classical IP over ATM.
pub fn data_link_type(link_type: u16) -> Linktype {
    Linktype(match link_type {
        101 => 12,
        100 => 11,
        other => i32::from(other),
    })
}

/// A filter expression, compiled once for each link type that occurs.
pub struct Filter {
    expression: String,
    programs: Vec<(u16, BpfProgram)>,
}

impl Filter {
    /// A filter that has not met a link type yet.
    pub fn new(expression: &str) -> Self {
        Self { expression: expression.to_string(), programs: Vec::new() }
    }

    /// Checks that the expression compiles for a link type; the error is libpcap's.
    pub fn check(&mut self, link_type: u16) -> Result<(), Error> {
        self.program(link_type).map(|_| ())
    }

    /// True when a frame passes.
    pub fn passes(&mut self, link_type: u16, data: &[u8]) -> Result<bool, Error> {
        self.program(link_type).map(|program| program.filter(data))
    }

    fn program(&mut self, link_type: u16) -> Result<&BpfProgram, Error> {
        let known = self.programs.iter().position(|(number, _)| *number == link_type);
        let index = match known {
            Some(index) => index,
            None => {
                let refused = |error: pcap::Error| {
                    let link = crate::decode::link::name(link_type);
                    Error::usage("--filter", format!("{error} (for link type {link}); no report was written"))
                };
                let dead = Capture::dead(data_link_type(link_type)).map_err(refused)?;
                let program = dead.compile(&self.expression, true).map_err(refused)?;
                self.programs.push((link_type, program));
                self.programs.len() - 1
            }
        };
        Ok(&self.programs[index].1)
    }

    /// Words in the expression that name a host or network: translation changes addresses, so such a filter hides
    /// translated packets.
    pub fn names_a_host(expression: &str) -> bool {
        expression.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "host" | "net"))
            || expression.split_whitespace().any(|word| word.parse::<std::net::IpAddr>().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_for_the_link_type_and_says_why_not() {
        let mut filter = Filter::new("udp port 53");
        // An Ethernet frame too short for anything does not pass.
        assert_eq!(filter.passes(1, &[0; 14]), Ok(false));
        let error = Filter::new("udp prot 53").check(1).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.detail.contains("syntax error"), "{}", error.detail);
    }

    #[test]
    fn raw_ip_has_two_numbers() {
        let mut filter = Filter::new("udp port 53");
        filter.check(101).unwrap();
        // 20 bytes of IPv4 for UDP, ports 53 and 4660.
        let mut packet = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2].to_vec();
        packet.extend([0, 53, 0x12, 0x34, 0, 8, 0, 0]);
        assert_eq!(filter.passes(101, &packet), Ok(true));
    }

    #[test]
    fn notices_filters_that_hide_translated_packets() {
        assert!(Filter::names_a_host("port 53 and host 10.21.5.18"));
        assert!(Filter::names_a_host("src net 10.21.0.0/16"));
        assert!(!Filter::names_a_host("udp port 53 or vlan"));
    }
}
