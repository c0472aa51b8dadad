//! What operators believe, as text, to a decision for an address: [`inventory::Inventory`] so far.

pub mod inventory;

pub use inventory::Inventory;
