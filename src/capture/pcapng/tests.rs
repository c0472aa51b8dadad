use super::*;
use crate::capture::Format;
use crate::capture::losses::InterfaceLoss::{AtLeast, Exactly, Unknown};
use crate::capture::stated_loss::StatedLoss;

fn block_bytes(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let len = (body.len().next_multiple_of(4) + BLOCK_OVERHEAD) as u32;
    let number = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut bytes = [number(kind), number(len)].concat();
    bytes.extend_from_slice(body);
    bytes.resize(len as usize - 4, 0);
    bytes.extend_from_slice(&number(len));
    bytes
}

fn section(big_endian: bool) -> Vec<u8> {
    let mut body = if big_endian { 0x1a2b_3c4du32.to_be_bytes() } else { 0x1a2b_3c4du32.to_le_bytes() }.to_vec();
    body.extend_from_slice(if big_endian { &[0, 1, 0, 0] } else { &[1, 0, 0, 0] });
    body.extend_from_slice(&[0xff; 8]);
    block_bytes(SECTION_HEADER, &body, big_endian)
}

fn packet(payload: &[u8], units: u64, big_endian: bool) -> Vec<u8> {
    let number = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = payload.len() as u32;
    let mut body = [number(0), number((units >> 32) as u32), number(units as u32), number(len), number(len)].concat();
    body.extend_from_slice(payload);
    block_bytes(ENHANCED_PACKET, &body, big_endian)
}

#[test]
fn two_sections_of_different_byte_order_and_resolution() {
    let mut bytes = section(false);
    bytes.extend(block_bytes(INTERFACE_DESCRIPTION, &[1, 0, 0, 0, 0, 0, 0, 0], false));
    bytes.extend(packet(b"abc", 1_700_000_000_000_000, false));
    bytes.extend(section(true));
    // if_tsresol = 9: nanoseconds.
    bytes.extend(block_bytes(
        INTERFACE_DESCRIPTION,
        &[0, 113, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0],
        true,
    ));
    bytes.extend(block_bytes(0x7777, b"skipped", true));
    bytes.extend(packet(b"defgh", 1_700_000_000_000_000_000, true));
    let block = Block { offset: 0, limit: bytes.len(), data: bytes.clone(), at_end: true };
    let reader = Reader { format: Format::Pcapng, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
    let mut seen = Vec::new();
    let mut walk = Walk::default();
    reader.walk(&block, 0, &mut Arc::default(), &mut walk, &mut |f: Frame<'_>| {
        seen.push((f.time.0, f.link_type, f.data.to_vec()));
    });
    let time = 1_700_000_000_000_000_000;
    assert_eq!(seen, [(time, 1, b"abc".to_vec()), (time, 113, b"defgh".to_vec())]);
    assert_eq!((walk.stop, walk.bytes.total()), (None, bytes.len() as u64));
    assert_eq!(walk.bytes.skipped_blocks, 20);
}

#[test]
fn statistics_say_what_was_dropped() {
    for big_endian in [false, true] {
        let four = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let option = |code: u16, value: &[u8]| {
            let head = [code, value.len() as u16];
            let head = head.map(|half| if big_endian { half.to_be_bytes() } else { half.to_le_bytes() }).concat();
            [head, value.to_vec(), vec![0; value.len().wrapping_neg() & 3]].concat()
        };
        let eight = |number: u64| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let statistics = |options: &[Vec<u8>]| [[four(0); 3].concat(), options.concat()].concat();
        let received = option(4, &eight(99));
        let interface = block_bytes(INTERFACE_DESCRIPTION, &[four(1), four(0)].concat(), big_endian);
        let own = option(OPTION_APPLICATION, APPLICATION.as_bytes());
        let read = |application: &[u8], body: &[u8]| {
            let header = section(big_endian);
            let header = [&header[8..header.len() - 4], application].concat();
            let blocks = [(SECTION_HEADER, &header[..]), (INTERFACE_STATISTICS, body)];
            let [header, statistics] = blocks.map(|(kind, body)| block_bytes(kind, body, big_endian));
            let data = [header, interface.clone(), statistics].concat();
            let block = Block { offset: 0, limit: data.len(), data, at_end: true };
            let reader = Reader { format: Format::Pcapng, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
            let (mut walk, mut stated) = (Walk::default(), StatedLoss::default());
            reader.walk(&block, 0, &mut Arc::default(), &mut walk, &mut |_: Frame<'_>| {});
            assert_eq!((&walk.stop, walk.end), (&None, block.data.len()));
            stated.take(&walk.statements, 0);
            stated.finish(0, true)
        };
        let said = |options: &[Vec<u8>]| read(&[], &statistics(options));
        assert_eq!(said(&[]), Unknown);
        assert_eq!(said(&[received.clone(), option(0, &[])]), Unknown, "what was received says nothing");
        assert_eq!(said(&[received.clone(), option(5, &eight(3))]), Exactly(3));
        assert_eq!(said(&[option(7, &eight(1 << 40)), received, option(5, &eight(3))]), Exactly((1 << 40) + 3));
        assert_eq!(said(&[option(5, &eight(3)), option(5, &eight(4))]), Exactly(4));
        assert_eq!(said(&[option(5, &eight(u64::MAX)), option(7, &eight(2))]), AtLeast(2), "it is not known");
        assert_eq!(said(&[option(5, &[0; 4]), option(7, &eight(2))]), AtLeast(2), "not a count");
        let mut many = vec![option(1, b"many"); MAX_OPTIONS];
        many.insert(0, option(5, &eight(3)));
        assert_eq!(said(&many), AtLeast(3), "not all were looked at");
        let noted = [option(5, &eight(3)), option(1, b"note")];
        assert_eq!((said(&noted), read(&own, &statistics(&noted))), (Exactly(3), AtLeast(3)));
        let mut cut = statistics(&[option(5, &eight(3)), option(7, &eight(3))]);
        cut.truncate(cut.len() - 4);
        assert_eq!(read(&[], &cut), Unknown, "it contradicts itself");
        assert_eq!(read(&[], &cut[..8]), Unknown);
        let other = [[four(7), four(0), four(0)].concat(), option(5, &eight(3))].concat();
        assert_eq!(read(&[], &other), Unknown, "of no interface that there is");
    }
}

#[test]
fn an_obsolete_packet_block_says_how_many_were_dropped_before_it() {
    let read = |big_endian: bool, dropped: [u16; 2]| {
        let interface = block_bytes(INTERFACE_DESCRIPTION, &[0; 8], big_endian);
        let mut data = [section(big_endian), interface].concat();
        for count in dropped {
            let halves = [0, count].map(|half| if big_endian { half.to_be_bytes() } else { half.to_le_bytes() });
            data.extend(block_bytes(OBSOLETE_PACKET, &[&halves.concat()[..], &[0; 16]].concat(), big_endian));
        }
        let block = Block { offset: 0, limit: data.len(), data, at_end: true };
        let reader = Reader { format: Format::Pcapng, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
        let (mut walk, mut stated) = (Walk::default(), StatedLoss::default());
        reader.walk(&block, 0, &mut Arc::default(), &mut walk, &mut |_: Frame<'_>| {});
        assert_eq!((&walk.stop, walk.packets), (&None, 2));
        stated.take(&walk.statements, 0);
        stated.finish(2, true)
    };
    for big_endian in [false, true] {
        assert_eq!(read(big_endian, [0, 0]), Unknown);
        assert_eq!(read(big_endian, [0, 3]), AtLeast(3), "what was dropped after the last packet is not said");
        assert_eq!(read(big_endian, [0, u16::MAX]), Unknown, "it is not known");
    }
}

#[test]
fn a_long_interface_name_ends_in_dots() {
    for (len, cut) in [(1, false), (256, false), (257, true), (60_000, true)] {
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0];
        body.extend((len as u16).to_le_bytes());
        body.extend(std::iter::repeat_n(b'e', len));
        body.resize(body.len().next_multiple_of(4), 0);
        let name = interface(&body, false, false, &mut Walk::default()).0.name;
        let expected = "e".repeat(len.min(256)) + if cut { "..." } else { "" };
        assert_eq!(name.as_deref(), Some(expected.as_str()), "{len}");
    }
}
