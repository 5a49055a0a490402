//! The rust-nginx binary.
fn main() {}
