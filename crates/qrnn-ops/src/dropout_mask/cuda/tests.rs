use proptest::prelude::*;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::cuda::host_shim::{Access, HostShim};
use crate::dropout_mask::sampler::sample_on_cpu;

const CPU: Device = Device::Cpu;

type Checked = std::result::Result<(), TestCaseError>;

/// Where the kernel runs: by the host shim, or on the first GPU.
fn place(on_gpu: bool) -> (Arc<dyn Launch>, Device) {
    match on_gpu {
        false => (HostShim::get().unwrap(), CPU),
        true => {
            let device = crate::device::cuda().unwrap();
            (crate::cuda::CudaDevice::of(0).unwrap(), device)
        }
    }
}

/// A mask of `n` numbers from word `first` of the stream of a key.
#[derive(Debug, Clone, Copy)]
struct Case {
    n: i64,
    first: i64,
    p: f64,
    kind: Kind,
    key: [u8; 32],
}

fn cases() -> impl Strategy<Value = Case> {
    let n = prop_oneof![1..40i64, 100..3000i64, Just(16), Just(2048), Just(4096)];
    // Beyond 2^36 words the counter of blocks has more than 32 bits.
    let first = prop_oneof![
        Just(0),
        0..200i64,
        (0..500i64).prop_map(|blocks| 16 * blocks),
        (0..500i64).prop_map(|quarters| 4 * quarters),
        ((1i64 << 36) - 100)..((1i64 << 36) + 100),
    ];
    let p = prop_oneof![0.001..0.999f64, Just(0.1), Just(0.5), Just(1e-12), Just(0.999_999_999)];
    let kind = prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)];
    (n, first, p, kind, any::<[u8; 32]>()).prop_map(|(n, first, p, kind, key)| Case {
        n,
        first,
        p,
        kind,
        key,
    })
}

/// What the CPU draws from the generator itself.
fn expected(case: &Case, values: Bernoulli) -> Tensor {
    let mut random = ChaCha8Rng::from_seed(case.key);
    random.set_word_pos(case.first as u128);
    sample_on_cpu(values, &[case.n], (case.kind, CPU), &mut random).unwrap()
}

/// The kernel's numbers equal the CPU's; each place is written once, and none beside the mask.
fn check(on_gpu: bool, case: &Case) -> Checked {
    const ROOM: i64 = 1024;
    let (launcher, device) = place(on_gpu);
    let all = Tensor::full([case.n + 2 * ROOM], f64::NAN, (case.kind, device));
    let mask = all.narrow(0, ROOM, case.n);
    let dropped = Bernoulli::dropout(case.p);
    let mut sampler = CudaSampler { taken: case.first, ..CudaSampler::new(launcher, case.key) };
    sampler.fill(dropped, &mask).unwrap();
    prop_assert_eq!(sampler.taken, case.first + case.n);
    if !on_gpu {
        let bytes = mask.kind().elt_size_in_bytes();
        for i in 0..case.n as usize {
            let at = mask.data_ptr().cast::<u8>().wrapping_add(i * bytes);
            prop_assert_eq!(
                HostShim::get().unwrap().count(at.cast(), Access::Written),
                1,
                "place {}",
                i
            );
        }
        prop_assert_eq!(HostShim::get().unwrap().address_count(Access::Written), case.n as usize);
        prop_assert_eq!(HostShim::get().unwrap().address_count(Access::Read), 0);
    }
    let all = all.to_device(CPU);
    prop_assert!(all.narrow(0, ROOM, case.n).equal(&expected(case, dropped)), "numbers differ");
    for beside in [all.narrow(0, 0, ROOM), all.narrow(0, ROOM + case.n, ROOM)] {
        prop_assert_eq!(beside.isnan().all().int64_value(&[]), 1, "a place beside was written");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_kernels_numbers_are_the_cpus(case in cases()) {
        check(false, &case)?;
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_dropout_masks_are_the_cpus(case in cases()) {
        check(true, &case)?;
    }

    /// The comparison of integers is that of the draw with p.
    #[test]
    fn a_word_is_below_the_threshold_where_its_draw_is_below_p(
        p in prop_oneof![0.0..1.0f64, 0.0..1e-6f64, (1.0 - 1e-6)..1.0f64], word: u32, near: bool,
    ) {
        // Half of the words lie at the threshold, where the two could differ.
        let limit = threshold(p) as u32;
        let word = if near { limit.saturating_sub(word % 3).min(0xff_ffff) << 8 | word >> 24 } else { word };
        let draw = (word >> 8) as f32 * 2f32.powi(-24);
        prop_assert_eq!(draw < p as f32, (word >> 8) < limit);
    }
}

/// The first words are the published keystream of ChaCha8 for a key of zeros, and the kernel's.
#[test]
fn the_first_words_are_the_ciphers() {
    // draft-strombergson-chacha-test-vectors-01, TC1, 8 rounds, key of 256 bits.
    const FIRST: [u8; 16] = [
        0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5,
        0xa1,
    ];
    let mut first = [0; 16];
    ChaCha8Rng::from_seed([0; 32]).fill_bytes(&mut first);
    assert_eq!(first, FIRST);
    // A draw is kept where p is equal to it, and dropped where p is the next value.
    let mut sampler = CudaSampler { launcher: HostShim::get().unwrap(), key: [0; 4], taken: 0 };
    for (i, bytes) in FIRST.as_chunks::<4>().0.iter().enumerate() {
        let draw = f64::from(u32::from_le_bytes(*bytes) >> 8) / 2f64.powi(24);
        for (p, dropped) in [(draw, false), (draw + 2f64.powi(-24), true)] {
            sampler.taken = 0;
            let mask = sampler.sample(Bernoulli::dropout(p), &[4], (Kind::Float, CPU)).unwrap();
            assert_eq!(mask.double_value(&[i as i64]) == 0.0, dropped, "word {i}, p {p}");
        }
    }
}
