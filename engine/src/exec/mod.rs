//! Threads and memory: the only place where rayon is named.
//!
//! `crew.rs` has the threads, `barrier.rs` what they wait at, `shared.rs` the matrices that they write together,
//! `products.rs` matrix products split over a team, and `recurrence.rs` the time loops of the recurrent cells.

mod barrier;
mod crew;
mod shared;

pub use crew::{Crew, Member, Team, Work};
