//! `unroll bench --plan`: how a training step would be split on other numbers of cores, and why.

use std::path::Path;

use unroll::bench::{Case, CaseOptions, DataSizes, Plan, Split};
use unroll::config::Resolver;
use unroll::error::{Error, Result};
use unroll::recipes;
use unroll::report::{self, Align, Out, Table, json_line};
use unroll::vectors::train::Model;

/// The case of this name, or that of a recipe or configuration file.
pub(crate) fn find(name: &str, data_sizes: DataSizes, options: &CaseOptions) -> Result<Case> {
    if Case::names().contains(&name) || name.starts_with("zipf:") {
        let given = [("--vocabulary", data_sizes.vocabulary), ("--classes", data_sizes.classes)];
        return match given.iter().find(|(_, size)| size.is_some()) {
            Some((option, _)) => Err(Error::option(option, format!("{name} has its own")).mend("leave it out")),
            None => Case::new(name, options),
        };
    }
    if name.starts_with("gemm:") || name.parse::<Model>().is_ok() || name == "vocabulary" {
        return Err(Error::usage(format!("{name} does not train a model")).mend("choose a case that trains"));
    }
    let path = Path::new(name);
    let mut resolver = Resolver::new();
    if path.exists() || path.extension().is_some() || name.contains(std::path::is_separator) {
        resolver.file(path)?;
    } else {
        let mend = format!("or a case ({}), or a configuration file", Case::names().join(", "));
        let recipe = recipes::find(name).map_err(|error| error.mend(mend))?;
        resolver.recipe(recipe.name, recipe.text)?;
    }
    Case::of_config(name, &resolver.finish()?.0, data_sizes, options)
}

/// Prints the plan.
pub(crate) fn show(plan: &Plan, cores: usize, json: bool) -> Result<()> {
    let mut out = Out::stdout();
    if json {
        return out.line(&json_line(plan)?);
    }
    let rates = &plan.rates;
    out.line(&format!(
        "{}, {} rows of {} steps, {}, {}; measured with {} threads: {:.2} µs to start a job, {:.2} µs a barrier, {:.1} million gradients added \
         a second",
        plan.case,
        plan.rows,
        plan.steps,
        plan.precision,
        plan.isa,
        rates.threads,
        1e6 * rates.start_s,
        1e6 * rates.barrier_s,
        rates.add_per_s / 1e6
    ))?;
    let right = |name| (name, Align::Right);
    let columns = [
        "Replicas x threads",
        "ms a step",
        "a second",
        "times one",
        "own work",
        "waiting",
        "starting",
        "barriers",
        "adding",
    ];
    let mut table = Table::new(&std::iter::once(right("Cores")).chain(columns.map(right)).collect::<Vec<_>>());
    let one = plan.splits.first().map_or(f64::NAN, |split| split.step_s);
    let mut last = 0;
    for split in &plan.splits {
        // Of fewer cores only the best; of those that were asked for all.
        if std::mem::replace(&mut last, split.cores) == split.cores && split.cores != cores {
            continue;
        }
        let ms = |seconds: f64| format!("{:.3}", 1e3 * seconds);
        table.row([
            split.cores.to_string(),
            format!("{} x {}", split.replicas, split.team),
            ms(split.step_s),
            format!("{:.0}", split.per_s),
            format!("{:.2}", one / split.step_s),
            ms(split.member_s),
            ms(split.waiting_s),
            ms(split.starting_s),
            ms(split.barriers_s),
            ms(split.adding_s),
        ]);
    }
    table.lines().iter().try_for_each(|line| out.line(line))?;
    let fastest = plan.fastest();
    let Some((first, others)) = fastest.split_first() else { return Ok(()) };
    out.line(&format!("\n{}", choice(first, cores)))?;
    if plan.configured > 1 && plan.configured != first.replicas {
        out.line(&configured(plan, first, cores))?;
    }
    out.line(&reason(first, others.first()))?;
    let step = std::time::Duration::from_secs_f64(first.member_s + first.waiting_s);
    report::profile(&first.profile, Some(step)).iter().try_for_each(|line| out.line(line))
}

fn name(split: &Split) -> String {
    match (split.replicas, split.team) {
        (1, 1) => "one thread".to_owned(),
        (1, team) => format!("one team of {team}"),
        (replicas, 1) => format!("{replicas} replicas of one thread"),
        (replicas, team) => format!("{replicas} replicas of {team} threads"),
    }
}

/// What to do with so many cores.
fn choice(first: &Split, cores: usize) -> String {
    let mut text = format!("Choose {} (--threads {} --replicas {}).", name(first), first.cores, first.replicas);
    if first.cores < cores {
        text += &format!(" No split of all {cores} cores is faster.");
    }
    if first.replicas > 1 {
        text += &format!(
            " With {} replicas sums are added in a different order than with one, so the bits of the result depend on the number of replicas.",
            first.replicas
        );
    }
    text
}

/// What the replicas of the configuration cost.
fn configured(plan: &Plan, first: &Split, cores: usize) -> String {
    let asked = plan.configured;
    let found = plan.splits.iter().find(|split| (split.cores, split.replicas) == (cores, asked));
    match found {
        Some(split) => {
            let times = split.step_s / first.step_s;
            format!("The configuration's train.replicas = {asked} takes {times:.2} times as long on {cores} cores.")
        }
        None => format!(
            "The configuration's train.replicas = {asked} does not divide {cores} cores evenly, or exceeds the number of rows."
        ),
    }
}

/// Why `first` is chosen and not `second`.
fn reason(first: &Split, second: Option<&&Split>) -> String {
    let Some(second) = second else { return "There is no other split. Its work by phase:".to_owned() };
    let differences = [
        ("its members' own work", second.member_s - first.member_s),
        ("waiting for one another", second.waiting_s - first.waiting_s),
        ("starting jobs", second.starting_s - first.starting_s),
        ("barriers", second.barriers_s - first.barriers_s),
        ("adding gradients", second.adding_s - first.adding_s),
    ];
    let parts = differences.iter().filter(|(_, seconds)| seconds.abs() > 0.005 * first.step_s);
    let parts: Vec<String> = parts.map(|(what, seconds)| format!("{:+.3} ms {what}", 1e3 * seconds)).collect();
    format!(
        "Next, {} takes {:.2} times as long, by {}. The chosen split's busiest member's work by phase:",
        name(second),
        second.step_s / first.step_s,
        if parts.is_empty() { "many small things".to_owned() } else { parts.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use unroll::exec::Profile;

    fn split(replicas: usize, team: usize) -> Split {
        Split {
            cores: replicas * team,
            replicas,
            team,
            step_s: 5.0,
            per_s: 1.0,
            member_s: 1.0,
            waiting_s: 1.0,
            starting_s: 1.0,
            barriers_s: 1.0,
            adding_s: 1.0,
            counts: [0; 2],
            profile: Profile { threads: 1, wall: Default::default(), phases: Vec::new() },
        }
    }

    #[test]
    fn a_choice_says_what_it_leaves_idle_and_whether_bits_change() {
        assert_eq!(choice(&split(1, 4), 4), "Choose one team of 4 (--threads 4 --replicas 1).");
        let fewer = choice(&split(1, 2), 4);
        assert!(fewer.contains("--threads 2") && fewer.contains("No split of all 4 cores is faster"), "{fewer}");
        let replicated = choice(&split(2, 2), 4);
        assert!(replicated.contains("With 2 replicas sums are added in a different order"), "{replicated}");
    }
}
