//! Checksums of long texts and arrays: XXH3 of blocks, computed on all cores.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use multiversion::multiversion;
use twox_hash::XxHash3_64;

use super::threads::{in_threads, threads};

/// Bytes per block: small enough to stay in cache for the search of the highest id.
const BLOCK: usize = 1 << 18;

/// The checksum of a file.
pub(super) fn file(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let blocks = bytes.div_ceil(BLOCK as u64);
    let sums = in_threads(split_ranges(blocks), |blocks| {
        let mut buffer = vec![0; BLOCK];
        let mut sums = vec![];
        for block in blocks {
            let start = block * BLOCK as u64;
            let buffer = &mut buffer[..BLOCK.min((bytes - start) as usize)];
            file.read_exact_at(buffer, start)?;
            sums.push(XxHash3_64::oneshot(buffer));
        }
        Ok(sums)
    });
    Ok(combine(sums.into_iter().collect::<io::Result<Vec<_>>>()?.concat()))
}

/// The checksum of a byte slice.
pub(super) fn bytes(bytes: &[u8]) -> u64 {
    combine(bytes.chunks(BLOCK).map(XxHash3_64::oneshot).collect())
}

/// The checksum of the ids' bytes, and the highest id.
pub(super) fn ids(ids: &[u32]) -> (u64, Option<u32>) {
    let blocks: Vec<_> = ids.chunks(BLOCK / 4).collect();
    let results = in_threads(split_ranges(blocks.len() as u64), |share| {
        blocks[share.start as usize..share.end as usize]
            .iter()
            .map(|ids| (XxHash3_64::oneshot(bytemuck::cast_slice(ids)), highest(ids)))
            .collect::<Vec<_>>()
    });
    let (sums, highest): (Vec<_>, Vec<_>) = results.into_iter().flatten().unzip();
    (combine(sums), highest.into_iter().max().filter(|_| !ids.is_empty()))
}

/// Combines the checksums of all blocks.
fn combine(sums: Vec<u64>) -> u64 {
    XxHash3_64::oneshot(bytemuck::cast_slice(&sums))
}

/// Splits `0..count` into a range for each core.
fn split_ranges(count: u64) -> Vec<std::ops::Range<u64>> {
    let share = count.div_ceil(threads() as u64).max(1);
    let starts = (0..count.max(1)).step_by(share as usize);
    starts.map(|start| start..(start + share).min(count)).collect()
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn highest(ids: &[u32]) -> u32 {
    let mut highest = 0;
    for id in ids {
        highest = highest.max(*id);
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_a_file_its_bytes_and_its_ids_are_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        for count in [0, 1, BLOCK / 4, BLOCK / 4 + 1, 5 * BLOCK] {
            let ids: Vec<u32> = (0..count as u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
            std::fs::write(&path, bytemuck::cast_slice(&ids)).unwrap();
            let (sum, highest) = super::ids(&ids);
            assert_eq!(sum, file(&path).unwrap());
            assert_eq!(sum, bytes(bytemuck::cast_slice(&ids)));
            assert_eq!(highest, ids.iter().max().copied());
        }
    }
}
