//! Which split of a training step to choose on a machine with more cores than this one, and how long the step would take.
//!
//! A step may be run by one team, whose members share every product, or by several replicas of smaller teams, each with
//! some rows of the batch, whose gradients are then added. The model of a split is
//!
//! ```text
//! step = member + waiting + jobs start(P) + barriers pass(P) + (R - 1) add / P        R replicas of teams of P
//! ```
//!
//! where *member* is measured: one thread runs a real step of its replica, but of all that is shared only what the busiest
//! member of a team of P would do ([`crate::exec::Crew::posing`]), so that every kernel runs in the very shape that it
//! would have there, and what is not shared is run in full. As many threads as there are cores here do so side by side, so
//! that they contend for memory; and as no two ever take the same time for the same work, they wait for each other where the
//! members of a team would ([`Meeting`]), which is *waiting*. Starting a job and passing a barrier are measured with all
//! cores here, and taken to cost in proportion to the members beyond that, as all of them write one cache line. What the
//! model does not know: more than one socket, a memory whose rate does not grow with the cores, that more members wait longer
//! for the last of them, and a machine that is busy with other work.

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
    /// What was measured here.
    pub rates: PlanRates,
    /// Every split that was looked at, by cores, the fastest first.
    pub splits: Vec<Split>,
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

impl Case {
    /// Models the splits of this case on 1, 2, 4, ... and `cores` cores. `options` says how; its threads are not used.
    ///
    /// # Errors
    ///
    /// As [`crate::Network::new`]; [`Error::Usage`] for a case that does not train.
    pub fn plan(&self, cores: usize, options: &CaseOptions) -> Result<Plan> {
        let here = std::thread::available_parallelism().map_or(1, usize::from);
        let rates = PlanRates::measure(here, options.length)?;
        let mut splits = Vec::new();
        let mut measured: Vec<([usize; 3], Measured)> = Vec::new();
        for cores in numbers(cores) {
            let first = splits.len();
            for replicas in numbers(cores).filter(|r| cores.is_multiple_of(*r) && *r <= self.sizes().1) {
                let (team, rows) = (cores / replicas, self.sizes().1.div_ceil(replicas));
                let key = [team, rows, cores.min(here)];
                let known = match measured.iter().position(|(k, _)| *k == key) {
                    Some(known) => known,
                    None => {
                        measured.push((key, self.pose(team, rows, cores.min(here), options)?));
                        measured.len() - 1
                    }
                };
                splits.push(self.split(replicas, team, &measured[known].1, &rates)?);
            }
            splits[first..].sort_by(|a, b| a.step_s.total_cmp(&b.step_s));
        }
        let (precision, isa) = (options.precision.to_string(), options.isa.name().to_owned());
        Ok(Plan { case: self.name().to_owned(), precision, isa, rates, splits })
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

    /// Times the busiest member of a team with `rows` rows of the batch, `busy` of them side by side.
    fn pose(&self, team: usize, rows: usize, busy: usize, options: &CaseOptions) -> Result<Measured> {
        let options = CaseOptions { threads: team, profile: true, pin: false, ..options.clone() };
        let case = self.clone().with_rows(rows);
        let crew = Crew::new(busy, 1).map_err(|e| Error::run(format!("cannot start {busy} threads: {e}")))?;
        let members = (0..busy).map(|_| Ok(Mutex::new(case.posing(&options)?))).collect::<Result<Vec<_>>>()?;
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
            training.start_profile(&options);
            training.take_posed();
            let (start, mut times) = (Instant::now(), Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let at = Instant::now();
                training.step();
                // Replicas wait for the last of them.
                member.barrier();
                times.push(at.elapsed().as_secs_f64());
                if member.rank() == 0 {
                    ended.store(times.len() >= 3 && start.elapsed() >= options.length, Ordering::Relaxed);
                }
                member.barrier();
            }
            let profile = training.take_profile();
            let counts = training.take_posed().map(|count| count / times.len());
            times.sort_by(f64::total_cmp);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((times[times.len() / 2], counts, profile));
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            |profile: &Profile| profile.phases.iter().find(|p| p.phase == Phase::Waiting.name()).map(|p| p.share);
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            let each = results.iter().map(|(s, _, p)| of(*s, p.as_ref().and_then(waiting).unwrap_or(0.0)));
            each.sum::<f64>() / results.len() as f64
        };
        let (seconds, waiting) = (mean(&|s, share| s * (1.0 - share)), mean(&|s, share| s * share));
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
    use unroll_kernels::Isa;
    use unroll_kernels::gemm::Precision;

    fn options() -> CaseOptions {
        CaseOptions {
            threads: 1,
            isa: Isa::best(),
            precision: Precision::F32,
            length: Duration::from_millis(1),
            hidden: Some(128),
            rows: Some(24),
            steps: Some(5),
            profile: true,
            pin: false,
            home: Default::default(),
        }
    }

    /// Floating-point operations of a step's products, as counted.
    fn flops(case: &Case, threads: usize) -> f64 {
        let options = CaseOptions { threads, ..options() };
        let mut training = case.posing(&options).unwrap();
        training.start_profile(&options);
        training.step();
        let profile = training.take_profile().unwrap();
        profile.phases.iter().map(|phase| phase.gflops.unwrap_or(0.0) * phase.thread_seconds).sum::<f64>() * 1e9
    }

    #[test]
    fn one_that_poses_does_its_share_of_the_products() {
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
    fn one_that_poses_leaves_no_phase_of_the_step_out() {
        for name in ["char512", "gru650"] {
            let case = Case::new(name, &options()).unwrap();
            for (threads, precision) in [(1, Precision::F32), (2, Precision::F32), (3, Precision::Bf16)] {
                let options = CaseOptions { threads, precision, ..options() };
                let mut training = case.posing(&options).unwrap();
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
    }
}
