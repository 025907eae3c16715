//! Copies of a device's tensors in host memory, made while the device goes on with its work.

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::shim::check;
use super::transfer::host_tensor;
use crate::Result;

unsafe extern "C" {
    fn qrnn_queue_copy(destination: *const C_tensor, source: *const C_tensor) -> *mut c_char;
    fn qrnn_record_event(card: i8, out: *mut *mut c_void) -> *mut c_char;
    fn qrnn_wait_for_event(event: *const c_void) -> *mut c_char;
    fn qrnn_free_event(event: *mut c_void);
}

/// Bytes of a block. libtorch rounds a request for pinned memory up to a power of two: in one piece,
/// the entry's checkpoint of 1.26 GB would take 2.1 GB.
const BLOCK: usize = 64 << 20;

/// Where a tensor may begin in a block: no number of any kind lies across two blocks.
const ALIGNMENT: usize = 64;

/// Blocks of host memory for copies of tensors, kept from one copy to the next: the system takes
/// long to pin memory. Pinned where the tensors are on a GPU.
#[derive(Debug)]
pub struct HostMemory {
    device: Device,
    /// Bytes of a block, a multiple of [`ALIGNMENT`].
    block: usize,
    free: Vec<Tensor>,
}

impl HostMemory {
    /// For tensors on `device`. Takes no memory yet.
    pub fn new(device: Device) -> Self {
        Self { device, block: BLOCK, free: vec![] }
    }

    /// Copies tensors as they are at this place of the device's current stream. On a GPU the copies
    /// are queued there and this returns at once: work that is queued later, on the same stream, may
    /// change the tensors.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn copy(&mut self, tensors: &[Tensor]) -> Result<HostCopy> {
        let _no_grad = tch::no_grad_guard();
        let (mut blocks, mut parts) = (vec![], vec![]);
        let mut used = self.block;
        for tensor in tensors {
            let (flat, kind) = (tensor.f_contiguous()?.f_view(-1)?, tensor.kind());
            let (numbers, size) = (flat.numel(), kind.elt_size_in_bytes());
            let (mut done, mut pieces) = (0, vec![]);
            used = used.next_multiple_of(ALIGNMENT);
            while done < numbers {
                if used >= self.block {
                    blocks.push(self.take()?);
                    used = 0;
                }
                let count = ((self.block - used) / size).min(numbers - done);
                let piece = Piece { block: blocks.len() - 1, start: used, bytes: count * size };
                let place = blocks[piece.block]
                    .f_narrow(0, used as i64, piece.bytes as i64)?
                    .f_view_dtype(kind)?;
                queue_copy(&place, &flat.f_narrow(0, done as i64, count as i64)?)?;
                used += piece.bytes;
                done += count;
                pieces.push(piece);
            }
            parts.push(pieces);
        }
        let copied = match self.device {
            Device::Cuda(card) => Some(Event::record(card)?),
            _ => None,
        };
        Ok(HostCopy { blocks, parts, copied })
    }

    /// Takes a copy's blocks back, for the next one.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where the copy failed on the GPU.
    pub fn take_back(&mut self, mut copy: HostCopy) -> Result<()> {
        copy.wait()?;
        self.free.extend(copy.blocks);
        Ok(())
    }

    fn take(&mut self) -> Result<Tensor> {
        if let Some(block) = self.free.pop() {
            return Ok(block);
        }
        // Where the system refuses to pin more, plain memory does: copies are then waited for.
        if self.device.is_cuda()
            && let Ok(block) = host_tensor(&[self.block as i64], Kind::Uint8, self.device)
        {
            return Ok(block);
        }
        Ok(Tensor::f_empty([self.block as i64], (Kind::Uint8, Device::Cpu))?)
    }
}

/// Copies of tensors in host memory, or on their way there.
#[derive(Debug)]
pub struct HostCopy {
    blocks: Vec<Tensor>,
    /// One list a tensor.
    parts: Vec<Vec<Piece>>,
    /// Behind the copies on a GPU's stream, until it was waited for.
    copied: Option<Event>,
}

/// A piece of a tensor that lies in one block.
#[derive(Debug)]
struct Piece {
    block: usize,
    /// First byte.
    start: usize,
    bytes: usize,
}

impl HostCopy {
    /// Waits for the copies and returns the bytes of each tensor, in pieces that follow each other.
    /// Another thread than the one that copied may call this.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where a copy failed on the GPU.
    pub fn bytes(&mut self) -> Result<Vec<Vec<&[u8]>>> {
        self.wait()?;
        let this = &*self;
        let bytes = |piece: &Piece| {
            let block = this.blocks[piece.block].data_ptr().cast::<u8>();
            // SAFETY: the piece lies within its block, which lives as long as `self`; its bytes were
            // written by the copy, which is done, and nobody else has the block.
            unsafe { std::slice::from_raw_parts(block.add(piece.start), piece.bytes) }
        };
        Ok(this.parts.iter().map(|pieces| pieces.iter().map(bytes).collect()).collect())
    }

    fn wait(&mut self) -> Result<()> {
        if let Some(copied) = &self.copied {
            copied.wait()?;
            self.copied = None;
        }
        Ok(())
    }
}

fn queue_copy(destination: &Tensor, source: &Tensor) -> Result<()> {
    // SAFETY: live tensors. libtorch keeps pinned memory that is freed from other use until its
    // copies are done, and device memory is reused in the order of the stream.
    unsafe { check(qrnn_queue_copy(destination.as_ptr(), source.as_ptr())) }
}

/// A mark in a GPU's stream that a thread can wait for.
#[derive(Debug)]
struct Event(NonNull<c_void>);

// SAFETY: CUDA's events belong to no thread; this one is used by one thread at a time.
unsafe impl Send for Event {}

impl Event {
    fn record(card: usize) -> Result<Self> {
        let mut event = ptr::null_mut();
        // SAFETY: writes one pointer, to an event that is ours alone.
        unsafe { check(qrnn_record_event(card as i8, &mut event))? };
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
        // SAFETY: the event is ours, and not used after.
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

    /// Of all sizes around a block of 128 bytes: none, a scalar, part of a block, several blocks; one
    /// that is not contiguous.
    fn tensors() -> Vec<Tensor> {
        let numbers = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu)) * 1.5 - 7.0;
        vec![
            numbers(0, Kind::Double),
            Tensor::from(3.5f32),
            numbers(13, Kind::Float),
            numbers(1, Kind::Double),
            numbers(31, Kind::Double),
            numbers(32, Kind::Float),
            numbers(1001, Kind::Float),
            numbers(35, Kind::Float).view([5, 7]).transpose(0, 1),
        ]
    }

    #[test]
    fn copies_hold_what_the_tensors_held_when_they_were_made() {
        let mut memory = HostMemory { block: 128, ..HostMemory::new(Device::Cpu) };
        let mut tensors = tensors();
        let before: Vec<_> = tensors.iter().map(bytes).collect();
        let mut copy = memory.copy(&tensors).unwrap();
        for tensor in &mut tensors {
            let _ = tensor.fill_(-1.0);
        }
        let copied = copy.bytes().unwrap();
        assert!(copied.iter().any(|pieces| pieces.len() > 5));
        let copied: Vec<_> = copied.iter().map(|pieces| pieces.concat()).collect();
        assert_eq!(copied, before);
    }

    #[test]
    fn blocks_are_used_again() {
        let mut memory = HostMemory { block: 128, ..HostMemory::new(Device::Cpu) };
        let places = |copy: &HostCopy| {
            let mut places: Vec<_> = copy.blocks.iter().map(|block| block.data_ptr()).collect();
            places.sort();
            places
        };
        let first = memory.copy(&tensors()).unwrap();
        let second = memory.copy(&tensors()).unwrap();
        let taken = places(&first);
        assert!(places(&second).iter().all(|place| !taken.contains(place)));
        memory.take_back(first).unwrap();
        let third = memory.copy(&tensors()).unwrap();
        assert_eq!(places(&third), taken);
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_copies_hold_what_the_tensors_held_when_they_were_queued() {
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
