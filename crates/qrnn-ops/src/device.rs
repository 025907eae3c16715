//! Chooses the device.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};

use tch::Device;

use crate::cuda::{Compiler, CudaDevice, Driver, Launch, libraries};
use crate::{Error, Result, self_test};

/// The environment variable that makes [`cuda`] skip the self-test if set to `1`.
///
/// It is for `cargo xtask cuda-dry-run` only, whose fake GPU computes nothing. On a real GPU it would hide
/// wrong results.
pub const SKIP_SELF_TEST: &str = "QRNN_SKIP_SELF_TEST";

/// The first GPU: [`cuda_at`] 0.
///
/// # Errors
/// As [`cuda_at`].
pub fn cuda() -> Result<Device> {
    cuda_at(0)
}

/// The GPU of this number, counted from 0, after checking its requirements: a driver, NVRTC, a supported
/// architecture and libtorch's CUDA library. The first call for a GPU in a process also compares every operation
/// with the CPU, unless [`SKIP_SELF_TEST`] is set.
///
/// # Errors
/// [`Error::Unavailable`] with the first requirement that is not met, or the failed operation.
pub fn cuda_at(number: usize) -> Result<Device> {
    let driver = Driver::open()?;
    let compiler = Compiler::open()?;
    driver.check(&compiler)?;
    compiler.target(driver.capability(0)?)?;
    libraries::libtorch_cuda()?;
    if !tch::Cuda::is_available() {
        return Err(Error::unavailable(
            "CUDA",
            "the driver finds a GPU, but libtorch finds none",
            "check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use Device::Cpu",
        ));
    }
    let count = tch::Cuda::device_count();
    if number as i64 >= count {
        return Err(Error::unavailable(
            format!("GPU {number}"),
            format!("the process sees GPUs 0 to {}", count - 1),
            "give one of these numbers, or check CUDA_VISIBLE_DEVICES",
        ));
    }
    compiler.target(driver.capability(number)?)?;
    static PASSED: Mutex<Vec<usize>> = Mutex::new(vec![]);
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if !passed.contains(&number) && !self_test_is_skipped() {
        let launcher: Arc<dyn Launch> = CudaDevice::of(number)?;
        self_test::self_test(&launcher, Device::Cuda(number))?;
        passed.push(number);
    }
    Ok(Device::Cuda(number))
}

/// The number of the GPU for a process that is number `local_rank` on its machine: that number, or 0 where its launcher
/// shows each process one GPU.
pub fn number_for_rank(local_rank: usize) -> usize {
    if tch::Cuda::device_count() == 1 { 0 } else { local_rank }
}

/// The GPU of this number; or the CPU, and in one line why the GPU is not available.
pub fn cuda_or_cpu(number: usize) -> (Device, Option<String>) {
    match cuda_at(number) {
        Ok(device) => (device, None),
        Err(Error::Unavailable { problem, .. }) => (Device::Cpu, Some(problem)),
        Err(error) => (Device::Cpu, Some(error.to_string())),
    }
}

/// The processor's name with its family and model, because virtual machines show the same name for several
/// generations; `None` if the system does not report it.
pub fn processor_name() -> Option<String> {
    processor_in(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn processor_in(cpuinfo: &str) -> Option<String> {
    let field = |wanted: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
    };
    let name = field("model name").filter(|name| !name.is_empty())?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

/// Whether [`SKIP_SELF_TEST`] is set, so that the device computes nothing.
pub fn self_test_is_skipped() -> bool {
    skips_self_test(std::env::var_os(SKIP_SELF_TEST).as_deref())
}

/// Whether this value of [`SKIP_SELF_TEST`] skips the test. Only `1` does: an empty value or `0` does not.
fn skips_self_test(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_processor_has_its_family_and_model() {
        let info = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n";
        assert_eq!(processor_in(info).unwrap(), "AMD EPYC (family 25, model 17)");
        assert_eq!(processor_in("model name : POWER9\n").unwrap(), "POWER9");
        assert_eq!(processor_in("processor: 0\n"), None);
    }

    #[test]
    fn only_the_value_1_skips_the_self_test() {
        assert!(skips_self_test(Some(OsStr::new("1"))));
        for value in ["", "0", "off", "true", "11", " 1"] {
            assert!(!skips_self_test(Some(OsStr::new(value))), "{value:?}");
        }
        assert!(!skips_self_test(None));
    }
}
