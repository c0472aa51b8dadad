//! Damaged configurations.
