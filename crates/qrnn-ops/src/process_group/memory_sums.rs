//! Sums of large tensors by ranks of one machine, which read each other's memory.
//!
//! A connection copies every byte twice, into the system and out of it; here it is copied once. Each rank sums one share of
//! a tensor, and then reads the other shares (a reduce-scatter and an all-gather, as gloo's ring).

use tch::{Device, Kind, Tensor};

use super::diagnosis::Failure;
use super::group::{ProcessGroup, share};
use super::meeting::Member;
use super::peer_memory::{PeerMemory, SharedTensor};
use crate::Result;
use crate::profile::{self, Stage};

/// From this size, in bytes, tensors that are summed together are worth three small operations.
const LARGE: usize = 8 << 20;

impl ProcessGroup {
    /// Finds out whether all ranks can read each other's memory.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub(super) fn find_peers(&self, members: &[Member]) -> Result<Option<PeerMemory>> {
        let system = &members[self.rank()].system;
        if system.is_empty() || members.iter().any(|member| member.system != *system) {
            return Ok(None);
        }
        let processes = members.iter().map(|member| member.process as i32).collect();
        let peers = PeerMemory::of(processes);
        // A number of process may mean another one, or the system may not permit this. So each rank says what others find
        // at an address.
        let proof: Box<[f32; 4]> = Box::new(rand::random());
        let mut own = vec![proof.as_ptr().expose_provenance() as i64];
        own.extend(proof.map(|number| i64::from(number.to_bits())));
        let all = self.all_gather(&Tensor::f_from_slice(&own)?)?;
        let all: Vec<i64> = Vec::try_from(all.f_view(-1)?)?;
        let reads = all.chunks_exact(own.len()).enumerate().all(|(rank, told)| {
            let mut found = [0.0; 4];
            let done = peers.read(rank, told[0] as usize, &mut found);
            done.is_ok() && found.map(|number| i64::from(number.to_bits())) == told[1..]
        });
        // The proof lives until all have read it.
        let [refusals] = self.sum_numbers([f64::from(u8::from(!reads))])?;
        drop(proof);
        Ok((refusals == 0.0).then_some(peers))
    }

    /// The tensors that [`ProcessGroup::sum_by_memory`] is to sum, and the others.
    pub(super) fn split_for_memory<'a>(
        &self,
        tensors: &[&'a Tensor],
    ) -> (Vec<&'a Tensor>, Vec<&'a Tensor>) {
        let fits =
            |tensor: &&Tensor| tensor.device() == Device::Cpu && tensor.kind() == Kind::Float;
        let (fitting, others): (Vec<_>, Vec<_>) = tensors.iter().copied().partition(fits);
        let bytes: usize = fitting.iter().map(|tensor| size_of::<f32>() * tensor.numel()).sum();
        match self.0.connected.as_ref().and_then(|connected| connected.peers.get()) {
            Some(_) if bytes > LARGE => (fitting, others),
            _ => (vec![], tensors.to_vec()),
        }
    }

    /// Sums contiguous fp32 tensors of the CPU over all ranks, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub(super) fn sum_by_memory(&self, tensors: &[&Tensor]) -> Result<()> {
        let Some(connected) = self.0.connected.as_ref().filter(|_| !tensors.is_empty()) else {
            return Ok(());
        };
        let Some(peers) = connected.peers.get() else { return Ok(()) };
        let shared: Vec<_> = tensors.iter().map(|tensor| SharedTensor::of(tensor)).collect();
        let (rank, ranks) = (self.rank(), self.world_size());
        let addresses: Vec<_> = shared.iter().map(|tensor| tensor.address() as i64).collect();
        // No rank reads before all have come here,
        let all = self.all_gather(&Tensor::f_from_slice(&addresses)?)?;
        let all: Vec<i64> = Vec::try_from(all.f_view(-1)?)?;
        let at = |rank: usize, tensor: usize| (rank, all[rank * shared.len() + tensor] as usize);
        // The next rank first, so that not all read the same one.
        let others: Vec<_> = (1..ranks).map(|i| (rank + i) % ranks).collect();
        let for_each = |read: &dyn Fn(usize, SharedTensor<'_>) -> Result<(), String>| {
            let _span = profile::span(Stage::GroupOperations);
            let done = shared.iter().enumerate().try_for_each(|(i, tensor)| read(i, *tensor));
            done.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))
        };
        for_each(&|i, tensor| {
            let sources: Vec<_> = others.iter().map(|other| at(*other, i)).collect();
            peers.add(tensor, share(tensor.len(), rank, ranks), &sources)
        })?;
        // or before all shares are summed,
        self.sum_numbers([0.0])?;
        for_each(&|i, tensor| {
            let copy = |other: &usize| {
                peers.copy(tensor, share(tensor.len(), *other, ranks), at(*other, i))
            };
            others.iter().try_for_each(copy)
        })?;
        // and none changes its tensors before all have read them.
        self.sum_numbers([0.0])?;
        Ok(())
    }
}
