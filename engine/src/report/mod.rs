//! Output for people and for programs: numbers, tables, progress, JSON lines.

mod numbers;
mod out;
mod profile;
mod progress;
mod table;

pub use numbers::{bytes, count, duration, per_second, short_float};
pub use out::{Out, argument, json_line, visible};
pub use profile::profile;
pub use progress::Progress;
pub use table::{Align, Table, summary};
