//! Counts frames: the one [`Bucket`] in which each frame ends, and their [`Tally`].

use super::encrypted::Encrypted;
use std::collections::BTreeMap;

/// Declares [`Bucket`] together with the names of its values.
macro_rules! buckets {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// Where a frame ends; every frame ends in exactly one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Bucket { $($(#[$doc])* $name,)* }

        impl Bucket {
            /// Every bucket with its name in reports, in print order.
            pub const ALL: &'static [(&'static str, Bucket)] = &[$(($text, Bucket::$name),)*];
        }
    };
}

buckets! {
    /// A UDP datagram on a DNS port.
    UdpDns "udp_dns",
    /// A TCP segment whose data was used.
    TcpUsed "tcp_used",
    /// A TCP segment without data.
    TcpControl "tcp_control",
    /// A TCP segment whose data had been seen before.
    TcpDuplicate "tcp_duplicate",
    /// A TCP segment that repeats bytes with different values; the first copy stands.
    TcpConflict "tcp_conflict",
    /// A TCP segment too far from the expected sequence numbers.
    TcpOutOfWindow "tcp_out_of_window",
    /// A TCP segment after lost ones, where no message boundary could be found.
    TcpBehindHole "tcp_behind_hole",
    /// A TCP segment given up because a table or buffer was full.
    TcpEvicted "tcp_evicted",
    /// A TCP segment on a DNS port whose data is not DNS.
    TcpNonDns "tcp_non_dns",
    /// A fragment of a datagram that was reassembled.
    FragmentUsed "fragment_used",
    /// A fragment seen before.
    FragmentDuplicate "fragment_duplicate",
    /// A fragment of a datagram whose fragments contradict each other; dropped whole.
    FragmentConflict "fragment_conflict",
    /// A fragment of a datagram that was not completed in time.
    FragmentExpired "fragment_expired",
    /// A fragment given up because the table was full.
    FragmentEvicted "fragment_evicted",
    /// A fragment of a datagram still incomplete when the capture ended.
    FragmentIncomplete "fragment_incomplete",
    /// A fragment that cannot be part of any datagram.
    FragmentMalformed "fragment_malformed",
    /// An ICMP error that quotes a DNS message.
    IcmpQuotingDns "icmp_quoting_dns",
    /// Other ICMP.
    Icmp "icmp",
    /// UDP or TCP on other ports.
    OtherPort "other_port",
    /// Another protocol over IP.
    OtherProtocol "other_protocol",
    /// Not IP.
    NonIp "non_ip",
    /// Truncated by the snapshot length before anything could be said about it.
    SnapCut "snap_cut",
    /// The link header makes no sense.
    LinkMalformed "link_malformed",
    /// The IP header makes no sense.
    IpMalformed "ip_malformed",
    /// The UDP or TCP header makes no sense.
    TransportMalformed "transport_malformed",
    /// More tags, extension headers or nested headers than are opened.
    NestLimit "nest_limit",
    /// In an encapsulation that is not opened; `not_opened_kinds` names them.
    NotOpened "not_opened",
    /// Excluded by `--filter`, `--from` or `--to`.
    NotSelected "not_selected",
    /// Of an interface that the file does not declare.
    UndeclaredInterface "undeclared_interface",
    /// A packet block that contradicts itself.
    DamagedRecord "damaged_record",
    /// A fault of this program ended its decoding.
    InternalFault "internal_fault",
}

/// Frames per bucket, and per wrapping that was not opened.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Indexed by `Bucket as usize`.
    pub buckets: [u64; Bucket::ALL.len()],
    /// Frames not opened, by the name of their encapsulation; a list, because there are few names.
    pub not_opened: Vec<(&'static str, u64)>,
    /// Frames of link types that are not opened, by LINKTYPE_ value.
    pub unknown_links: BTreeMap<u16, u64>,
    /// Connections to ports of encrypted DNS.
    pub encrypted: Encrypted,
    /// In a tally of what was counted since an earlier one: frames that were then in another bucket.
    pub recounted: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            buckets: [0; Bucket::ALL.len()],
            not_opened: Vec::new(),
            unknown_links: BTreeMap::new(),
            encrypted: Encrypted::default(),
            recounted: 0,
        }
    }
}

impl Tally {
    /// Counts a frame.
    #[inline]
    pub fn count(&mut self, bucket: Bucket) {
        self.buckets[bucket as usize] = self.buckets[bucket as usize].wrapping_add(1);
    }

    /// Moves a frame from one bucket to another. The current frame may be taken back just before it is counted, so the
    /// count may wrap below zero for a moment.
    pub fn recount(&mut self, from: Bucket, to: Bucket) {
        self.buckets[from as usize] = self.buckets[from as usize].wrapping_sub(1);
        self.count(to);
    }

    /// What was counted since this was `before`. Frames that were moved to another bucket meanwhile are counted again
    /// where they are now, and so come in from before.
    #[must_use]
    pub fn since(&self, before: &Tally) -> Tally {
        fn rest<N: Copy + PartialEq>(now: &[(N, u64)], before: &[(N, u64)]) -> Vec<(N, u64)> {
            let then = |name: N| before.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
            now.iter().map(|(name, count)| (*name, count - then(*name))).filter(|(_, count)| *count > 0).collect()
        }
        let mut tally = self.clone();
        for (now, then) in tally.buckets.iter_mut().zip(before.buckets) {
            tally.recounted += then.saturating_sub(*now);
            *now = now.saturating_sub(then);
        }
        tally.not_opened = rest(&self.not_opened, &before.not_opened);
        tally.unknown_links.retain(|link, count| {
            *count -= before.unknown_links.get(link).copied().unwrap_or(0);
            *count > 0
        });
        tally.encrypted = self.encrypted.since(&before.encrypted);
        tally
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Tally) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        other.not_opened.iter().for_each(|(kind, count)| add_named(&mut self.not_opened, *kind, *count));
        other.unknown_links.iter().for_each(|(link, count)| *self.unknown_links.entry(*link).or_default() += count);
        self.encrypted.add(&other.encrypted);
        self.recounted += other.recounted;
    }
}

/// Adds to the count of a name in a short list.
pub(super) fn add_named<N: PartialEq>(list: &mut Vec<(N, u64)>, name: N, count: u64) {
    match list.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => *sum += count,
        None => list.push((name, count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recounted_later_comes_in_from_before() {
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.count(Bucket::TcpUsed));
        let before = tally.clone();
        (0..2).for_each(|_| tally.recount(Bucket::TcpUsed, Bucket::TcpNonDns));
        tally.count(Bucket::TcpNonDns);
        let since = tally.since(&before);
        assert_eq!((since.buckets[Bucket::TcpUsed as usize], since.buckets[Bucket::TcpNonDns as usize]), (0, 3));
        assert_eq!(since.buckets.iter().sum::<u64>(), 1 + since.recounted, "one frame is new");
    }
}
