//! A device's own clock. Work on a GPU goes on after the call that asked for it: its time is that
//! between two marks in the stream of its work, which cost the GPU nothing to set.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::result::{DriverError, event};
use cudarc::driver::sys;
use tch::Device;

use super::device::{CudaDevice, Current};
use super::driver::message;
use crate::{Error, Result};

/// What tells the time of a device's work.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The CPU's: a call returns when its work is done.
    Host,
    /// A GPU's, on libtorch's current stream.
    Cuda(Arc<CudaDevice>),
}

/// A moment in a device's work.
#[derive(Debug)]
pub struct Mark(Moment);

#[derive(Debug)]
enum Moment {
    Host(Instant),
    Cuda(Event),
}

impl Clock {
    /// The clock of this device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is no such GPU.
    pub fn of(device: Device) -> Result<Self> {
        match device {
            Device::Cuda(ordinal) => Ok(Self::Cuda(CudaDevice::of(ordinal)?)),
            _ => Ok(Self::Host),
        }
    }

    /// The moment at which all work that this thread has given to the device so far is done. Nothing
    /// waits for it here.
    ///
    /// # Errors
    /// [`Error::Cuda`] where the driver refuses.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(match self {
            Self::Host => Moment::Host(Instant::now()),
            Self::Cuda(card) => Moment::Cuda(Event::record(card)?),
        }))
    }
}

impl Mark {
    /// Waits until the moment has come.
    ///
    /// # Errors
    /// [`Error::Cuda`] where the work before it failed.
    pub fn wait(&self) -> Result<()> {
        match &self.0 {
            Moment::Host(_) => Ok(()),
            Moment::Cuda(event) => event.wait(),
        }
    }

    /// Seconds since an earlier mark of the same clock; waits until this moment has come.
    ///
    /// # Errors
    /// [`Error::Cuda`] where the work before it failed, or the marks are of two clocks.
    pub fn since(&self, earlier: &Self) -> Result<f64> {
        match (&self.0, &earlier.0) {
            (Moment::Host(now), Moment::Host(then)) => Ok((*now - *then).as_secs_f64()),
            (Moment::Cuda(now), Moment::Cuda(then)) => now.since(then),
            _ => Err(refused("the marks are of two clocks".into())),
        }
    }
}

/// An event of the driver's, in a stream of a GPU.
#[derive(Debug)]
struct Event {
    handle: sys::CUevent,
    card: Arc<CudaDevice>,
}

// SAFETY: the driver's handles are good on all threads of a process.
unsafe impl Send for Event {}
// SAFETY: as above; an event is recorded once, before anybody else has it.
unsafe impl Sync for Event {}

impl Event {
    fn record(card: &Arc<CudaDevice>) -> Result<Self> {
        let stream = card.stream()?;
        let _current = Current::of(card.context()).map_err(|error| failed(&error))?;
        let handle = event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = Self { handle: handle.map_err(|error| failed(&error))?, card: card.clone() };
        // SAFETY: the event was made just now, in the stream's context.
        unsafe { event::record(event.handle, stream) }.map_err(|error| failed(&error))?;
        Ok(event)
    }

    fn wait(&self) -> Result<()> {
        let _current = Current::of(self.card.context()).map_err(|error| failed(&error))?;
        // SAFETY: the event lives as long as this.
        unsafe { event::synchronize(self.handle) }.map_err(|error| failed(&error))
    }

    fn since(&self, earlier: &Self) -> Result<f64> {
        self.wait()?;
        let _current = Current::of(self.card.context()).map_err(|error| failed(&error))?;
        // SAFETY: both events live; this one has come, and the earlier one before it.
        let milliseconds = unsafe { event::elapsed(earlier.handle, self.handle) };
        Ok(f64::from(milliseconds.map_err(|error| failed(&error))?) * 1e-3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_current) = Current::of(self.card.context()) {
            // SAFETY: the event is this value's own; the driver frees it once it has come.
            let _ = unsafe { event::destroy(self.handle) };
        }
    }
}

fn failed(error: &DriverError) -> Error {
    refused(message(error))
}

fn refused(problem: String) -> Error {
    Error::Cuda {
        what: "the GPU's clock".into(),
        problem,
        remedy: "run it again with CUDA_LAUNCH_BLOCKING=1, which tells where it began, and report \
                 this"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_hosts_marks_are_as_far_apart_as_what_lies_between_them() {
        let clock = Clock::of(Device::Cpu).unwrap();
        let begun = clock.mark().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let ended = clock.mark().unwrap();
        ended.wait().unwrap();
        assert!((0.02..10.0).contains(&ended.since(&begun).unwrap()));
    }

    /// The time of a GPU's work is that of the work, not of the call.
    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_marks_wait_for_the_work_between_them() {
        let device = crate::device::cuda().unwrap();
        let clock = Clock::of(device).unwrap();
        let matrix = tch::Tensor::rand([4096, 4096], (tch::Kind::Float, device));
        let time = |precision: usize| {
            let begun = clock.mark().unwrap();
            for _ in 0..precision {
                let _ = matrix.matmul(&matrix);
            }
            clock.mark().unwrap().since(&begun).unwrap()
        };
        time(2);
        let (few, many) = (time(4), time(40));
        assert!((5.0..20.0).contains(&(many / few)), "{few} s and {many} s");
        assert!(Clock::Host.mark().unwrap().since(&clock.mark().unwrap()).is_err());
    }
}
