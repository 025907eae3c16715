//! When a run writes a checkpoint, in addition to the one at the end of each epoch.

use std::time::{Duration, Instant};

use tch::Device;

/// The distance between two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckpointInterval {
    Steps(u64),
    Time(Duration),
}

impl CheckpointInterval {
    /// The default: 1,000 steps on the CPU, where a step of the entry takes seconds, and five minutes on a
    /// GPU.
    ///
    /// By arithmetic, not by measurement: the entry's parameters and moments are 1.26 GB, and training waits
    /// for their copy into pinned memory alone, 0.05 s at 25 GB/s (PCIe 4.0 with 16 lanes) or 0.02 % of
    /// five minutes. An epoch of 8,600 steps of 6.5 ms ends every 56 s with a checkpoint and perhaps a copy
    /// of the best weights (0.42 GB): 0.07 s, or 0.12 %.
    pub fn default_for(device: Device) -> Self {
        if device.is_cuda() { Self::Time(Duration::from_secs(5 * 60)) } else { Self::Steps(1000) }
    }
}

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct CheckpointSchedule {
    interval: CheckpointInterval,
    last_step: u64,
    last_time: Instant,
}

impl CheckpointSchedule {
    /// For a run that is at `step` now.
    pub fn new(interval: CheckpointInterval, step: u64, now: Instant) -> Self {
        Self { interval, last_step: step, last_time: now }
    }

    /// Whether a checkpoint is due; it stays due until it is written. Time counts only if the losses of
    /// all steps are known, since reading them early would make a GPU wait.
    pub fn is_due(&self, step: u64, losses_known: bool, now: Instant) -> bool {
        match self.interval {
            CheckpointInterval::Steps(n) => step / n > self.last_step / n,
            CheckpointInterval::Time(time) => {
                losses_known && now.saturating_duration_since(self.last_time) >= time
            }
        }
    }

    /// Notes that a checkpoint of `step` was written.
    pub fn written(&mut self, step: u64, now: Instant) {
        (self.last_step, self.last_time) = (step, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_from_the_beginning_of_the_run() {
        let now = Instant::now();
        let mut schedule = CheckpointSchedule::new(CheckpointInterval::Steps(10), 0, now);
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
        let resumed = CheckpointSchedule::new(CheckpointInterval::Steps(10), 18, now);
        assert!(!resumed.is_due(19, true, now) && resumed.is_due(20, true, now));
        assert!(!CheckpointSchedule::new(CheckpointInterval::Steps(u64::MAX), 0, now).is_due(
            1 << 60,
            true,
            now
        ));
    }

    #[test]
    fn time_counts_from_the_last_checkpoint_and_only_with_known_losses() {
        let (begin, minute) = (Instant::now(), Duration::from_secs(60));
        let mut schedule = CheckpointSchedule::new(CheckpointInterval::Time(5 * minute), 0, begin);
        assert!(!schedule.is_due(1_000_000, true, begin + 4 * minute));
        assert!(!schedule.is_due(1, false, begin + 5 * minute));
        assert!(schedule.is_due(1, true, begin + 5 * minute));
        schedule.written(1, begin + 7 * minute); // an epoch's end, or one that came late
        assert!(!schedule.is_due(2, true, begin + 11 * minute));
        assert!(schedule.is_due(2, true, begin + 12 * minute));
    }

    #[test]
    fn a_checkpoint_stays_due_until_it_is_written() {
        let now = Instant::now();
        let schedule = CheckpointSchedule::new(CheckpointInterval::Steps(10), 5, now);
        assert!((10..30).all(|step| schedule.is_due(step, true, now)));
    }

    #[test]
    fn the_default_is_time_on_a_gpu_and_steps_on_a_cpu() {
        assert_eq!(CheckpointInterval::default_for(Device::Cpu), CheckpointInterval::Steps(1000));
        assert_eq!(
            CheckpointInterval::default_for(Device::Cuda(0)),
            CheckpointInterval::Time(Duration::from_secs(300))
        );
    }
}
