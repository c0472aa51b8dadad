//! Reads link headers ([`Link`]): what follows in the frame and where, one row per link type in [`LINK_TYPES`].

use super::{Bucket, other_links, wireless};
use crate::capture::Direction;

/// What a link header says about its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What follows the header.
    pub next: Next,
    /// Offset of what follows.
    pub at: usize,
    /// Direction, when the link header states it.
    pub direction: Option<Direction>,
    /// Index of the interface on the capturing host, when the link header states it.
    pub interface: Option<u32>,
}

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A protocol by its `EtherType`; a value below 1536 is an 802.3 length.
    EtherType(u16),
    /// IPv4 or IPv6, by the version field.
    Ip,
    /// An Ethernet frame.
    Ethernet,
    /// A PPP frame, beginning with its protocol field or with the address field before that.
    Ppp,
    /// An LLC header (IEEE 802.2).
    Llc,
    /// A frame of another link type.
    LinkType(u32),
    /// Something that cannot be opened, by its name.
    Sealed(&'static str),
}

/// Opens a link header; an error is the bucket in which the frame ends.
type Open = fn(&[u8]) -> Result<Link, Bucket>;

/// A link type: its LINKTYPE_ number, its name, and how it is opened.
pub struct LinkType {
    /// LINKTYPE_ value, as registered with tcpdump.org.
    pub number: u16,
    /// Its name without the LINKTYPE_ prefix.
    pub name: &'static str,
    open: Open,
}

/// Every link type that can be opened.
pub const LINK_TYPES: &[LinkType] = &[
    LinkType { number: 1, name: "ETHERNET", open: ethernet },
    LinkType { number: 276, name: "LINUX_SLL2", open: linux_sll2 },
    LinkType { number: 113, name: "LINUX_SLL", open: linux_sll },
    LinkType { number: 101, name: "RAW", open: raw },
    LinkType { number: 228, name: "IPV4", open: raw },
    LinkType { number: 229, name: "IPV6", open: raw },
    // Numbers of DLT_RAW (14 on OpenBSD, 12 elsewhere), in files of programs that confuse DLT_ with LINKTYPE_.
    LinkType { number: 12, name: "RAW", open: raw },
    LinkType { number: 14, name: "RAW", open: raw },
    LinkType { number: 0, name: "NULL", open: null },
    LinkType { number: 108, name: "LOOP", open: null },
    LinkType { number: 6, name: "IEEE802_5", open: other_links::token_ring },
    LinkType { number: 7, name: "ARCNET_BSD", open: |data| other_links::arcnet(data, 2) },
    LinkType { number: 8, name: "SLIP", open: other_links::slip },
    LinkType { number: 9, name: "PPP", open: other_links::ppp },
    LinkType { number: 10, name: "FDDI", open: other_links::fddi },
    LinkType { number: 50, name: "PPP_HDLC", open: other_links::ppp },
    LinkType { number: 51, name: "PPP_ETHER", open: other_links::pppoe },
    LinkType { number: 104, name: "C_HDLC", open: other_links::cisco_hdlc },
    LinkType { number: 105, name: "IEEE802_11", open: wireless::plain },
    LinkType { number: 107, name: "FRELAY", open: other_links::frame_relay },
    LinkType { number: 109, name: "ENC", open: other_links::enc },
    LinkType { number: 117, name: "PFLOG", open: other_links::pflog },
    LinkType { number: 119, name: "IEEE802_11_PRISM", open: wireless::prism },
    LinkType { number: 122, name: "IP_OVER_FC", open: other_links::fibre_channel },
    LinkType { number: 127, name: "IEEE802_11_RADIOTAP", open: wireless::radiotap },
    LinkType { number: 129, name: "ARCNET_LINUX", open: |data| other_links::arcnet(data, 4) },
    LinkType { number: 138, name: "APPLE_IP_OVER_IEEE1394", open: other_links::firewire },
    LinkType { number: 163, name: "IEEE802_11_AVS", open: wireless::avs },
    LinkType { number: 166, name: "PPP_PPPD", open: other_links::ppp },
    LinkType { number: 192, name: "PPI", open: wireless::per_packet_information },
    LinkType { number: 204, name: "PPP_WITH_DIR", open: other_links::ppp_with_direction },
    LinkType { number: 239, name: "NFLOG", open: other_links::nflog },
    LinkType { number: 242, name: "IPOIB", open: other_links::infiniband },
    LinkType { number: 258, name: "PKTAP", open: other_links::pktap },
    LinkType { number: 281, name: "DSA_TAG_BRCM", open: |data| other_links::switch_tagged(data, 4) },
    LinkType { number: 282, name: "DSA_TAG_BRCM_PREPEND", open: |_| Ok(link(Next::Ethernet, 4)) },
    LinkType { number: 284, name: "DSA_TAG_DSA", open: |data| other_links::switch_tagged(data, 4) },
    LinkType { number: 285, name: "DSA_TAG_EDSA", open: |data| other_links::switch_tagged(data, 8) },
];

/// Every other registered link type, number and name alternating; these can only be named. 11 and 19 are DLT_ values,
/// in files of programs that confuse DLT_ with LINKTYPE_.
const NAMED: &str = "\
    2 EXP_ETHERNET 3 AX25 4 PRONET 5 CHAOS 11 ATM_RFC1483 19 ATM_CLIP 99 SYMANTEC_FIREWALL 100 ATM_RFC1483 \
    102 SLIP_BSDOS 103 PPP_BSDOS 106 ATM_CLIP 110 LANE8023 111 HIPPI 112 NETBSD_HDLC 114 LTALK 115 ECONET \
    116 IPFILTER 118 CISCO_IOS 120 IEEE802_11_AIRONET 121 HHDLC 123 SUNATM 124 RIO 125 PCI_EXP 126 AURORA 128 TZSP \
    130 JUNIPER_MLPPP 131 JUNIPER_MLFR 132 JUNIPER_ES 133 JUNIPER_GGSN 134 JUNIPER_MFR 135 JUNIPER_ATM2 \
    136 JUNIPER_SERVICES 137 JUNIPER_ATM1 139 MTP2_WITH_PHDR 140 MTP2 141 MTP3 142 SCCP 143 DOCSIS 144 LINUX_IRDA \
    145 IBM_SP 146 IBM_SN 147 USER0 148 USER1 149 USER2 150 USER3 151 USER4 152 USER5 153 USER6 154 USER7 \
    155 USER8 156 USER9 157 USER10 158 USER11 159 USER12 160 USER13 161 USER14 162 USER15 164 JUNIPER_MONITOR \
    165 BACNET_MS_TP 167 JUNIPER_PPPOE 168 JUNIPER_PPPOE_ATM 169 GPRS_LLC 170 GPF_T 171 GPF_F 172 GCOM_T1E1 \
    173 GCOM_SERIAL 174 JUNIPER_PIC_PEER 175 ERF_ETH 176 ERF_POS 177 LINUX_LAPD 178 JUNIPER_ETHER 179 JUNIPER_PPP \
    180 JUNIPER_FRELAY 181 JUNIPER_CHDLC 182 MFR 183 JUNIPER_VP 184 A429 185 A653_ICM 186 USB_FREEBSD \
    187 BLUETOOTH_HCI_H4 188 IEEE802_16_MAC_CPS 189 USB_LINUX 190 CAN20B 191 IEEE802_15_4_LINUX \
    193 IEEE802_16_MAC_CPS_RADIO 194 JUNIPER_ISM 195 IEEE802_15_4_WITHFCS 196 SITA 197 ERF 198 RAIF1 \
    199 IPMB_KONTRON 200 JUNIPER_ST 201 BLUETOOTH_HCI_H4_WITH_PHDR 202 AX25_KISS 203 LAPD 205 C_HDLC_WITH_DIR \
    206 FRELAY_WITH_DIR 207 LAPB_WITH_DIR 209 IPMB_LINUX 210 FLEXRAY 211 MOST 212 LIN 213 X2E_SERIAL \
    214 X2E_XORAYA 215 IEEE802_15_4_NONASK_PHY 216 LINUX_EVDEV 217 GSMTAP_UM 218 GSMTAP_ABIS 219 MPLS \
    220 USB_LINUX_MMAPPED 221 DECT 222 AOS 223 WIHART 224 FC_2 225 FC_2_WITH_FRAME_DELIMS 226 IPNET \
    227 CAN_SOCKETCAN 230 IEEE802_15_4_NOFCS 231 DBUS 232 JUNIPER_VS 233 JUNIPER_SRX_E2E 234 JUNIPER_FIBRECHANNEL \
    235 DVB_CI 236 MUX27010 237 STANAG_5066_D_PDU 238 JUNIPER_ATM_CEMIC 240 NETANALYZER \
    241 NETANALYZER_TRANSPARENT 243 MPEG_2_TS 244 NG40 245 NFC_LLCP 246 PFSYNC 247 INFINIBAND 248 SCTP 249 USBPCAP \
    250 RTAC_SERIAL 251 BLUETOOTH_LE_LL 252 WIRESHARK_UPPER_PDU 253 NETLINK 254 BLUETOOTH_LINUX_MONITOR \
    255 BLUETOOTH_BREDR_BB 256 BLUETOOTH_LE_LL_WITH_PHDR 257 PROFIBUS_DL 259 EPON 260 IPMI_HPM_2 261 ZWAVE_R1_R2 \
    262 ZWAVE_R3 263 WATTSTOPPER_DLM 264 ISO_14443 265 RDS 266 USB_DARWIN 267 OPENFLOW 268 SDLC 269 TI_LLN_SNIFFER \
    270 LORATAP 271 VSOCK 272 NORDIC_BLE 273 DOCSIS31_XRA31 274 ETHERNET_MPACKET 275 DISPLAYPORT_AUX \
    277 SERCOS_MONITOR 278 OPENVIZSLA 279 EBHSCR 280 VPP_DISPATCH \
    283 IEEE802_15_4_TAP 286 ELEE 287 Z_WAVE_SERIAL 288 USB_2_0 289 ATSC_ALP";

/// The row of a link type that can be opened.
#[inline]
pub fn find(number: u16) -> Option<&'static LinkType> {
    LINK_TYPES.iter().find(|row| row.number == number)
}

/// The name of a link type; its number in digits when it is unknown.
pub fn name(number: u16) -> String {
    let digits = number.to_string();
    let named = || {
        let mut words = NAMED.split_ascii_whitespace();
        words.find(|word| *word == digits).and_then(|_| words.next())
    };
    find(number).map(|row| row.name).or_else(named).map_or_else(|| digits.clone(), str::to_string)
}

impl LinkType {
    /// Opens the link header of a frame of this type; the most frequent types without an indirect call.
    #[allow(clippy::inline_always)] // once for every frame of a cooked capture
    #[inline(always)]
    pub fn open(&self, data: &[u8]) -> Result<Link, Bucket> {
        match self.number {
            1 => ethernet(data),
            276 => linux_sll2(data),
            _ => (self.open)(data),
        }
    }
}

/// A link whose header states neither direction nor interface.
pub fn link(next: Next, at: usize) -> Link {
    Link { next, at, direction: None, interface: None }
}

/// The 16-bit number at an offset, in network byte order. A frame that is too short is malformed, or cut, which the
/// caller knows.
#[inline]
pub fn number(data: &[u8], at: usize) -> Result<u16, Bucket> {
    match data.get(at..at + 2) {
        Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
        None => Err(Bucket::LinkMalformed),
    }
}

/// Ethernet (IEEE 802.3): destination (6), source (6), type or length (2).
#[inline]
fn ethernet(data: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::EtherType(number(data, 12)?), 14))
}

/// Linux cooked v1: packet type (2), ARPHRD_ (2), address length (2), address (8), protocol (2).
fn linux_sll(data: &[u8]) -> Result<Link, Bucket> {
    let next = cooked(number(data, 14)?, number(data, 2)?)?;
    Ok(Link { next, at: 16, direction: direction(number(data, 0)?), interface: None })
}

/// Linux cooked v2: protocol (2), reserved (2), interface index (4), ARPHRD_ (2), packet type (1), address length (1),
/// address (8).
#[inline]
fn linux_sll2(data: &[u8]) -> Result<Link, Bucket> {
    let header = data.first_chunk::<20>().ok_or(Bucket::LinkMalformed)?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let next = cooked(number(0), number(8))?;
    let interface = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Ok(Link { next, at: 20, direction: direction(u16::from(header[10])), interface: Some(interface) })
}

/// What a cooked header's protocol field means for its kind of interface (ARPHRD_ value).
#[inline]
fn cooked(protocol: u16, hardware: u16) -> Result<Next, Bucket> {
    match hardware {
        // GRE devices give the GRE protocol type, which is the EtherType for these four protocols.
        778 | 823 if matches!(protocol, 0x0800 | 0x86dd | 0x6558 | 0x8847) => Ok(Next::EtherType(protocol)),
        // Radiotap.
        803 => Ok(Next::LinkType(127)),
        // Frame relay access devices, other GRE, netlink: the field is no EtherType.
        770 | 778 | 823 | 824 => Err(Bucket::NonIp),
        _ => Ok(Next::EtherType(protocol)),
    }
}

/// The direction of a packet type of Linux (`linux/if_packet.h`): 0 to 2 arrive at the host and 4 leaves it; 3 is for
/// another host.
#[inline]
fn direction(packet_type: u16) -> Option<Direction> {
    match packet_type {
        4 => Some(Direction::Out),
        0..=2 => Some(Direction::In),
        _ => None,
    }
}

/// IPv4 or IPv6 without a link header.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn raw(_: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::Ip, 0))
}

/// BSD loopback: the address family as a 32-bit number in the byte order of the capturing host (NULL) or of the network
/// (LOOP). The family number of IPv6 differs between systems.
fn null(data: &[u8]) -> Result<Link, Bucket> {
    let head = data.get(..4).ok_or(Bucket::LinkMalformed)?;
    let family = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 | 10 | 23 | 24 | 28 | 30 => Ok(link(Next::Ip, 4)),
        // Some systems write a Cisco HDLC header here: address, control, EtherType.
        _ if matches!(head[2..], [0x08, 0x00] | [0x86, 0xdd]) => Ok(link(Next::Ip, 4)),
        _ => Err(Bucket::NonIp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_survives_every_short_frame() {
        for row in LINK_TYPES {
            for len in 0..200 {
                for fill in [0, 1, 2, 4, 8, 0x88, 0xd4, 0xff] {
                    if let Ok(link) = row.open(&vec![fill; len]) {
                        assert!(link.at <= 0x1_0000, "{}", row.name);
                    }
                }
            }
        }
    }

    #[test]
    fn every_link_type_has_one_name() {
        // From libpcap's pcap-common.c; 208 is reserved.
        for (number, wanted) in [(1, "ETHERNET"), (2, "EXP_ETHERNET"), (147, "USER0"), (178, "JUNIPER_ETHER")] {
            assert_eq!(name(number), wanted);
        }
        for (number, wanted) in [(265, "RDS"), (271, "VSOCK"), (272, "NORDIC_BLE"), (280, "VPP_DISPATCH")] {
            assert_eq!(name(number), wanted);
        }
        assert_eq!((name(208), name(9999)), ("208".to_string(), "9999".to_string()));
        let words: Vec<&str> = NAMED.split_ascii_whitespace().collect();
        let (pairs, rest) = words.as_chunks::<2>();
        let numbers: Vec<u16> = pairs.iter().map(|[number, _]| number.parse().unwrap()).collect();
        assert!(rest.is_empty() && numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert_eq!(numbers.iter().find(|number| find(**number).is_some()), None);
        assert_eq!((99..290).filter(|number| name(*number) == number.to_string()).collect::<Vec<_>>(), [208]);
    }

    #[test]
    fn cooked_v2_tells_interface_and_direction() {
        let mut frame = vec![0x08, 0x00, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6];
        frame.resize(20, 0);
        let link = find(276).unwrap().open(&frame).unwrap();
        assert_eq!(
            link,
            Link { next: Next::EtherType(0x0800), at: 20, direction: Some(Direction::Out), interface: Some(7) }
        );
    }

    #[test]
    fn loopback_families_in_both_byte_orders() {
        for head in [[2, 0, 0, 0], [0, 0, 0, 2], [30, 0, 0, 0], [0, 0, 0, 24]] {
            assert_eq!(find(0).unwrap().open(&head).unwrap().next, Next::Ip, "{head:?}");
        }
        assert_eq!(find(108).unwrap().open(&[0, 0, 0, 7]), Err(Bucket::NonIp));
    }
}
