//! Laws of packed products: every form, instruction set and range of rows gives the sums of the
//! definition.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// A pseudorandom stream: what a case needs beyond its shape.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
    }

    /// A code; every third one is extreme.
    fn code(&mut self) -> i8 {
        match self.next() % 6 {
            0 => 127,
            1 => -127,
            _ => ((self.next() % 255) as i16 - 127) as i8,
        }
    }

    fn codes(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.code()).collect()
    }
}

/// A matrix as its definition has it.
#[derive(Debug, Clone)]
struct Dense {
    rows: usize,
    columns: usize,
    codes: Vec<i8>,
}

impl Dense {
    /// Zeros with this share of non-zeros, in percent. Some rows are empty.
    fn sparse(random: &mut Random, rows: usize, columns: usize, percent: u64) -> Self {
        let mut codes = random.codes(rows * columns);
        for row in codes.chunks_exact_mut(columns) {
            let percent = if random.next().is_multiple_of(7) { 0 } else { percent };
            for code in row {
                if random.next() % 100 >= percent {
                    *code = 0;
                }
            }
        }
        Self { rows, columns, codes }
    }

    fn bitmask(&self) -> PackedMatrix {
        let mut mask = vec![0; self.codes.len().div_ceil(8)];
        for (i, _) in self.codes.iter().enumerate().filter(|(_, code)| **code != 0) {
            mask[i / 8] |= 1 << (i % 8);
        }
        let non_zeros: Vec<i8> = self.codes.iter().copied().filter(|&code| code != 0).collect();
        PackedMatrix::bitmask(self.rows, self.columns, &mask, &non_zeros).unwrap()
    }

    fn dense8(&self) -> PackedMatrix {
        PackedMatrix::dense8(self.rows, self.columns, &self.codes).unwrap()
    }

    /// A matrix of book entries, as a file stores it.
    fn codes4(random: &mut Random, rows: usize, columns: usize) -> (Self, PackedMatrix) {
        let mut book: [i8; 16] = std::array::from_fn(|_| random.code());
        book[3] = 0;
        let indices: Vec<usize> =
            (0..rows * columns).map(|_| (random.next() % 16) as usize).collect();
        let packed: Vec<u8> = indices
            .chunks(2)
            .map(|pair| pair[0] as u8 | (pair.get(1).copied().unwrap_or(0) as u8) << 4)
            .collect();
        let codes = indices.iter().map(|&index| book[index]).collect();
        let matrix = PackedMatrix::codes4(rows, columns, &packed, &book).unwrap();
        (Self { rows, columns, codes }, matrix)
    }

    /// out (T, rows), by the definition.
    fn multiply(&self, x: &[i8], rows: Range<usize>) -> Vec<i32> {
        x.chunks_exact(self.columns)
            .flat_map(|x| rows.clone().map(move |row| (x, row)))
            .map(|(x, row)| {
                let weights = &self.codes[row * self.columns..][..self.columns];
                weights.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum()
            })
            .collect()
    }
}

/// Compares the products of a packed matrix with the definition, on every instruction set.
fn assert_products(dense: &Dense, packed: &PackedMatrix, tokens: usize, rows: Range<usize>) {
    let mut random = Random(17 + tokens as u64);
    let codes = random.codes(tokens * dense.columns);
    let mut x = Activations::new(dense.columns).unwrap();
    x.set(&codes).unwrap();
    let sums = dense.multiply(&codes, rows.clone());
    let scale: Vec<f32> = (0..dense.rows).map(|_| random.next() as f32 * 1e-15).collect();
    let bias: Vec<f32> = (0..dense.rows).map(|_| random.next() as f32 * 1e-9 - 500.0).collect();
    for bias in [None, Some(&bias[..])] {
        let scaled: Vec<u32> = (sums.iter().zip(rows.clone().cycle()))
            .map(|(&sum, row)| {
                let y = sum as f32 * scale[row];
                bias.map_or(y, |bias| y + bias[row]).to_bits()
            })
            .collect();
        for set in Instructions::available() {
            let packed = packed.clone().with_instructions(set).unwrap();
            let affine = Affine { scale: &scale, bias };
            let mut out = vec![f32::NAN; tokens * rows.len()];
            let block = Output::new(&mut out, rows.len()).unwrap();
            packed.multiply_affine(&x, rows.clone(), affine, block).unwrap();
            let bits: Vec<u32> = out.iter().map(|y| y.to_bits()).collect();
            assert_eq!(bits, scaled, "affine {set:?} {rows:?} of {dense:?}");
        }
    }
    for set in Instructions::available() {
        let packed = packed.clone().with_instructions(set).unwrap();
        let mut out = vec![i32::MIN; tokens * rows.len()];
        let block = Output::new(&mut out, rows.len()).unwrap();
        packed.multiply(&x, rows.clone(), block).unwrap();
        assert_eq!(out, sums, "{set:?} {rows:?} of {dense:?}");
    }
}

/// Compares all forms with the definition, for all rows and for a range.
fn assert_forms(
    seed: u64,
    shape: (usize, usize),
    tokens: usize,
    percent: u64,
    cut: (usize, usize),
) {
    let (rows, columns) = shape;
    let mut random = Random(seed);
    let dense = Dense::sparse(&mut random, rows, columns, percent);
    let (entries, codes4) = Dense::codes4(&mut random, rows, columns);
    let start = cut.0 % (rows + 1);
    let part = start..start + cut.1 % (rows - start + 1);
    for (dense, packed) in
        [(&dense, &dense.bitmask()), (&dense, &dense.dense8()), (&entries, &codes4)]
    {
        let mut decoded = vec![99; dense.codes.len()];
        packed.decode(0..rows, &mut decoded).unwrap();
        assert_eq!(decoded, dense.codes);
        assert_products(dense, packed, tokens, 0..rows);
        assert_products(dense, packed, tokens, part.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_forms_and_sets_give_the_sums(
        seed: u64,
        rows in 0usize..70,
        columns in 1usize..300,
        tokens in 0usize..20,
        percent in 0u64..=100,
        cut: (usize, usize),
    ) {
        assert_forms(seed, (rows, columns), tokens, percent, cut);
    }

    #[test]
    fn narrow_rows_give_the_sums(
        seed: u64,
        rows in 0usize..200,
        columns in 1usize..70,
        tokens in 0usize..10,
        percent in prop::sample::select(vec![0u64, 5, 50, 100]),
        cut: (usize, usize),
    ) {
        assert_forms(seed, (rows, columns), tokens, percent, cut);
    }

    #[test]
    fn entries_of_any_width_become_the_codes(
        seed: u64,
        rows in 1usize..20,
        columns in 1usize..100,
        bits in 2u32..=8,
        with_mask: bool,
        with_book: bool,
    ) {
        let mut random = Random(seed);
        let elements = rows * columns;
        let mask: Vec<bool> = (0..elements).map(|_| !with_mask || random.next().is_multiple_of(2)).collect();
        let book = random.codes(1 << bits);
        let mut bytes = vec![0u8; (mask.iter().filter(|bit| **bit).count() * bits as usize).div_ceil(8)];
        let (mut expected, mut stored) = (vec![0; elements], 0);
        for (code, _) in expected.iter_mut().zip(&mask).filter(|(_, bit)| **bit) {
            let index = match random.next() % (1 << bits) {
                // The symmetric grid has no such code at 8 bits.
                128 if !with_book => 127,
                index => index as usize,
            };
            *code = if with_book { book[index] } else { ((index << (8 - bits)) as u8 as i8) >> (8 - bits) };
            for bit in 0..bits as usize {
                let at = stored * bits as usize + bit;
                bytes[at / 8] |= ((index >> bit & 1) as u8) << (at % 8);
            }
            stored += 1;
        }
        let mut mask_bytes = vec![0u8; elements.div_ceil(8)];
        for (i, _) in mask.iter().enumerate().filter(|(_, bit)| **bit) {
            mask_bytes[i / 8] |= 1 << (i % 8);
        }
        let mask = with_mask.then_some(&mask_bytes[..]);
        let book = with_book.then_some(&book[..]);
        let packed = PackedMatrix::from_entries((rows, columns), mask, &bytes, bits, book).unwrap();
        let dense = Dense { rows, columns, codes: expected };
        let mut decoded = vec![99; elements];
        packed.decode(0..rows, &mut decoded).unwrap();
        prop_assert_eq!(&decoded, &dense.codes);
        assert_products(&dense, &packed, 3, 0..rows);
    }
}

/// The largest sums: every code 127 or -127, in the widest matrix.
#[test]
fn extreme_sums_are_exact() {
    for (weight, activation) in [(127, 127), (-127, 127), (127, -127), (-127, -127)] {
        let columns = MAX_COLUMNS;
        let dense = Dense { rows: 2, columns, codes: vec![weight; 2 * columns] };
        let mut x = Activations::new(columns).unwrap();
        x.set(&vec![activation; 9 * columns]).unwrap();
        let sum = i32::from(weight) * i32::from(activation) * columns as i32;
        for packed in [dense.bitmask(), dense.dense8()] {
            for set in Instructions::available() {
                let packed = packed.clone().with_instructions(set).unwrap();
                let mut out = vec![0; 2 * 9];
                packed.multiply(&x, 0..2, Output::new(&mut out, 2).unwrap()).unwrap();
                assert_eq!(out, [sum; 18], "{set:?}");
            }
        }
    }
}

/// The shapes of the model, a window of tokens, all sets.
#[test]
fn shapes_of_the_model_give_the_sums() {
    for (rows, columns, percent) in [(190, 1800, 20), (130, 600, 50), (160, 75, 60), (2500, 5, 60)]
    {
        assert_forms(rows as u64, (rows, columns), 33, percent, (17, 100));
    }
}

#[test]
fn threads_share_a_product_by_rows() {
    let mut random = Random(5);
    let dense = Dense::sparse(&mut random, 200, 90, 30);
    let packed = dense.bitmask();
    let codes = random.codes(11 * 90);
    let mut x = Activations::new(90).unwrap();
    x.set(&codes).unwrap();
    let mut out = vec![0; 11 * 200];
    let (first, second) = Output::new(&mut out, 200).unwrap().split_at(128);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| packed.multiply(&x, 128..200, second));
        packed.multiply(&x, 0..128, first).unwrap();
        other.join().unwrap().unwrap();
    });
    assert_eq!(out, dense.multiply(&codes, 0..200));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let packed = PackedMatrix::dense8(3, 2, &[1; 6]).unwrap();
    let mut x = Activations::new(2).unwrap();
    x.set(&[1; 4]).unwrap();
    let mut out = vec![0; 6];
    let mut multiply = |x: &Activations, rows: Range<usize>, width: usize| {
        packed.multiply(x, rows, Output::new(&mut out, width).unwrap())
    };
    assert_eq!(multiply(&x, 0..3, 3), Ok(()));
    assert!(matches!(multiply(&x, 0..4, 3), Err(Error::Rows { .. })));
    assert!(matches!(multiply(&x, 0..2, 3), Err(Error::Length { what: "output rows", .. })));
    assert!(matches!(multiply(&x, 0..3, 2), Err(Error::Length { what: "output tokens", .. })));
    let other = Activations::new(3).unwrap();
    assert!(multiply(&other, 0..3, 3).is_err());
    let affine = Affine { scale: &[1.0; 2], bias: None };
    let mut out = [0.0; 6];
    assert!(packed.multiply_affine(&x, 0..3, affine, Output::new(&mut out, 3).unwrap()).is_err());
}
