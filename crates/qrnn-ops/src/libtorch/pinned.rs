//! Asynchronous copies of a device's tensors to host memory.

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::shim::check;
use super::transfer::host_tensor;
use crate::Result;

unsafe extern "C" {
    fn qrnn_queue_copy(destination: *const C_tensor, source: *const C_tensor) -> *mut c_char;
    fn qrnn_record_event(ordinal: i8, out: *mut *mut c_void) -> *mut c_char;
    fn qrnn_wait_for_event(event: *const c_void) -> *mut c_char;
    fn qrnn_free_event(event: *mut c_void);
}

/// Bytes of a block. libtorch rounds pinned memory up to a power of two: as one block, the entry's
/// checkpoint of 1.26 GB would take 2.1 GB.
const BLOCK: usize = 64 << 20;

/// Alignment of a tensor in a block, in bytes, so that no element crosses blocks.
const ALIGNMENT: usize = 64;

/// Blocks of host memory for copies of tensors, pinned for tensors on a GPU. They are reused,
/// because pinning memory is slow.
#[derive(Debug)]
pub struct HostMemory {
    device: Device,
    /// Bytes of a block, a multiple of [`ALIGNMENT`].
    block: usize,
    free: Vec<Tensor>,
}

impl HostMemory {
    /// For tensors on `device`. Allocates nothing yet.
    pub fn new(device: Device) -> Self {
        Self { device, block: BLOCK, free: vec![] }
    }

    /// Copies tensors. On a GPU the copies are queued on the current stream and this returns at
    /// once; work that is queued later on the same stream may change the tensors.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
    pub fn copy(&mut self, tensors: &[Tensor]) -> Result<HostCopy> {
        let _no_grad = tch::no_grad_guard();
        let (mut blocks, mut tensor_segments) = (vec![], vec![]);
        let mut used = self.block;
        for tensor in tensors {
            let (flat, kind) = (tensor.f_contiguous()?.f_view(-1)?, tensor.kind());
            let (numel, size) = (flat.numel(), kind.elt_size_in_bytes());
            let (mut done, mut segments) = (0, vec![]);
            used = used.next_multiple_of(ALIGNMENT);
            while done < numel {
                if used >= self.block {
                    blocks.push(self.take()?);
                    used = 0;
                }
                let count = ((self.block - used) / size).min(numel - done);
                let segment = Segment { block: blocks.len() - 1, start: used, bytes: count * size };
                let destination = blocks[segment.block]
                    .f_narrow(0, used as i64, segment.bytes as i64)?
                    .f_view_dtype(kind)?;
                queue_copy(&destination, &flat.f_narrow(0, done as i64, count as i64)?)?;
                used += segment.bytes;
                done += count;
                segments.push(segment);
            }
            tensor_segments.push(segments);
        }
        let event = match self.device {
            Device::Cuda(ordinal) => Some(Event::record(ordinal)?),
            _ => None,
        };
        Ok(HostCopy { blocks, segments: tensor_segments, event })
    }

    /// Returns a copy's blocks for reuse.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if the copy failed on the GPU.
    pub fn take_back(&mut self, mut copy: HostCopy) -> Result<()> {
        copy.wait()?;
        self.free.extend(copy.blocks);
        Ok(())
    }

    fn take(&mut self) -> Result<Tensor> {
        if let Some(block) = self.free.pop() {
            return Ok(block);
        }
        // If the system cannot pin more memory, pageable memory works; copies are then synchronous.
        if self.device.is_cuda()
            && let Ok(block) = host_tensor(&[self.block as i64], Kind::Uint8, self.device)
        {
            return Ok(block);
        }
        Ok(Tensor::f_empty([self.block as i64], (Kind::Uint8, Device::Cpu))?)
    }
}

/// Copies of tensors in host memory, possibly still in progress.
#[derive(Debug)]
pub struct HostCopy {
    blocks: Vec<Tensor>,
    /// The segments of each tensor.
    segments: Vec<Vec<Segment>>,
    /// Follows the copies in a GPU's stream; `None` once they are complete.
    event: Option<Event>,
}

/// A part of a tensor in one block.
#[derive(Debug)]
struct Segment {
    block: usize,
    /// First byte.
    start: usize,
    bytes: usize,
}

impl HostCopy {
    /// Waits for the copies and returns the bytes of each tensor, in consecutive segments. May be
    /// called from any thread.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if a copy failed on the GPU.
    pub fn bytes(&mut self) -> Result<Vec<Vec<&[u8]>>> {
        self.wait()?;
        let this = &*self;
        let bytes = |segment: &Segment| {
            let block = this.blocks[segment.block].data_ptr().cast::<u8>();
            // SAFETY: the segment lies within its block, which lives as long as `self`; the completed copy
            // wrote its bytes, and nothing else uses the block.
            unsafe { std::slice::from_raw_parts(block.add(segment.start), segment.bytes) }
        };
        Ok(this.segments.iter().map(|segments| segments.iter().map(bytes).collect()).collect())
    }

    fn wait(&mut self) -> Result<()> {
        if let Some(event) = &self.event {
            event.wait()?;
            self.event = None;
        }
        Ok(())
    }
}

fn queue_copy(destination: &Tensor, source: &Tensor) -> Result<()> {
    // SAFETY: live tensors. libtorch does not reuse freed pinned memory before its copies are complete, and
    // reuses device memory in the order of the stream.
    unsafe { check(qrnn_queue_copy(destination.as_ptr(), source.as_ptr())) }
}

/// A CUDA event that a thread can wait for.
#[derive(Debug)]
struct Event(NonNull<c_void>);

// SAFETY: CUDA events may be used from any thread; this one is used by one thread at a time.
unsafe impl Send for Event {}

impl Event {
    fn record(ordinal: usize) -> Result<Self> {
        let mut event = ptr::null_mut();
        // SAFETY: writes one pointer to an event that we own.
        unsafe { check(qrnn_record_event(ordinal as i8, &mut event))? };
        NonNull::new(event)
            .map(Self)
            .ok_or_else(|| tch::TchError::Torch("no event was recorded".into()).into())
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: a live event.
        unsafe { check(qrnn_wait_for_event(self.0.as_ptr())) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: we own the event, and do not use it again.
        unsafe { qrnn_free_event(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tensor: &Tensor) -> Vec<u8> {
        let tensor = tensor.contiguous();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    }

    /// Sizes around blocks of 128 bytes: empty, scalar, part of a block, several blocks; one tensor is not
    /// contiguous.
    fn tensors() -> Vec<Tensor> {
        let values = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu)) * 1.5 - 7.0;
        vec![
            values(0, Kind::Double),
            Tensor::from(3.5f32),
            values(13, Kind::Float),
            values(1, Kind::Double),
            values(31, Kind::Double),
            values(32, Kind::Float),
            values(1001, Kind::Float),
            values(35, Kind::Float).view([5, 7]).transpose(0, 1),
        ]
    }

    #[test]
    fn copies_hold_the_values_at_the_time_of_the_copy() {
        let mut memory = HostMemory { block: 128, ..HostMemory::new(Device::Cpu) };
        let mut tensors = tensors();
        let before: Vec<_> = tensors.iter().map(bytes).collect();
        let mut copy = memory.copy(&tensors).unwrap();
        for tensor in &mut tensors {
            let _ = tensor.fill_(-1.0);
        }
        let copied = copy.bytes().unwrap();
        assert!(copied.iter().any(|segments| segments.len() > 5));
        let copied: Vec<_> = copied.iter().map(|segments| segments.concat()).collect();
        assert_eq!(copied, before);
    }

    #[test]
    fn blocks_are_reused() {
        let mut memory = HostMemory { block: 128, ..HostMemory::new(Device::Cpu) };
        let addresses = |copy: &HostCopy| {
            let mut addresses: Vec<_> = copy.blocks.iter().map(|block| block.data_ptr()).collect();
            addresses.sort();
            addresses
        };
        let first = memory.copy(&tensors()).unwrap();
        let second = memory.copy(&tensors()).unwrap();
        let in_use = addresses(&first);
        assert!(addresses(&second).iter().all(|address| !in_use.contains(address)));
        memory.take_back(first).unwrap();
        let third = memory.copy(&tensors()).unwrap();
        assert_eq!(addresses(&third), in_use);
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_copies_hold_the_values_at_the_time_of_the_copy() {
        let device = crate::device::cuda().unwrap();
        let mut memory = HostMemory { block: 1 << 20, ..HostMemory::new(device) };
        for round in 0..3 {
            let mut tensor = Tensor::full([5_000_000], round as f64, (Kind::Float, device));
            let mut copy = memory.copy(&[tensor.shallow_clone()]).unwrap();
            let _ = tensor.fill_(-1.0); // queued behind the copy
            let thread = std::thread::spawn(move || {
                let bytes = copy.bytes().unwrap()[0].concat();
                (bytes, copy)
            });
            let (bytes, copy) = thread.join().unwrap();
            assert_eq!(bytes.len(), 20_000_000);
            assert!(bytes.chunks(4).all(|number| number == (round as f32).to_le_bytes()));
            memory.take_back(copy).unwrap();
        }
        assert_eq!(memory.free.len(), 20);
        assert!(memory.free.iter().all(|block| block.f_is_pinned(device).unwrap()));
    }
}
