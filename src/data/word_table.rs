//! Assigns ids to the words of one segment of a text, in order of first appearance.

use hashbrown::HashMap;

/// A short word: its bytes, zero padding, and its length in the last byte.
pub(super) type Key = [u64; 2];

/// Maximum bytes of a word stored in a [`Key`].
pub(super) const MAX_SHORT: usize = 15;

/// Words per lookup batch.
pub(super) const BATCH: usize = 64;

const EMPTY: u32 = u32::MAX;

/// A hash table from words to ids, with linear probing.
///
/// Keys are stored in the order of their ids. Frequent words mostly appear early in a text, so they
/// share few cache lines. A slot holds only an id.
pub(super) struct WordTable {
    /// Ids or [`EMPTY`]: a power of two of slots, at most half of them occupied.
    slots: Vec<u32>,
    /// By id; all zeros for a long word.
    keys: Vec<Key>,
    long: HashMap<Box<str>, u32>,
}

impl WordTable {
    pub(super) fn new() -> Self {
        Self { slots: vec![EMPTY; 1 << 12], keys: vec![], long: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The id of a word; `None` when the ids are exhausted.
    pub(super) fn id(&mut self, word: &str) -> Option<u32> {
        let bytes = word.as_bytes();
        if bytes.len() <= MAX_SHORT {
            let mut wide = [0; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            return self.short_id(key(wide, bytes.len()));
        }
        if let Some(id) = self.long.get(word) {
            return Some(*id);
        }
        let id = self.new_id([0; 2])?;
        self.long.insert(word.into(), id);
        Some(id)
    }

    /// Appends the ids of up to [`BATCH`] short words; `None` when the ids are exhausted.
    ///
    /// Reads all slots before it compares the first key, so that the cache misses, which dominate the
    /// time of tokenization, overlap.
    #[inline]
    pub(super) fn short_ids(&mut self, keys: &[Key], ids: &mut Vec<u32>) -> Option<()> {
        let mut candidate = [EMPTY; BATCH];
        for (candidate, key) in candidate.iter_mut().zip(keys) {
            *candidate = self.slots[self.first_slot(*key)];
        }
        let mut is_match = [false; BATCH];
        for ((is_match, candidate), key) in is_match.iter_mut().zip(&candidate).zip(keys) {
            *is_match = self.keys.get(*candidate as usize) == Some(key);
        }
        for ((is_match, candidate), key) in is_match.into_iter().zip(&mut candidate).zip(keys) {
            if !is_match {
                *candidate = self.short_id(*key)?;
            }
        }
        ids.extend_from_slice(&candidate[..keys.len()]);
        Some(())
    }

    /// The id of a short word.
    fn short_id(&mut self, key: Key) -> Option<u32> {
        let mut at = self.first_slot(key);
        loop {
            let id = self.slots[at];
            if id == EMPTY {
                return self.insert_short(key);
            }
            if self.keys[id as usize] == key {
                return Some(id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The first slot to probe: high bits of a folded 128-bit product.
    #[inline]
    fn first_slot(&self, key: Key) -> usize {
        let product =
            u128::from(key[0] ^ 0x9e37_79b9_7f4a_7c15) * u128::from(key[1] ^ 0xc2b2_ae3d_27d4_eb4f);
        let folded = product as u64 ^ (product >> 64) as u64;
        (folded >> 32) as usize & (self.slots.len() - 1)
    }

    #[cold]
    fn insert_short(&mut self, key: Key) -> Option<u32> {
        let id = self.new_id(key)?;
        if 2 * self.keys.len() > self.slots.len() {
            self.slots = vec![EMPTY; 2 * self.slots.len()];
            for id in 0..self.keys.len() {
                if self.keys[id] != [0; 2] {
                    self.fill_slot(id as u32);
                }
            }
        } else {
            self.fill_slot(id);
        }
        Some(id)
    }

    /// Inserts an id that is not in the table yet.
    fn fill_slot(&mut self, id: u32) {
        let mut at = self.first_slot(self.keys[id as usize]);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = id;
    }

    fn new_id(&mut self, key: Key) -> Option<u32> {
        let id = u32::try_from(self.keys.len()).ok().filter(|id| *id != EMPTY)?;
        self.keys.push(key);
        Some(id)
    }

    /// Calls `f` with every word, in the order of their ids.
    pub(super) fn for_each(&self, mut f: impl FnMut(&str)) {
        let mut long: Vec<(u32, &str)> =
            self.long.iter().map(|(word, id)| (*id, &**word)).collect();
        long.sort_unstable();
        let mut long = long.into_iter();
        for key in &self.keys {
            let wide = (u128::from(key[1]) << 64 | u128::from(key[0])).to_le_bytes();
            let length = usize::from(wide[MAX_SHORT]);
            match length {
                0 => long.next().into_iter().for_each(|(_, word)| f(word)),
                // The bytes are from a text, so they are UTF-8.
                _ => f(str::from_utf8(&wide[..length]).unwrap_or_default()),
            }
        }
    }
}

/// The key of the word in the first `length` bytes, at most [`MAX_SHORT`].
#[inline]
pub(super) fn key(bytes: [u8; 16], length: usize) -> Key {
    let wide = halves(bytes);
    let mask = (1u128 << (8 * length)) - 1;
    [wide[0] & mask as u64, wide[1] & (mask >> 64) as u64 | (length as u64) << 56]
}

/// 16 bytes as two little-endian integers.
#[inline]
pub(super) fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let wide = u128::from_le_bytes(bytes);
    [wide as u64, (wide >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_appearance_and_words_are_recovered() {
        let mut words = WordTable::new();
        let texts: Vec<String> = (0..20_000)
            .map(|n| if n % 7 == 0 { format!("a-longer-word-{n}") } else { format!("é{n}") })
            .collect();
        for round in 0..2 {
            for (id, text) in texts.iter().enumerate() {
                assert_eq!(words.id(text), Some(id as u32), "round {round}");
            }
        }
        // A word with one more byte, one fewer, or a trailing zero is a different word.
        for (id, text) in ["123456789012345", "1234567890123456", "é0\0"].iter().enumerate() {
            assert_eq!(words.id(text), Some((texts.len() + id) as u32));
        }
        let mut recovered = vec![];
        words.for_each(|word| recovered.push(word.to_owned()));
        assert_eq!(recovered[..texts.len()], texts);
        assert_eq!(recovered[texts.len()..], ["123456789012345", "1234567890123456", "é0\0"]);
    }
}
