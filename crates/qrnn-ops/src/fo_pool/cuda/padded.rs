//! Gates with padded rows, as cuBLAS's fast path writes them.

use super::pool::{fo_pool, row_stride};
use tch::{Kind, Tensor};

use super::tests::{CPU, random};
use crate::cuda::host_shim::HostShim;
use crate::fo_pool::options::{FoPoolOptions, Zoneout};
use crate::matmul::{Features, Precision, linear_in_rows};

#[test]
fn row_stride_exists_for_equidistant_rows() {
    let tensor = Tensor::zeros([5, 4, 10], (Kind::Float, CPU));
    let cases = [
        (tensor.shallow_clone(), Some(10)),
        (tensor.narrow(2, 0, 9), Some(10)),
        (tensor.narrow(1, 0, 1).narrow(2, 0, 9), Some(40)),
        (tensor.narrow(0, 0, 1).narrow(2, 0, 9), Some(10)),
        (tensor.narrow(1, 1, 2).narrow(2, 0, 9), None),
        (tensor.permute([2, 1, 0]), None),
        (tensor.narrow(0, 0, 1).expand([5, 4, 10], false), None),
    ];
    for (i, (gates, expected)) in cases.iter().enumerate() {
        assert_eq!(row_stride(gates), *expected, "case {i}");
    }
}

/// A linear map with padded output rows, then pooling, forward and backward: the padding has no effect, and
/// the gradient has the gates' strides.
#[test]
fn padded_rows_do_not_change_a_layer() {
    let (seq, batch, inputs, hidden) = (9, 3, 7, 5);
    let leaf = |size: &[i64]| random(size, Kind::Float).set_requires_grad(true);
    let (x, initial_state) = (leaf(&[seq, batch, inputs]), random(&[batch, hidden], Kind::Float));
    let (weight, bias) = (leaf(&[3 * hidden, inputs]), leaf(&[3 * hidden]));
    let features = Features::of(&[&x], None).unwrap();
    let run = |align: i64| {
        let gates =
            linear_in_rows(&features, &weight, &bias, Precision::Torch, (None, align)).unwrap();
        let row = if align == 1 { 15 } else { 16 };
        assert_eq!(gates.stride(), [batch * row, row, 1]);
        let options = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
        let output = fo_pool(HostShim::get().unwrap(), &gates, &initial_state, options, hidden)
            .unwrap()
            .output;
        let score = output.square().sum(Kind::Float);
        let leaves = [&gates, &x, &weight, &bias];
        let grads = Tensor::run_backward(&[&score], &leaves, false, false);
        assert_eq!(grads[0].stride(), gates.stride());
        (output, grads)
    };
    let ((plain, plain_grads), (padded, grads)) = (run(1), run(8));
    assert!(plain.allclose(&padded, 1e-5, 1e-6, false));
    for (a, b) in plain_grads.iter().zip(&grads) {
        assert!(a.allclose(b, 1e-5, 1e-5, false), "{a} {b}");
    }
}
