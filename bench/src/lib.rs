//! What the measurements of scale share: a cluster of any size, made of realistic objects, and what is looked up in it.
//!
//! ```text
//!  benches/allocations ─┐
//!  benches/scale ───────┴─> lookup ─> fleet <── the program's `scale`
//!   (in process)                               (a real API server)
//! ```

pub mod fleet;
pub mod lookup;
