//! One conversation with everything in it: answers, refusals with and without a question, silence, retransmissions, an
//! unsolicited response, large messages, pipelined TCP, both IP versions.

/// An IP packet around a UDP datagram or TCP segment (or, parsed, around anything).
#[derive(Clone)]
pub struct Packet {
    /// Microseconds.
    pub time: u64,
    /// Sent by the client.
    pub to_server: bool,
    /// IPv6.
    pub v6: bool,
    /// IP protocol.
    pub protocol: u8,
    /// Identification.
    pub id: u16,
    source: Vec<u8>,
    destination: Vec<u8>,
    /// Transport header and data.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        self.around(&self.payload, 0, self.protocol)
    }

    /// The IP header with the field of flags and offset, around some payload.
    pub fn around(&self, payload: &[u8], fragment: u16, protocol: u8) -> Vec<u8> {
        let mut bytes;
        if self.v6 {
            bytes = vec![0x60, 0, 0, 0];
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend([protocol, 64]);
        } else {
            bytes = vec![0x45, 0];
            bytes.extend((20 + payload.len() as u16).to_be_bytes());
            bytes.extend(self.id.to_be_bytes());
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, protocol, 0, 0]);
        }
        bytes.extend(&self.source);
        bytes.extend(&self.destination);
        bytes.extend(payload);
        bytes
    }

    /// A packet from its bytes.
    pub fn parse(time: u64, id: u16, bytes: &[u8]) -> Self {
        let v6 = bytes[0] >> 4 == 6;
        let (at, len, protocol) = if v6 { (8, 16, bytes[6]) } else { (12, 4, bytes[9]) };
        Self {
            time,
            to_server: true,
            v6,
            protocol,
            id,
            source: bytes[at..at + len].to_vec(),
            destination: bytes[at + len..at + 2 * len].to_vec(),
            payload: bytes[at + 2 * len..].to_vec(),
        }
    }

    /// Data of a TCP segment.
    pub fn tcp_data(&self) -> &[u8] {
        if self.protocol == 6 { &self.payload[20..] } else { &[] }
    }

    /// The same data in segments of `size` bytes.
    pub fn segments(&self, size: usize) -> Vec<Packet> {
        let data = self.tcp_data();
        if data.is_empty() {
            return vec![self.clone()];
        }
        (0..data.len()).step_by(size).map(|from| self.part(from, (from + size).min(data.len()))).collect()
    }

    /// The same data in two segments.
    pub fn split(&self, at: usize) -> Vec<Packet> {
        let len = self.tcp_data().len();
        if at >= len { vec![self.clone()] } else { vec![self.part(0, at), self.part(at, len)] }
    }

    fn part(&self, from: usize, to: usize) -> Packet {
        let mut payload = self.payload[..20].to_vec();
        let sequence = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]).wrapping_add(from as u32);
        payload[4..8].copy_from_slice(&sequence.to_be_bytes());
        payload.extend(&self.tcp_data()[from..to]);
        Packet { payload, ..self.clone() }
    }
}

/// A query or response about `name` with an answer section of `more` bytes that nobody reads.
fn message(id: u16, flags: u16, name: &str, more: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0, 1, 0, u8::from(more > 0), 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 16, 0, 1]);
    if more > 0 {
        bytes.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9]);
        bytes.extend((more as u16).to_be_bytes());
        bytes.extend((0..more).map(|index| index as u8));
    }
    bytes
}

const QUERY: u16 = 0x0100;
const ANSWER: u16 = 0x8180;
const REFUSAL: u16 = 0x8185;

/// Packets in order, with times of their own.
struct Tape {
    packets: Vec<Packet>,
    time: u64,
}

impl Tape {
    fn put(&mut self, client: &[u8], to_server: bool, protocol: u8, payload: Vec<u8>) {
        self.time += 1500;
        let v6 = client.len() == 16;
        let server =
            if v6 { vec![0x20, 1, 0x0d, 0xb8, 0, 0x53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53] } else { vec![10, 20, 30, 40] };
        let (source, destination) = if to_server { (client.to_vec(), server) } else { (server, client.to_vec()) };
        let id = self.packets.len() as u16 + 1;
        self.packets.push(Packet { time: self.time, to_server, v6, protocol, id, source, destination, payload });
    }

    fn udp(&mut self, client: &[u8], port: u16, to_server: bool, message: &[u8]) {
        let ports = if to_server { [port, 53] } else { [53, port] };
        let mut datagram: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        datagram.extend((8 + message.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(message);
        self.put(client, to_server, 17, datagram);
    }

    fn tcp(&mut self, client: &[u8], to_server: bool, flags: u8, numbers: [u32; 2], messages: &[Vec<u8>]) -> u32 {
        let ports: [u16; 2] = if to_server { [40_000, 53] } else { [53, 40_000] };
        let mut segment: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        segment.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        for message in messages {
            segment.extend((message.len() as u16).to_be_bytes());
            segment.extend(message);
        }
        let len = segment.len() as u32 - 20;
        self.put(client, to_server, 6, segment);
        len
    }
}

/// The conversation.
pub fn conversation() -> Vec<Packet> {
    let mut tape = Tape { packets: Vec::new(), time: 1_000_000 };
    let office: &[u8] = &[10, 20, 1, 7];
    let stranger: &[u8] = &[192, 0, 2, 45];
    let v6: &[u8] = &[0x20, 1, 0x0d, 0xb8, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    for (number, client) in [office, stranger, v6, stranger].into_iter().enumerate() {
        let (id, port) = (number as u16, 5000 + number as u16);
        let code = if client == office { ANSWER } else { REFUSAL };
        tape.udp(client, port, true, &message(id, QUERY, "www.example.com", 0));
        tape.udp(client, port, false, &message(id, code, "www.example.com", 0));
        // A refusal without a question, and a large answer.
        tape.udp(client, port, true, &message(id + 100, QUERY, "mail.example.com", 0));
        let empty = [(id + 100).to_be_bytes().to_vec(), vec![0x81, 0x05, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        tape.udp(client, port, false, &empty);
        tape.udp(client, port, true, &message(id + 200, QUERY, "large.example.com", 0));
        tape.udp(client, port, false, &message(id + 200, ANSWER, "large.example.com", 1800));
        // Asked twice, never answered; answered twice; answered but never asked.
        tape.udp(client, port, true, &message(id + 300, QUERY, "silent.example.com", 0));
        tape.time += 1_000_000;
        tape.udp(client, port, true, &message(id + 300, QUERY, "silent.example.com", 0));
        tape.udp(client, port, true, &message(id + 400, QUERY, "twice.example.com", 0));
        tape.udp(client, port, false, &message(id + 400, ANSWER, "twice.example.com", 0));
        tape.time += 50_000;
        tape.udp(client, port, false, &message(id + 400, ANSWER, "twice.example.com", 0));
        tape.udp(client, port, false, &message(id + 500, REFUSAL, "never.example.com", 0));
    }
    for client in [stranger, v6] {
        let (syn, data, fin) = (0x02, 0x18, 0x11);
        tape.tcp(client, true, syn, [99, 0], &[]);
        tape.tcp(client, false, syn | 0x10, [899, 100], &[]);
        let queries: Vec<Vec<u8>> = (1..4).map(|id| message(id, QUERY, "tcp.example.com", 0)).collect();
        let asked = tape.tcp(client, true, data, [100, 900], &queries);
        let responses = [
            message(1, REFUSAL, "tcp.example.com", 0),
            message(2, ANSWER, "tcp.example.com", 300),
            message(3, REFUSAL, "tcp.example.com", 0),
        ];
        let answered = tape.tcp(client, false, data, [900, 100 + asked], &responses);
        tape.tcp(client, true, fin, [100 + asked, 900 + answered], &[]);
        tape.tcp(client, false, fin, [900 + answered, 101 + asked], &[]);
    }
    tape.packets
}
