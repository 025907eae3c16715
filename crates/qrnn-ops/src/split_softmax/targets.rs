//! The targets of a batch, sorted by cluster on the host.

use tch::{Device, Tensor};

use super::clusters::Clusters;
use crate::{Result, cuda, libtorch};

/// The words of a batch that fall into one tail.
#[derive(Debug, Default)]
pub(super) struct TailWords {
    /// Their places in the batch.
    pub places: Vec<i64>,
    /// Their numbers within the tail.
    pub targets: Vec<i64>,
}

impl Clusters {
    /// The head's targets, and each tail's words.
    ///
    /// * `head_class`: the class of a word of the head;
    /// * `tombstone`: the head's class that stands for a tail.
    fn sort_by(
        &self,
        words: &[i64],
        head_class: impl Fn(i64) -> i64,
        tombstone: impl Fn(usize) -> usize,
    ) -> (Vec<i64>, Vec<TailWords>) {
        let mut tails: Vec<TailWords> = (0..self.tails()).map(|_| TailWords::default()).collect();
        let mut head = Vec::with_capacity(words.len());
        for (place, &word) in words.iter().enumerate() {
            match self.tail_of(word as usize) {
                None => head.push(head_class(word)),
                Some(k) => {
                    head.push(tombstone(k) as i64);
                    tails[k].places.push(place as i64);
                    tails[k].targets.push(word - self.borders[k] as i64);
                }
            }
        }
        (head, tails)
    }

    /// The head's targets, and each tail's words.
    pub(super) fn sort(&self, words: &[i64]) -> (Vec<i64>, Vec<TailWords>) {
        self.sort_by(words, |word| word, |k| self.tombstone(k))
    }
}

/// A batch's token ids and its sorted targets on a GPU, brought there by one copy. All are of kind
/// Int.
#[derive(Debug)]
pub struct DeviceTargets {
    /// Predicted words.
    pub words: usize,
    /// Class of each word within the head, (words): the tombstones come first.
    pub head: Tensor,
    /// Of each tail, the places of its words in the batch and their classes within the tail.
    pub tails: Vec<[Tensor; 2]>,
}

impl DeviceTargets {
    /// Uploads the targets of `words`, and `tokens` with them, which come back first.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn upload(
        clusters: &Clusters,
        tokens: &[i64],
        words: &[i64],
        device: Device,
    ) -> Result<(Tensor, Self)> {
        let (head, tails) = clusters.sort_by(
            words,
            |word| word + clusters.tails() as i64,
            |k| clusters.tails() - 1 - k,
        );
        let mut parts: Vec<&[i64]> = vec![tokens, &head];
        parts.extend(tails.iter().flat_map(|tail| [&tail.places[..], &tail.targets]));
        let n = parts.iter().map(|part| part.len()).sum();
        let all = libtorch::upload_with(n, device, |to: &mut [i32]| {
            for (to, number) in to.iter_mut().zip(parts.iter().copied().flatten()) {
                *to = *number as i32; // ids and places are less than 2³¹
            }
        })?;
        let mut start = 0;
        let mut take = |n: usize| -> Result<Tensor> {
            let part = all.f_narrow(0, start, n as i64)?;
            start += n as i64;
            Ok(part)
        };
        let (tokens, head) = (take(tokens.len())?, take(head.len())?);
        let tails = tails
            .iter()
            .map(|tail| Ok([take(tail.places.len())?, take(tail.targets.len())?]))
            .collect::<Result<_>>()?;
        Ok((tokens, Self { words: words.len(), head, tails }))
    }
}

/// The words to predict, as the softmax of their device takes them.
#[derive(Debug)]
pub enum Targets {
    /// On the CPU: the words.
    Host(Vec<i64>),
    /// On a GPU: sorted by cluster.
    Device(DeviceTargets),
}

impl Targets {
    /// The targets of hidden states on a device.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn of(clusters: &Clusters, words: &[i64], device: Device) -> Result<Self> {
        Ok(match cuda::is_gpu(device) {
            true => Self::Device(DeviceTargets::upload(clusters, &[], words, device)?.1),
            false => Self::Host(words.to_vec()),
        })
    }

    /// Words to predict.
    pub fn words(&self) -> usize {
        match self {
            Self::Host(words) => words.len(),
            Self::Device(targets) => targets.words,
        }
    }
}
