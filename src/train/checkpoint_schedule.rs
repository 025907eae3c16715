//! How often a run writes a checkpoint, beside the one at the end of each epoch.

use std::time::{Duration, Instant};

use tch::Device;

/// What a caller asked for, or what is best for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cadence {
    /// Every so many steps.
    Steps(u64),
    /// Every so much time.
    Every(Duration),
}

impl Cadence {
    /// Where the caller says nothing. On the CPU, where a step of the entry takes seconds, a run that
    /// is killed loses 1,000 steps at most. A GPU is meant to take them in seconds: there it loses five
    /// minutes at most.
    ///
    /// What a checkpoint costs a GPU, by arithmetic and not by measurement: the entry's parameters and
    /// moments are 1.26 GB, which a copy into pinned memory moves in 0.05 s at 25 GB/s (PCIe 4.0 with 16
    /// lanes). Training waits for that alone: 0.02 % of five minutes. An epoch of the entry, 8,600 steps of
    /// 6.5 ms, ends every 56 s, with a checkpoint and, where it is the best so far, with another copy
    /// of 0.42 GB: 0.07 s, or 0.12 %. Checksum and disk are a thread's business.
    pub fn of(device: Device) -> Self {
        match device {
            Device::Cuda(_) => Self::Every(Duration::from_secs(5 * 60)),
            _ => Self::Steps(1000),
        }
    }
}

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Schedule {
    cadence: Cadence,
    /// Step and time of the last one, or of the run's beginning.
    last: (u64, Instant),
}

impl Schedule {
    /// For a run that is at `step` now.
    pub fn new(cadence: Cadence, step: u64, now: Instant) -> Self {
        Self { cadence, last: (step, now) }
    }

    /// Whether a checkpoint is due at a step; it stays due until it is written. Time counts only where
    /// the losses of all steps are known: to read them for a checkpoint's sake would make a GPU wait.
    pub fn is_due(&self, step: u64, losses_known: bool, now: Instant) -> bool {
        match self.cadence {
            Cadence::Steps(n) => step / n > self.last.0 / n,
            Cadence::Every(time) => {
                losses_known && now.saturating_duration_since(self.last.1) >= time
            }
        }
    }

    /// Says that one was written.
    pub fn written(&mut self, step: u64, now: Instant) {
        self.last = (step, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_from_the_beginning_of_the_run() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Cadence::Steps(10), 0, now);
        let mut due = vec![];
        for step in 1..=40 {
            if schedule.is_due(step, false, now) {
                due.push(step);
                schedule.written(step, now);
            }
            if step == 25 {
                schedule.written(step, now); // an epoch's end
            }
        }
        assert_eq!(due, [10, 20, 30, 40]);
        let resumed = Schedule::new(Cadence::Steps(10), 18, now);
        assert!(!resumed.is_due(19, true, now) && resumed.is_due(20, true, now));
        assert!(!Schedule::new(Cadence::Steps(u64::MAX), 0, now).is_due(1 << 60, true, now));
    }

    #[test]
    fn time_counts_from_the_last_one_and_only_where_losses_are_known() {
        let (begin, minute) = (Instant::now(), Duration::from_secs(60));
        let mut schedule = Schedule::new(Cadence::Every(5 * minute), 0, begin);
        assert!(!schedule.is_due(1_000_000, true, begin + 4 * minute));
        assert!(!schedule.is_due(1, false, begin + 5 * minute));
        assert!(schedule.is_due(1, true, begin + 5 * minute));
        schedule.written(1, begin + 7 * minute); // an epoch's end, or one that came late
        assert!(!schedule.is_due(2, true, begin + 11 * minute));
        assert!(schedule.is_due(2, true, begin + 12 * minute));
    }

    #[test]
    fn one_that_is_not_written_stays_due() {
        let now = Instant::now();
        let schedule = Schedule::new(Cadence::Steps(10), 5, now);
        assert!((10..30).all(|step| schedule.is_due(step, true, now)));
    }

    #[test]
    fn a_gpu_goes_by_the_clock_and_a_cpu_by_steps() {
        assert_eq!(Cadence::of(Device::Cpu), Cadence::Steps(1000));
        assert_eq!(Cadence::of(Device::Cuda(0)), Cadence::Every(Duration::from_secs(300)));
    }
}
