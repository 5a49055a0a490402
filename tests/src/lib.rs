//! The harness of the outside tests: everything a test needs to stand around the
//! real `rust-nginx` binary and look at it from all sides.
//!
//! ```text
//!              [ control_plane ] <- objects -> [ files ]
//!                      |                          |
//!                      +-----> [ subject ] <------+
//!                                  |
//!            [ client ] ---------> * ---------> [ pod ]
//!                    (all inside one [ namespace ])
//! ```
//!
//! Contract: no test is skipped for want of something (a missing tool is an error
//! that says how to get it), nothing waits for time to pass where it can wait for
//! a condition, no packet leaves the network namespace, and no process outlives it.
//! The harness knows the product by its command line, its sockets and the API only.

pub mod address;
pub mod certificate;
pub mod client;
pub mod control_plane;
pub mod dns;
pub mod files;
pub mod load;
pub mod log;
pub mod namespace;
pub mod objects;
pub mod ocsp;
pub mod pod;
pub mod relay;
pub mod runner;
pub mod scratch;
pub mod subject;
pub mod tools;
pub mod wait;
