//! Gates with padded rows, as the linear map of a GPU writes them.

use tch::{Kind, Tensor};

use super::tests::random;
use crate::cuda::host_shim::as_on_a_gpu;
use crate::fo_pool::{FoPoolOptions, fo_pool_features};
use crate::matmul::{Features, Precision, linear_of_features};

/// A linear map, pooling and the next linear map, forward and backward: padding has no effect.
#[test]
fn padded_rows_do_not_change_a_layer() {
    let (seq, batch, inputs, hidden, outputs) = (9, 3, 7, 5, 4);
    let leaf = |size: &[i64]| random(size, Kind::Float).set_requires_grad(true);
    let (x, initial_state) = (leaf(&[seq, batch, inputs]), leaf(&[batch, hidden]));
    let (weight, bias) = (leaf(&[3 * hidden, inputs]), leaf(&[3 * hidden]));
    let (next, next_bias) = (leaf(&[outputs, hidden]), leaf(&[outputs]));
    let run = || {
        let features = Features::of(&[&x], None).unwrap();
        let gates = linear_of_features(&features, &weight, &bias, Precision::Torch, None).unwrap();
        let options = FoPoolOptions::default();
        let (pooled, state) = fo_pool_features(&gates, &initial_state, options).unwrap();
        let out = linear_of_features(&pooled, &next, &next_bias, Precision::Torch, None).unwrap();
        let rows = [&gates, &pooled, &out].map(|features| features.all.size()[2]);
        let view = out.view().unwrap();
        let score = view.square().sum(Kind::Float) + state.sum(Kind::Float);
        let leaves = [&x, &initial_state, &weight, &bias, &next, &next_bias];
        (view, Tensor::run_backward(&[&score], &leaves, false, false), rows)
    };
    let (plain, plain_grads, rows) = run();
    assert_eq!(rows, [15, 5, 4]);
    let (padded, grads, rows) = as_on_a_gpu(run);
    assert_eq!(rows, [16, 8, 8]);
    assert!(plain.allclose(&padded, 1e-5, 1e-6, false));
    for (a, b) in plain_grads.iter().zip(&grads) {
        // By the norm: single elements can be small differences of large terms.
        let difference = ((a - b).norm() / a.norm()).double_value(&[]);
        assert!(difference < 1e-5, "{difference}: {a} {b}");
    }
}
