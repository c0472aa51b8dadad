//! Inventories of expected prefixes (`--expect`): CSV with a header, or one prefix per line, to an [`Inventory`] that
//! decides for an address by its most specific line.

/// Placeholder until the reader is here.
#[derive(Debug, Clone, Default)]
pub struct Inventory {}
