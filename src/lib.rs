//! dnsrefused: who was turned away, and from which address.
//!
//! This page is the map of the code. Data flows one way, each folder is a stage of its path, and a stage uses only
//! itself and stages before it.
//!
//! | stage | turns | into |
//! |---|---|---|
//! | [`capture`] | the bytes of an input | [`capture::Frame`] |
//! | [`decode`] | a frame | [`decode::Entry`], and TCP segments into messages |
//! | [`transact`] | messages | [`transact::Transaction`] |
//! | [`sources`] | transactions | [`sources::SourceRow`] per source and server |
//! | [`expect`] | configuration text | a decision for an address |
//! | [`diagnose`] | source rows and expectations | [`diagnose::Finding`] |
//! | [`report`] | all of these | text, csv, jsonl, json |
//! | [`watch`] | the same during a capture | [`watch::snapshot::Snapshot`] |
//!
//! Beside that path are the commands, each from its configuration to an exit code: [`run`] (`read`), [`live`] and
//! [`acl_command`]; [`cli`] turns arguments into a [`config::Config`], [`pipeline`] is the only folder with threads and
//! channels, and [`error`] is what an operator is told. A stage is plain functions and structs: bytes and timestamps go
//! in, values come out. No thread starts outside `pipeline`; no clock is read outside `pipeline`, `capture` and
//! [`watch`]; and no I/O happens outside these three, `expect` (which reads what operators wrote) and `report`.
//! `tests/shape.rs` checks the order of stages and the places of threads and clocks, and names the few exceptions.

pub mod acl_command;
pub mod capture;
pub mod cli;
pub mod config;
pub mod decode;
pub mod diagnose;
pub mod error;
pub mod expect;
pub mod live;
pub mod pipeline;
pub mod report;
pub mod run;
pub mod sources;
pub mod transact;
pub mod watch;
