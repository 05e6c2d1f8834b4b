//! `unroll bench --plan`: how a training step would be split on other numbers of cores, and why.

use std::path::Path;

use unroll::bench::{Case, CaseOptions, OwnModel, Plan, Split};
use unroll::config::Resolver;
use unroll::error::{Error, Result};
use unroll::recipes;
use unroll::report::{self, Align, Out, Table, json_line};

/// The case of this name, or that of a recipe or configuration file, with a vocabulary of this size.
pub(crate) fn find(name: &str, vocabulary: Option<usize>, options: &CaseOptions) -> Result<Case> {
    if Case::names().contains(&name) {
        return match vocabulary {
            Some(_) => Err(Error::option("--vocabulary", format!("{name} has its own")).mend("leave it out")),
            None => Case::new(name, options),
        };
    }
    let mut resolver = Resolver::new();
    if Path::new(name).exists() {
        resolver.file(Path::new(name))?;
    } else {
        let recipe = recipes::find(name).map_err(|error| {
            error.mend(format!("or a case ({}), or a configuration file", Case::names().join(", ")))
        })?;
        resolver.recipe(recipe.name, recipe.text)?;
    }
    let (config, _) = resolver.finish()?;
    let Some(vocabulary) = vocabulary else {
        return Err(Error::option("--vocabulary", "is needed with --plan of a recipe or file: the text is not read")
            .mend("give the number of different tokens, such as --vocabulary 10000"));
    };
    if options.hidden.is_some() {
        return Err(Error::option("--hidden", format!("{name} has its own")).mend("set it in the configuration"));
    }
    Case::of_model(OwnModel {
        name: name.to_owned(),
        model: config.model.graph(),
        vocabulary,
        rows: options.rows.unwrap_or(config.train.batch),
        steps: options.steps.unwrap_or(config.train.steps),
        optimizer: config.optimizer.options(),
    })
}

/// Prints the plan.
pub(crate) fn show(plan: &Plan, cores: usize, json: bool) -> Result<()> {
    let mut out = Out::stdout();
    if json {
        return out.line(&json_line(plan)?);
    }
    let rates = &plan.rates;
    out.line(&format!(
        "{}, {}, {}; measured with {} threads: {:.2} µs to start a job, {:.2} µs a barrier, {:.1} million gradients added \
         a second",
        plan.case,
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
    let mut best = plan.splits.iter().filter(|split| split.cores == cores);
    let Some(first) = best.next() else { return Ok(()) };
    out.line(&format!("\n{}", reason(first, best.next())))?;
    let step = std::time::Duration::from_secs_f64(first.member_s + first.waiting_s);
    report::profile(&first.profile, Some(step)).iter().try_for_each(|line| out.line(line))
}

/// Why `first` is chosen and not `second`.
fn reason(first: &Split, second: Option<&Split>) -> String {
    let name = |split: &Split| match (split.replicas, split.team) {
        (1, team) => format!("one team of {team}"),
        (replicas, 1) => format!("{replicas} replicas of one thread"),
        (replicas, team) => format!("{replicas} replicas of {team} threads"),
    };
    let chosen = format!("Choose {} (--threads {} --replicas {})", name(first), first.cores, first.replicas);
    let Some(second) = second else { return format!("{chosen}: there is no other way.") };
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
        "{chosen}: {} takes {:.2} times as long, by {}. Its busiest member's work by phase:",
        name(second),
        second.step_s / first.step_s,
        if parts.is_empty() { "many small things".to_owned() } else { parts.join(", ") }
    )
}
