use proptest::prelude::*;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::cuda::host_shim::{Access, HostShim, back_end};

const CPU: Device = Device::Cpu;

type Checked = std::result::Result<(), TestCaseError>;

/// A mask of these words from position `first` of the stream of a key.
#[derive(Debug, Clone, Copy)]
struct Case {
    words: WordRows,
    first: i64,
    p: f64,
    kind: Kind,
    key: [u8; 32],
}

/// One row, or several with words between them that are skipped.
fn word_rows() -> impl Strategy<Value = WordRows> {
    let n = prop_oneof![1..40i64, 100..3000i64, Just(16), Just(2048), Just(4096)];
    let one = n.prop_map(|n| WordRows { rows: 1, skipped: 0, n, stride: n });
    let n = prop_oneof![1..40i64, 100..300i64, Just(16), (1..80i64).prop_map(|packs| 4 * packs)];
    let gap = || prop_oneof![Just(0), 0..50i64, (0..30i64).prop_map(|packs| 4 * packs)];
    let several = (1..8i64, gap(), n, gap()).prop_map(|(rows, skipped, n, after)| WordRows {
        rows,
        skipped,
        n,
        stride: skipped + n + after,
    });
    prop_oneof![one, several]
}

fn cases() -> impl Strategy<Value = Case> {
    // Beyond 2^36 words the block counter has more than 32 bits.
    let first = prop_oneof![
        Just(0),
        0..200i64,
        (0..500i64).prop_map(|blocks| 16 * blocks),
        (0..500i64).prop_map(|quarters| 4 * quarters),
        ((1i64 << 36) - 100)..((1i64 << 36) + 100),
    ];
    let p = prop_oneof![0.001..0.999f64, Just(0.1), Just(0.5), Just(1e-12), Just(0.999_999_999)];
    let kind = prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)];
    (word_rows(), first, p, kind, any::<[u8; 32]>()).prop_map(|(words, first, p, kind, key)| Case {
        words,
        first,
        p,
        kind,
        key,
    })
}

/// The mask by its definition: an element is a draw of the generator, at the position of its word.
fn expected(case: &Case, values: Bernoulli) -> Tensor {
    let WordRows { rows, skipped, n, stride } = case.words;
    let mut random = ChaCha8Rng::from_seed(case.key);
    let mut mask: Vec<f32> = vec![];
    for row in 0..rows {
        random.set_word_pos((case.first + skipped + row * stride) as u128);
        for _ in 0..n {
            let dropped = random.random::<f32>() < values.p as f32;
            mask.push(if dropped { 0.0 } else { values.scale as f32 });
        }
    }
    Tensor::from_slice(&mask).to_kind(case.kind)
}

/// Checks that the kernel's mask equals the definition, each element is written once, and nothing
/// outside the mask is accessed.
fn check(on_gpu: bool, case: &Case) -> Checked {
    const GUARD: i64 = 1024;
    let (launcher, device) = back_end(on_gpu);
    let n = case.words.sampled();
    let all = Tensor::full([n + 2 * GUARD], f64::NAN, (case.kind, device));
    let mask = all.narrow(0, GUARD, n);
    let dropped = Bernoulli::dropout(case.p);
    let mut sampler = CudaSampler { position: case.first, ..CudaSampler::new(launcher, case.key) };
    sampler.fill(dropped, case.words, &mask).unwrap();
    prop_assert_eq!(sampler.position, case.first + case.words.consumed());
    if !on_gpu {
        let bytes = mask.kind().elt_size_in_bytes();
        for i in 0..n as usize {
            let at = mask.data_ptr().cast::<u8>().wrapping_add(i * bytes);
            prop_assert_eq!(
                HostShim::get().unwrap().count(at.cast(), Access::Written),
                1,
                "element {}",
                i
            );
        }
        prop_assert_eq!(HostShim::get().unwrap().address_count(Access::Written), n as usize);
        prop_assert_eq!(HostShim::get().unwrap().address_count(Access::Read), 0);
    }
    let all = all.to_device(CPU);
    prop_assert!(all.narrow(0, GUARD, n).equal(&expected(case, dropped)), "the masks differ");
    for guard in [all.narrow(0, 0, GUARD), all.narrow(0, GUARD + n, GUARD)] {
        prop_assert_eq!(guard.isnan().all().int64_value(&[]), 1, "the guard was written");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn masks_equal_the_cpu(case in cases()) {
        check(false, &case)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_dropout_masks_equal_the_cpu(case in cases()) {
        check(true, &case)?;
    }

    /// A row has a thread for each block of the stream that it has words in, and no more of them than the
    /// sixteen rows that a longer mask would have.
    #[test]
    fn a_row_has_as_many_threads_as_blocks(case in cases()) {
        let first = case.first + case.words.skipped;
        let most = (0..if case.words.rows == 1 { 1 } else { 16 })
            .map(|row| first + row * case.words.stride)
            .map(|begin| (begin + case.words.n - 1) / WORDS - begin / WORDS + 1)
            .max();
        let (blocks, geometry) = blocks_and_geometry(case.words, first).unwrap();
        prop_assert_eq!(Some(i64::from(blocks)), most);
        let threads = case.words.rows * i64::from(blocks);
        prop_assert_eq!(geometry, Geometry::of(threads, MASK_THREADS).unwrap());
    }

    /// The kernel's comparison of integers equals the CPU's comparison in f32.
    #[test]
    fn a_word_is_below_the_threshold_if_its_sample_is_below_p(
        p in prop_oneof![0.0..1.0f64, 0.0..1e-6f64, (1.0 - 1e-6)..1.0f64], word: u32, near: bool,
    ) {
        // Half of the words are near the threshold, where the two could differ.
        let limit = threshold(p) as u32;
        let word = if near { limit.saturating_sub(word % 3).min(0xff_ffff) << 8 | word >> 24 } else { word };
        let sample = (word >> 8) as f32 * 2f32.powi(-24);
        prop_assert_eq!(sample < p as f32, (word >> 8) < limit);
    }
}

/// The CPU's generator and the kernel give the published keystream of ChaCha8 for a key of zeros.
#[test]
fn the_stream_starts_with_the_published_keystream() {
    // draft-strombergson-chacha-test-vectors-01, TC1, 8 rounds, key of 256 bits.
    const FIRST: [u8; 16] = [
        0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5,
        0xa1,
    ];
    let mut first = [0; 16];
    ChaCha8Rng::from_seed([0; 32]).fill_bytes(&mut first);
    assert_eq!(first, FIRST);
    // A sample is not dropped if it equals p, and dropped if p is the next value.
    let mut sampler = CudaSampler { launcher: HostShim::get().unwrap(), key: [0; 4], position: 0 };
    for (i, bytes) in FIRST.as_chunks::<4>().0.iter().enumerate() {
        let sample = f64::from(u32::from_le_bytes(*bytes) >> 8) / 2f64.powi(24);
        for (p, dropped) in [(sample, false), (sample + 2f64.powi(-24), true)] {
            sampler.position = 0;
            let mask = sampler
                .sample(
                    Bernoulli::dropout(p),
                    WordRows::all(&[4]).unwrap(),
                    &[4],
                    (Kind::Float, CPU),
                )
                .unwrap();
            assert_eq!(mask.double_value(&[i as i64]) == 0.0, dropped, "word {i}, p {p}");
        }
    }
}

#[test]
fn masks_that_cannot_be_counted_are_refused() {
    let words = WordRows { rows: 2, skipped: 1, n: 1, stride: 3 };
    let mask = Tensor::zeros([2], (Kind::Float, CPU));
    let mut sampler = CudaSampler::new(HostShim::get().unwrap(), [0; 32]);
    for (position, fits) in [(i64::MAX - 6, true), (i64::MAX - 5, false)] {
        sampler.position = position;
        assert_eq!(sampler.fill(Bernoulli::zoneout(0.5), words, &mask).is_ok(), fits);
        assert_eq!(sampler.position, if fits { i64::MAX } else { position });
    }
    // Threads, in 32 bits.
    let rows = i64::from(i32::MAX);
    let fits = |rows| blocks_and_geometry(WordRows { rows, n: 16, stride: 32, ..words }, 0).is_ok();
    assert!(fits(rows) && !fits(rows + 1) && !fits(i64::MAX));
}
