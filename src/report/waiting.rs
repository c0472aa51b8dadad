//! A row that waits for its turn ([`Waiting`]), to bytes and back: its text, and what the end of the capture is to be asked
//! about it.

use super::facts::Facts;
use super::row::RowText;
use crate::decode::Interface;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A row that is printed but for what the end of the capture tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Source of the query.
    pub client: IpAddr,
    /// Its destination.
    pub server: IpAddr,
    /// The input that the row is of.
    pub input: u32,
    /// The number of the interface in its section, where that has any.
    pub interface: Option<u32>,
    /// Its columns.
    pub text: RowText,
}

impl Default for Waiting {
    fn default() -> Self {
        let nobody = IpAddr::from([0; 4]);
        Self { client: nobody, server: nobody, input: 0, interface: None, text: RowText::default() }
    }
}

impl Waiting {
    /// Makes it the row of these facts, but for its text.
    pub fn begin(&mut self, facts: &Facts<'_>) {
        (self.client, self.server) = (facts.client, facts.server);
        (self.input, self.interface) = match (facts.frame(), facts.point.interface()) {
            (Some(frame), Interface::Section(number)) => (frame.input, Some(number)),
            _ => (0, None),
        };
    }

    /// Appends it for [`Waiting::read`].
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        put_address(self.client, out);
        put_address(self.server, out);
        out.extend_from_slice(&self.input.to_le_bytes());
        let interface = self.interface.map_or(0, |number| u64::from(number) + 1);
        out.extend_from_slice(&interface.to_le_bytes());
        self.text.to_bytes(out);
    }

    /// Becomes what [`Waiting::to_bytes`] wrote, in memory that is used again; `None` when it did not write that.
    pub fn read(&mut self, bytes: &[u8]) -> Option<()> {
        let (client, rest) = take_address(bytes)?;
        let (server, rest) = take_address(rest)?;
        let (input, rest) = rest.split_first_chunk()?;
        let (interface, text) = rest.split_first_chunk()?;
        (self.client, self.server, self.input) = (client, server, u32::from_le_bytes(*input));
        self.interface = u64::from_le_bytes(*interface).checked_sub(1).map(|number| number as u32);
        self.text.read(text)
    }
}

/// Appends an address for [`take_address`].
fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

/// The address at the beginning, and what is behind it.
fn take_address(bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (family, rest) = bytes.split_first()?;
    if *family == 4 {
        let (octets, rest) = rest.split_first_chunk::<4>()?;
        Some((IpAddr::V4(Ipv4Addr::from(*octets)), rest))
    } else {
        let (octets, rest) = rest.split_first_chunk::<16>()?;
        Some((IpAddr::V6(Ipv6Addr::from(*octets)), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::COLUMNS;
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #[test]
        fn what_waits_comes_back(
            (client, server, input, interface) in (address(), address(), any::<u32>(), any::<Option<u32>>()),
            columns in proptest::collection::vec(0usize..3, COLUMNS.len()),
            long in proptest::option::of((0..COLUMNS.len(), prop_oneof![Just(254usize), Just(255), Just(256), Just(70_000)])),
        ) {
            let mut row = Waiting { client, server, input, interface, ..Waiting::default() };
            row.text.clear();
            for (at, length) in columns.into_iter().enumerate() {
                let length = long.filter(|(long, _)| *long == at).map_or(length, |(_, length)| length);
                row.text.push(|out| out.extend(std::iter::repeat_n(b'0' + at as u8 % 10, length)));
            }
            let mut kept = Vec::new();
            row.to_bytes(&mut kept);
            let mut read = Waiting::default();
            prop_assert_eq!(read.read(&kept), Some(()));
            prop_assert_eq!(&read, &row);
            for len in 0..kept.len().min(300) {
                prop_assert_eq!(read.read(&kept[..len]), None);
            }
        }
    }
}
