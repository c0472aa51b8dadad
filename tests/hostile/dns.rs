//! Builds DNS messages: header, one question, records, and whatever a hostile sender puts there instead.

/// Response codes.
pub const NOERROR: u16 = 0;
/// Refused by policy.
pub const REFUSED: u16 = 5;
/// Not authoritative, or not authorised.
pub const NOTAUTH: u16 = 9;
/// Recursion desired, as in nearly every query.
pub const QUERY: u16 = 0x0100;
/// A response of a recursive server.
pub const RESPONSE: u16 = 0x8180;

/// Record types.
pub const A: u16 = 1;
/// Text.
pub const TXT: u16 = 16;
/// Whole zone.
pub const AXFR: u16 = 252;

/// A name of the given labels, not compressed.
pub fn labels(parts: &[&[u8]]) -> Vec<u8> {
    let mut name = Vec::new();
    for part in parts {
        name.push(part.len() as u8);
        name.extend(*part);
    }
    name.push(0);
    name
}

/// A name from plain text such as `ok.test`; `.` is the root.
pub fn name(text: &str) -> Vec<u8> {
    let parts: Vec<&[u8]> = text.split('.').filter(|part| !part.is_empty()).map(str::as_bytes).collect();
    labels(&parts)
}

/// A header of six numbers: id, flags and the four counts.
pub fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    for count in counts {
        bytes.extend(count.to_be_bytes());
    }
    bytes
}

/// A message with one question and anything after it.
#[derive(Clone)]
pub struct Message {
    /// Message id.
    pub id: u16,
    /// Flags, opcode and response code.
    pub flags: u16,
    /// What the header says about the number of entries in each section.
    pub counts: [u16; 4],
    /// The question's name as bytes.
    pub name: Vec<u8>,
    /// The question's type.
    pub kind: u16,
    /// The question's class.
    pub class: u16,
    /// Everything after the question.
    pub rest: Vec<u8>,
}

impl Message {
    /// A query for an address.
    pub fn query(text: &str) -> Self {
        Self::of(name(text))
    }

    /// A query for a name given as bytes.
    pub fn of(name: Vec<u8>) -> Self {
        Self { id: 1, flags: QUERY, counts: [1, 0, 0, 0], name, kind: A, class: 1, rest: Vec::new() }
    }

    /// A response with the given response code (only its low four bits fit the header).
    pub fn response(text: &str, code: u16) -> Self {
        Self { flags: RESPONSE | code & 15, ..Self::query(text) }
    }

    /// The same with another id.
    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// The same with another type.
    pub fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    /// The same with another operation code.
    pub fn opcode(self, opcode: u16) -> Self {
        Self { flags: self.flags & !0x7800 | opcode << 11, ..self }
    }

    /// The same with `records` after the question, counted as one additional record.
    pub fn additional(mut self, record: &[u8]) -> Self {
        self.counts[3] += 1;
        self.rest.extend(record);
        self
    }

    /// The same with other section counts.
    pub fn counts(self, counts: [u16; 4]) -> Self {
        Self { counts, ..self }
    }

    /// The same with `rest` after the question, which no section count includes.
    pub fn rest(self, rest: &[u8]) -> Self {
        Self { rest: rest.to_vec(), ..self }
    }

    /// The message as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = header(self.id, self.flags, self.counts);
        bytes.extend(&self.name);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.class.to_be_bytes());
        bytes.extend(&self.rest);
        bytes
    }

    /// The message as bytes after a length of two bytes, as on TCP.
    pub fn framed(&self) -> Vec<u8> {
        framed(&self.bytes())
    }
}

/// A message after its length of two bytes, as on TCP.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    bytes
}

/// A resource record of class IN.
pub fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 0]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// An OPT record (RFC 6891) with the given options.
pub fn opt(options: &[u8]) -> Vec<u8> {
    opt_claiming(options.len() as u16, 0, options)
}

/// An OPT record with a stated length and the upper eight bits of the response code.
pub fn opt_claiming(length: u16, upper_code: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41, 0x10, 0, upper_code, 0, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(options);
    bytes
}

/// One option of an OPT record.
pub fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = code.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

/// An extended DNS error (RFC 8914).
pub fn extended_error(code: u16, text: &[u8]) -> Vec<u8> {
    let mut value = code.to_be_bytes().to_vec();
    value.extend(text);
    option(15, &value)
}
