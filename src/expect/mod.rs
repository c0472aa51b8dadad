//! What operators believe, as text, to a decision for an address: [`inventory::Inventory`] so far.

pub mod acl;
pub mod inventory;
pub mod ranges;

pub use inventory::{Expect, Expected, Inventory};
