//! Threads and memory: the only place where rayon is named.
//!
//! `crew.rs` has the threads, `member.rs` each one's part of a job, `claims.rs` parts that go to whoever comes
//! for them, `barrier.rs` what they wait at, `cost.rs` what decides
//! how many share a piece of work, `shared.rs` the matrices that they write together, `products.rs` matrix products split
//! over a team, `bands.rs` packing in the pass that changes weights, `recurrence/` the time loops of the recurrent cells, and `profile.rs` where the time goes.

mod bands;
mod barrier;
mod blocks;
mod claims;
mod cost;
mod crew;
mod member;
mod pin;
mod products;
mod profile;
mod recurrence;
mod shared;

pub(crate) use bands::{Banded, Packing, PackingRoom, Target};
pub(crate) use products::{Finish, Products, Right, Scratch, Start, block_columns};
pub(crate) use recurrence::{
    Gates, GruBackward, GruBeforeBackward, GruBeforeForward, GruForward, Held, Lookup, Loop, LstmBackward, LstmForward,
    RnnBackward, RnnForward, Sweep, run,
};

pub use bands::Pieces;
pub use cost::Work;
pub use crew::{Crew, Cut, Team};
pub use member::{Meeting, Member};
pub use profile::{PhaseTime, Profile};
