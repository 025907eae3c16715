//! Numbers for the words of one part of a text, in order of first appearance.

use hashbrown::HashMap;

/// A short word by value: its bytes, zeros, and its length in the last byte.
pub(super) type Key = [u64; 2];

/// Bytes that a key has room for beside the length.
pub(super) const SHORT: usize = 15;

/// Words looked up at a time.
pub(super) const BATCH: usize = 64;

const EMPTY: u32 = u32::MAX;

/// The words met so far.
///
/// Short words, nearly all there are, lie by value in the order of their numbers, so that the
/// frequent ones, which come first in a text, share few cache lines; a slot is a number alone.
pub(super) struct Words {
    /// A power of two of places, at most half of them taken.
    slots: Vec<u32>,
    /// By number; a long word's has no length.
    keys: Vec<Key>,
    long: HashMap<Box<str>, u32>,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { slots: vec![EMPTY; 1 << 12], keys: vec![], long: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of any word; `None` once all are given out.
    pub(super) fn number(&mut self, word: &str) -> Option<u32> {
        let bytes = word.as_bytes();
        if bytes.len() <= SHORT {
            let mut wide = [0; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            return self.short(key(wide, bytes.len()));
        }
        if let Some(number) = self.long.get(word) {
            return Some(*number);
        }
        let number = self.add([0; 2])?;
        self.long.insert(word.into(), number);
        Some(number)
    }

    /// Appends the numbers of up to [`BATCH`] short words; `None` once all are given out.
    ///
    /// All slots are looked up before the first key is compared: the processor then waits for many
    /// cache misses at a time, which is most of the time that reading takes.
    #[inline]
    pub(super) fn numbers(&mut self, keys: &[Key], numbers: &mut Vec<u32>) -> Option<()> {
        let mut found = [EMPTY; BATCH];
        for (found, key) in found.iter_mut().zip(keys) {
            *found = self.slots[self.home(*key)];
        }
        let mut right = [false; BATCH];
        for ((right, found), key) in right.iter_mut().zip(&found).zip(keys) {
            *right = self.keys.get(*found as usize) == Some(key);
        }
        for ((right, found), key) in right.into_iter().zip(&mut found).zip(keys) {
            if !right {
                *found = self.short(*key)?;
            }
        }
        numbers.extend_from_slice(&found[..keys.len()]);
        Some(())
    }

    /// The number of a short word.
    fn short(&mut self, key: Key) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            let number = self.slots[at];
            if number == EMPTY {
                return self.add_short(key);
            }
            if self.keys[number as usize] == key {
                return Some(number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Where the search for a key begins: high bits of a product folded on itself.
    #[inline]
    fn home(&self, key: Key) -> usize {
        let product =
            u128::from(key[0] ^ 0x9e37_79b9_7f4a_7c15) * u128::from(key[1] ^ 0xc2b2_ae3d_27d4_eb4f);
        let folded = product as u64 ^ (product >> 64) as u64;
        (folded >> 32) as usize & (self.slots.len() - 1)
    }

    #[cold]
    fn add_short(&mut self, key: Key) -> Option<u32> {
        let number = self.add(key)?;
        if 2 * self.keys.len() > self.slots.len() {
            self.slots = vec![EMPTY; 2 * self.slots.len()];
            for number in 0..self.keys.len() {
                if self.keys[number] != [0; 2] {
                    self.place(number as u32);
                }
            }
        } else {
            self.place(number);
        }
        Some(number)
    }

    /// Puts a number that is not there yet into a slot.
    fn place(&mut self, number: u32) {
        let mut at = self.home(self.keys[number as usize]);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = number;
    }

    fn add(&mut self, key: Key) -> Option<u32> {
        let number = u32::try_from(self.keys.len()).ok().filter(|number| *number != EMPTY)?;
        self.keys.push(key);
        Some(number)
    }

    /// Calls `each` with every word, in the order of the numbers.
    pub(super) fn each(&self, mut each: impl FnMut(&str)) {
        let mut long: Vec<(u32, &str)> =
            self.long.iter().map(|(word, number)| (*number, &**word)).collect();
        long.sort_unstable();
        let mut long = long.into_iter();
        for key in &self.keys {
            let wide = (u128::from(key[1]) << 64 | u128::from(key[0])).to_le_bytes();
            let length = usize::from(wide[SHORT]);
            match length {
                0 => long.next().into_iter().for_each(|(_, word)| each(word)),
                // The bytes came out of a text: they are UTF-8.
                _ => each(str::from_utf8(&wide[..length]).unwrap_or_default()),
            }
        }
    }
}

/// The key of the word that the first `length` of these bytes spell, at most [`SHORT`].
#[inline]
pub(super) fn key(bytes: [u8; 16], length: usize) -> Key {
    let wide = halves(bytes);
    let mask = (1u128 << (8 * length)) - 1;
    [wide[0] & mask as u64, wide[1] & (mask >> 64) as u64 | (length as u64) << 56]
}

/// Sixteen bytes as two words, the first byte lowest.
#[inline]
pub(super) fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let wide = u128::from_le_bytes(bytes);
    [wide as u64, (wide >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_in_order_and_come_back() {
        let mut words = Words::new();
        let texts: Vec<String> = (0..20_000)
            .map(|n| if n % 7 == 0 { format!("a-longer-word-{n}") } else { format!("é{n}") })
            .collect();
        for round in 0..2 {
            for (number, text) in texts.iter().enumerate() {
                assert_eq!(words.number(text), Some(number as u32), "round {round}");
            }
        }
        // One byte more or less, and a zero at the end, are other words.
        for (number, text) in ["123456789012345", "1234567890123456", "é0\0"].iter().enumerate() {
            assert_eq!(words.number(text), Some((texts.len() + number) as u32));
        }
        let mut back = vec![];
        words.each(|word| back.push(word.to_owned()));
        assert_eq!(back[..texts.len()], texts);
        assert_eq!(back[texts.len()..], ["123456789012345", "1234567890123456", "é0\0"]);
    }
}
