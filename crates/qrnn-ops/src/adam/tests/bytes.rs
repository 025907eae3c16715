//! The bytes of memory that a step reads and writes.

use super::*;

/// Bytes that the last launch read and wrote.
fn bytes(updates: &[AdamUpdate<'_>]) -> usize {
    let shim = HostShim::get().unwrap();
    let copies: usize = updates.iter().filter_map(|u| u.copy).map(Tensor::numel).sum();
    let copy_kinds = updates.iter().filter_map(|u| u.copy.map(|copy| copy.kind()));
    let size = copy_kinds.map(|kind| kind.elt_size_in_bytes()).max().unwrap_or(0);
    let masks: usize = updates.iter().filter_map(|u| u.mask).map(Tensor::numel).sum();
    let (read, written) = (shim.address_count(Access::Read), shim.address_count(Access::Written));
    4 * (read + written - copies - masks) + size * copies + masks
}

/// A step of the entry's model reads parameter, gradient and moments once, and writes all but the
/// gradient, and the bf16 copy, once. Counted at a hundredth of the vocabulary and a tenth of the
/// widths, because bytes per parameter do not depend on the size. `--nocapture` shows the figure
/// that `cargo xtask cuda-dry-run` reads.
#[test]
fn optimizer_bytes_of_the_entry() {
    let parameters_of = |divide: i64| -> Vec<(Vec<i64>, i64)> {
        let (vocab, emsize, nhid) = (267_735 / (divide * divide), 300 / divide, 1800 / divide);
        let row = |width: i64| crate::matmul::augmented_row(width);
        let mut all = vec![];
        for (rows, width) in [
            (vocab, emsize),
            (3 * nhid, 2 * emsize),
            (3 * nhid, nhid),
            (3 * nhid, nhid),
            (3 * emsize, nhid),
            (3, emsize),
        ] {
            all.extend([(vec![rows, width], row(width) - width), (vec![rows], row(width) - 1)]);
        }
        all
    };
    let small: Vec<_> = parameters_of(10)
        .iter()
        .map(|(size, gap)| Parameter::random(&plain(size.clone(), *gap), CPU))
        .collect();
    let updates: Vec<_> = small.iter().map(Parameter::update).collect();
    let [steps, loss, healthy] = [0f32, 1.0, 1.0].map(Tensor::from);
    adam_step(&*HostShim::get().unwrap(), &updates, &steps, (&loss, &healthy), STEP, 0.25).unwrap();
    let numel: usize = small.iter().map(|parameter| parameter.parameter.numel()).sum();
    // Other accesses: loss, steps, healthy, and a sum of each of at most 1,024 blocks.
    let extra = bytes(&updates) - 30 * numel;
    assert!(extra <= 4 * (MAX_BLOCKS as usize + 3), "{extra} bytes more than 30 per parameter");
    for parameter in &small {
        for (tensor, access) in [
            (&parameter.gradient, Access::Read),
            (&parameter.parameter, Access::Read),
            (&parameter.parameter, Access::Written),
            (&parameter.second, Access::Written),
        ] {
            let at = tensor.data_ptr().cast_const();
            assert_eq!(HostShim::get().unwrap().count(at, access), 1);
        }
    }
    let entry: i64 = parameters_of(1).iter().map(|(size, _)| size.iter().product::<i64>()).sum();
    assert_eq!(entry, 104_906_238);
    let (whole, norm) = (30 * entry as usize + extra, 4 * entry as usize);
    println!("optimizer: {whole} bytes a step of the entry (without the norm's {norm})");
    assert!(whole < 3_200_000_000);
}

/// With masks, a step reads a byte more per parameter, and the norm too; scales are read once for each vector of a row.
#[test]
fn masks_take_a_byte_per_parameter() {
    let layout = Layout { masked: true, scales: Scales::PerRow, ..plain(vec![60, 200], 8) };
    let parameter = Parameter::random(&layout, CPU);
    let updates = [parameter.update()];
    let [steps, loss, healthy] = [0f32, 1.0, 1.0].map(Tensor::from);
    adam_step(&*HostShim::get().unwrap(), &updates, &steps, (&loss, &healthy), STEP, 0.25).unwrap();
    let numel = parameter.parameter.numel();
    let extra = bytes(&updates) - 31 * numel;
    assert!(extra <= 4 * (60 + numel.div_ceil(4 * THREADS as usize) + 3), "{extra} bytes more");
    let mask = parameter.mask.as_ref().unwrap().data_ptr().cast_const();
    assert_eq!(HostShim::get().unwrap().count(mask, Access::Read), 1);
}
