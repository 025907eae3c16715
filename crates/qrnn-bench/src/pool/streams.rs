//! Arrays as large as those that pooling reads and writes, and passes over them with hardly any
//! arithmetic: the time that the bytes alone take.

use qrnn::Result;
use qrnn_ops::libtorch::parallel_for;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; 16]);

/// Lines worth a thread of their own.
const GRAIN: usize = 1 << 12;

pub struct Streams {
    read: [Vec<Line>; 5],
    written: [Vec<Line>; 3],
    lines: usize,
}

/// The start of an array that several threads write disjoint parts of.
#[derive(Clone, Copy)]
struct Start(*mut Line);

// SAFETY: `Streams::pass` hands each thread its own lines.
unsafe impl Sync for Start {}

impl Streams {
    /// Of arrays of so many numbers each, to the next line.
    pub fn new(numbers: usize) -> Self {
        let lines = numbers.div_ceil(16);
        let array = || vec![Line([1.0; 16]); lines];
        Self { read: [(); 5].map(|()| array()), written: [(); 3].map(|()| array()), lines }
    }

    /// Reads the first arrays of one kind and writes those of the other.
    pub fn pass(&mut self, reads: usize, writes: usize) -> Result<()> {
        let (read, lines) = (&self.read[..reads], self.lines);
        let written = self.written.each_mut().map(|array| Start(array.as_mut_ptr()));
        let written = &written[..writes];
        Ok(parallel_for(lines, GRAIN, |own| {
            for line in own {
                let mut sum = read[0][line];
                for array in &read[1..] {
                    for (sum, number) in sum.0.iter_mut().zip(array[line].0) {
                        *sum += number;
                    }
                }
                for array in written {
                    // SAFETY: `line` lies inside all arrays, and is this thread's alone.
                    unsafe { write_past_caches(array.0.add(line), sum) };
                }
            }
            // What this thread wrote is there before it is seen to be done.
            #[cfg(target_arch = "x86_64")]
            // SAFETY: SSE, which every x86-64 has.
            unsafe {
                std::arch::x86_64::_mm_sfence()
            };
        })?)
    }
}

/// Writes a line as fast as the machine can: without reading it first.
///
/// # Safety
/// Nobody else reads or writes the line meanwhile.
unsafe fn write_past_caches(to: *mut Line, line: Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both are whole lines at the start of one; SSE, which every x86-64 has.
    unsafe {
        use std::arch::x86_64::{_mm_load_ps, _mm_stream_ps};
        for i in (0..16).step_by(4) {
            _mm_stream_ps(to.cast::<f32>().add(i), _mm_load_ps(line.0.as_ptr().add(i)));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the contract.
    unsafe {
        *to = line;
    }
}
