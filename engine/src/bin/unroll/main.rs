//! The command `unroll`.
fn main() {}
