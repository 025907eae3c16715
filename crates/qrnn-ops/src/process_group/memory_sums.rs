//! Sums of large tensors by ranks of one machine, which read each other's memory.
//!
//! A connection copies every byte twice, into the system and out of it; here it is copied once. Each rank sums one share of
//! a tensor, and then reads the other shares (a reduce-scatter and an all-gather, as gloo's ring).

use tch::{Device, Kind, Tensor};

use super::connected::Connected;
use super::diagnosis::Failure;
use super::group::{ProcessGroup, share};
use super::peer_memory::{PeerMemory, SharedTensor, Unreadable};
use crate::{Error, Result};

/// Above this size, in bytes, tensors that are summed together are worth three small operations.
const LARGE: usize = 8 << 20;

impl ProcessGroup {
    /// Finds out whether all ranks can read each other's memory, and uses it then.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub(super) fn find_peers(&self) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        let members = &connected.meeting.members;
        if !members.iter().all(|member| member.shares_system_with(&members[self.rank()])) {
            return Ok(());
        }
        let processes = members.iter().map(|member| member.process as i32).collect();
        let peers = PeerMemory::of(processes);
        // A number of process may mean another one, or the system may not permit this. So each rank says what others find
        // at an address.
        let proof: Box<[f32; 4]> = Box::new(rand::random());
        let mut own = vec![proof.as_ptr().expose_provenance() as i64];
        own.extend(proof.map(|number| i64::from(number.to_bits())));
        let all = self.gather(connected, &Tensor::f_from_slice(&own)?)?;
        let all: Vec<i64> = Vec::try_from(all.f_view(-1)?)?;
        let reads = all.chunks_exact(own.len()).enumerate().all(|(rank, told)| {
            let mut found = [0.0; 4];
            let done = peers.read(rank, told[0] as usize, &mut found);
            done.is_ok() && found.map(|number| i64::from(number.to_bits())) == told[1..]
        });
        // The proof lives until all have read it.
        let [refusals] = self.sum_numbers([f64::from(u8::from(!reads))])?;
        drop(proof);
        if refusals == 0.0 {
            let _ = connected.peers.set(peers);
        }
        Ok(())
    }

    /// Whether [`ProcessGroup::all_reduce`] sums these tensors by reading other ranks' memory: some of them are fp32 on
    /// the CPU, together above 8 MB.
    pub fn sums_by_memory(&self, tensors: &[&Tensor]) -> bool {
        !self.split_for_memory(tensors).0.is_empty()
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
        match &self.0.connected {
            Some(connected) if bytes > LARGE && connected.peers.get().is_some() => {
                (fitting, others)
            }
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
        let (n, mut own) = (shared.len(), vec![]);
        for tensor in &shared {
            own.extend([tensor.len() as i64, tensor.address() as i64]);
        }
        // No rank reads before all have come here,
        let all = self.gather(connected, &Tensor::f_from_slice(&own)?)?;
        let all: Vec<i64> = Vec::try_from(all.f_view(-1)?)?;
        let told = |rank: usize, tensor: usize| &all[2 * (rank * n + tensor)..][..2];
        if let Some(other) =
            (0..ranks).find(|other| (0..n).any(|i| told(*other, i)[0] != own[2 * i]))
        {
            let problem = format!("rank {other} has tensors of other sizes than rank {rank}");
            return Err(Error::shape(
                "a sum over a group",
                problem,
                "pass tensors of the same shapes on all ranks",
            ));
        }
        let at = |rank: usize, tensor: usize| (rank, told(rank, tensor)[1] as usize);
        // The next rank first, so that not all read the same one.
        let others: Vec<_> = (1..ranks).map(|i| (rank + i) % ranks).collect();
        let for_each = |read: &dyn Fn(usize, SharedTensor<'_>) -> Result<(), Unreadable>| {
            let done = shared.iter().enumerate().try_for_each(|(i, tensor)| read(i, *tensor));
            done.map_err(|Unreadable { rank, problem }| {
                let failed = Failure::Failed(&problem);
                let failure = rank.map_or(failed, |rank| Failure::Unreadable(rank, &problem));
                self.explain(connected, failure)
            })
        };
        for_each(&|i, tensor| {
            let sources: Vec<_> = others.iter().map(|other| at(*other, i)).collect();
            peers.add(tensor, share(tensor.len(), rank, ranks), &sources)
        })?;
        // or before all shares are summed,
        self.barrier(connected)?;
        for_each(&|i, tensor| {
            let copy = |other: &usize| {
                peers.copy(tensor, share(tensor.len(), *other, ranks), at(*other, i))
            };
            others.iter().try_for_each(copy)
        })?;
        // and none changes its tensors before all have read them.
        self.barrier(connected)
    }

    /// Waits until all ranks have come here. A small sum is faster than c10d's barrier.
    fn barrier(&self, connected: &Connected) -> Result<()> {
        let number = Tensor::f_from_slice(&[0.0])?;
        self.all(connected, &[&number], |backend, tensor| backend.all_reduce(tensor))
    }
}
