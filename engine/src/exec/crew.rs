//! Threads: a crew of rayon threads, divided into teams.
//!
//! A [`Crew`] owns its pool. One `spawn_broadcast` serves its whole life: every thread of the pool waits for work in a
//! loop, and no other rayon call is made. The calling thread is the first member. A crew of `threads` members is
//! divided into teams; a team runs one *replica* of a step at a time ([`Crew::replicas`]), and within that, the team's
//! leader hands out jobs to its members ([`Team::run`]). A crew of one thread starts none.

use super::member::{Meeting, Simulated};
use super::pin;
use super::profile::{Profile, ProfileStart};
use super::team::{Group, Team};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use unroll_kernels::profile::{self, Counts, Phase};

/// A pool of threads, divided into teams.
pub struct Crew {
    outer: Arc<Group>,
    inner: Arc<Vec<Group>>,
    profile: Option<ProfileStart>,
    /// Held for its threads; they leave their loop when the crew is dropped.
    _pool: Option<rayon::ThreadPool>,
}

impl Crew {
    /// `threads` threads in at most `teams` teams. The calling thread counts as the first.
    ///
    /// # Errors
    ///
    /// When the system refuses to start a thread.
    pub fn new(threads: usize, teams: usize) -> std::io::Result<Self> {
        Self::start(threads, teams, None)
    }

    /// As [`Self::new`], each thread, the calling one too, kept on one core: a team's members on neighbouring cores, as
    /// far as there are cores.
    ///
    /// # Errors
    ///
    /// When the system refuses to start a thread, or does not let it be kept on a core.
    pub fn pinned(threads: usize, teams: usize) -> std::io::Result<Self> {
        Self::start(threads, teams, Some(pin::cores()?))
    }

    fn start(threads: usize, teams: usize, cores: Option<Vec<usize>>) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let teams = teams.clamp(1, threads);
        let outer = Arc::new(Group::new(teams));
        // Thread i is member i / teams of team i % teams, so that team sizes differ by one at most.
        let inner = Arc::new((0..teams).map(|g| Group::new((threads - g).div_ceil(teams))).collect::<Vec<_>>());
        let pool = if threads > 1 {
            let name = |i| format!("unroll-{}", i + 1);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads - 1).thread_name(name).build();
            let pool = pool.map_err(std::io::Error::other)?;
            let (outer, inner) = (outer.clone(), inner.clone());
            pool.spawn_broadcast(move |context| {
                let thread = context.index() + 1;
                let (team, rank) = (thread % teams, thread / teams);
                if rank > 0 { inner[team].serve(rank) } else { outer.serve(team) }
            });
            Some(pool)
        } else {
            None
        };
        let crew = Self { outer, inner, profile: None, _pool: pool };
        // All threads are up from here on, whenever they are needed first.
        let failed = Mutex::new(None);
        crew.everywhere(|team, rank| {
            let Some(cores) = &cores else { return };
            let before: usize = crew.inner[..team].iter().map(|group| group.size).sum();
            if let Err(error) = pin::to(cores[(before + rank) % cores.len()]) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(crew),
        }
    }

    /// A simulated team of `members` members: the calling thread does the work of one of them, the others do not exist.
    /// It takes the largest share of what a team shares, and does all that is not shared. Results are wrong; the time
    /// is that of one member of such a team, without starting jobs and passing barriers, which are counted instead
    /// ([`Self::take_counts`]), and without waiting, unless other simulated members run beside it ([`Self::meet_at`]).
    pub fn simulated(members: usize) -> Self {
        let team = Group::simulated(members.max(1));
        Self { outer: Arc::new(Group::new(1)), inner: Arc::new(vec![team]), profile: None, _pool: None }
    }

    /// Lets a simulated member wait for others like it, at the end of each job and at each barrier. The first call
    /// counts; a real crew ignores it.
    pub fn meet_at(&self, meeting: Arc<Meeting>) {
        if let Some(simulated) = &self.inner[0].simulated {
            // A crew that meets already keeps its meeting.
            let _ = simulated.meeting.set(meeting);
        }
    }

    /// The jobs that a simulated crew has shared and the barriers that it has passed since the last call; 0 for a real
    /// crew.
    pub fn take_counts(&self) -> [usize; 2] {
        let take = |counts: &Simulated| [&counts.jobs, &counts.barriers].map(|count| count.swap(0, Ordering::Relaxed));
        self.inner[0].simulated.as_ref().map_or([0; 2], take)
    }

    /// All threads in one team.
    pub fn team(&self) -> Team<'_> {
        Team { group: &self.inner[0] }
    }

    /// Calls `job(team, rank)` once on every thread.
    fn everywhere(&self, job: impl Fn(usize, usize) + Sync) {
        self.outer.run(&|team| self.inner[team.rank].run(&|member| job(team.rank, member.rank)));
    }

    /// Starts to count where the time of all threads goes.
    pub fn start_profile(&mut self) {
        self.everywhere(|_, _| profile::start(Phase::Idle));
        // The calling thread does whatever is not shared.
        profile::start(Phase::Other);
        self.profile = Some(ProfileStart::now());
    }

    /// Ends what [`Self::start_profile`] began; `None` if it did not.
    pub fn take_profile(&mut self) -> Option<Profile> {
        let began = self.profile.take()?;
        let sum = Mutex::new(Counts::default());
        self.everywhere(|_, _| *sum.lock().unwrap_or_else(PoisonError::into_inner) += profile::stop());
        let threads = self.inner.iter().map(|group| if group.simulated.is_some() { 1 } else { group.size }).sum();
        Some(began.end(threads, sum.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Calls `body(r, team)` for `r` in `0..replicas`, teams side by side, a team's replicas one after the other.
    pub fn replicas(&self, replicas: usize, body: impl Fn(usize, &Team<'_>) + Sync) {
        let next = AtomicUsize::new(0);
        self.outer.run(&|member| {
            let team = Team { group: &self.inner[member.rank] };
            // Whichever team is free takes the next replica: a replica's bits do not depend on who computes it.
            loop {
                let r = next.fetch_add(1, Ordering::Relaxed);
                if r >= replicas {
                    break;
                }
                body(r, &team);
            }
        });
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.outer.stop();
        self.inner.iter().for_each(Group::stop);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost::Work;
    use super::super::team::{Cut, NESTED};
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const ALWAYS: Work = Work { flops: usize::MAX / 2, bytes: 0 };

    #[test]
    fn sixteen_members_pass_barriers_on_any_number_of_cores() {
        let crew = Crew::new(16, 1).unwrap();
        let counts: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..3 {
            crew.team().run(ALWAYS, |member| {
                for (i, count) in counts.iter().enumerate() {
                    count.fetch_add(1, Ordering::Relaxed);
                    member.barrier();
                    assert_eq!(count.load(Ordering::Relaxed) % 16, 0, "barrier {i} let a member pass early");
                    member.barrier();
                }
            });
        }
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 48));
    }

    #[test]
    fn a_panic_frees_the_others_and_reaches_the_caller() {
        let crew = Crew::new(4, 1).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            crew.team().run(ALWAYS, |member| {
                assert!(member.rank() != 2, "member two fails");
                member.barrier();
            });
        }));
        let message = *caught.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "member two fails");
    }

    #[test]
    fn every_replica_runs_once_on_a_whole_team() {
        for (threads, teams) in [(1, 3), (2, 3), (5, 2), (8, 3)] {
            let crew = Crew::new(threads, teams).unwrap();
            let seen: Vec<AtomicUsize> = (0..7).map(|_| AtomicUsize::new(0)).collect();
            let members = AtomicUsize::new(0);
            crew.replicas(7, |r, team| {
                team.run(ALWAYS, |_| {
                    members.fetch_add(1, Ordering::Relaxed);
                });
                seen[r].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 1));
            assert!(members.load(Ordering::Relaxed) >= 7);
        }
    }

    #[test]
    fn a_job_within_a_job_is_refused() {
        let cut = Cut { len: 64, granule: 1, parts: 8 };
        let inner: [fn(&Team<'_>, Cut); 2] =
            [|team, _| team.run(ALWAYS, |_| {}), |team, cut| team.divide(ALWAYS, cut, |_, _| {})];
        for inner in inner {
            let (crew, done) = (Crew::new(2, 1).unwrap(), AtomicUsize::new(0));
            let outer = || {
                crew.team().divide(ALWAYS, cut, |_, part| {
                    done.fetch_add(part.len(), Ordering::Relaxed);
                    if part.contains(&0) {
                        inner(&crew.team(), cut);
                    }
                });
            };
            let caught = catch_unwind(AssertUnwindSafe(outer)).unwrap_err();
            let said = caught.downcast_ref::<String>().map(String::as_str).or(caught.downcast_ref::<&str>().copied());
            assert_eq!(said, Some(NESTED));
            assert!(done.into_inner() <= 64, "some blocks were shared out twice");
        }
    }

    #[test]
    fn simulated_members_wait_for_each_other() {
        let (crew, meeting) = (Crew::new(2, 1).unwrap(), Arc::new(Meeting::new(2)));
        let crews = [Crew::simulated(4), Crew::simulated(4)];
        crews.iter().for_each(|crew| crew.meet_at(meeting.clone()));
        let counts = [const { AtomicUsize::new(0) }; 2];
        crew.team().run(ALWAYS, |member| {
            for turn in 1..=20 {
                crews[member.rank()].team().run(ALWAYS, |simulated| {
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    simulated.barrier();
                    assert!(counts[0].load(Ordering::Relaxed) >= 2 * turn, "a barrier let a member pass early");
                    counts[1].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts[1].load(Ordering::Relaxed) >= 2 * turn, "a job ended early");
            }
        });
        assert_eq!(crews.map(|crew| crew.take_counts()), [[20, 20]; 2]);
    }

    #[test]
    fn tiny_work_stays_on_the_leader() {
        let crew = Crew::new(3, 1).unwrap();
        crew.team().run(Work { flops: 100, bytes: 0 }, |member| assert_eq!(member.size(), 1));
    }
}
