//! A profile as a table.

use super::{Align, Table};
use crate::exec::Profile;
use std::time::Duration;

/// Where the time went, a phase a line, the largest first; with the time of one step, in milliseconds of it too.
pub fn profile(profile: &Profile, step: Option<Duration>) -> Vec<String> {
    let mut columns = vec![("Phase", Align::Left), ("Share", Align::Right)];
    if step.is_some() {
        columns.push(("ms a step", Align::Right));
    }
    columns.push(("GFLOP/s a thread", Align::Right));
    let mut table = Table::new(&columns);
    let mut phases: Vec<_> = profile.phases.iter().collect();
    phases.sort_by(|a, b| b.share.total_cmp(&a.share));
    for phase in phases {
        let rate = phase.gflops.map_or_else(String::new, |rate| format!("{rate:.1}"));
        let (name, share) = (phase.phase.replace('_', " "), format!("{:.1} %", 100.0 * phase.share));
        match step {
            Some(step) => table.row([name, share, format!("{:.3}", 1e3 * phase.share * step.as_secs_f64()), rate]),
            None => table.row([name, share, rate]),
        }
    }
    table.lines()
}
