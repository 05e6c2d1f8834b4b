//! Threads and memory: the only place where rayon is named.
//!
//! ```text
//! crew.rs      the threads                                member.rs    each one's part of a job
//! claims.rs    parts that go to whichever member is free  barrier.rs   what members wait at
//! cost.rs      how many threads share a piece of work     pin.rs       threads kept on cores
//! shared.rs    matrices that members write together       products.rs  matrix products split over a team
//! blocks.rs    products in blocks that fit the cache      bands.rs     packing weights in the pass that updates them
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
mod shared;

pub(crate) use bands::{Banded, Packing, PackingRoom, Target};
pub(crate) use products::{Finish, Products, Right, Scratch, Start, block_columns};
pub(crate) use recurrence::{
    Gates, GruBackward, GruBeforeBackward, GruBeforeForward, GruForward, Lookup, Loop, LstmBackward, LstmForward,
    RnnBackward, RnnForward, StateDropout, Sweep, run,
};

pub use bands::Pieces;
pub use cost::Work;
pub use crew::{Crew, Cut, Team};
pub use member::{Meeting, Member};
pub use profile::{PhaseTime, Profile};
