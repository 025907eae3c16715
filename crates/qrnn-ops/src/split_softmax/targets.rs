//! The targets of a batch, sorted by cluster on the host.

use tch::{Device, Tensor};

use super::clusters::Clusters;
use crate::{Result, cuda, libtorch};

/// The targets of a batch in one tail.
#[derive(Debug, Default)]
pub(super) struct TailTargets {
    /// Their rows in the batch.
    pub rows: Vec<i64>,
    /// Their classes within the tail.
    pub targets: Vec<i64>,
}

impl Clusters {
    /// The targets of the head, and those of each tail.
    ///
    /// * `head_class`: the class of a token of the head;
    /// * `tombstone`: the head's class of a tail.
    fn sort_by(
        &self,
        tokens: &[i64],
        head_class: impl Fn(i64) -> i64,
        tombstone: impl Fn(usize) -> usize,
    ) -> (Vec<i64>, Vec<TailTargets>) {
        let mut tails: Vec<TailTargets> =
            (0..self.tails()).map(|_| TailTargets::default()).collect();
        let mut head = Vec::with_capacity(tokens.len());
        for (row, &token) in tokens.iter().enumerate() {
            match self.tail_of(token as usize) {
                None => head.push(head_class(token)),
                Some(k) => {
                    head.push(tombstone(k) as i64);
                    tails[k].rows.push(row as i64);
                    tails[k].targets.push(token - self.borders[k] as i64);
                }
            }
        }
        (head, tails)
    }

    /// The targets of the head, and those of each tail, with the classes of [`super::SoftmaxWeights`].
    pub(super) fn sort(&self, tokens: &[i64]) -> (Vec<i64>, Vec<TailTargets>) {
        self.sort_by(tokens, |token| token, |k| self.tombstone(k))
    }
}

/// The sorted targets of a batch on a GPU, of kind Int.
#[derive(Debug)]
pub struct DeviceTargets {
    /// Number of targets.
    pub tokens: usize,
    /// Class of each target within the head, (tokens): its row in the [`super::operands`].
    pub head: Tensor,
    /// For each tail, the rows of its targets in the batch and their classes within the tail.
    pub tails: Vec<[Tensor; 2]>,
}

impl DeviceTargets {
    /// Sorts and uploads the targets, together with the batch's input tokens in one copy. Returns
    /// the inputs, of kind Int, and the targets.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
    pub fn upload(
        clusters: &Clusters,
        inputs: &[i64],
        targets: &[i64],
        device: Device,
    ) -> Result<(Tensor, Self)> {
        let (head, tails) = clusters.sort_by(
            targets,
            |token| token + clusters.first_token() as i64,
            |k| clusters.first_token() - 1 - k,
        );
        let mut parts: Vec<&[i64]> = vec![inputs, &head];
        parts.extend(tails.iter().flat_map(|tail| [&tail.rows[..], &tail.targets]));
        let n = parts.iter().map(|part| part.len()).sum();
        let all = libtorch::upload_with(n, device, |buffer: &mut [i32]| {
            for (element, value) in buffer.iter_mut().zip(parts.iter().copied().flatten()) {
                *element = *value as i32; // tokens and rows are less than 2³¹
            }
        })?;
        let mut start = 0;
        let mut take = |n: usize| -> Result<Tensor> {
            let part = all.f_narrow(0, start, n as i64)?;
            start += n as i64;
            Ok(part)
        };
        let (inputs, head) = (take(inputs.len())?, take(head.len())?);
        let tails = tails
            .iter()
            .map(|tail| Ok([take(tail.rows.len())?, take(tail.targets.len())?]))
            .collect::<Result<_>>()?;
        Ok((inputs, Self { tokens: targets.len(), head, tails }))
    }
}

/// The targets of a batch, in the form of their device.
#[derive(Debug)]
pub enum Targets {
    /// On the CPU: tokens.
    Host(Vec<i64>),
    /// On a GPU: sorted by cluster.
    Device(DeviceTargets),
}

impl Targets {
    /// The targets for hidden states on a device.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
    pub fn of(clusters: &Clusters, tokens: &[i64], device: Device) -> Result<Self> {
        Ok(if cuda::is_gpu(device) {
            Self::Device(DeviceTargets::upload(clusters, &[], tokens, device)?.1)
        } else {
            Self::Host(tokens.to_vec())
        })
    }

    /// Number of targets.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Host(tokens) => tokens.len(),
            Self::Device(targets) => targets.tokens,
        }
    }
}
