//! dnsrefused: who was turned away, and from which address.

pub mod error;
