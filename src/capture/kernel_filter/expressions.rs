//! Writes the expressions that choose packets: all DNS, or only REFUSED responses; and recognises them in files.

use super::{ETHERNET, LINUX_SLL, LINUX_SLL2, RAW, cooked};
use crate::capture::Passed;
use crate::capture::filter::Filter;
use crate::config::DNS_PORT;
use std::sync::LazyLock;

/// Link types for which [`dns`] gives different expressions; all other link types get that of the last one.
const LINK_TYPES: [u16; 4] = [ETHERNET, LINUX_SLL, LINUX_SLL2, RAW];

/// The expressions of [`LINK_TYPES`] for the standard port. They are made once, because they are long and a file may
/// describe hundreds of thousands of interfaces.
static USUAL: LazyLock<[String; 4]> = LazyLock::new(|| LINK_TYPES.map(|link_type| dns(&[DNS_PORT], link_type)));

/// Ports that are read from an expression at most.
const MOST_PORTS: usize = 64;

/// With more ports than this the expression does not look into tunnels, because the kernel takes at most 4096
/// instructions.
const TUNNEL_PORTS: usize = 2;

/// True for an expression that [`dns`] gives for these ports, which therefore leaves out no DNS on them.
pub fn is_complete(expression: &str, ports: &[u16]) -> bool {
    LINK_TYPES.iter().any(|link_type| expression.trim() == dns(ports, *link_type))
}

/// An expression that catches DNS on these ports: UDP and TCP over IPv4 and IPv6, fragments (which have no ports), IPv6
/// extension headers, ICMP errors (which may quote DNS), VLAN tags, and the tunnels whose inner ports are at an offset
/// that can be computed (`tunnels`; with at most `TUNNEL_PORTS` ports).
pub fn dns(ports: &[u16], link_type: u16) -> String {
    let inner = |at: usize, of: &str| inner_ports(ports, of, &at.to_string(), "");
    let plain = [
        any_of(ports.iter().map(|port| format!("port {port}"))),
        // Later fragments (the second and following ones have no ports), and ICMP errors.
        "ip[6:2]&0x1fff!=0".into(),
        "(icmp and (icmp[0]=3 or icmp[0]=4 or icmp[0]=11 or icmp[0]=12))".into(),
        // Extension headers (hop-by-hop options, routing, fragment, authentication, destination options), and ICMPv6
        // errors.
        "(ip6 and (ip6[6]=0 or ip6[6]=43 or ip6[6]=44 or ip6[6]=51 or ip6[6]=60 or (ip6[6]=58 and ip6[40]<5)))".into(),
    ]
    .join(" or ");
    let mut parts = vec![plain.clone()];
    if ports.len() <= TUNNEL_PORTS {
        parts.extend(tunnels(ports));
    }
    let untagged = parts.join(" or ");
    match cooked(link_type) {
        Some((protocol, header)) => {
            let tagged = |ethertype: u16, ports_at: usize| {
                format!(
                    "(link[{protocol}:2]=0x8100 and link[{}:2]={ethertype:#x} and {})",
                    header + 2,
                    inner(ports_at, "link")
                )
            };
            format!("{untagged} or {} or {}", tagged(0x0800, header + 24), tagged(0x86dd, header + 44))
        }
        // A tag shifts every offset after `vlan`, so that part comes last. Tunnels are not looked for behind tags,
        // because the kernel takes at most 4096 instructions. PPPoE and MPLS are not looked for at all: with
        // `ether[12:2]` tested before `vlan`, programs that libpcap 1.10 compiled for an interface let nothing through.
        None if link_type == ETHERNET => format!("{untagged} or (vlan and ({plain} or (vlan and ({plain}))))"),
        None => untagged,
    }
}

/// Expressions for packets on these ports inside the tunnels that the decoder opens, as far as the lengths of the
/// headers in between can be computed. The outer IPv4 header must have no options; UDP tunnels are looked for in IPv4
/// only.
fn tunnels(ports: &[u16]) -> Vec<String> {
    // The ports of a packet whose IP header (of 20 bytes if IPv4) begins at offset `at` of the protocol `of`, plus the
    // computed length `more`.
    let packet = |of: &str, at: usize, more: &str| {
        let [v4, v6] = [at + 20, at + 40].map(|at| inner_ports(ports, of, &at.to_string(), more));
        any_of([v4, v6].into_iter())
    };
    // The same for an Ethernet frame.
    let frame = |of: &str, at: usize, more: &str| {
        let [v4, v6] = [at + 34, at + 54].map(|at| inner_ports(ports, of, &at.to_string(), more));
        let kind = format!("{of}[{}{more}:2]", at + 12);
        format!("(({kind}=0x800 and {v4}) or ({kind}=0x86dd and {v6}))")
    };
    // Checksum, key and sequence number in a GRE header take 4 bytes each (RFC 2784, RFC 2890).
    let gre = |of: &str, at: usize| {
        let more = format!("+(({of}[{at}]&0x80)>>5)+(({of}[{at}]&0x20)>>3)+(({of}[{at}]&0x10)>>2)");
        let kind = format!("{of}[{}:2]", at + 2);
        format!(
            "((({kind}=0x800 or {kind}=0x86dd) and {}) or ({kind}=0x6558 and {}) or ({kind}=0x88be and {}))",
            packet(of, at + 4, &more),
            frame(of, at + 4, &more),
            // ERSPAN type II has a header of 8 bytes.
            frame(of, at + 12, &more),
        )
    };
    // Length of Geneve's options, which are counted in words of 4 bytes (RFC 8926).
    let options = "+((udp[8]&0x3f)<<2)";
    vec![
        format!("((ip[9]=4 or ip[9]=41) and {})", packet("ip", 20, "")),
        format!("((ip6[6]=4 or ip6[6]=41) and {})", packet("ip6", 40, "")),
        format!("(ip[9]=47 and {})", gre("ip", 20)),
        // EtherIP (RFC 3378).
        format!("(ip[9]=97 and {})", frame("ip", 22, "")),
        // VXLAN (RFC 7348), also on the port that Linux used before one was assigned.
        format!("((udp dst port 4789 or udp dst port 8472) and {})", frame("udp", 16, "")),
        format!(
            "(udp dst port 6081 and ((udp[10:2]=0x6558 and {}) or (udp[10:2]!=0x6558 and {})))",
            frame("udp", 16, options),
            packet("udp", 16, options)
        ),
        // GTP-U: without options, with the four bytes of optional fields, and with one extension header in addition.
        format!("(udp dst port 2152 and {})", any_of([16, 20, 24].into_iter().map(|at| packet("udp", at, "")))),
        format!("(udp dst port 4754 and {})", gre("udp", 8)),
        // One or two MPLS labels (RFC 7510).
        format!("(udp dst port 6635 and {})", any_of([12, 16].into_iter().map(|at| packet("udp", at, "")))),
        // Teredo (RFC 4380) without indications.
        format!("(udp port 3544 and {})", inner_ports(ports, "udp", "48", "")),
        // L2TP data messages, whatever they hold: the header has many forms.
        "(udp dst port 1701 and udp[8]&0x80=0)".into(),
    ]
}

/// An expression that holds when one of the ports is the source or destination port in a transport header at offset
/// `at` of the protocol `of`, plus the computed length `more`.
fn inner_ports(ports: &[u16], of: &str, at: &str, more: &str) -> String {
    let one = |port: &u16| [format!("{of}[{at}{more}:2]={port}"), format!("{of}[{at}{more}+2:2]={port}")];
    any_of(ports.iter().flat_map(one))
}

/// An expression that catches only responses from these ports whose header says REFUSED (RFC 1035 section 4.1.1: QR 1,
/// RCODE 5): IPv4 and IPv6, UDP and TCP, VLAN tags. It misses IPv6 extension headers, later fragments, and TCP
/// responses whose first segment has fewer than 6 bytes; it also catches extended response codes whose lower four bits
/// are 5.
pub fn refused(ports: &[u16], link_type: u16) -> String {
    let one = |port: &u16| {
        let tcp4 = "((tcp[12]&0xf0)>>2)";
        let tcp6 = "((ip6[52]&0xf0)>>2)";
        format!(
            "(udp src port {port} and udp[10]&0x80!=0 and udp[11]&0xf=5) or \
             (ip6 and ip6[6]=17 and ip6[40:2]={port} and ip6[50]&0x80!=0 and ip6[51]&0xf=5) or \
             (tcp src port {port} and tcp[{tcp4}+4]&0x80!=0 and tcp[{tcp4}+5]&0xf=5) or \
             (ip6 and ip6[6]=6 and ip6[40:2]={port} and ip6[{tcp6}+44]&0x80!=0 and ip6[{tcp6}+45]&0xf=5)"
        )
    };
    let untagged = ports.iter().map(one).collect::<Vec<_>>().join(" or ");
    match cooked(link_type) {
        Some((protocol, header)) => {
            // One tag inside the packet; IPv4 headers of 20 bytes only.
            let tagged = ports.iter().map(|port| {
                let (v4, v6) = (header + 4, header + 4);
                let at = |base: usize, offset: usize| base + offset;
                format!(
                    "(link[{protocol}:2]=0x8100 and link[{}:2]=0x800 and link[{}]=17 and link[{}:2]={port} and \
                     link[{}]&0x80!=0 and link[{}]&0xf=5) or \
                     (link[{protocol}:2]=0x8100 and link[{}:2]=0x86dd and link[{}]=17 and link[{}:2]={port} and \
                     link[{}]&0x80!=0 and link[{}]&0xf=5)",
                    header + 2,
                    at(v4, 9),
                    at(v4, 20),
                    at(v4, 30),
                    at(v4, 31),
                    header + 2,
                    at(v6, 6),
                    at(v6, 40),
                    at(v6, 50),
                    at(v6, 51),
                )
            });
            format!("{untagged} or {}", tagged.collect::<Vec<_>>().join(" or "))
        }
        None if link_type == ETHERNET => format!("{untagged} or (vlan and ({untagged}))"),
        None => untagged,
    }
}

/// What a filter lets through by whose expression a file says it was captured. Recognises [`refused`], and [`dns`] for
/// the standard port, exactly as this program writes them.
pub fn passed(expression: &str, link_type: u16) -> Passed {
    let begin = "(udp src port ";
    let ports = expression.match_indices(begin).filter_map(|(at, _)| {
        let digits = expression[at + begin.len()..].split(|one: char| !one.is_ascii_digit()).next();
        digits.and_then(|port| port.parse::<u16>().ok())
    });
    let mut ports: Vec<u16> = ports.take(MOST_PORTS).collect();
    // The alternative for tagged packets repeats the list of ports.
    let once = ports.iter().skip(1).position(|port| *port == ports[0]).map_or(ports.len(), |again| again + 1);
    ports.truncate(once);
    if !ports.is_empty() && expression == refused(&ports, link_type) {
        return Passed::Refusals;
    }
    let [usual @ .., of_others] = &*USUAL;
    let is_other = !LINK_TYPES[..usual.len()].contains(&link_type);
    if usual.iter().chain(is_other.then_some(of_others)).any(|usual| expression == usual) {
        return Passed::Everything;
    }
    if Filter::names_a_host(expression) { Passed::Part } else { Passed::Unknown }
}

/// Joins alternatives with `or`, in parentheses when there are several.
fn any_of(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    #[test]
    fn generated_expressions_compile_for_every_link_type_they_are_for() {
        for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2, RAW] {
            for ports in [&[53][..], &[53, 5353, 1053]] {
                for expression in [dns(ports, link_type), refused(ports, link_type)] {
                    let length = compile(&expression, link_type).unwrap().len();
                    assert!(length < 4096, "{length} instructions");
                }
            }
        }
    }

    #[test]
    fn what_an_expression_let_through_is_known_again() {
        for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2, RAW] {
            for ports in [&[53][..], &[53, 5353, 1053]] {
                let text = refused(ports, link_type);
                assert_eq!(passed(&text, link_type), Passed::Refusals, "{link_type} {ports:?}");
                assert_eq!(passed(&format!("{text} or icmp"), link_type), Passed::Unknown);
            }
            assert_eq!(passed(&dns(&[53], ETHERNET), link_type), Passed::Everything);
        }
        for link_type in LINK_TYPES.into_iter().chain([0, 12, 108]) {
            assert_eq!(passed(&dns(&[53], link_type), link_type), Passed::Everything, "{link_type}");
        }
        // This expression does not look for tags, which frames of these link types may have.
        for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2] {
            assert_eq!(passed(&dns(&[53], RAW), link_type), Passed::Unknown, "{link_type}");
        }
        assert_eq!(passed("port 53 and not host 10.0.0.1", ETHERNET), Passed::Part);
        assert_eq!(passed("udp port 53", ETHERNET), Passed::Unknown);
    }
}
