//! Passes over arrays of the size of pooling's inputs and outputs with almost no arithmetic: the
//! time of its memory traffic.

use qrnn::Result;
use qrnn_ops::libtorch::parallel_for;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; 16]);

/// Lines below which another thread does not pay.
const GRAIN: usize = 1 << 12;

/// Arrays to read and to write.
pub struct Streams {
    read: [Vec<Line>; 5],
    written: [Vec<Line>; 3],
    lines: usize,
}

/// The start of an array whose disjoint parts are written by several threads.
#[derive(Clone, Copy)]
struct Start(*mut Line);

// SAFETY: in `Streams::pass`, each line belongs to one thread.
unsafe impl Sync for Start {}

impl Streams {
    /// Arrays of `numel` f32 each, rounded up to cache lines.
    pub fn new(numel: usize) -> Self {
        let lines = numel.div_ceil(16);
        let array = || vec![Line([1.0; 16]); lines];
        Self { read: [(); 5].map(|()| array()), written: [(); 3].map(|()| array()), lines }
    }

    /// Reads the first `reads` arrays and writes to the first `writes` arrays.
    pub fn pass(&mut self, reads: usize, writes: usize) -> Result<()> {
        let (read, lines) = (&self.read[..reads], self.lines);
        let written = self.written.each_mut().map(|array| Start(array.as_mut_ptr()));
        let written = &written[..writes];
        Ok(parallel_for(lines, GRAIN, |lines| {
            for line in lines {
                let mut sum = read[0][line];
                for array in &read[1..] {
                    for (sum, value) in sum.0.iter_mut().zip(array[line].0) {
                        *sum += value;
                    }
                }
                for array in written {
                    // SAFETY: `line` is inside all arrays, and belongs to this thread.
                    unsafe { store_nontemporal(array.0.add(line), sum) };
                }
            }
            // Nontemporal stores need a fence.
            #[cfg(target_arch = "x86_64")]
            // SAFETY: SSE, which every x86-64 has.
            unsafe {
                std::arch::x86_64::_mm_sfence()
            };
        })?)
    }
}

/// Writes a line with nontemporal stores, which do not read it first.
///
/// # Safety
/// Nothing else accesses the line meanwhile.
unsafe fn store_nontemporal(to: *mut Line, line: Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both are aligned cache lines; every x86-64 has SSE.
    unsafe {
        use std::arch::x86_64::{_mm_load_ps, _mm_stream_ps};
        for i in (0..16).step_by(4) {
            _mm_stream_ps(to.cast::<f32>().add(i), _mm_load_ps(line.0.as_ptr().add(i)));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: by this function's contract.
    unsafe {
        *to = line;
    }
}
