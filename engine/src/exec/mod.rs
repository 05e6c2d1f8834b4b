//! Threads and memory: the only place where rayon is named.
//!
//! ```text
//! crew.rs      the threads                                team.rs      jobs, cut and shared by a team
//! member.rs    each thread's part of a job                barrier.rs   what members wait at
//! claims.rs    parts that go to whichever member is free  cost.rs      how many threads share a piece of work
//! pin.rs       threads pinned to cores                    shared.rs    matrices that members write together
//! products.rs  matrix products split over a team          right.rs     their right operand
//! scratch.rs   their buffers                              blocks.rs    products in blocks that fit the cache
//! bands.rs     packing weights in the pass that updates them
//! recurrence/  the time loops of the recurrent cells      profile.rs   where the time goes
//! ```

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
mod right;
mod scratch;
mod shared;
mod team;

pub(crate) use bands::{BandedWeights, Packing, PackingRoom, Target};
pub(crate) use products::{Finish, Products, Start};
pub(crate) use recurrence::{
    Gates, GruBackward, GruForward, GruResetBeforeBackward, GruResetBeforeForward, Lookup, Loop, LstmBackward,
    LstmForward, RnnBackward, RnnForward, StateDropout, Sweep, run_loops,
};
pub(crate) use right::Right;
pub(crate) use scratch::{Scratch, block_columns};

pub use bands::Pieces;
pub use cost::Work;
pub use crew::Crew;
pub use member::{Meeting, Member};
pub use profile::{PhaseTime, Profile};
pub use team::{Cut, Team};
