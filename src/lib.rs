//! dnsrefused: who was turned away, and from which address.
//!
//! The map. Data flows one way, and each folder is a stage of its path; arrows only point backwards along it.
//!
//! | stage | turns | into |
//! |---|---|---|
//! | [`capture`] | the bytes of an input | [`capture::Frame`] |
//! | [`decode`] | a frame | [`decode::Entry`], and TCP segments into messages |
//! | [`transact`] | messages | [`transact::Transaction`] |
//! | [`sources`] | transactions | [`sources::SourceRow`] per source and server |
//! | [`expect`] | configuration text | a decision for an address |
//! | [`diagnose`] | source rows and expectations | [`diagnose::Finding`] |
//! | [`report`] | all of it | text, csv, jsonl, json |
//! | [`watch`] | the same while it grows | [`watch::snapshot::Snapshot`] |
//!
//! Beside the path stand [`cli`] (arguments to [`config::Config`]), [`run`], [`live`] and [`acl_command`] (the commands
//! from configuration to exit code), [`pipeline`] (the only folder with threads and channels) and [`error`] (what an
//! operator is told). A stage is plain functions and structs: bytes and timestamps in, values out; no thread outside
//! `pipeline`, no clock outside that, `capture` and [`watch`], and no I/O outside those, `expect` (which reads what
//! operators wrote) and `report`.

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
