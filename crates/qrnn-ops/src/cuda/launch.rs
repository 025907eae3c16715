//! Kernels, their arguments, and the trait that launches them.

use std::ffi::c_void;

use crate::{Error, Result};

/// A CUDA source file in `kernels/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The file's name.
    pub name: &'static str,
    /// The file's contents.
    pub text: &'static str,
    /// Names and contents of the headers that it includes.
    pub headers: &'static [(&'static str, &'static str)],
}

/// A kernel of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The file that defines it.
    pub source: &'static Source,
    /// The name of its `extern "C"` function.
    pub name: &'static str,
}

/// Grid and block size of a launch, one-dimensional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Number of blocks.
    pub grid: u32,
    /// Threads per block.
    pub block: u32,
}

impl Geometry {
    /// At least `threads` threads in blocks of `block`; CUDA takes at most 2³¹ - 1 blocks.
    ///
    /// # Errors
    /// [`Error::Shape`] if that is more blocks.
    pub fn of(threads: i64, block: u32) -> Result<Self> {
        let grid = u64::try_from(threads).unwrap_or(0).div_ceil(u64::from(block));
        match u32::try_from(grid).ok().filter(|grid| *grid <= i32::MAX as u32) {
            Some(grid) => Ok(Self { grid, block }),
            None => Err(Error::shape(
                "a CUDA kernel",
                format!("{threads} threads exceed the maximum of a launch"),
                "use a smaller batch",
            )),
        }
    }
}

/// An argument of a kernel, by its C++ type.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// A pointer into a tensor, or null for an optional tensor.
    Pointer(*mut c_void),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// A pointer to a struct that is passed by value; it must live until the launch returns.
    Struct(*const c_void),
}

impl Argument {
    /// Pointer to the value, as `cuLaunchKernel` takes it.
    fn pointer(&mut self) -> *mut c_void {
        match self {
            Self::Pointer(value) => (&raw mut *value).cast(),
            Self::Int(value) => (&raw mut *value).cast(),
            Self::Long(value) => (&raw mut *value).cast(),
            Self::Float(value) => (&raw mut *value).cast(),
            Self::Struct(value) => value.cast_mut(),
        }
    }

    /// Pointers to the values of all arguments, in order.
    pub fn pointers(arguments: &mut [Self]) -> Vec<*mut c_void> {
        arguments.iter_mut().map(Self::pointer).collect()
    }
}

/// Launches kernels: a GPU ([`super::CudaDevice`]), or in tests the host shim.
pub trait Launch: Send + Sync {
    /// Runs a kernel, or queues it on libtorch's current stream.
    ///
    /// # Safety
    /// The arguments match the kernel's parameters in number, order and type. Pointers refer to memory of
    /// this device that is large enough for the kernel and that nothing else writes until it has run.
    ///
    /// # Errors
    /// [`Error::Cuda`] if it cannot be compiled or launched.
    unsafe fn launch(
        &self,
        kernel: Kernel,
        geometry: Geometry,
        arguments: &mut [Argument],
    ) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_the_smallest_with_enough_threads() {
        for threads in [1, 63, 64, 65, 72_000, 1 << 36] {
            let Geometry { grid, block } = Geometry::of(threads, 64).unwrap();
            let total = i64::from(grid) * i64::from(block);
            assert!(threads <= total && total < threads + 64);
        }
        assert!(matches!(Geometry::of(1 << 38, 64), Err(Error::Shape { .. })));
    }
}
