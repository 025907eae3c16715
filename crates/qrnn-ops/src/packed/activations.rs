//! Activations, arranged for the kernels.

use super::aligned::AlignedBytes;
use super::error::{Error, check_codes, check_length};
use super::instructions::Instructions;
use super::layout::{BIAS, Layout, WORD};
use super::quantize::{check_step, dispatch};

/// 8-bit codes of the activations of some tokens, (T, C). The buffer is reused by the next ones.
#[derive(Debug, Clone)]
pub struct Activations {
    layout: Layout,
    tokens: usize,
    /// Bytes from one token to the next.
    stride: usize,
    /// Tokens padded with zeros to words; narrow ones fill a word by repetition, one copy for each
    /// row of a weight word.
    bytes: AlignedBytes,
    /// 128 · the sum of each token's codes, by which kernels on biased weights exceed the sum.
    excess: Vec<i32>,
}

impl Activations {
    /// A buffer for tokens of this many columns.
    pub fn new(columns: usize) -> Result<Self, Error> {
        let layout = Layout::new(1, columns)?;
        let stride = layout.words() * WORD;
        // Tokens a multiple of 1 kB apart would share few sets of the L1 cache.
        let stride = if stride.is_multiple_of(1024) { stride + WORD } else { stride };
        Ok(Self { layout, tokens: 0, stride, bytes: AlignedBytes::default(), excess: Vec::new() })
    }

    /// Sets codes, (T, C), which lie between -127 and 127.
    pub fn set(&mut self, codes: &[i8]) -> Result<(), Error> {
        check_codes("activations", codes)?;
        self.resize(codes.len())?;
        for (token, codes) in codes.chunks_exact(self.layout.columns).enumerate() {
            self.codes_mut(token).copy_from_slice(codes);
            self.complete(token);
        }
        Ok(())
    }

    /// Sets the codes of x, (T, C), as [`quantize`](super::quantize()) does. Returns whether all of
    /// x is finite.
    pub fn quantize(&mut self, x: &[f32], inverse_step: f32) -> Result<bool, Error> {
        check_step(inverse_step)?;
        self.resize(x.len())?;
        let mut finite = true;
        for (token, x) in x.chunks_exact(self.layout.columns).enumerate() {
            finite &= dispatch(Instructions::best(), x, inverse_step, self.codes_mut(token));
            self.complete(token);
        }
        Ok(finite)
    }

    /// Number of tokens, T.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Columns of a token, C.
    pub fn columns(&self) -> usize {
        self.layout.columns
    }

    /// The codes of a token.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn codes(&self, token: usize) -> &[i8] {
        assert!(token < self.tokens, "token {token} of {}", self.tokens);
        let bytes = &self.bytes[token * self.stride..][..self.layout.columns];
        // SAFETY: i8 has the size and alignment of u8, and all bit patterns are valid.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
    }

    /// The address of a token's padded codes.
    pub(super) fn token(&self, token: usize) -> *const i8 {
        self.bytes[token * self.stride..].as_ptr().cast()
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn excess(&self) -> &[i32] {
        &self.excess
    }

    fn resize(&mut self, elements: usize) -> Result<(), Error> {
        let columns = self.layout.columns;
        self.tokens = elements / columns;
        check_length("activations", self.tokens * columns, elements)?;
        self.bytes.resize(self.tokens * self.stride);
        self.excess.resize(self.tokens, 0);
        Ok(())
    }

    fn codes_mut(&mut self, token: usize) -> &mut [i8] {
        let bytes = &mut self.bytes[token * self.stride..][..self.layout.columns];
        // SAFETY: i8 has the size and alignment of u8, and all bit patterns are valid.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
    }

    /// Derives the copies and the excess from a token's codes.
    fn complete(&mut self, token: usize) {
        let Layout { columns, padded, .. } = self.layout;
        let sum: i32 = self.codes(token).iter().map(|&code| i32::from(code)).sum();
        self.excess[token] = sum * i32::from(BIAS);
        for copy in 1..self.layout.rows_per_word() {
            let start = token * self.stride;
            self.bytes.copy_within(start..start + columns, start + copy * padded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_padded_and_narrow_ones_repeated() {
        for columns in [1, 5, 8, 31, 64, 75, 1024] {
            let mut x = Activations::new(columns).unwrap();
            let codes: Vec<i8> = (0..3 * columns).map(|i| (i % 255) as i8).collect();
            let codes: Vec<i8> = codes.into_iter().map(|code| code.max(-127)).collect();
            x.set(&codes).unwrap();
            assert_eq!((x.tokens(), x.columns()), (3, columns));
            for token in 0..3 {
                let codes = &codes[token * columns..][..columns];
                assert_eq!(x.codes(token), codes);
                let excess: i32 = codes.iter().map(|&c| i32::from(c) * 128).sum();
                assert_eq!(x.excess()[token], excess);
                let word = &x.bytes[token * x.stride..][..x.layout.words() * WORD];
                for (i, &byte) in word.iter().enumerate() {
                    let code = codes.get(i % x.layout.padded).copied().unwrap_or(0);
                    assert_eq!(byte as i8, code, "{columns} {token} {i}");
                }
            }
        }
    }

    #[test]
    fn wrong_codes_are_refused() {
        let mut x = Activations::new(3).unwrap();
        assert!(matches!(x.set(&[0; 4]), Err(Error::Length { .. })));
        assert!(matches!(x.set(&[0, i8::MIN, 0]), Err(Error::Code { index: 1, .. })));
        assert_eq!(x.quantize(&[1.0, f32::NAN, 300.0], 1.0), Ok(false));
        assert_eq!(x.codes(0), [1, 0, 127]);
    }
}
