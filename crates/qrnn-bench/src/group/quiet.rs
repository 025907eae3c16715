//! Runs on a machine that others use too: measured when they are quiet, and chosen by how quiet they were.

use std::time::{Duration, Instant};

use super::machine;

/// How long to wait for others before a run.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, clap::Args)]
pub struct QuietFlags {
    /// Share of the processors' time that other programs may use in a run; noisier runs are repeated. 1 to count all
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.1)]
    pub others: f64,
    /// Runs at most, in times the number of runs that count. The quietest of all count
    #[arg(long, value_name = "TIMES", value_parser = qrnn::command_line::parsers::positive::<u32>)]
    #[arg(default_value_t = 4)]
    pub patience: u32,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

impl QuietFlags {
    /// Waits a while until other programs are quiet. This one must do nothing meanwhile.
    pub fn wait(&self) {
        let started = Instant::now();
        while self.others < 1.0
            && started.elapsed() < WAIT
            && machine::busy().is_some_and(|busy| busy > self.others)
        {}
    }
}

/// Runs, each with the share of the processors' time that others used.
pub struct Runs<T> {
    flags: QuietFlags,
    wanted: usize,
    all: Vec<(f64, T)>,
}

/// The runs that count.
pub struct Quietest<T> {
    pub runs: Vec<T>,
    /// The largest share that others used in one of them.
    pub others: f64,
}

impl<T> Runs<T> {
    pub fn new(flags: QuietFlags, wanted: usize) -> Self {
        Self { flags, wanted, all: vec![] }
    }

    /// Whether too few runs were quiet, and there may be more.
    pub fn needs_more(&self) -> bool {
        let quiet = self.all.iter().filter(|(others, _)| *others <= self.flags.others).count();
        quiet < self.wanted && self.all.len() < self.wanted * self.flags.patience as usize
    }

    pub fn add(&mut self, others: f64, run: T) {
        self.all.push((others, run));
    }

    pub fn quietest(mut self) -> Quietest<T> {
        self.all.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.all.truncate(self.wanted);
        let others = self.all.last().map_or(0.0, |(others, _)| *others);
        Quietest { runs: self.all.into_iter().map(|(_, run)| run).collect(), others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(others: f64, patience: u32, shares: &[f64]) -> (usize, Quietest<usize>) {
        let mut runs = Runs::new(QuietFlags { others, patience }, 2);
        let mut shares = shares.iter().enumerate();
        while runs.needs_more() {
            let (i, share) = shares.next().unwrap();
            runs.add(*share, i);
        }
        (runs.all.len(), runs.quietest())
    }

    #[test]
    fn noisy_runs_are_repeated_and_the_quietest_count() {
        let (n, quietest) = measured(0.1, 4, &[0.9, 0.05, 0.5, 0.02]);
        assert_eq!((n, quietest.runs, quietest.others), (4, vec![3, 1], 0.05));
        let (n, quietest) = measured(0.1, 2, &[0.9, 0.7, 0.5, 0.8]);
        assert_eq!((n, quietest.runs, quietest.others), (4, vec![2, 1], 0.7));
        let (n, quietest) = measured(1.0, 4, &[0.9, 1.0]);
        assert_eq!((n, quietest.runs), (2, vec![0, 1]));
    }

    #[test]
    fn shares_are_between_0_and_1() {
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(["-0.1", "1.5", "NaN", "all"].into_iter().all(|text| share(text).is_err()));
    }
}
