//! Filters that the kernel runs: expressions (pcap-filter(7)) that really catch DNS ([`dns`]) or only REFUSED responses
//! ([`refused`]), compiled programs adapted to a packet socket ([`for_socket`]), and the program that spreads packets
//! over the handles of a fan-out group ([`by_addresses`]).

use super::Passed;
use super::filter::{Filter, data_link_type};
use super::packet_socket::Instruction;
use crate::config::DNS_PORT;
use crate::error::Error;
use pcap::{BpfProgram, Capture};
use std::sync::LazyLock;

/// `LINKTYPE_ETHERNET`.
pub const ETHERNET: u16 = 1;
/// `LINKTYPE_LINUX_SLL`.
pub const LINUX_SLL: u16 = 113;
/// `LINKTYPE_LINUX_SLL2`.
pub const LINUX_SLL2: u16 = 276;
/// `LINKTYPE_RAW`.
pub const RAW: u16 = 101;

/// Link types for which [`dns`] gives different expressions; all others get that of the last one.
const LINK_TYPES: [u16; 4] = [ETHERNET, LINUX_SLL, LINUX_SLL2, RAW];

/// Those expressions for the standard port, made once: they are long, and a file may describe hundreds of thousands of
/// interfaces.
static USUAL: LazyLock<[String; 4]> = LazyLock::new(|| LINK_TYPES.map(|link_type| dns(&[DNS_PORT], link_type)));

/// Most ports of an expression that are looked at.
const MOST_PORTS: usize = 64;

/// With more ports than this, tunnels are not looked into, because the kernel takes at most 4096 instructions.
const TUNNEL_PORTS: usize = 2;

/// Offset of the protocol in a cooked header, and the header's length.
fn cooked(link_type: u16) -> Option<(usize, usize)> {
    match link_type {
        LINUX_SLL => Some((14, 16)),
        LINUX_SLL2 => Some((0, 20)),
        _ => None,
    }
}

/// True for an expression that is known to leave out no DNS on these ports: one that [`dns`] gives.
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
        // Later fragments, and errors.
        "ip[6:2]&0x1fff!=0".into(),
        "(icmp and (icmp[0]=3 or icmp[0]=4 or icmp[0]=11 or icmp[0]=12))".into(),
        // Hop-by-hop, routing, fragment, authentication and destination options; errors.
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
        // A tag shifts every offset after `vlan`, so that comes last. Tunnels are not looked for behind tags, because
        // the kernel takes at most 4096 instructions. PPPoE and MPLS are not looked for at all: with `ether[12:2]`
        // tested before `vlan`, programs that libpcap 1.10 compiled for an interface let nothing through.
        None if link_type == ETHERNET => format!("{untagged} or (vlan and ({plain} or (vlan and ({plain}))))"),
        None => untagged,
    }
}

/// Expressions for packets on these ports inside the tunnels that can be opened, as far as the headers in between have
/// computable lengths. The outer IPv4 header must have no options; UDP tunnels are looked for in IPv4 only.
fn tunnels(ports: &[u16]) -> Vec<String> {
    // Ports of a packet whose IP header (in IPv4 of 20 bytes) begins at offset `at`, plus `more` if computed, of `of`.
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
    // Options of Geneve, in words of 4 bytes (RFC 8926).
    let options = "+((udp[8]&0x3f)<<2)";
    vec![
        format!("((ip[9]=4 or ip[9]=41) and {})", packet("ip", 20, "")),
        format!("((ip6[6]=4 or ip6[6]=41) and {})", packet("ip6", 40, "")),
        format!("(ip[9]=47 and {})", gre("ip", 20)),
        // EtherIP (RFC 3378).
        format!("(ip[9]=97 and {})", frame("ip", 22, "")),
        // VXLAN (RFC 7348), and its port before one was assigned.
        format!("((udp dst port 4789 or udp dst port 8472) and {})", frame("udp", 16, "")),
        format!(
            "(udp dst port 6081 and ((udp[10:2]=0x6558 and {}) or (udp[10:2]!=0x6558 and {})))",
            frame("udp", 16, options),
            packet("udp", 16, options)
        ),
        // GTP-U without options, with the four bytes of a sequence number, and with one extension header in addition.
        format!("(udp dst port 2152 and {})", any_of([16, 20, 24].into_iter().map(|at| packet("udp", at, "")))),
        format!("(udp dst port 4754 and {})", gre("udp", 8)),
        // One or two MPLS labels (RFC 7510).
        format!("(udp dst port 6635 and {})", any_of([12, 16].into_iter().map(|at| packet("udp", at, "")))),
        // Teredo (RFC 4380) without indications.
        format!("(udp port 3544 and {})", inner_ports(ports, "udp", "48", "")),
        // Data in L2TP; its header has many forms.
        "(udp dst port 1701 and udp[8]&0x80=0)".into(),
    ]
}

/// An expression that holds when one of the ports is source or destination in a transport header at offset `at`, plus
/// `more`, of `of`.
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
            // One tag inside the packet, IPv4 headers of 20 bytes only.
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

/// What an expression lets through with which a file says it was captured: recognises [`refused`], and [`dns`] for the
/// standard port, exactly as this program writes them.
pub fn passed(expression: &str, link_type: u16) -> Passed {
    let begin = "(udp src port ";
    let ports = expression.match_indices(begin).filter_map(|(at, _)| {
        let digits = expression[at + begin.len()..].split(|one: char| !one.is_ascii_digit()).next();
        digits.and_then(|port| port.parse::<u16>().ok())
    });
    let mut ports: Vec<u16> = ports.take(MOST_PORTS).collect();
    // The alternative for tagged packets repeats every port.
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

/// Joins alternatives by `or`, in parentheses when there are several.
fn any_of(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(" or ")) }
}

/// Compiles an expression for files of a link type, to check it.
pub fn check(expression: &str, link_type: u16) -> Result<usize, Error> {
    let refused = |error: pcap::Error| {
        let link = crate::decode::link::name(link_type);
        Error::usage("--filter", format!("{error} (for link type {link}); nothing was captured"))
    };
    let dead = Capture::dead(data_link_type(link_type)).map_err(refused)?;
    dead.compile(expression, true).map_err(refused).map(|program| program.get_instructions().len())
}

/// Compiles a generated expression for a socket, as if for a file: the kernel has removed the outer tag, so a packet
/// with one tag looks untagged, and `vlan` finds an inner tag. (For a live handle libpcap would make it look at both,
/// and keeps offsets for that in registers that computed loads before it overwrite.)
pub fn compile(expression: &str, link_type: u16) -> Result<Vec<Instruction>, pcap::Error> {
    Capture::dead(data_link_type(link_type))?.compile(expression, true).map(|program| instructions(&program))
}

/// The instructions of a compiled program.
pub fn instructions(program: &BpfProgram) -> Vec<Instruction> {
    let read = |one: &pcap::BpfInstruction| {
        let text = one.to_string();
        let mut numbers = text.split(' ').map(|number| number.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Instruction { code: next() as u16, jump_true: next() as u8, jump_false: next() as u8, k: next() }
    };
    program.get_instructions().iter().map(read).collect()
}

// Classic BPF (linux/bpf_common.h): classes, modes and whole instructions.
const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const MODE: u16 = 0xe0;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MSH: u16 = 0xa0;
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const TO_X: u16 = 0x07;
const XOR_X: u16 = 0xac;
const SHIFT_RIGHT: u16 = 0x74;
const MULTIPLY: u16 = 0x24;
const RETURN_VALUE: u16 = 0x16;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Loads from here on read what the kernel knows about the packet (linux/filter.h).
const ABOUT: u32 = 0xffff_f000;
const ABOUT_PROTOCOL: u32 = ABOUT;
const ABOUT_PACKET_TYPE: u32 = ABOUT + 4;
const ABOUT_INTERFACE: u32 = ABOUT + 8;
/// Loads from here on are relative to the network header, wherever that is.
const NETWORK: u32 = 0xfff0_0000;
/// Packet type of packets that leave the host (`linux/if_packet.h`).
const OUTGOING: u32 = 4;

/// Bytes kept of a packet that passes: all.
const WHOLE: u32 = 0x4_0000;

/// A program that lets nothing through.
pub const NOTHING: [Instruction; 1] = [Instruction { code: RETURN, jump_true: 0, jump_false: 0, k: 0 }];

/// Adapts a compiled program to a packet socket. On cooked devices the kernel sees packets from the network header on,
/// so loads from the cooked header are turned into loads of what the kernel knows; `None` when that is not possible.
/// Packets that leave through the loopback interface `loopback` are left out: they appear again as arriving, and
/// libpcap would drop them without counting.
pub fn for_socket(program: &[Instruction], link_type: u16, loopback: Option<u32>) -> Option<Vec<Instruction>> {
    let mut made = Vec::with_capacity(program.len() + 5);
    if let Some(index) = loopback {
        let load = |k| Instruction { code: LOAD_WORD, jump_true: 0, jump_false: 0, k };
        let unless = |k, skip| Instruction { code: JUMP_EQUAL, jump_true: 0, jump_false: skip, k };
        made.extend([load(ABOUT_PACKET_TYPE), unless(OUTGOING, 3), load(ABOUT_INTERFACE), unless(index, 1)]);
        made.extend(NOTHING);
    }
    for one in program {
        let mut one = *one;
        let loads = matches!(one.code & CLASS, LD | LDX) && matches!(one.code & MODE, ABS | IND | MSH);
        if let Some((protocol, header)) = cooked(link_type).filter(|_| loads && one.k < ABOUT) {
            one.k = match one.k as usize {
                at if at >= header => (at - header) as u32,
                at if at == protocol => ABOUT_PROTOCOL,
                4 if link_type == LINUX_SLL2 => ABOUT_INTERFACE,
                10 if link_type == LINUX_SLL2 => ABOUT_PACKET_TYPE,
                0 if link_type == LINUX_SLL => ABOUT_PACKET_TYPE,
                _ => return None,
            };
        }
        if one.code == RETURN && one.k != 0 {
            // The whole packet, whatever its length.
            one.k = WHOLE;
        }
        made.push(one);
    }
    Some(made)
}

/// A program that assigns packets a number by their two addresses, the same in both directions. A query, its response
/// and all fragments of either get the same number. The kernel's own hash includes ports, which later fragments do not
/// have, and reassembly before hashing does not exist for IPv6. Packets that are neither IPv4 nor IPv6, or behind more
/// than two VLAN tags (of which the kernel removes the outer one), get number 0.
pub fn by_addresses() -> Vec<Instruction> {
    const IPV4: u32 = 0x0800;
    const IPV6: u32 = 0x86dd;
    let plain = |code, k| Instruction { code, jump_true: 0, jump_false: 0, k };
    let jump =
        |k, to: usize, otherwise| Instruction { code: JUMP_EQUAL, jump_true: to as u8, jump_false: otherwise, k };
    // Folds all words of both addresses into one, so that every bit affects the lower half.
    let number = |addresses: std::ops::Range<u32>| -> Vec<Instruction> {
        let mut made = vec![plain(LOAD_WORD, NETWORK + addresses.start)];
        for at in addresses.skip(4).step_by(4) {
            made.extend([plain(TO_X, 0), plain(LOAD_WORD, NETWORK + at), plain(XOR_X, 0)]);
        }
        made.extend([plain(TO_X, 0), plain(SHIFT_RIGHT, 16), plain(XOR_X, 0)]);
        made.extend([plain(MULTIPLY, 0x9e37_79b1), plain(SHIFT_RIGHT, 16), plain(RETURN_VALUE, 0)]);
        made
    };
    // Branches on the type that was loaded, for a header this many bytes further on.
    let by_type = |on: u32| -> Vec<Instruction> {
        let (v4, v6) = (number(on + 12..on + 20), number(on + 8..on + 40));
        let mut made = vec![jump(IPV4, 2, 0), jump(IPV6, 1 + v4.len(), 0), NOTHING[0]];
        made.extend(v4.into_iter().chain(v6));
        made
    };
    let untagged = by_type(0);
    let mut made = vec![plain(LOAD_WORD, ABOUT_PROTOCOL), jump(0x8100, 1 + untagged.len(), 0)];
    made.push(jump(0x88a8, untagged.len(), 0));
    made.extend(untagged);
    made.push(plain(LOAD_HALF, NETWORK + 2));
    made.extend(by_type(4));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes what the kernel would, for a packet.
    fn run(program: &[Instruction], protocol: u32, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0);
        let load = |k: u32, len: usize| {
            let from = (k - NETWORK) as usize;
            packet[from..from + len].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
        };
        loop {
            let one = program[at];
            at += 1;
            match one.code {
                LOAD_WORD if one.k == ABOUT_PROTOCOL => a = protocol,
                LOAD_WORD => a = load(one.k, 4),
                LOAD_HALF => a = load(one.k, 2),
                TO_X => x = a,
                XOR_X => a ^= x,
                SHIFT_RIGHT => a >>= one.k,
                MULTIPLY => a = a.wrapping_mul(one.k),
                JUMP_EQUAL => at += usize::from(if a == one.k { one.jump_true } else { one.jump_false }),
                RETURN_VALUE => return a,
                RETURN => return one.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn two_addresses_have_one_number_and_many_clients_have_many() {
        let program = by_addresses();
        let v4 = |one: [u8; 4], two: [u8; 4]| [&[0x45; 12][..], &one, &two].concat();
        let v6 = |one: u8, two: u8| {
            let address = |last| [&[0xfd; 14][..], &[0, last]].concat();
            [&[0x60; 8][..], &address(one), &address(two)].concat()
        };
        let (there, back) = (v4([10, 1, 0, 2], [10, 2, 0, 53]), v4([10, 2, 0, 53], [10, 1, 0, 2]));
        assert_eq!(run(&program, 0x800, &there), run(&program, 0x800, &back));
        assert_eq!(run(&program, 0x86dd, &v6(2, 53)), run(&program, 0x86dd, &v6(53, 2)));
        for (outer, inner, packet) in [(0x8100, [8, 0], &there), (0x88a8, [0x86, 0xdd], &v6(2, 53))] {
            let tagged = [&[0, 7][..], &inner, packet].concat();
            let untagged = run(&program, u32::from(u16::from_be_bytes(inner)), packet);
            assert_eq!(run(&program, outer, &tagged), untagged, "behind a tag");
        }
        assert_eq!((run(&program, 0x806, &there), run(&program, 0x8100, &[0; 8])), (0, 0));
        for handles in 2..=8 {
            for family in [4, 6] {
                let mut load = vec![0; handles];
                for client in 0..=255 {
                    let number = match family {
                        4 => run(&program, 0x800, &v4([10, 1, 0, client], [10, 2, 0, 53])),
                        _ => run(&program, 0x86dd, &v6(client, 53)),
                    };
                    load[number as usize % handles] += 1;
                }
                let fair = 256 / handles;
                assert!(load.iter().all(|load| (fair / 2..=fair * 2).contains(load)), "{load:?}");
            }
        }
    }

    #[test]
    fn generated_expressions_compile_for_every_link_type_they_are_for() {
        for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2, RAW] {
            for ports in [&[53][..], &[53, 5353, 1053]] {
                for expression in [dns(ports, link_type), refused(ports, link_type)] {
                    let length = check(&expression, link_type).unwrap();
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
        // It looks for no tags, which frames of these links may have.
        for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2] {
            assert_eq!(passed(&dns(&[53], RAW), link_type), Passed::Unknown, "{link_type}");
        }
        assert_eq!(passed("port 53 and not host 10.0.0.1", ETHERNET), Passed::Part);
        assert_eq!(passed("udp port 53", ETHERNET), Passed::Unknown);
    }

    #[test]
    fn programs_for_cooked_devices_can_run_in_the_kernel() {
        for link_type in [LINUX_SLL, LINUX_SLL2] {
            let dead = Capture::dead(data_link_type(link_type)).unwrap();
            for expression in [dns(&[53], link_type), refused(&[53], link_type)] {
                let program = instructions(&dead.compile(&expression, true).unwrap());
                let made = for_socket(&program, link_type, Some(1)).unwrap();
                assert_eq!(made.len(), program.len() + 5);
                assert!(
                    made.iter()
                        .all(|one| one.code & CLASS != LD || one.code & MODE != ABS || one.k < 4096 || one.k >= ABOUT)
                );
            }
        }
        // The kernel does not know the length of the link-layer address.
        let dead = Capture::dead(data_link_type(LINUX_SLL2)).unwrap();
        let program = instructions(&dead.compile("link[11] = 6", true).unwrap());
        assert_eq!(for_socket(&program, LINUX_SLL2, None), None);
    }
}
