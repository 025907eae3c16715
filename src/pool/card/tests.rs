use proptest::prelude::*;
use tch::Device;

use super::*;
use crate::cuda::host::Host;
use crate::cuda::{Compiler, Target};
use crate::pool;

const CPU: Device = Device::Cpu;

/// Lengths that are less than, equal to and more than one and two strides of the kernels, and odd
/// ones; widths of less than a block, of one, and of several.
fn shapes() -> impl Strategy<Value = (i64, i64, i64)> {
    let seq = prop_oneof![1..40i64, Just(8), Just(16), Just(24), Just(300)];
    (seq, 1..5i64, prop_oneof![1..40i64, Just(64), 60..70i64, 120..131i64])
}

/// What a call may be given beside gates and state.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    zoneout: usize,
    dropout: bool,
    /// Whether a gradient reaches the output, and the last state.
    scored: (bool, bool),
}

fn cases() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)];
    let scored = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    (kind, 0..3usize, any::<bool>(), scored).prop_map(|(kind, zoneout, dropout, scored)| Case {
        kind,
        zoneout,
        dropout,
        scored,
    })
}

/// Random numbers that `kind` holds exactly.
fn random(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (Kind::Float, CPU)).to_kind(kind)
}

fn mask(size: &[i64], p: f64, kept: f64, kind: Kind) -> Tensor {
    (Tensor::rand(size, (Kind::Float, CPU)).gt(p).to_kind(Kind::Float) * kept).to_kind(kind)
}

fn in_kind(settings: &Settings, kind: Kind) -> Settings {
    let zoneout = match &settings.zoneout {
        Zoneout::Off => Zoneout::Off,
        Zoneout::Scaled(keep) => Zoneout::Scaled(*keep),
        Zoneout::Masked(mask) => Zoneout::Masked(mask.to_kind(kind)),
    };
    Settings { zoneout, dropout: settings.dropout.as_ref().map(|mask| mask.to_kind(kind)) }
}

fn settings(case: Case, (seq, batch, hidden): (i64, i64, i64)) -> Settings {
    let zoneout = match case.zoneout {
        0 => Zoneout::Off,
        1 => Zoneout::Scaled(0.75),
        _ => Zoneout::Masked(mask(&[seq, batch, hidden], 0.3, 1.0, case.kind)),
    };
    let dropout = case.dropout.then(|| mask(&[1, batch, hidden], 0.2, 1.25, case.kind));
    Settings { zoneout, dropout }
}

/// Outputs and gradients of a call, in double precision.
fn results(
    pooled: &Pooled,
    weights: &[Tensor; 2],
    scored: (bool, bool),
    leaves: &[&Tensor],
) -> Vec<Tensor> {
    let mut score = Tensor::zeros([], (Kind::Double, CPU));
    for (output, weights, counts) in
        [(&pooled.output, &weights[0], scored.0), (&pooled.state, &weights[1], scored.1)]
    {
        if counts {
            score += (output * weights.to_kind(output.kind())).to_kind(Kind::Double).sum(None);
        }
    }
    score.backward();
    let mut all = vec![pooled.output.detach(), pooled.state.detach()];
    all.extend(leaves.iter().map(|leaf| leaf.grad()));
    all.iter().map(|tensor| tensor.to_kind(Kind::Double)).collect()
}

/// The largest of |a - b| / (absolute + relative |b|): at most 1 where they agree, else more or NaN.
fn disagreement(a: &Tensor, b: &Tensor, (absolute, relative): (f64, f64)) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).abs() / (b.abs() * relative + absolute)).max().double_value(&[])
}

/// bfloat16 rounds to within 2⁻⁸; a tenth of that is left for what is computed in float.
fn tolerance(kind: Kind) -> (f64, f64) {
    if kind == Kind::BFloat16 { (2e-5, 1.1 / 256.0) } else { (1e-5, 1e-5) }
}

fn leaf(tensor: &Tensor, kind: Kind) -> Tensor {
    tensor.to_kind(kind).copy().set_requires_grad(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The kernels' source against the CPU's own kernel in double precision and in float.
    #[test]
    fn the_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
        let (seq, batch, hidden) = shape;
        let gates = (random(&[seq, batch, 3 * hidden], Kind::Float) * 2.0).to_kind(case.kind);
        let before = random(&[batch, hidden], Kind::Float);
        let given = settings(case, shape);
        let weights =
            [random(&[seq, batch, hidden], case.kind), random(&[batch, hidden], Kind::Float)];

        let (g, b) = (leaf(&gates, case.kind), leaf(&before, Kind::Float));
        let ours = fo_pool(Host::get(), &g, &b, in_kind(&given, case.kind)).unwrap();
        prop_assert_eq!((ours.output.kind(), ours.state.kind()), (case.kind, Kind::Float));
        let ours = results(&ours, &weights, case.scored, &[&g, &b]);
        for kind in [Kind::Double, Kind::Float] {
            let (g, b) = (leaf(&gates, kind), leaf(&before, kind));
            let Settings { zoneout, dropout } = in_kind(&given, kind);
            let theirs = pool::fo_pool_locked(&g, &b, zoneout, dropout.as_ref()).unwrap();
            let theirs = results(&theirs, &weights, case.scored, &[&g, &b]);
            for (name, (a, b)) in
                ["output", "state", "d gates", "d before"].iter().zip(ours.iter().zip(&theirs))
            {
                let off = disagreement(a, b, tolerance(case.kind));
                prop_assert!(off <= 1.0, "{name} against {kind:?}: {off}");
            }
        }
    }

    #[test]
    fn the_forget_mult_kernels_equal_the_cpu(
        shape in shapes(), bf16 in any::<bool>(), start in any::<bool>(),
    ) {
        let (seq, batch, hidden) = shape;
        let kind = if bf16 { Kind::BFloat16 } else { Kind::Float };
        let f = random(&[seq, batch, hidden], Kind::Float).sigmoid().to_kind(kind);
        let (x, weights) = (random(&[seq, batch, hidden], kind), random(&[seq, batch, hidden], kind));
        let before = random(&[batch, hidden], Kind::Float) * f64::from(u8::from(start));
        let run = |host: bool, kind: Kind| {
            let state = if host { Kind::Float } else { kind };
            let leaves = [leaf(&f, kind), leaf(&x, kind), leaf(&before, state)];
            let [f, x, before] = &leaves;
            let h = match host {
                true => forget_mult(Host::get(), f, x, before),
                false => pool::forget_mult(f, x, Some(before)),
            };
            let h = h.unwrap();
            (&h * weights.to_kind(h.kind())).to_kind(Kind::Double).sum(None).backward();
            let mut all = vec![h.detach()];
            all.extend(leaves.iter().map(|leaf| leaf.grad()));
            all.into_iter().map(|t| t.to_kind(Kind::Double)).collect::<Vec<_>>()
        };
        let (ours, theirs) = (run(true, kind), run(false, Kind::Double));
        // The backward reads h as it was rounded, so d f is within a rounding of |h| · |d h|.
        let within = |name: &str| match (kind, name) {
            (Kind::BFloat16, "d f") => (0.05, 1.1 / 256.0),
            _ => tolerance(kind),
        };
        for (name, (a, b)) in
            ["h", "d f", "d x", "d before"].iter().zip(ours.iter().zip(&theirs))
        {
            let off = disagreement(a, b, within(name));
            prop_assert!(off <= 1.0, "{name}: {off}");
        }
    }

    /// Kernels write all of their outputs, each place once, and nothing beside them; they use nothing
    /// beside their inputs: whatever lies there is NaN.
    #[test]
    fn every_place_is_written_once_and_none_beside(shape in shapes(), case in cases()) {
        let (seq, batch, hidden) = shape;
        let host = Host::get();
        let float = Kind::Float;
        let gates = Guarded::of(&random(&[seq, batch, 3 * hidden], case.kind));
        let before = Guarded::of(&random(&[batch, hidden], float));
        let mut given = settings(case, shape);
        let masks = match &given.zoneout {
            Zoneout::Masked(mask) => Some(Guarded::of(mask)),
            _ => None,
        };
        if let Some(mask) = &masks {
            given.zoneout = Zoneout::Masked(mask.inside());
        }
        let out = Guarded::poisoned(&[seq, batch, hidden], case.kind);
        let last = Guarded::poisoned(&[batch, hidden], float);
        let kept = Guarded::poisoned(&[(seq + STEPS - 1) / STEPS, batch, hidden], float);
        let tensors = (out.inside(), last.inside(), kept.inside());
        for keep in [false, true] {
            let outputs =
                Outputs { out: &tensors.0, last: &tensors.1, kept: keep.then_some(&tensors.2) };
            // SAFETY: contiguous tensors on the CPU, of the kinds and shapes that are asked for.
            unsafe { forward(&*host, &gates.inside(), &before.inside(), &given, &outputs) }.unwrap();
            let written: &[&Guarded] =
                if keep { &[&out, &last, &kept] } else { &[&out, &last] };
            check_stores(&host, written)?;
        }
        let grad_out = Guarded::of(&random(&[seq, batch, hidden], case.kind));
        let grad_last = Guarded::of(&random(&[batch, hidden], float));
        let grad_gates = Guarded::poisoned(&[seq, batch, 3 * hidden], case.kind);
        let grad_before = Guarded::poisoned(&[batch, hidden], float);
        let (grad_last, gates_at, before_at) =
            (grad_last.inside(), grad_gates.inside(), grad_before.inside());
        let grads = Gradients {
            kept: &tensors.2,
            out: &grad_out.inside(),
            last: case.scored.1.then_some(&grad_last),
            gates: &gates_at,
            before: &before_at,
        };
        // SAFETY: as above.
        unsafe { backward(&*host, &gates.inside(), &given, &grads) }.unwrap();
        check_stores(&host, &[&grad_gates, &grad_before])?;
    }
}

/// A tensor between two stretches of NaN.
struct Guarded {
    all: Tensor,
    size: Vec<i64>,
}

const GUARD: i64 = 1024;

impl Guarded {
    fn poisoned(size: &[i64], kind: Kind) -> Self {
        let n: i64 = size.iter().product();
        let all = Tensor::full([n + 2 * GUARD], f64::NAN, (kind, CPU));
        Self { all, size: size.into() }
    }

    fn of(tensor: &Tensor) -> Self {
        let guarded = Self::poisoned(&tensor.size(), tensor.kind());
        guarded.inside().copy_(tensor);
        guarded
    }

    fn inside(&self) -> Tensor {
        self.all.narrow(0, GUARD, self.all.numel() as i64 - 2 * GUARD).view(&self.size[..])
    }
}

fn check_stores(host: &Host, written: &[&Guarded]) -> std::result::Result<(), TestCaseError> {
    let mut places = 0;
    for guarded in written {
        let inside = guarded.inside();
        prop_assert_eq!(inside.isnan().any().int64_value(&[]), 0, "NaN is left or was used");
        let nans = guarded.all.isnan().to_kind(Kind::Int64).sum(None).int64_value(&[]);
        prop_assert_eq!(nans, 2 * GUARD, "a place beside was written");
        let bytes = inside.kind().elt_size_in_bytes();
        for i in 0..inside.numel() {
            let at = inside.data_ptr().cast::<u8>().wrapping_add(i * bytes);
            prop_assert_eq!(host.stores(at.cast()), 1);
        }
        places += inside.numel();
    }
    prop_assert_eq!(host.places(), places);
    Ok(())
}

#[test]
fn bfloat16_is_rounded_as_torch_does() {
    // Every exponent, both ties and their neighbours, and what is no number.
    let mut values = vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-40];
    for exponent in 1..255u32 {
        for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1_7fff, 0x1_8000, 0x1_8001] {
            values.push(f32::from_bits(exponent << 23 | low));
            values.push(-f32::from_bits(exponent << 23 | low));
        }
    }
    let n = values.len() as i64;
    let expected = Tensor::from_slice(&values).to_kind(Kind::BFloat16);
    // A gate of 1 before anything: h_1 = 1 · x, whose gradient is the gradient that came, in float
    // only for `before`; x itself must be rounded by the forward.
    let before = Tensor::from_slice(&values).view([1, n]);
    let zeros = Tensor::zeros([1, 1, n], (Kind::BFloat16, CPU));
    let out = forget_mult(Host::get(), &zeros, &zeros, &before).unwrap().view(-1);
    for (i, value) in values.iter().enumerate() {
        let (ours, torchs) = (out.double_value(&[i as i64]), expected.double_value(&[i as i64]));
        // 0 · 0 + 1 · -0 is 0.
        let same = ours == torchs || (ours.is_nan() && torchs.is_nan());
        assert!(same, "{value:e}: {ours:e} and {torchs:e}");
    }
}

#[test]
fn saturated_gates_and_nan_behave_as_on_the_cpu() {
    let extremes = [0.0, 30.0, -30.0, 1e4, -1e4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let rows: Vec<f32> = (0..3).flat_map(|_| extremes).collect();
    let gates = Tensor::from_slice(&rows).view([1, 1, 24]).repeat([3, 1, 1]);
    let before = Tensor::ones([1, 8], (Kind::Float, CPU));
    let given = || Settings { zoneout: Zoneout::Off, dropout: None };
    let ours = fo_pool(Host::get(), &gates, &before, given()).unwrap().output.view(-1);
    let theirs = pool::fo_pool(&gates, &before, Zoneout::Off).unwrap().output.view(-1);
    for i in 0..24 {
        let (a, b) = (ours.double_value(&[i]), theirs.double_value(&[i]));
        assert!((a - b).abs() <= 1e-6 || (a.is_nan() && b.is_nan()), "place {i}: {a} and {b}");
    }
}

#[test]
fn nothing_is_kept_for_a_backward_that_cannot_come() {
    let (gates, before) = (random(&[20, 2, 9], Kind::Float), random(&[2, 3], Kind::Float));
    let given = Settings { zoneout: Zoneout::Off, dropout: None };
    let pooled = fo_pool(Host::get(), &gates, &before, given).unwrap();
    assert!(!pooled.output.requires_grad());
    // The output and the last state, and no state in between.
    assert_eq!(Host::get().places(), 20 * 2 * 3 + 2 * 3);
}

#[test]
fn strided_tensors_and_masks_give_the_same_as_contiguous_ones() {
    let gates = Tensor::randn([4, 6, 17], (Kind::Float, CPU)).permute([2, 0, 1]); // (17, 4, 6)
    let before = Tensor::randn([2, 4], (Kind::Float, CPU)).tr();
    let zoneout = mask(&[4, 17, 2], 0.3, 1.0, Kind::Float).transpose(0, 1);
    let dropout = mask(&[2, 4], 0.3, 1.5, Kind::Float).tr();
    let run = |plain: bool| {
        let as_asked = |t: &Tensor| if plain { t.contiguous() } else { t.shallow_clone() };
        let given = Settings {
            zoneout: Zoneout::Masked(as_asked(&zoneout)),
            dropout: Some(as_asked(&dropout)),
        };
        fo_pool(Host::get(), &as_asked(&gates), &as_asked(&before), given).unwrap().output
    };
    assert!(!gates.is_contiguous() && !zoneout.is_contiguous() && !dropout.is_contiguous());
    assert_eq!(run(false), run(true));
}

#[test]
fn the_launch_knows_the_kernels_constants() {
    for line in
        [format!("constexpr int BLOCK = {BLOCK};"), format!("constexpr int STEPS = {STEPS};")]
    {
        assert!(COLUMN.1.lines().any(|found| found == line), "{line}");
    }
}

/// Every kernel compiles for every card that NVRTC 13 knows; those of the training step keep all of
/// their numbers in registers on the cards that the floor is counted for. `--nocapture` shows the
/// table of kernels/README.md.
#[test]
fn every_kernel_compiles_for_every_card() {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(error) => panic!("this test wants NVRTC, which `cargo xtask setup` brings: {error}"),
    };
    println!("{:33} {:>6} {:>9} {:>7}", "kernel", "target", "registers", "spilled");
    for source in [&FO_POOL, &FORGET_MULT] {
        for architecture in [75, 80, 86, 89, 90, 100, 120] {
            let target = Target::Machine(architecture);
            let (image, log) = compiler.compile(source, target, &["--ptxas-options=-v"]).unwrap();
            assert_eq!(image[..4], *b"\x7fELF");
            let kernels = usage(&log);
            assert_eq!(kernels.len(), if source == &FO_POOL { 8 } else { 4 }, "{log}");
            for (name, registers, spilled) in kernels {
                println!("{name:33} {:>6} {registers:>9} {spilled:>7}", target.name());
                if architecture == 90 && !name.contains("zoneout") {
                    assert!(spilled <= 8, "{name} spills {spilled} bytes");
                }
            }
        }
        let (ptx, _) = compiler.compile(source, Target::Virtual(120), &[]).unwrap();
        assert!(String::from_utf8(ptx).unwrap().contains(".target sm_120"));
    }
}

/// Name, registers and bytes spilled of each kernel, as ptxas tells them.
fn usage(log: &str) -> Vec<(String, u32, u32)> {
    let number = |line: &str, before: &str| -> Option<u32> {
        line.split(before).next()?.split_whitespace().last()?.parse().ok()
    };
    let mut all = vec![];
    let (mut name, mut spilled) = (None, None);
    for line in log.lines() {
        if let Some(rest) = line.split("entry function '").nth(1) {
            name = rest.split('\'').next().map(str::to_owned);
        } else if line.contains("bytes spill stores") {
            spilled = number(line, " bytes spill stores");
        } else if line.contains(" registers") {
            let registers = number(line, " registers");
            all.push((name.take().unwrap(), registers.unwrap(), spilled.take().unwrap()));
        }
    }
    all.sort();
    all
}
