//! Which split of a training step to choose on a machine with more cores than this one, and how long the step would
//! take.
//!
//! A step may be run by one team, whose members share every product, or by several replicas of smaller teams, each with
//! some rows of the batch, whose gradients are then added. The model of a split is
//!
//! ```text
//! step = member + waiting + jobs start(P) + barriers pass(P) + (R - 1) add / P        R replicas of teams of P
//! ```
//!
//! where *member* is measured: one thread runs a real step of its replica, but of all shared work only what the busiest
//! member of a team of P would do ([`crate::exec::Crew::simulated`]). So every kernel runs in exactly the shape that it
//! would have there, and work that is not shared runs in full. As many threads as there are cores here do so side by
//! side, so that they contend for memory. No two ever take the same time for the same work, so they wait for each other
//! where the members of a team would ([`Meeting`]): that is *waiting*. Replicas wait for the last of them at the end of
//! a step; a single team waits for nobody. Work and waiting are medians over the steps. Starting a job and passing a
//! barrier are measured with all cores here and, beyond these, taken to cost in proportion to the members, all of which
//! write one cache line. The model ignores that there may be several sockets, that memory bandwidth may not grow with
//! the cores, that more members wait longer for the last of them, and that a machine may be busy with other work.

use super::cases::{Case, CaseOptions};
use super::median;
use crate::error::{Error, Result};
use crate::exec::{Crew, Meeting, Profile, Work};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use unroll_kernels::Buffer;
use unroll_kernels::profile::Phase;

/// What was measured here, once for all splits.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct PlanRates {
    /// Threads that measured side by side.
    pub threads: usize,
    /// Seconds from giving a job to these threads until all are done, beside the job itself.
    pub start_s: f64,
    /// Seconds of a barrier of these threads.
    pub barrier_s: f64,
    /// Elements of a gradient that one of these threads adds to another a second.
    pub add_per_s: f64,
}

/// One way to split a step, and its time by the model.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Split {
    /// Cores used: the product of the next two.
    pub cores: usize,
    /// R
    pub replicas: usize,
    /// P, members of a replica's team.
    pub team: usize,
    /// Seconds of the step.
    pub step_s: f64,
    /// What the case counts, a second.
    pub per_s: f64,
    /// Of this, the busiest member's own work, measured.
    pub member_s: f64,
    /// Waiting for members with as much to do, measured.
    pub waiting_s: f64,
    /// Starting jobs.
    pub starting_s: f64,
    /// Passing barriers.
    pub barriers_s: f64,
    /// Adding the replicas' gradients.
    pub adding_s: f64,
    /// Jobs and barriers of a step.
    pub counts: [usize; 2],
    /// Where the member's time went.
    pub profile: Profile,
}

/// The splits of a case for some numbers of cores.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Plan {
    /// The case.
    pub case: String,
    /// What the operands of products are rounded to.
    pub precision: String,
    /// The instruction set.
    pub isa: String,
    /// N, of all replicas.
    pub rows: usize,
    /// T
    pub steps: usize,
    /// The replicas that a configuration asks for.
    pub configured: usize,
    /// What was measured here.
    pub rates: PlanRates,
    /// Every split that was looked at, by cores, the fastest first.
    pub splits: Vec<Split>,
}

impl Plan {
    /// The splits, the fastest first: fewer cores may be faster than more. Of equals those of fewer cores come first.
    pub fn fastest(&self) -> Vec<&Split> {
        let mut splits: Vec<&Split> = self.splits.iter().collect();
        splits.sort_by(|a, b| a.step_s.total_cmp(&b.step_s));
        splits
    }
}

/// Work that is always shared.
const ALL: Work = Work { flops: usize::MAX / 2, bytes: 0 };

/// Elements that are added to measure the rate: beyond any second-level cache.
const ADDED: usize = 1 << 23;

impl PlanRates {
    fn measure(threads: usize, length: Duration) -> Result<Self> {
        let crew = Crew::new(threads, 1).map_err(|e| Error::run(format!("cannot start {threads} threads: {e}")))?;
        const TURNS: usize = 1_000;
        let start = median(length, || (0..TURNS).for_each(|_| crew.team().run(ALL, |_| {})));
        let barriers = median(length, || crew.team().run(ALL, |member| (0..TURNS).for_each(|_| member.barrier())));
        let sums: Vec<_> = (0..threads).map(|_| Mutex::new((Buffer::new(ADDED), Buffer::new(ADDED)))).collect();
        let add = median(length, || {
            crew.team().run(ALL, |member| {
                let mut pair = sums[member.rank()].lock().unwrap_or_else(PoisonError::into_inner);
                let (sum, other) = &mut *pair;
                sum.iter_mut().zip(other.iter()).for_each(|(a, b)| *a += b);
                black_box(sum[0]);
            });
        });
        Ok(Self {
            threads,
            start_s: start.as_secs_f64() / TURNS as f64,
            barrier_s: barriers.as_secs_f64() / TURNS as f64,
            add_per_s: ADDED as f64 / add.as_secs_f64(),
        })
    }

    /// What costs `seconds` with the threads here, with `members`.
    fn scaled(&self, seconds: f64, members: usize) -> f64 {
        if members == 1 { 0.0 } else { seconds * (members as f64 / self.threads as f64).max(1.0) }
    }
}

/// A member of a replica's team, to be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Simulation {
    /// P
    team: usize,
    /// Rows of the replica.
    rows: usize,
    /// How many of them are simulated side by side.
    busy: usize,
    /// Whether there are other replicas, for the last of which each waits at the end of a step.
    replicas: bool,
}

/// What one member of a team does.
struct Measured {
    /// Seconds of its own work in a step.
    seconds: f64,
    /// And of waiting for those beside it.
    waiting: f64,
    /// Jobs and barriers of a step.
    counts: [usize; 2],
    profile: Profile,
}

/// The steps of a simulated member.
#[derive(Default)]
struct Steps {
    /// Seconds of own work, and of waiting.
    times: [Vec<f64>; 2],
    profile: Option<Profile>,
}

impl Steps {
    /// Adds a step of which a profile was made.
    fn add(&mut self, seconds: f64, profile: Profile) {
        let waiting =
            profile.phases.iter().find(|p| p.phase == Phase::Waiting.name()).map_or(0.0, |p| p.share * seconds);
        self.times[0].push(seconds - waiting);
        self.times[1].push(waiting);
        self.profile = Some(match self.profile.take() {
            Some(sum) => joined(sum, profile),
            None => profile,
        });
    }

    fn medians(&mut self) -> [f64; 2] {
        self.times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    }
}

/// The profile of two stretches of time of one thread.
fn joined(mut sum: Profile, other: Profile) -> Profile {
    for phase in other.phases {
        match sum.phases.iter_mut().find(|found| found.phase == phase.phase) {
            Some(found) => {
                let flops = [&*found, &phase].map(|p| p.gflops.unwrap_or(0.0) * p.thread_seconds).iter().sum::<f64>();
                found.thread_seconds += phase.thread_seconds;
                found.gflops = (flops > 0.0).then(|| flops / found.thread_seconds);
            }
            None => sum.phases.push(phase),
        }
    }
    let total = sum.phases.iter().map(|phase| phase.thread_seconds).sum::<f64>().max(f64::MIN_POSITIVE);
    sum.phases.iter_mut().for_each(|phase| phase.share = phase.thread_seconds / total);
    Profile { wall: sum.wall + other.wall, ..sum }
}

impl Case {
    /// Models the splits of this case on 1, 2, 4, ... and `cores` cores, into 1, 2, 4, ... replicas and as many as
    /// there are cores or the configuration asks for, where they part the cores evenly. `options` says how; its threads
    /// are not used.
    ///
    /// # Errors
    ///
    /// As [`crate::Network::new`]; [`Error::Usage`] for a case that does not train.
    pub fn plan(&self, cores: usize, options: &CaseOptions) -> Result<Plan> {
        let here = std::thread::available_parallelism().map_or(1, usize::from);
        let rates = PlanRates::measure(here, options.length)?;
        let mut splits = Vec::new();
        let (steps, rows) = self.sizes();
        let mut measured: Vec<(Simulation, Measured)> = Vec::new();
        for cores in numbers(cores) {
            let first = splits.len();
            let own = Some(self.replicas).filter(|own| !numbers(cores).any(|r| r == *own));
            for replicas in numbers(cores).chain(own).filter(|r| cores.is_multiple_of(*r) && *r <= rows) {
                let team = cores / replicas;
                let simulation =
                    Simulation { team, rows: rows.div_ceil(replicas), busy: cores.min(here), replicas: replicas > 1 };
                let known = match measured.iter().position(|(known, _)| *known == simulation) {
                    Some(known) => known,
                    None => {
                        measured.push((simulation, self.simulate(simulation, options)?));
                        measured.len() - 1
                    }
                };
                splits.push(self.split(replicas, team, &measured[known].1, &rates)?);
            }
            splits[first..].sort_by(|a, b| a.step_s.total_cmp(&b.step_s));
        }
        let (precision, isa) = (options.precision.to_string(), options.isa.name().to_owned());
        Ok(Plan { case: self.name().to_owned(), precision, isa, rows, steps, configured: self.replicas, rates, splits })
    }

    fn split(&self, replicas: usize, team: usize, member: &Measured, rates: &PlanRates) -> Result<Split> {
        let [jobs, barriers] = member.counts;
        let starting_s = jobs as f64 * rates.scaled(rates.start_s, team);
        let barriers_s = barriers as f64 * rates.scaled(rates.barrier_s, team);
        let adding_s = (replicas - 1) as f64 * self.parameters()? as f64 / team as f64 / rates.add_per_s;
        // What starting and passing cost here was part of the waiting.
        let passing = jobs as f64 * rates.start_s + barriers as f64 * rates.barrier_s;
        let waiting_s = (member.waiting - passing).max(0.0);
        let step_s = member.seconds + waiting_s + starting_s + barriers_s + adding_s;
        Ok(Split {
            cores: replicas * team,
            replicas,
            team,
            step_s,
            per_s: self.counted() as f64 / step_s,
            member_s: member.seconds,
            waiting_s,
            starting_s,
            barriers_s,
            adding_s,
            counts: member.counts,
            profile: member.profile.clone(),
        })
    }

    /// Times the busiest member of such a team. Each step is divided into work and waiting by itself: a slow moment is
    /// slow in both.
    fn simulate(&self, simulation: Simulation, options: &CaseOptions) -> Result<Measured> {
        let Simulation { team, rows, busy, replicas } = simulation;
        let options = CaseOptions { threads: team, profile: true, pin: false, ..options.clone() };
        let case = self.clone().with_rows(rows);
        let crew = Crew::new(busy, 1).map_err(|e| Error::run(format!("cannot start {busy} threads: {e}")))?;
        let members = (0..busy).map(|_| Ok(Mutex::new(case.simulated(&options)?))).collect::<Result<Vec<_>>>()?;
        let meeting = Arc::new(Meeting::new(busy));
        let (results, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        crew.team().run(ALL, |member| {
            let _attendance = meeting.attend();
            let mut training = members[member.rank()].lock().unwrap_or_else(PoisonError::into_inner);
            if team > 1 {
                training.meet_at(meeting.clone());
            }
            // Everything gets its place in memory before any thread is timed.
            training.step();
            training.step();
            let (start, mut steps, mut counts) = (Instant::now(), Steps::default(), [0; 2]);
            while !ended.load(Ordering::Relaxed) {
                training.start_profile(&options);
                // A profile begins and ends on all threads, and so by jobs.
                training.take_counts();
                let at = Instant::now();
                training.step();
                if replicas {
                    member.barrier();
                }
                let seconds = at.elapsed().as_secs_f64();
                counts = training.take_counts();
                if let Some(profile) = training.take_profile() {
                    steps.add(seconds, profile);
                }
                // All go on or none: nobody decides before all have seen what was decided last.
                member.barrier();
                if member.rank() == 0 {
                    ended.store(steps.times[0].len() >= 3 && start.elapsed() >= options.length, Ordering::Relaxed);
                }
                member.barrier();
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((steps.medians(), counts, steps.profile));
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mean = |i: usize| results.iter().map(|(times, ..)| times[i]).sum::<f64>() / results.len() as f64;
        let (seconds, waiting) = (mean(0), mean(1));
        match results.into_iter().next() {
            Some((_, counts, Some(profile))) => Ok(Measured { seconds, waiting, counts, profile }),
            _ => Err(Error::run("nothing was measured")),
        }
    }
}

/// 1, 2, 4, ... up to `last`, and `last`.
fn numbers(last: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |n| Some(2 * n)).take_while(move |n| *n < last).chain([last])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::PhaseTime;
    use unroll_kernels::gemm::Precision;

    fn options() -> CaseOptions {
        let [hidden, rows, steps] = [128, 24, 5].map(Some);
        let length = Duration::from_millis(1);
        CaseOptions { length, hidden, rows, steps, profile: true, ..CaseOptions::default() }
    }

    /// Floating-point operations of a step's products, as counted.
    fn flops(case: &Case, threads: usize) -> f64 {
        let options = CaseOptions { threads, ..options() };
        let mut training = case.simulated(&options).unwrap();
        training.start_profile(&options);
        training.step();
        let profile = training.take_profile().unwrap();
        profile.phases.iter().map(|phase| phase.gflops.unwrap_or(0.0) * phase.thread_seconds).sum::<f64>() * 1e9
    }

    #[test]
    fn a_simulated_member_does_its_share_of_the_products() {
        for name in ["char512", "gru650", "bilstm"] {
            let case = Case::new(name, &options()).unwrap();
            let all = flops(&case, 1);
            for threads in [2, 4] {
                let share = flops(&case, threads) / all * threads as f64;
                // No share is smaller than the average; cuts at panels and work too small to share make it larger.
                assert!((0.999..1.6).contains(&share), "{name}, {threads} threads: {share}");
            }
        }
    }

    #[test]
    fn a_simulated_member_leaves_no_phase_of_the_step_out() {
        for name in ["char512", "gru650"] {
            let case = Case::new(name, &options()).unwrap();
            for (threads, precision) in [(1, Precision::F32), (2, Precision::F32), (3, Precision::Bf16)] {
                let options = CaseOptions { threads, precision, ..options() };
                let mut training = case.simulated(&options).unwrap();
                // As what others would have computed may become.
                training.network.params_mut().fill(f32::NAN);
                training.start_profile(&options);
                training.step();
                let profile = training.take_profile().unwrap();
                let missing = ["head", "gradient", "norm", "update"].into_iter().filter(|name| {
                    !profile.phases.iter().any(|found| found.phase == *name && found.thread_seconds > 0.0)
                });
                assert_eq!(missing.count(), 0, "{name}, {threads} threads, {precision}");
            }
        }
    }

    #[test]
    fn a_plan_has_every_split_and_its_times_add_up() {
        let case = Case::new("char256", &options()).unwrap();
        let plan = case.plan(6, &options()).unwrap();
        let found: Vec<_> = plan.splits.iter().map(|split| (split.cores, split.replicas * split.team)).collect();
        assert!(found.iter().all(|(cores, threads)| cores == threads), "{found:?}");
        let count = |cores| found.iter().filter(|(c, _)| *c == cores).count();
        assert_eq!([1, 2, 4, 6].map(count), [1, 2, 3, 3]);
        for split in &plan.splits {
            let sum = split.member_s + split.waiting_s + split.starting_s + split.barriers_s + split.adding_s;
            assert!((sum / split.step_s - 1.0).abs() < 1e-12 && split.member_s > 0.0, "{split:?}");
            assert_eq!(split.adding_s > 0.0, split.replicas > 1, "{split:?}");
            assert_eq!(split.starting_s > 0.0, split.team > 1, "{split:?}");
        }
        assert!(plan.splits.windows(2).all(|p| p[0].cores < p[1].cores || p[0].step_s <= p[1].step_s));
        assert!(plan.fastest().windows(2).all(|p| p[0].step_s <= p[1].step_s));
    }

    #[test]
    fn members_that_share_nothing_wait_for_nobody() {
        let small = CaseOptions { hidden: Some(8), rows: Some(2), steps: Some(2), ..options() };
        let plan = Case::new("minchar", &small).unwrap().plan(2, &small).unwrap();
        let shared = |split: &Split| split.counts.iter().sum::<usize>();
        let one = plan.splits.iter().find(|split| (split.replicas, split.team) == (1, 2)).unwrap();
        assert_eq!((shared(one), one.waiting_s), (0, 0.0));
        // Two replicas wait for the last of them.
        assert!(plan.splits.iter().any(|split| split.replicas == 2 && split.waiting_s > 0.0));
    }

    #[test]
    fn the_replicas_of_a_configuration_are_among_those_looked_at() {
        let case = Case { replicas: 3, ..Case::new("minchar", &options()).unwrap() };
        let plan = case.plan(6, &options()).unwrap();
        let found: Vec<_> = plan.splits.iter().filter(|split| split.replicas == 3).map(|split| split.team).collect();
        assert_eq!((plan.configured, &found[..]), (3, &[2][..]));
    }

    #[test]
    fn a_step_is_divided_into_work_and_waiting_before_medians_are_taken() {
        let phase =
            |name: &str, share, gflops| PhaseTime { phase: name.to_owned(), share, thread_seconds: share, gflops };
        let profile = |waiting: f64| Profile {
            threads: 1,
            wall: Duration::from_secs(1),
            phases: vec![phase("waiting", waiting, None), phase("head", 1.0 - waiting, Some(8.0))],
        };
        let mut steps = Steps::default();
        // Two seconds of work always; once, the others came late.
        for waiting in [2.0, 0.0, 2.0, 0.0, 0.0] {
            steps.add(2.0 + waiting, profile(waiting / (2.0 + waiting)));
        }
        assert_eq!(steps.medians(), [2.0, 0.0]);
        let sum = steps.profile.unwrap();
        assert_eq!(sum.wall, Duration::from_secs(5));
        let [waiting, head] = &sum.phases[..] else { panic!("{sum:?}") };
        assert!((waiting.share - 0.2).abs() < 1e-12 && (head.thread_seconds - 4.0).abs() < 1e-12);
        assert_eq!((waiting.gflops, head.gflops), (None, Some(8.0)));
    }
}
