//! Hostile input: every kind of damaged, contradictory or malicious capture must end with the right exit code, closed
//! ledgers, the right counters and clean output, within bounded time and memory.
//!
//! One row per case in the tables of the modules below (`container`, `sections`, ...); the test of a case has its name.
//! `wire`, `dns` and `files` make the inputs, `case` states what is expected, `run` runs the program, `check` and
//! `text` check its output.

#[path = "hostile/case.rs"]
mod case;
#[path = "hostile/check.rs"]
mod check;
#[path = "hostile/dns.rs"]
mod dns;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/run.rs"]
mod run;
#[path = "hostile/text.rs"]
mod text;
#[path = "hostile/wire.rs"]
mod wire;

/// A table of cases: `name = case(..)` rows, each its own test.
macro_rules! cases {
    ($($name:ident = $case:expr),+ $(,)?) => {
        /// Names of the cases of this table.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                crate::check::check(stringify!($name), &$case);
            }
        )+
    };
}

#[path = "hostile/compressed.rs"]
mod compressed;
#[path = "hostile/container.rs"]
mod container;
#[path = "hostile/fragments.rs"]
mod fragments;
#[path = "hostile/laws.rs"]
mod laws;
#[path = "hostile/messages.rs"]
mod messages;
#[path = "hostile/packets.rs"]
mod packets;
#[path = "hostile/sections.rs"]
mod sections;
#[path = "hostile/state.rs"]
mod state;
#[path = "hostile/streams.rs"]
mod streams;
#[path = "hostile/transactions.rs"]
mod transactions;
#[path = "hostile/wrappings.rs"]
mod wrappings;

/// Every table of cases.
const TABLES: &[&[&str]] = &[
    container::NAMES,
    sections::NAMES,
    compressed::NAMES,
    packets::NAMES,
    wrappings::NAMES,
    fragments::NAMES,
    streams::NAMES,
    messages::NAMES,
    transactions::NAMES,
    state::NAMES,
];

#[test]
fn no_two_cases_share_a_name_and_none_got_lost() {
    let mut names: Vec<&str> = TABLES.iter().copied().flatten().copied().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name is used twice");
    assert!(count >= 120, "only {count} cases");
    println!("{count} cases");
}
