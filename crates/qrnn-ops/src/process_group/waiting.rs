//! Waits for operations, and finds out who is to blame where they fail.

use std::time::{Duration, Instant};

use tch::Device;

use super::backend::Work;
use super::connected::{Broken, Connected};
use super::diagnosis::{Diagnosis, Failure};
use super::group::{ProcessGroup, lock};
use super::signal::RankState;
use crate::{Error, Result};

/// How long an operation is waited for before the signals of the other ranks are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long this rank looks for the one to blame for a failed operation.
const INQUIRY: Duration = Duration::from_secs(10);

impl ProcessGroup {
    /// Waits, on the host, until the GPU has completed all operations of the group.
    ///
    /// # Errors
    /// [`Error::Group`] naming a rank that has ended or does not answer.
    pub fn synchronize(&self) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        let Some(work) = lock(&connected.on_gpu).take() else { return Ok(()) };
        self.wait_until(connected, || {
            let started = Instant::now();
            while !work.poll()? {
                if started.elapsed() > LOOK {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            Ok(true)
        })
    }

    pub(super) fn complete(&self, connected: &Connected, work: Work, device: Device) -> Result<()> {
        if !device.is_cuda() {
            return self.wait_until(connected, || work.wait(LOOK));
        }
        let queued = work.wait_on_stream();
        queued.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))?;
        *lock(&connected.on_gpu) = Some(work);
        Ok(())
    }

    /// Waits until `done`, which returns after some time, says so.
    fn wait_until(
        &self,
        connected: &Connected,
        done: impl Fn() -> Result<bool, String>,
    ) -> Result<()> {
        let (started, limit) = (Instant::now(), self.0.timeout);
        loop {
            match done() {
                Ok(true) => return Ok(()),
                // c10d has the same limit.
                Err(problem) if started.elapsed() < limit && !problem.contains("imed out") => {
                    return Err(self.explain(connected, Failure::Failed(&problem)));
                }
                Err(_) => return Err(self.explain(connected, Failure::TimedOut(limit))),
                Ok(false) if started.elapsed() > limit => {
                    return Err(self.explain(connected, Failure::TimedOut(limit)));
                }
                Ok(false) => {}
            }
            if let Some(diagnosis) = connected.ended_rank() {
                return Err(self.break_off(connected, diagnosis));
            }
        }
    }

    /// Finds out which rank is to blame for a failure, and breaks off the group.
    pub(super) fn explain(&self, connected: &Connected, failure: Failure<'_>) -> Error {
        let deadline = Instant::now() + INQUIRY;
        loop {
            let now = Instant::now();
            let found = connected.evidence(now, |evidence| evidence.diagnosis(failure));
            if let Some(diagnosis) = found {
                return self.break_off(connected, diagnosis);
            }
            if now > deadline {
                let diagnosis = connected.evidence(now, |evidence| evidence.undecided(failure));
                return self.break_off(connected, diagnosis);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the group: the others learn of the error.
    pub(super) fn break_off(
        &self,
        connected: &Connected,
        Diagnosis { rank, error }: Diagnosis,
    ) -> Error {
        if let Error::Group { what, problem, remedy } = &error {
            let (what, problem, remedy) = (what.clone(), problem.clone(), remedy.clone());
            *lock(&self.0.broken) = Some(Broken { what, problem, remedy });
        }
        let message = error.to_string();
        connected.monitor.end(RankState::Failed { because_of: rank, message });
        if let Some(nccl) = connected.nccl.get() {
            nccl.abort();
        }
        error
    }
}
