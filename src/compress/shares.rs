//! How often words of each cluster occur, which decides how often its input projection is needed.

use crate::model::{LmConfig, WIKITEXT103_VOCAB};

/// Test words in the second and third cluster of the WikiText-103 text, of all its words, for clusters that begin at
/// 3,500 and 25,000: from MIT-HAN-Lab's notebook.
const WIKITEXT103_SHARES: ([usize; 2], [u64; 3]) =
    ([3_500, 25_000], [245_569 - 35_479 - 11_858, 35_479, 11_858]);

/// Tokens of the test text of WikiText-103 in each cluster, for the clusters of the presets.
pub(crate) fn known_shares(config: &LmConfig) -> Option<Vec<u64>> {
    let (known, shares) = WIKITEXT103_SHARES;
    let borders = config.splits.borders(config.vocab).ok()?;
    (config.vocab == WIKITEXT103_VOCAB && borders == known).then(|| shares.to_vec())
}
