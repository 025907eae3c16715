//! Texts and requests among ranks, by the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::connected::Broken;
use super::diagnosis::Failure;
use super::group::{ProcessGroup, lock};
use super::meeting::first_line;
use super::signal::RankState;
use crate::{Error, Result};

impl ProcessGroup {
    /// The texts of all ranks, in their order, by the store: texts of different lengths are no danger.
    ///
    /// # Errors
    /// [`Error::Group`] naming ranks that did not come to this point in time; [`Error::Interrupted`].
    pub fn exchange(&self, text: &str, interrupted: &dyn Fn() -> bool) -> Result<Vec<String>> {
        let Some(connected) = &self.0.connected else { return Ok(vec![text.to_owned()]) };
        self.check_intact()?;
        connected.monitor.operation_begins();
        let number = connected.exchanges.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}/exchange/{number}", connected.meeting.prefix);
        let keys: Vec<_> = (0..self.world_size()).map(|rank| format!("{prefix}/{rank}")).collect();
        let store = &connected.meeting.store;
        let failed = |problem: String| self.explain(connected, Failure::Failed(&problem));
        store.set(&keys[self.rank()], text.as_bytes()).map_err(failed)?;
        let started = Instant::now();
        loop {
            let keys = keys.clone();
            if let Some(values) = store.in_time(move |store| store.get(&keys)).map_err(failed)? {
                let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
                return Ok(values.iter().map(text).collect());
            }
            if interrupted() {
                self.fail("was interrupted");
                return Err(Error::Interrupted);
            }
            if let Some(diagnosis) = connected.gone_rank() {
                return Err(self.break_off(connected, diagnosis));
            }
            if started.elapsed() > self.0.timeout {
                return Err(self.explain(connected, Failure::TimedOut(self.0.timeout)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Gives a text to the other ranks, which wait for it by [`ProcessGroup::announcement`].
    ///
    /// # Errors
    /// [`Error::Group`] if the store is lost.
    pub fn announce(&self, text: &str) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        self.check_intact()?;
        let key = connected.next_announcement();
        let stored = connected.meeting.store.set(&key, text.as_bytes());
        stored.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))
    }

    /// Waits, without a limit, for the next text of rank 0; `None` once that has left the group.
    ///
    /// # Errors
    /// [`Error::Group`] if rank 0 has failed or does not answer; [`Error::Interrupted`].
    pub fn announcement(&self, interrupted: &dyn Fn() -> bool) -> Result<Option<String>> {
        let Some(connected) = &self.0.connected else { return Ok(None) };
        self.check_intact()?;
        let (key, store) = (connected.next_announcement(), &connected.meeting.store);
        loop {
            let failed = |problem: String| self.explain(connected, Failure::Failed(&problem));
            let key = [key.clone()];
            if let Some(values) = store.in_time(move |store| store.get(&key)).map_err(failed)? {
                return Ok(values.first().map(|text| String::from_utf8_lossy(text).into_owned()));
            }
            if connected.monitor.seen().0[0].signal.state == RankState::Left {
                return Ok(None);
            }
            if interrupted() {
                return Err(Error::Interrupted);
            }
            if let Some(diagnosis) = connected.gone_rank() {
                return Err(self.break_off(connected, diagnosis));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Begins a call that each rank can be asked to stop; all ranks begin the same ones.
    pub fn begin_call(&self) {
        if let Some(connected) = &self.0.connected {
            connected.monitor.begin_call();
        }
    }

    /// Tells the other ranks that this one was asked to stop its call.
    pub fn request_stop(&self) {
        if let Some(connected) = &self.0.connected {
            connected.monitor.request_stop();
        }
    }

    /// Set, within a second, if another rank was asked to stop this call; `None` in a group of one.
    pub fn stop_elsewhere(&self) -> Option<Arc<AtomicBool>> {
        self.0.connected.as_ref().map(|connected| connected.monitor.stop_elsewhere())
    }

    /// Tells the other ranks that this one has failed, and why. No operation works after that.
    pub fn fail(&self, message: &str) {
        let Some(connected) = &self.0.connected else { return };
        let broken = Broken {
            what: format!("this process, rank {} of the group,", self.rank()),
            problem: format!("has failed: {}", first_line(message)),
            remedy: "make a new group".into(),
        };
        lock(&self.0.broken).get_or_insert(broken);
        let message = message.to_owned();
        connected.monitor.end(RankState::Failed { because_of: None, message });
    }
}
