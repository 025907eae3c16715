//! Codes of 2 to 8 bits, as a file stores them.

use super::error::{Error, check_codes, check_length};

/// Unpacks `count` codes of `bits` bits each, the lowest bit first: two's complement, or indices
/// into a book of 2^bits entries.
pub fn unpack(
    bytes: &[u8],
    bits: u32,
    count: usize,
    book: Option<&[i8]>,
) -> Result<Vec<i8>, Error> {
    let book = book_of(bits, book)?;
    check_length("packed codes", (count * bits as usize).div_ceil(8), bytes.len())?;
    let mask = (1u32 << bits) - 1;
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
    let codes: Vec<i8> = (0..count)
        .map(|i| {
            let bit = i * bits as usize;
            let pair = byte(bit / 8) | byte(bit / 8 + 1) << 8;
            book[(pair >> (bit % 8) & mask) as usize]
        })
        .collect();
    check_codes("codes", &codes)?;
    Ok(codes)
}

/// The code of every index: the entries of the book, or the indices in two's complement.
pub(super) fn book_of(bits: u32, book: Option<&[i8]>) -> Result<Vec<i8>, Error> {
    if !(2..=8).contains(&bits) {
        return Err(Error::Bits(bits));
    }
    let Some(book) = book else {
        let shift = 8 - bits;
        return Ok((0..1u32 << bits)
            .map(|index| ((index << shift) as u8 as i8) >> shift)
            .collect());
    };
    check_length("book", 1 << bits, book.len())?;
    check_codes("book", book)?;
    Ok(book.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packs the lowest bits of codes.
    fn pack(codes: &[i8], bits: u32) -> Vec<u8> {
        let mut bytes = vec![0; (codes.len() * bits as usize).div_ceil(8)];
        for (i, code) in codes.iter().enumerate() {
            for b in 0..bits as usize {
                let bit = i * bits as usize + b;
                bytes[bit / 8] |= (*code as u8 >> b & 1) << (bit % 8);
            }
        }
        bytes
    }

    #[test]
    fn two_bit_codes_by_hand() {
        assert_eq!(unpack(&[0b11_01_00_01], 2, 4, None).unwrap(), [1, 0, 1, -1]);
        assert_eq!(unpack(&[0b11_01_00_01], 2, 4, Some(&[5, 6, 7, 8])).unwrap(), [6, 5, 6, 8]);
    }

    #[test]
    fn wrong_codes_are_refused() {
        assert_eq!(unpack(&[0], 1, 8, None), Err(Error::Bits(1)));
        assert_eq!(unpack(&[0], 9, 0, None), Err(Error::Bits(9)));
        assert!(matches!(unpack(&[0; 2], 4, 2, None), Err(Error::Length { .. })));
        assert!(matches!(unpack(&[0], 2, 4, Some(&[0; 3])), Err(Error::Length { .. })));
        assert!(matches!(unpack(&[0x80], 8, 1, None), Err(Error::Code { .. })));
    }

    proptest! {
        #[test]
        fn unpacking_inverts_packing(
            codes in prop::collection::vec(-127i8..=127, 0..100),
            bits in 2u32..=8,
        ) {
            let shift = 8 - bits;
            let codes: Vec<i8> = codes.iter().map(|code| (code << shift) >> shift).collect();
            prop_assert_eq!(unpack(&pack(&codes, bits), bits, codes.len(), None).unwrap(), codes);
        }
    }
}
