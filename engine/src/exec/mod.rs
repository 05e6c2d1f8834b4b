//! Threads and memory: the only place where rayon is named.
//!
//! `crew.rs` has the threads, `barrier.rs` what they wait at, `shared.rs` the matrices that they write together,
//! `products.rs` matrix products split over a team, `recurrence.rs` the time loops of the recurrent cells, and
//! `profile.rs` where the time goes.

mod barrier;
mod crew;
mod products;
mod profile;
mod recurrence;
mod shared;

pub(crate) use products::{Products, Right, Scratch, Start};
pub(crate) use recurrence::{
    GruBackward, GruBeforeForward, GruForward, LstmBackward, RnnBackward, Sweep, gru_backward, gru_before_backward,
    gru_before_forward, gru_forward, lstm_backward, lstm_forward, rnn_backward, rnn_forward,
};

pub use crew::{Crew, Member, Team, Work};
pub use profile::{PhaseTime, Profile};
