use super::udp::{esp_in_udp, gtp_user, l2tp, teredo, wireguard};
use super::*;

#[test]
fn no_row_panics_on_any_short_or_odd_header() {
    let opens = [ETHER_TYPES, PROTOCOLS, PORTS].into_iter().flatten().filter_map(|row| row.open);
    for open in opens.chain([open_ppp as Open, open_llc]) {
        for len in 0..64 {
            for fill in [0, 1, 3, 6, 0x08, 0x11, 0x30, 0x37, 0x45, 0x60, 0xaa, 0xff] {
                let _ = open(&vec![fill; len]);
            }
        }
    }
}

#[test]
fn numbers_are_unique_in_each_table() {
    for table in [ETHER_TYPES, PROTOCOLS, PORTS] {
        let mut numbers: Vec<u16> = table.iter().map(|row| row.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), table.len());
    }
}

#[test]
fn tunnels_are_believed_only_with_a_sound_header() {
    // Nothing in a label or in an encrypted packet can be checked.
    for row in PORTS.iter().filter(|row| !matches!(row.name, "MPLS" | "ESP")) {
        let open = row.open.unwrap();
        for noise in [&[0xff; 60][..], b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", &[]] {
            assert_eq!(open(noise), Err(Bucket::OtherPort), "{}", row.name);
        }
    }
}

#[test]
fn headers_with_optional_fields() {
    assert_eq!(gre(&[0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 4)));
    assert_eq!(gre(&[0xb0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 16)));
    assert_eq!(gre(&[0x30, 0x81, 0x88, 0x0b]), Ok((Next::EtherType(0x880b), 16)));
    assert_eq!(gre(&[0, 0, 0x88, 0xbe]), Ok((Next::Ethernet, 4)));
    let mut erspan = vec![0x10, 0, 0x88, 0xbe];
    erspan.resize(40, 0);
    assert_eq!(gre(&erspan), Ok((Next::Ethernet, 16)));
    assert_eq!(open_ppp(&[0xff, 3, 0, 0x21]), Ok((Next::Ip, 4)));
    assert_eq!(open_ppp(&[0x21]), Ok((Next::Ip, 1)));
    assert_eq!(open_ppp(&[0xc0, 0x21]), Err(Bucket::NonIp));
    assert_eq!(open_llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 8)));
    let mut authenticated = vec![0, 1, 2, 3];
    authenticated.resize(13 + 5, 9);
    authenticated.extend([0, 0, 1, 2, 3, 4, 5, 6, 0x60]);
    authenticated.resize(26 + 40, 0);
    assert_eq!(teredo(&authenticated), Ok((Next::Ip, 26)));
    assert_eq!(l2tp(&[0x42, 2, 0, 20, 0, 1, 0, 2, 0, 0]), Ok((Next::Ppp, 10)));
    let mut gtp = vec![0x34, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0, 0x45];
    assert_eq!(gtp_user(&gtp), Ok((Next::Ip, 16)));
    gtp[12] = 0;
    assert_eq!(gtp_user(&gtp), Err(Bucket::LinkMalformed));
}

#[test]
fn encrypted_tunnels_are_told_from_what_sets_them_up() {
    let exchange = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(esp_in_udp(&exchange[4..]), Ok((Next::Sealed("ESP"), 0)));
    assert_eq!(esp_in_udp(&exchange), Err(Bucket::OtherPort));
    assert_eq!(esp_in_udp(&[0xff]), Err(Bucket::OtherPort), "a keepalive");
    assert_eq!(wireguard(&[4, 0, 0, 0, 9]), Ok((Next::Sealed("WireGuard"), 0)));
    assert_eq!(wireguard(&[5, 0, 0, 0, 9]), Err(Bucket::OtherPort));
}
