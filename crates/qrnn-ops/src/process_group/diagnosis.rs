//! Which rank is to blame for an operation that failed, and what happened to it.

use std::time::{Duration, Instant};

use super::meeting::{Member, first_line, seconds};
use super::monitor::{Seen, StoreContact};
use super::peer_memory::process_has_ended;
use super::signal::RankState;
use crate::Error;

/// A rank whose signal has not changed for so long has ended or stopped: six beats.
pub(super) const SILENT: Duration = Duration::from_secs(3);

/// A rank whose signal has not changed for so long is not waited for where no connection would break: three times
/// [`SILENT`], since a machine under load may stand still for a while.
const GONE: Duration = Duration::from_secs(10);

/// What went wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure<'a> {
    /// c10d's message, for example "Connection reset by peer".
    Failed(&'a str),
    /// It did not end within this time.
    TimedOut(Duration),
    /// The memory of this rank cannot be read: the system's message.
    Unreadable(usize, &'a str),
}

/// What this rank knows about its group.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub members: &'a [Member],
    pub own_rank: usize,
    /// The operations that this rank has begun.
    pub operations: u64,
    /// Whether rank 0 holds the store; otherwise the launcher does.
    pub rank_hosts_store: bool,
    pub ranks: &'a [Seen],
    pub store: &'a StoreContact,
    pub now: Instant,
}

/// The rank to blame, if it is one, and the error.
#[derive(Debug)]
pub(super) struct Diagnosis {
    pub rank: Option<usize>,
    pub error: Error,
}

impl Evidence<'_> {
    /// A rank that says itself that it has failed, by a failure of its own rather than another's.
    pub fn failed_rank(&self) -> Option<Diagnosis> {
        let states = self.others().map(|(rank, seen)| (rank, &seen.signal.state));
        let failed = states.filter_map(|(rank, state)| match state {
            RankState::Failed { because_of, message } => Some((rank, because_of, message)),
            RankState::Working | RankState::Left => None,
        });
        let failed: Vec<_> = failed.collect();
        if let Some((rank, _, message)) = failed.iter().find(|(_, cause, _)| cause.is_none()) {
            return Some(self.blame(*rank, format!("has failed: {}", first_line(message)), OUTPUT));
        }
        let (_, cause, message) = failed.first()?;
        // That rank has found out more.
        let cause = cause.filter(|cause| *cause != self.own_rank)?;
        Some(self.blame(cause, problem_of(message), OUTPUT))
    }

    /// A rank that says that it has failed, or has been silent for so long that it need not be waited for.
    pub fn gone_rank(&self) -> Option<Diagnosis> {
        self.failed_rank().or_else(|| {
            let (rank, silence) = self.most_silent()?;
            (silence > GONE).then(|| self.does_not_answer(rank, silence))
        })
    }

    /// The rank that has been silent for longest, others may have ended because of it, and for how long. What the store
    /// has not told yet counts for nobody: this rank itself may have been stopped.
    fn most_silent(&self) -> Option<(usize, Duration)> {
        let known = self.store.answered;
        let silence = |seen: &Seen| known.saturating_duration_since(seen.changed);
        let others = self.others().map(|(rank, seen)| (rank, silence(seen)));
        others.max_by_key(|(_, silence)| *silence)
    }

    fn does_not_answer(&self, rank: usize, silence: Duration) -> Diagnosis {
        let silence = seconds(silence);
        let problem = format!("does not answer: nothing was heard of it for {silence}");
        self.blame(rank, problem, NETWORK)
    }

    /// A rank with which no operation will complete: it says that it has failed, or its process has ended; or the store is
    /// lost. gloo does not always notice.
    pub fn ended_rank(&self) -> Option<Diagnosis> {
        self.failed_rank().or_else(|| self.lost_store()).or_else(|| self.ended_process())
    }

    fn lost_store(&self) -> Option<Diagnosis> {
        let problem = self.store.lost.as_ref()?;
        Some(self.of_store(format!("has ended: {}", first_line(problem)), OUTPUT))
    }

    /// A silent rank of this machine whose process has ended; if it has said why, that is known by then.
    fn ended_process(&self) -> Option<Diagnosis> {
        let (rank, _) = self.most_silent().filter(|(_, silence)| *silence > SILENT)?;
        let (own, other) = (self.members.get(self.own_rank)?, self.members.get(rank)?);
        let has_ended = own.shares_system_with(other) && process_has_ended(other.process);
        has_ended.then(|| self.blame(rank, "has ended without a word".into(), OUTPUT))
    }

    /// What the failure comes from; `None` if that is not clear yet.
    pub fn diagnosis(&self, failure: Failure<'_>) -> Option<Diagnosis> {
        if let Some(failed) = self.failed_rank() {
            return Some(failed);
        }
        if let Some(lost) = self.lost_store() {
            return Some(lost);
        }
        let age = |since: Instant| self.now.saturating_duration_since(since);
        if age(self.store.answered) > SILENT {
            let silence = seconds(age(self.store.answered));
            let problem = format!("does not answer: nothing was heard of it for {silence}");
            return Some(self.of_store(problem, NETWORK));
        }
        if let Some((rank, silence)) = self.most_silent().filter(|(_, silence)| *silence > SILENT) {
            return Some(match failure {
                Failure::Failed(_) | Failure::Unreadable(..) => {
                    self.blame(rank, "has ended without a word".into(), OUTPUT)
                }
                Failure::TimedOut(_) => self.does_not_answer(rank, silence),
            });
        }
        if let Some((rank, _)) =
            self.others().find(|(_, seen)| seen.signal.state == RankState::Left)
        {
            return Some(self.blame(rank, "has left the group".into(), OUTPUT));
        }
        if let Failure::TimedOut(limit) = failure {
            let behind = self.others().filter(|(_, seen)| seen.signal.operations < self.operations);
            if let Some((rank, _)) = behind.min_by_key(|(_, seen)| seen.signal.operations) {
                let problem =
                    format!("lives, but did not come to the same point within {}", seconds(limit));
                return Some(self.blame(rank, problem, SLOW));
            }
        }
        None
    }

    /// The error if no rank turned out to be to blame.
    pub fn undecided(&self, failure: Failure<'_>) -> Diagnosis {
        let (problem, remedy) = match failure {
            Failure::Unreadable(rank, message) => {
                let problem = format!("does not let its memory be read: {}", first_line(message));
                return self.blame(rank, problem, UNREADABLE);
            }
            Failure::Failed(message) => {
                (format!("has broken the connection: {}", first_line(message)), OUTPUT)
            }
            Failure::TimedOut(limit) => {
                (format!("did not complete an operation within {}", seconds(limit)), SLOW)
            }
        };
        Diagnosis { rank: None, error: Error::group("a rank of the group", problem, remedy) }
    }

    fn others(&self) -> impl Iterator<Item = (usize, &Seen)> {
        self.ranks.iter().enumerate().filter(|(rank, _)| *rank != self.own_rank)
    }

    fn blame(&self, rank: usize, problem: String, remedy: &str) -> Diagnosis {
        Diagnosis { rank: Some(rank), error: Error::group(self.name(rank), problem, remedy) }
    }

    fn of_store(&self, problem: String, remedy: &str) -> Diagnosis {
        if self.rank_hosts_store {
            return self.blame(0, problem, remedy);
        }
        Diagnosis { rank: None, error: Error::group("the launcher", problem, remedy) }
    }

    fn name(&self, rank: usize) -> String {
        match self.members.get(rank) {
            Some(Member { machine, process, .. }) => {
                format!("rank {rank} (process {process} on {machine})")
            }
            None => format!("rank {rank}"),
        }
    }
}

/// What happened to a rank, from another's error about it: "rank 2 (process 7 on a) has ended".
fn problem_of(message: &str) -> String {
    let line = first_line(message);
    line.split_once(") ").map_or(line, |(_, problem)| problem).to_owned()
}

const OUTPUT: &str = "its own output says why, unless it was killed; then start the group again, with `.resume(true)` if the \
                      run has a folder";

const NETWORK: &str = "check whether its process was stopped and whether its machine can be reached; then start the \
                       group again, with `.resume(true)` if the run has a folder";

const UNREADABLE: &str = "see what has changed the permissions of that process, or make the group without \
                          group.peer_memory";

const SLOW: &str = "see what that process waits for, and allow more time with group.timeout if it is only slow; then \
                    start the group again, with `.resume(true)` if the run has a folder";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process_group::GroupOptions;
    use crate::process_group::signal::Signal;

    struct Case {
        ranks: Vec<Seen>,
        store: StoreContact,
        now: Instant,
    }

    /// A group of four in which all live and rank 0 asks.
    fn healthy() -> Case {
        let now = Instant::now() + Duration::from_secs(100);
        let seen = Seen { signal: Signal { operations: 7, ..Signal::default() }, changed: now };
        Case { ranks: vec![seen; 4], store: StoreContact { answered: now, lost: None }, now }
    }

    impl Case {
        fn ask(&self, failure: Failure<'_>) -> Option<(Option<usize>, String)> {
            self.judge(|evidence| evidence.diagnosis(failure))
        }

        fn ask_for_gone(&self) -> Option<(Option<usize>, String)> {
            self.judge(|evidence| evidence.gone_rank())
        }

        fn judge(
            &self,
            judge: impl FnOnce(&Evidence<'_>) -> Option<Diagnosis>,
        ) -> Option<(Option<usize>, String)> {
            let evidence = Evidence {
                members: &[],
                own_rank: 0,
                operations: 7,
                rank_hosts_store: true,
                ranks: &self.ranks,
                store: &self.store,
                now: self.now,
            };
            let found = judge(&evidence)?;
            Some((found.rank, found.error.to_string()))
        }

        fn silent(mut self, rank: usize, seconds: u64) -> Self {
            self.ranks[rank].changed = self.now - Duration::from_secs(seconds);
            self
        }

        fn failed(mut self, rank: usize, because_of: Option<usize>, message: &str) -> Self {
            let message = message.into();
            self.ranks[rank].signal.state = RankState::Failed { because_of, message };
            self
        }
    }

    const RESET: Failure<'_> = Failure::Failed("Connection reset by peer\nat pair.cc");
    const LATE: Failure<'_> = Failure::TimedOut(Duration::from_secs(8));

    #[track_caller]
    fn check(case: &Case, failure: Failure<'_>, rank: Option<usize>, words: &str) {
        let (blamed, message) = case.ask(failure).expect("a diagnosis");
        assert_eq!(blamed, rank, "{message}");
        assert!(message.contains(words), "{message}");
    }

    #[test]
    fn nobody_is_blamed_too_early() {
        assert!(healthy().ask(RESET).is_none());
        assert!(healthy().silent(2, 2).ask(RESET).is_none());
        assert!(healthy().ask(LATE).is_none());
    }

    #[test]
    fn a_silent_rank_has_ended_or_stopped() {
        check(&healthy().silent(2, 4), RESET, Some(2), "rank 2 has ended");
        check(
            &healthy().silent(2, 4),
            LATE,
            Some(2),
            "rank 2 does not answer: nothing was heard of it for 4.0 s",
        );
        check(&healthy().silent(3, 4).silent(1, 9), RESET, Some(1), "rank 1 has ended");
    }

    #[test]
    fn where_no_connection_breaks_a_silent_rank_is_waited_for_a_little_longer() {
        assert!(healthy().silent(2, 9).ask_for_gone().is_none());
        let (rank, message) = healthy().silent(2, 11).ask_for_gone().unwrap();
        assert_eq!(rank, Some(2));
        assert!(message.contains("rank 2 does not answer: nothing was heard of it for 11 s"));
    }

    /// Its own pause is no silence of the others.
    #[test]
    fn a_rank_that_was_stopped_itself_blames_nobody() {
        let mut case = healthy();
        case.now += Duration::from_secs(60);
        assert!(case.ask_for_gone().is_none());
        let failure = Failure::Unreadable(2, "Operation not permitted");
        case.now = case.store.answered;
        assert!(case.ask(failure).is_none());
        let diagnosis = case.judge(|evidence| Some(evidence.undecided(failure))).unwrap();
        assert_eq!(diagnosis.0, Some(2));
        assert!(diagnosis.1.starts_with("rank 2 does not let its memory be read: Operation not"));
    }

    #[test]
    fn a_lost_store_and_an_ended_process_are_found_without_an_error_of_gloo() {
        let ended = |case: &Case| case.judge(|evidence| evidence.ended_rank());
        assert!(ended(&healthy().silent(2, 9)).is_none());
        let mut case = healthy();
        case.store.lost = Some("Broken pipe".into());
        assert_eq!(ended(&case).unwrap().0, Some(0));
        let this = Member::this_process(String::new(), &GroupOptions::default());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut other = this.clone();
        other.process = child.id();
        let members = [this, other];
        let case = healthy().silent(1, 9);
        let found = |members: &[Member]| {
            let (ranks, store) = (&case.ranks[..2], &case.store);
            let (operations, now) = (7, case.now);
            let (own_rank, rank_hosts_store) = (0, true);
            let evidence =
                Evidence { members, own_rank, operations, rank_hosts_store, ranks, store, now };
            evidence.ended_rank().map(|diagnosis| diagnosis.error.to_string())
        };
        assert!(found(&members).is_none());
        // A process that nobody has waited for has ended, too.
        child.kill().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(found(&members).unwrap().contains("has ended without a word"));
        child.wait().unwrap();
        assert!(found(&members).unwrap().contains("has ended without a word"));
    }

    #[test]
    fn a_rank_that_has_left_is_named() {
        let mut case = healthy();
        case.ranks[1].signal.state = RankState::Left;
        check(&case, RESET, Some(1), "rank 1 has left the group");
    }

    #[test]
    fn a_rank_that_says_why_it_failed_is_believed() {
        let case = healthy().silent(1, 9).failed(2, None, "runs/a: no space left\nmore");
        check(&case, RESET, Some(2), "rank 2 has failed: runs/a: no space left\n  what");
    }

    #[test]
    fn a_rank_that_failed_because_of_another_passes_the_blame_on() {
        let message = "rank 3 (process 7 on a) has ended without a word\nwhat to do";
        check(
            &healthy().failed(1, Some(3), message),
            RESET,
            Some(3),
            "rank 3 has ended without a word",
        );
        assert!(healthy().failed(1, Some(0), "rank 0 has ended").ask(RESET).is_none());
    }

    #[test]
    fn a_rank_that_lives_and_lags_behind_is_named_after_the_limit() {
        let mut case = healthy();
        case.ranks[2].signal.operations = 5;
        assert!(case.ask(RESET).is_none());
        check(
            &case,
            LATE,
            Some(2),
            "rank 2 lives, but did not come to the same point within 8.0 s",
        );
    }

    #[test]
    fn the_host_of_the_store_is_named() {
        let mut case = healthy();
        case.store.lost = Some("Connection reset".into());
        check(&case, RESET, Some(0), "rank 0 has ended: Connection reset");
        let mut case = healthy();
        case.store.answered = case.now - Duration::from_secs(12);
        check(&case, LATE, Some(0), "rank 0 does not answer: nothing was heard of it for 12 s");
    }
}
