use super::*;

const SECOND: i64 = 1_000_000_000;

struct Rig {
    fragments: Fragments,
    tally: Tally,
    key: Key,
    pushed: u64,
    completed: u64,
    time: i64,
    v6: bool,
}

impl Rig {
    fn new(limits: FragmentLimits, v6: bool) -> Self {
        let fragments = Fragments::new(limits);
        Self { fragments, tally: Tally::default(), key: Key::random(), pushed: 0, completed: 0, time: 0, v6 }
    }

    fn push(&mut self, id: u32, offset: u32, more: bool, data: &[u8]) -> Option<Vec<u8>> {
        let ends = if self.v6 { Ends::v6([1; 16], [2; 16]) } else { Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]) };
        let header = FragmentHeader { id, offset, more };
        self.pushed += 1;
        self.time += 1000;
        let time = Timestamp(self.time);
        let done = self.fragments.push(&self.key, time, ends, 17, header, data, &mut self.tally);
        self.completed += u64::from(done.is_some());
        done.map(|protocol| {
            assert_eq!(protocol, 17);
            self.fragments.whole.clone()
        })
    }

    fn count(&self, bucket: Bucket) -> u64 {
        self.tally.buckets[bucket as usize]
    }

    /// Ends the capture and checks that every fragment was counted once.
    fn end(mut self) -> Self {
        self.fragments.finish(&mut self.tally);
        self.fragments.expire(Timestamp(i64::MAX), &mut self.tally);
        assert_eq!(self.tally.buckets.iter().sum::<u64>() + self.completed, self.pushed);
        assert_eq!((self.fragments.held_bytes, self.fragments.listed, self.fragments.table.len()), (0, 0, 0));
        self
    }
}

const LIMITS: FragmentLimits = FragmentLimits { sets: 8, bytes: 64 << 10, age: 30 * SECOND };

fn datagram(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 256) as u8).collect()
}

/// The fragments of a datagram: offset, whether more follow, bytes.
fn parts(data: &[u8], size: usize) -> Vec<(u32, bool, &[u8])> {
    let part = |(index, part)| ((index * size) as u32, index * size + size < data.len(), part);
    data.chunks(size).enumerate().map(part).collect()
}

#[test]
fn any_size_and_order_of_parts_gives_the_datagram() {
    let data = datagram(1003);
    for v6 in [false, true] {
        for size in (8..1008).step_by(8) {
            let mut rig = Rig::new(LIMITS, v6);
            let mut all = parts(&data, size);
            if size % 16 == 0 {
                all.reverse();
            }
            let count = all.len() as u64;
            let done: Vec<_> = all.iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).collect();
            assert_eq!(done, std::slice::from_ref(&data), "parts of {size} bytes");
            assert_eq!(rig.end().count(Bucket::FragmentUsed), count - 1);
        }
    }
}

#[test]
fn the_same_part_at_another_point_is_a_duplicate() {
    let data = datagram(1003);
    for doubled in [true, false] {
        let mut rig = Rig::new(LIMITS, false);
        let mut all = parts(&data, 400);
        if doubled {
            all = all.iter().flat_map(|part| [*part, *part]).collect();
        } else {
            all = all.repeat(2);
        }
        let done = all.iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).count();
        assert_eq!(done, 1);
        let rig = rig.end();
        assert_eq!((rig.count(Bucket::FragmentUsed), rig.count(Bucket::FragmentDuplicate)), (2, 3));
    }
}

#[test]
fn an_identification_stands_for_one_datagram_after_the_other() {
    let mut rig = Rig::new(LIMITS, false);
    let mut other = datagram(1003);
    for byte in &mut other {
        *byte ^= 0x55;
    }
    for data in [datagram(1003), other, datagram(1003)] {
        let done: Vec<_> = parts(&data, 400).iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).collect();
        assert_eq!(done, [data]);
    }
    assert_eq!(rig.end().count(Bucket::FragmentUsed), 6);
}

#[test]
fn contradictions_cost_the_whole_datagram() {
    let data = datagram(1000);
    let other = vec![0xee; 400];
    for v6 in [false, true] {
        let mut rig = Rig::new(LIMITS, v6);
        assert_eq!(rig.push(7, 0, true, &data[..400]), None);
        assert_eq!(rig.push(7, 200, true, &other), None);
        assert_eq!(rig.push(7, 400, false, &data[400..]), None);
        // Much later the identification is used again.
        rig.time += 2 * SECOND;
        assert_eq!(rig.push(7, 0, true, &data[..400]), None);
        assert_eq!(rig.push(7, 400, false, &data[400..]).as_deref(), Some(&data[..]));
        assert_eq!(rig.end().count(Bucket::FragmentConflict), 3);
    }
    // Two ends; a part past the end; an end before known bytes.
    let cases: [&[(u32, bool, usize)]; 3] = [
        &[(800, false, 200), (800, false, 100)],
        &[(400, false, 200), (800, true, 80)],
        &[(800, true, 80), (400, false, 40)],
    ];
    for case in cases {
        let mut rig = Rig::new(LIMITS, false);
        for (offset, more, len) in case {
            let start = *offset as usize;
            assert_eq!(rig.push(7, *offset, *more, &data[start..start + len]), None);
        }
        assert_eq!(rig.end().count(Bucket::FragmentConflict), 2);
    }
}

#[test]
fn equal_overlap_is_used_in_ipv4_and_forbidden_in_ipv6() {
    let data = datagram(1000);
    for v6 in [false, true] {
        let mut rig = Rig::new(LIMITS, v6);
        assert_eq!(rig.push(7, 0, true, &data[..400]), None);
        assert_eq!(rig.push(7, 600, true, &data[600..800]), None);
        assert_eq!(rig.push(7, 200, true, &data[200..720]), None);
        let done = rig.push(7, 800, false, &data[800..]);
        assert_eq!(done.is_some(), !v6);
        assert!(v6 || done.as_deref() == Some(&data[..]));
        rig.end();
    }
}

#[test]
fn floods_are_bounded_and_the_oldest_goes_first() {
    let mut rig = Rig::new(LIMITS, false);
    for id in 0..100 {
        rig.push(id, 0, true, &[0; 8]);
    }
    assert_eq!(rig.fragments.listed, 8);
    assert_eq!(rig.count(Bucket::FragmentEvicted), 92);
    assert!(rig.push(99, 8, false, &[0; 8]).is_some(), "the newest is still there");
    // By bytes: three sets of 30,000 do not fit into 64 KiB.
    for id in 200..203 {
        rig.push(id, 0, true, &vec![0; 30_000]);
    }
    assert!(rig.fragments.held_bytes <= LIMITS.bytes);
    let rig = rig.end();
    assert_eq!(rig.count(Bucket::FragmentEvicted), 92 + 7 + 1);
    // One datagram larger than all the room there is.
    let mut rig = Rig::new(FragmentLimits { bytes: 1000, ..LIMITS }, false);
    rig.push(1, 0, true, &[0; 800]);
    assert_eq!(rig.push(1, 800, false, &[0; 800]), None);
    assert_eq!(rig.end().count(Bucket::FragmentEvicted), 2);
}

#[test]
fn what_comes_too_late_begins_anew() {
    let data = datagram(600);
    let mut rig = Rig::new(LIMITS, false);
    rig.push(7, 0, true, &data[..400]);
    rig.time += 31 * SECOND;
    assert_eq!(rig.push(7, 400, false, &data[400..]), None);
    let rig = rig.end();
    assert_eq!((rig.count(Bucket::FragmentExpired), rig.count(Bucket::FragmentIncomplete)), (1, 1));
}

#[test]
fn impossible_parts_are_malformed() {
    let mut rig = Rig::new(LIMITS, false);
    rig.push(7, 0, true, &[0; 9]);
    rig.push(7, 0, true, &[]);
    rig.push(7, 65_528, false, &[0; 8]);
    assert_eq!(rig.end().count(Bucket::FragmentMalformed), 3);
}
