//! Tells silence from loss: at the server, a query that got nothing while the server answered another source was met
//! with silence ([`Answering`]). That is certain only when a late response could no longer come ([`Suspects`]).
//!
//! Times are places on the clock's line ([`super::clock`]).

mod answering;
mod suspects;

pub use answering::Answering;
pub use suspects::{Suspect, Suspects};
