//! Kernels by name, the shape of a launch, and whoever can launch: a card, or a test's host shim.

use std::ffi::c_void;

use crate::{Error, Result};

/// The text of a file in `kernels/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The file's name.
    pub name: &'static str,
    /// What stands in it.
    pub text: &'static str,
    /// The files that it includes: names and texts.
    pub headers: &'static [(&'static str, &'static str)],
}

/// A kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The file.
    pub source: &'static Source,
    /// The function in it.
    pub name: &'static str,
}

/// Blocks of a launch, and threads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Number of blocks.
    pub grid: u32,
    /// Threads of each.
    pub block: u32,
}

impl Geometry {
    /// At least `threads` threads in blocks of `block`; CUDA takes at most 2³¹ - 1 blocks.
    ///
    /// # Errors
    /// [`Error::Shape`] where that is too many.
    pub fn of(threads: i64, block: u32) -> Result<Self> {
        let grid = u64::try_from(threads).unwrap_or(0).div_ceil(u64::from(block));
        match u32::try_from(grid).ok().filter(|grid| *grid <= i32::MAX as u32) {
            Some(grid) => Ok(Self { grid, block }),
            None => Err(Error::shape(
                "a CUDA kernel",
                format!("{threads} threads are more than a launch can have"),
                "use a smaller batch",
            )),
        }
    }
}

/// A kernel's argument, as its C++ type has it.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// A pointer into a tensor; null where the kernel allows for none.
    Pointer(*mut c_void),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// A struct that is passed by value: where it lies, until the launch returns.
    Struct(*const c_void),
}

impl Argument {
    /// Where the value lies: what CUDA is given for each argument.
    fn place(&mut self) -> *mut c_void {
        match self {
            Self::Pointer(value) => (&raw mut *value).cast(),
            Self::Int(value) => (&raw mut *value).cast(),
            Self::Long(value) => (&raw mut *value).cast(),
            Self::Float(value) => (&raw mut *value).cast(),
            Self::Struct(place) => place.cast_mut(),
        }
    }

    /// The places of all arguments, in order.
    pub fn places(arguments: &mut [Self]) -> Vec<*mut c_void> {
        arguments.iter_mut().map(Self::place).collect()
    }
}

/// What can run a kernel.
pub trait Launch: Send + Sync {
    /// Runs it, or puts it on the stream.
    ///
    /// # Safety
    /// The arguments are those of the kernel, in number, order and type, and point to memory of this
    /// device that is large enough for what the kernel does with it, and that nothing else writes
    /// until it has run.
    ///
    /// # Errors
    /// [`Error::Cuda`] where it cannot be compiled or launched.
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
    fn there_are_threads_for_all_and_less_than_a_block_too_many() {
        for threads in [1, 63, 64, 65, 72_000, 1 << 36] {
            let Geometry { grid, block } = Geometry::of(threads, 64).unwrap();
            let all = i64::from(grid) * i64::from(block);
            assert!(threads <= all && all < threads + 64);
        }
        assert!(matches!(Geometry::of(1 << 38, 64), Err(Error::Shape { .. })));
    }
}
