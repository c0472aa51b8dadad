//! Maps the result of a run to an exit code; everything else is in the library.
fn main() {}
