//! dnsrefused: who was turned away, and from which address.

pub mod capture;
pub mod config;
pub mod decode;
pub mod diagnose;
pub mod error;
pub mod expect;
pub mod pipeline;
pub mod report;
pub mod sources;
pub mod transact;
