//! Timestamps of a device's work. GPU work is asynchronous, so it is timed between two CUDA events in its
//! stream.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::result::{DriverError, event};
use cudarc::driver::sys;
use tch::Device;

use super::device::{CudaDevice, Current};
use super::driver::message;
use crate::{Error, Result};

/// The clock of a device.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The CPU's clock, where calls are synchronous.
    Host,
    /// CUDA events in libtorch's current stream.
    Cuda(Arc<CudaDevice>),
}

/// A moment in the work of a device.
#[derive(Debug)]
pub struct Timestamp(Moment);

#[derive(Debug)]
enum Moment {
    Host(Instant),
    Cuda(Event),
}

impl Clock {
    /// The clock of this device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no such GPU.
    pub fn of(device: Device) -> Result<Self> {
        match device {
            Device::Cuda(ordinal) => Ok(Self::Cuda(CudaDevice::of(ordinal)?)),
            _ => Ok(Self::Host),
        }
    }

    /// The moment at which all work that this thread has submitted so far is done. Does not synchronize.
    ///
    /// # Errors
    /// [`Error::Cuda`] if the driver fails.
    pub fn record(&self) -> Result<Timestamp> {
        Ok(Timestamp(match self {
            Self::Host => Moment::Host(Instant::now()),
            Self::Cuda(device) => Moment::Cuda(Event::record(device)?),
        }))
    }
}

impl Timestamp {
    /// Waits for the work before this moment.
    ///
    /// # Errors
    /// [`Error::Cuda`] if that work failed.
    pub fn wait(&self) -> Result<()> {
        match &self.0 {
            Moment::Host(_) => Ok(()),
            Moment::Cuda(event) => event.wait(),
        }
    }

    /// Seconds since an earlier timestamp of the same clock. Waits for the work before this moment.
    ///
    /// # Errors
    /// [`Error::Cuda`] if that work failed, or the timestamps are of different clocks.
    pub fn since(&self, earlier: &Self) -> Result<f64> {
        match (&self.0, &earlier.0) {
            (Moment::Host(end), Moment::Host(start)) => Ok((*end - *start).as_secs_f64()),
            (Moment::Cuda(end), Moment::Cuda(start)) => end.since(start),
            _ => Err(refused("the timestamps are of different clocks".into())),
        }
    }
}

/// A CUDA event.
#[derive(Debug)]
struct Event {
    handle: sys::CUevent,
    device: Arc<CudaDevice>,
}

// SAFETY: the driver's handles are valid on all threads of a process.
unsafe impl Send for Event {}
// SAFETY: as above; an event is recorded once, before it is shared.
unsafe impl Sync for Event {}

impl Event {
    fn record(device: &Arc<CudaDevice>) -> Result<Self> {
        let stream = device.stream()?;
        let _current = Current::of(device.context()).map_err(|error| failed(&error))?;
        let handle = event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event =
            Self { handle: handle.map_err(|error| failed(&error))?, device: device.clone() };
        // SAFETY: the event was created above, in the stream's context.
        unsafe { event::record(event.handle, stream) }.map_err(|error| failed(&error))?;
        Ok(event)
    }

    fn wait(&self) -> Result<()> {
        let _current = Current::of(self.device.context()).map_err(|error| failed(&error))?;
        // SAFETY: a live event.
        unsafe { event::synchronize(self.handle) }.map_err(|error| failed(&error))
    }

    fn since(&self, earlier: &Self) -> Result<f64> {
        self.wait()?;
        let _current = Current::of(self.device.context()).map_err(|error| failed(&error))?;
        // SAFETY: both events are live, and complete.
        let milliseconds = unsafe { event::elapsed(earlier.handle, self.handle) };
        Ok(f64::from(milliseconds.map_err(|error| failed(&error))?) * 1e-3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_current) = Current::of(self.device.context()) {
            // SAFETY: this value owns the event; the driver frees it when it is complete.
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
        remedy:
            "run it again with CUDA_LAUNCH_BLOCKING=1, which shows the first failing kernel, and \
                 report this"
                .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn host_timestamps_measure_the_time_between_them() {
        let clock = Clock::of(Device::Cpu).unwrap();
        let start = clock.record().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let end = clock.record().unwrap();
        end.wait().unwrap();
        assert!((0.02..10.0).contains(&end.since(&start).unwrap()));
    }

    /// The time between timestamps is that of the GPU's work, not of the calls.
    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_timestamps_measure_the_work_between_them() {
        let device = crate::device::cuda().unwrap();
        let clock = Clock::of(device).unwrap();
        let matrix = tch::Tensor::rand([4096, 4096], (tch::Kind::Float, device));
        let time = |products: usize| {
            let start = clock.record().unwrap();
            for _ in 0..products {
                let _ = matrix.matmul(&matrix);
            }
            clock.record().unwrap().since(&start).unwrap()
        };
        time(2);
        let (few, many) = (time(4), time(40));
        assert!((5.0..20.0).contains(&(many / few)), "{few} s and {many} s");
        assert!(Clock::Host.record().unwrap().since(&clock.record().unwrap()).is_err());
    }
}
