//! Adapts compiled programs to packet sockets, and makes the one that spreads packets over a fan-out group.

use super::{LINUX_SLL, LINUX_SLL2, cooked};
use crate::capture::filter::data_link_type;
use crate::capture::packet_socket::Instruction;
use pcap::{BpfProgram, Capture};

/// Compiles a generated expression for a socket as if it were for a file. The kernel has removed the outer VLAN tag, so
/// a packet with one tag looks untagged, and `vlan` finds an inner tag. (For a live handle, libpcap would make the
/// program look at both, with offsets in registers that other computed loads overwrite.)
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

// Classic BPF (linux/bpf_common.h): classes, modes and complete operations.
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
/// Loads at offsets from here on read metadata of the packet (`SKF_AD_OFF` in linux/filter.h).
const ABOUT: u32 = 0xffff_f000;
const ABOUT_PROTOCOL: u32 = ABOUT;
const ABOUT_PACKET_TYPE: u32 = ABOUT + 4;
const ABOUT_INTERFACE: u32 = ABOUT + 8;
/// Loads at offsets from here on are relative to the network header (`SKF_NET_OFF`).
const NETWORK: u32 = 0xfff0_0000;
/// Type of packets that leave the host (`PACKET_OUTGOING` in `linux/if_packet.h`).
const OUTGOING: u32 = 4;

/// Bytes kept of a packet that passes: more than any packet has.
const WHOLE: u32 = 0x4_0000;

/// A program that lets nothing through.
pub const NOTHING: [Instruction; 1] = [Instruction { code: RETURN, jump_true: 0, jump_false: 0, k: 0 }];
/// A program that lets everything through.
pub const EVERYTHING: [Instruction; 1] = [Instruction { code: RETURN, jump_true: 0, jump_false: 0, k: u32::MAX }];

/// Adapts a compiled program to a packet socket. On cooked devices the kernel runs it from the network header on, so
/// loads from the cooked header become loads of metadata; `None` when there is no such metadata. Packets that leave
/// through the loopback interface (whose index is `loopback`) are dropped: they appear again as arriving, and libpcap
/// would drop them without counting.
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

/// A program that maps packets to numbers by their two addresses, the same in both directions. A query, its response
/// and all fragments of either get the same number. The kernel's own hash includes ports, which later fragments do not
/// have, and its reassembly before hashing does not exist for IPv6. Packets that are neither IPv4 nor IPv6, or behind
/// more than two VLAN tags (of which the kernel removes the outer one), get number 0.
pub fn by_addresses() -> Vec<Instruction> {
    const IPV4: u32 = 0x0800;
    const IPV6: u32 = 0x86dd;
    let plain = |code, k| Instruction { code, jump_true: 0, jump_false: 0, k };
    let jump =
        |k, to: usize, otherwise| Instruction { code: JUMP_EQUAL, jump_true: to as u8, jump_false: otherwise, k };
    // Folds all words of both addresses into one number, so that every bit affects its lower half.
    let number = |addresses: std::ops::Range<u32>| -> Vec<Instruction> {
        let mut made = vec![plain(LOAD_WORD, NETWORK + addresses.start)];
        for at in addresses.skip(4).step_by(4) {
            made.extend([plain(TO_X, 0), plain(LOAD_WORD, NETWORK + at), plain(XOR_X, 0)]);
        }
        made.extend([plain(TO_X, 0), plain(SHIFT_RIGHT, 16), plain(XOR_X, 0)]);
        made.extend([plain(MULTIPLY, 0x9e37_79b1), plain(SHIFT_RIGHT, 16), plain(RETURN_VALUE, 0)]);
        made
    };
    // Branches on the protocol that was loaded, for an IP header `on` bytes after the network header.
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
    use super::super::{dns, refused};
    use super::*;

    /// Runs a program for a packet as the kernel would.
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
