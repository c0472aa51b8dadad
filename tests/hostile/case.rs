//! Defines a case: a hostile input, and the exit code, error line, ledgers, counters and rows that it must give.
//! Expected numbers follow from how the input is made, never from the program.

/// How the program gets the first input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a file.
    File,
    /// Through standard input.
    StandardInput,
}

/// A hostile input and the expected results.
pub struct Case {
    pub about: &'static str,
    pub inputs: Vec<(Option<String>, Vec<u8>)>,
    pub arguments: Vec<&'static str>,
    pub way: Way,
    pub exits: Vec<i32>,
    pub says: Vec<String>,
    pub error_lines: Option<usize>,
    pub wants: Vec<Want>,
    pub names: Option<Vec<Vec<Vec<u8>>>>,
    pub rows: Vec<Vec<(&'static str, String)>>,
    pub heavy: bool,
    pub unusable: bool,
    pub expanded: Option<u64>,
}

/// An expected number: the sum of members of one parent.
pub struct Want {
    pub parent: &'static str,
    pub members: Vec<&'static str>,
    pub wanted: Wanted,
}

/// A number, or a bound for it.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    Exactly(u64),
    AtLeast(u64),
    AtMost(u64),
}

impl Wanted {
    /// True when a number is as expected.
    pub fn holds(self, got: u64) -> bool {
        match self {
            Wanted::Exactly(wanted) => got == wanted,
            Wanted::AtLeast(least) => got >= least,
            Wanted::AtMost(most) => got <= most,
        }
    }
}

/// A case with one input; the expected exit code is 0 unless another is given.
pub fn case(about: &'static str, input: Vec<u8>) -> Case {
    Case {
        about,
        inputs: vec![(None, input)],
        arguments: Vec::new(),
        way: Way::File,
        exits: vec![0],
        says: Vec::new(),
        error_lines: None,
        wants: Vec::new(),
        names: None,
        rows: Vec::new(),
        heavy: false,
        unusable: false,
        expanded: None,
    }
}

impl Case {
    /// Adds an input.
    pub fn and(mut self, name: &str, input: Vec<u8>) -> Self {
        self.inputs.push((Some(name.to_owned()), input));
        self
    }

    /// Names the first input.
    pub fn called(mut self, name: &str) -> Self {
        self.inputs[0].0 = Some(name.to_owned());
        self
    }

    /// Adds arguments.
    pub fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// Feeds the first input through standard input.
    pub fn through_standard_input(mut self) -> Self {
        self.way = Way::StandardInput;
        self
    }

    /// Expects this exit code.
    pub fn exit(self, code: i32) -> Self {
        self.exit_one_of(&[code])
    }

    /// Accepts any of these exit codes.
    pub fn exit_one_of(mut self, codes: &[i32]) -> Self {
        self.exits = codes.to_vec();
        self
    }

    /// Expects an error line that contains this.
    pub fn says(mut self, fragment: impl Into<String>) -> Self {
        self.says.push(fragment.into());
        self
    }

    /// Expects this many error lines, instead of one for exit codes 1 to 3.
    pub fn error_lines(mut self, count: usize) -> Self {
        self.error_lines = Some(count);
        self
    }

    /// Expects these buckets of the packet ledger.
    pub fn packets(self, buckets: &[(&'static str, u64)]) -> Self {
        self.each("ledgers.packets", buckets)
    }

    /// Expects these buckets of the message ledger.
    pub fn messages(self, buckets: &[(&'static str, u64)]) -> Self {
        self.each("ledgers.messages", buckets)
    }

    /// Expects these buckets of the match ledger.
    pub fn matches(self, buckets: &[(&'static str, u64)]) -> Self {
        self.each("ledgers.matches", buckets)
    }

    /// Expects these buckets of the byte ledger.
    pub fn bytes(self, buckets: &[(&'static str, u64)]) -> Self {
        self.each("ledgers.bytes", buckets)
    }

    /// Expects these counts of anomalies.
    pub fn anomalies(self, counts: &[(&'static str, u64)]) -> Self {
        self.each("anomalies", counts)
    }

    /// Expects these counts of unreadable questions.
    pub fn unreadable(self, counts: &[(&'static str, u64)]) -> Self {
        self.each("ledgers.messages.question_unreadable", counts)
    }

    /// Expects these numbers of transactions by outcome.
    pub fn outcomes(self, counts: &[(&'static str, u64)]) -> Self {
        self.each("totals.outcomes", counts)
    }

    /// Expects these numbers of responses by response code.
    pub fn codes(self, counts: &[(&'static str, u64)]) -> Self {
        self.each("totals.rcodes", counts)
    }

    /// Expects these numbers under a parent.
    pub fn each(mut self, parent: &'static str, counts: &[(&'static str, u64)]) -> Self {
        for (member, count) in counts {
            self.wants.push(Want { parent, members: vec![member], wanted: Wanted::Exactly(*count) });
        }
        self
    }

    /// Expects a sum of members of a parent.
    pub fn sum(mut self, parent: &'static str, members: &[&'static str], wanted: u64) -> Self {
        self.wants.push(Want { parent, members: members.to_vec(), wanted: Wanted::Exactly(wanted) });
        self
    }

    /// Expects at least this number.
    pub fn at_least(mut self, parent: &'static str, member: &'static str, least: u64) -> Self {
        self.wants.push(Want { parent, members: vec![member], wanted: Wanted::AtLeast(least) });
        self
    }

    /// Expects at most this number.
    pub fn at_most(mut self, parent: &'static str, member: &'static str, most: u64) -> Self {
        self.wants.push(Want { parent, members: vec![member], wanted: Wanted::AtMost(most) });
        self
    }

    /// Expects exactly these names in the rows (every outcome, every leg), in order, as labels.
    pub fn names(mut self, names: &[Vec<Vec<u8>>]) -> Self {
        self.names = Some(names.to_vec());
        self
    }

    /// Expects exactly these plain names in the rows, in order.
    pub fn plain_names(self, names: &[&str]) -> Self {
        let labels = |name: &&str| name.split('.').map(|label| label.as_bytes().to_vec()).collect();
        self.names(&names.iter().map(labels).collect::<Vec<_>>())
    }

    /// Expects a row with these values in some of its columns.
    pub fn row(mut self, cells: &[(&'static str, &str)]) -> Self {
        self.rows.push(cells.iter().map(|(column, value)| (*column, (*value).to_owned())).collect());
        self
    }

    /// Marks the input as too large to be read in every format and with several thread counts.
    pub fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// Expects that nothing can be read: exit code 3 and an empty report.
    pub fn unusable(mut self) -> Self {
        self.unusable = true;
        self.exit(3)
    }

    /// States the size of the input after decompression.
    pub fn expands_to(mut self, bytes: u64) -> Self {
        self.expanded = Some(bytes);
        self
    }
}
