//! Gates whose rows lie further apart than they are long, as a card's fast matrix products want them.

use super::pool::{fo_pool, row_stride};
use tch::{Kind, Tensor};

use super::tests::{CPU, random};
use crate::cuda::host_shim::HostShim;
use crate::fo_pool::options::{FoPoolOptions, Zoneout};
use crate::matmul::{Features, Precision, linear_in_rows};

#[test]
fn rows_that_lie_evenly_are_taken_as_they_are() {
    let room = Tensor::zeros([5, 4, 10], (Kind::Float, CPU));
    let cases = [
        (room.shallow_clone(), Some(10)),
        (room.narrow(2, 0, 9), Some(10)),
        (room.narrow(1, 0, 1).narrow(2, 0, 9), Some(40)),
        (room.narrow(0, 0, 1).narrow(2, 0, 9), Some(10)),
        (room.narrow(1, 1, 2).narrow(2, 0, 9), None),
        (room.permute([2, 1, 0]), None),
        (room.narrow(0, 0, 1).expand([5, 4, 10], false), None),
    ];
    for (i, (gates, expected)) in cases.iter().enumerate() {
        assert_eq!(row_stride(gates), *expected, "case {i}");
    }
}

/// The linear map's output in padded rows, through pooling and back to the map's weights: what lies
/// between the rows comes into nothing, and the gradient's rows lie as the gates' do.
#[test]
fn a_layer_in_padded_rows_is_the_same_layer() {
    let (seq, batch, inputs, hidden) = (9, 3, 7, 5);
    let leaf = |size: &[i64]| random(size, Kind::Float).set_requires_grad(true);
    let (x, before) = (leaf(&[seq, batch, inputs]), random(&[batch, hidden], Kind::Float));
    let (weight, bias) = (leaf(&[3 * hidden, inputs]), leaf(&[3 * hidden]));
    let features = Features::of(&[&x], None).unwrap();
    let run = |align: i64| {
        let gates =
            linear_in_rows(&features, &weight, &bias, Precision::Torch, (None, align)).unwrap();
        let row = if align == 1 { 15 } else { 16 };
        assert_eq!(gates.stride(), [batch * row, row, 1]);
        let given = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
        let output =
            fo_pool(HostShim::get().unwrap(), &gates, &before, given, hidden).unwrap().output;
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
