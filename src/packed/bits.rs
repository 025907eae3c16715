//! Integers of a few bits and masks, packed without gaps: the lowest bits of the first byte come first.

/// Packs the lowest `bits` bits of each code, at most 8.
pub(super) fn pack(codes: &[i8], bits: u32) -> Vec<u8> {
    if bits == 8 {
        return codes.iter().map(|&code| code as u8).collect();
    }
    let mut packed = Vec::with_capacity((codes.len() * bits as usize).div_ceil(8));
    let (mut buffer, mut filled) = (0u32, 0);
    for &code in codes {
        buffer |= (u32::from(code as u8) & ((1 << bits) - 1)) << filled;
        filled += bits;
        while filled >= 8 {
            packed.push(buffer as u8);
            buffer >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        packed.push(buffer as u8);
    }
    packed
}

/// Unpacks `count` fields of `bits` bits without their sign.
pub(super) fn unpack_unsigned(
    packed: &[u8],
    bits: u32,
    count: usize,
) -> impl Iterator<Item = u8> + '_ {
    let mask = ((1u32 << bits) - 1) as u8;
    (0..count).map(move |i| {
        let first = i * bits as usize;
        let low = u16::from(packed[first / 8]);
        let high = packed.get(first / 8 + 1).map_or(0, |&byte| u16::from(byte));
        ((low | high << 8) >> (first % 8)) as u8 & mask
    })
}

/// Unpacks `count` two's complement integers of `bits` bits.
pub(super) fn unpack(packed: &[u8], bits: u32, count: usize) -> impl Iterator<Item = i8> + '_ {
    let shift = 8 - bits;
    unpack_unsigned(packed, bits, count).map(move |code| ((code << shift) as i8) >> shift)
}

/// Bytes of `count` fields of `bits` bits.
pub(super) fn bytes(count: usize, bits: u32) -> usize {
    (count as u128 * u128::from(bits)).div_ceil(8) as usize
}

/// Packs a mask: bit i % 8 of byte i / 8 is element i.
pub(super) fn pack_mask(mask: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut packed = vec![0u8; mask.len().div_ceil(8)];
    for (i, kept) in mask.enumerate() {
        packed[i / 8] |= u8::from(kept) << (i % 8);
    }
    packed
}

/// Element i of a packed mask.
pub(super) fn is_set(mask: &[u8], i: usize) -> bool {
    mask[i / 8] >> (i % 8) & 1 == 1
}

/// Whether the bits after the first `count` are 0, as [`pack`] and [`pack_mask`] write them.
pub(super) fn padding_is_zero(packed: &[u8], count: usize) -> bool {
    let used = count % 8;
    used == 0 || packed.last().is_none_or(|last| last >> used == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_bits_come_first() {
        assert_eq!(pack(&[1, -1, 2], 4), [0xf1, 0x02]);
        assert_eq!(pack(&[3, -4, 1], 3), [0b01_100_011, 0b0]);
        assert_eq!(pack_mask([true, false, false, true].into_iter()), [0b1001]);
    }

    proptest! {
        #[test]
        fn unpacking_inverts_packing(bits in 2u32..=8, codes in prop::collection::vec(any::<i8>(), 0..70)) {
            let codes: Vec<i8> = codes.iter().map(|code| (code << (8 - bits)) >> (8 - bits)).collect();
            let packed = pack(&codes, bits);
            prop_assert_eq!(packed.len(), bytes(codes.len(), bits));
            prop_assert!(padding_is_zero(&packed, codes.len() * bits as usize));
            prop_assert_eq!(unpack(&packed, bits, codes.len()).collect::<Vec<_>>(), codes);
        }

        #[test]
        fn masks_are_read_back(mask in prop::collection::vec(any::<bool>(), 0..70)) {
            let packed = pack_mask(mask.iter().copied());
            prop_assert!(padding_is_zero(&packed, mask.len()));
            for (i, &kept) in mask.iter().enumerate() {
                prop_assert_eq!(is_set(&packed, i), kept);
            }
        }
    }
}
