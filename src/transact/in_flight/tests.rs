use super::*;
use crate::capture::Direction;
use crate::decode::message::Question;
use crate::decode::{Interface, Point};
use crate::sources::FrameRef;
use proptest::prelude::*;

const SECOND: i64 = 1_000_000_000;

/// Message `number` of as many flows, at a time in seconds.
fn message(number: u16, time: i64, response: bool) -> (u64, Flow, Message, Sighting, Fingerprint) {
    let hash = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let flow = Flow { pair: 0, client_port: number, server_port: 53, id: number, transport: Transport::Udp };
    let message = Message {
        id: number,
        flags: if response { 0x8000 } else { 0 },
        rcode: 0,
        question: Question::known(hash),
        policy_error: false,
        transfer: false,
        trailing: false,
        cut: false,
    };
    let frame = FrameRef { input: 0, frame: 1 };
    let seen = Sighting { time: Timestamp(time * SECOND), frame, point: Point::default() };
    (hash, flow, message, seen, Fingerprint::new(seen.time, seen.point, u32::from(response), 0))
}

fn ask(in_flight: &mut InFlight, number: u16, time: i64) -> u32 {
    let (hash, flow, message, seen, fingerprint) = message(number, time, false);
    assert_eq!(in_flight.query(hash, &message, &fingerprint, 0), QueryIs::New, "{number}");
    in_flight.open(hash, flow, &message, seen, fingerprint, KeptMessage::NONE, &clock_at(seen.time))
}

fn clock_at(time: Timestamp) -> Clock {
    let mut clock = Clock::default();
    clock.advance(time);
    clock
}

fn answer(in_flight: &mut InFlight, number: u16, time: i64) -> ResponseIs {
    let (hash, _, message, _, fingerprint) = message(number, time, true);
    let is = in_flight.response(hash, &message, &fingerprint);
    if let ResponseIs::Match(index) = is {
        in_flight.answer(index, fingerprint, false);
    }
    is
}

#[test]
fn more_chains_hold_what_fewer_held() {
    let mut in_flight = InFlight::new(5 * SECOND, 16);
    let few = in_flight.heads.len();
    for number in 0..8 {
        let index = ask(&mut in_flight, number, 0);
        assert_eq!(answer(&mut in_flight, number, 1), ResponseIs::Match(index));
    }
    let open: Vec<u32> = (8..500).map(|number| ask(&mut in_flight, number, 1)).collect();
    assert!(in_flight.heads.len() > few && in_flight.pending() == open.len());
    for number in 0..8 {
        assert_eq!(
            answer(&mut in_flight, number, 2),
            ResponseIs::Other(OtherResponse::Duplicate { refused: false, answers: false }),
            "{number}"
        );
    }
    for (number, index) in (8..).zip(open) {
        assert_eq!(answer(&mut in_flight, number, 2), ResponseIs::Match(index), "{number}");
    }
    assert_eq!(in_flight.pending(), 0);
    assert_eq!(in_flight.due(Timestamp(i64::MAX - 1)), None, "nothing is left to be due");
}

#[test]
fn time_outs_take_the_oldest_and_are_remembered_apart() {
    let mut in_flight = InFlight::new(5 * SECOND, 16);
    let first = ask(&mut in_flight, 0, 0);
    ask(&mut in_flight, 1, 3);
    assert_eq!(in_flight.due(Timestamp(5 * SECOND)), None, "the time is not over yet");
    assert_eq!(in_flight.due(Timestamp(5 * SECOND + 1)), Some(first));
    in_flight.time_out(first);
    assert_eq!(in_flight.due(Timestamp(5 * SECOND + 1)), None, "the next is younger");
    assert_eq!(answer(&mut in_flight, 0, 6), ResponseIs::Other(OtherResponse::Late));
    assert_eq!(
        answer(&mut in_flight, 0, 11),
        ResponseIs::Other(OtherResponse::Unsolicited),
        "after a second timeout nobody remembers"
    );
    assert_eq!(answer(&mut in_flight, 2, 6), ResponseIs::Other(OtherResponse::Unsolicited));
}

#[test]
fn every_rejection_is_remembered_until_its_transaction_ends() {
    let mut in_flight = InFlight::new(5 * SECOND, 16);
    let open: Vec<u32> = (0..20_000).map(|number| ask(&mut in_flight, number, 0)).collect();
    let by = |number: u32| {
        let frame = FrameRef { input: 0, frame: u64::from(number) + 100_000 };
        Sighting { time: Timestamp(SECOND), frame, point: Point::default() }
    };
    for index in &open {
        in_flight.reject(in_flight.token(*index), by(*index));
    }
    assert!(matches!(answer(&mut in_flight, 7, 2), ResponseIs::Match(_)), "the server answers all the same");
    for index in open {
        assert_eq!(in_flight.take_rejection(index), (index != 7).then(|| by(index)));
        assert_eq!(in_flight.take_rejection(index), None);
    }
}

/// What is done to the table: a message, or a response that had no query.
#[derive(Debug, Clone, Copy)]
struct Step {
    flow: u64,
    question: u64,
    after: i64,
    payload: u32,
    point: u16,
    kind: u8,
}

/// Does it, and says what the message was.
fn step(in_flight: &mut InFlight, step: Step, now: i64) -> String {
    while let Some(due) = in_flight.due(Timestamp(now)) {
        in_flight.time_out(due);
    }
    // Few chains and few marks, so that flows meet in both.
    let hash = (step.flow % 3) << 62 | step.flow << 32 | (step.flow % 2);
    let question = if step.question == 0 { Question::ABSENT } else { Question::known(step.question << 20) };
    let (_, flow, message, seen, _) = message(step.flow as u16, 0, step.kind > 0);
    let message = Message { question, transfer: step.question == 3, ..message };
    let seen = Sighting { time: Timestamp(now), ..seen };
    let point = Point::new(Interface::Section(0), [step.point, 0], Direction::Unknown);
    let fingerprint = Fingerprint::new(seen.time, point, step.payload, 0);
    match step.kind {
        0 => {
            let is = in_flight.query(hash, &message, &fingerprint, 0);
            let opened = matches!(is, QueryIs::New).then(|| {
                in_flight.open(hash, flow, &message, seen, fingerprint, KeptMessage::NONE, &clock_at(seen.time))
            });
            format!("{is:?} {opened:?}")
        }
        1 => {
            let is = in_flight.response(hash, &message, &fingerprint);
            if let ResponseIs::Match(index) = is {
                in_flight.answer(index, fingerprint, false);
            }
            format!("{is:?}")
        }
        _ => {
            in_flight.remember_orphan(hash, &message, fingerprint);
            String::new()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_told_by_marks_is_what_looking_tells(
        steps in proptest::collection::vec(
            (0u64..7, 0u64..4, 0i64..9_000_000, 0u32..2, 0u16..2, prop_oneof![5 => Just(0u8), 5 => Just(1), 1 => Just(2)])
                .prop_map(|(flow, question, after, payload, point, kind)| Step { flow, question, after, payload, point, kind }),
            1..120,
        ),
    ) {
        let (mut sure, mut doubting) = (InFlight::new(SECOND / 20, 8), InFlight::new(SECOND / 20, 8));
        let mut now = 0;
        for one in steps {
            now += one.after;
            doubting.heads.doubt();
            doubting.slots.iter_mut().for_each(|slot| slot.alone = false);
            prop_assert_eq!(step(&mut sure, one, now), step(&mut doubting, one, now), "{:?}", one);
        }
    }
}
