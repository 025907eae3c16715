use std::sync::Arc;

use tch::{Kind, Tensor};

use super::*;

/// Two outputs, x·y and x + y, of which either may have no gradient. The Arc shows when the state
/// is dropped.
struct ProductAndSum(#[allow(dead_code)] Arc<()>);

impl Function for ProductAndSum {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (x, y) = (inputs[0], inputs[1]);
        Ok(Forward {
            outputs: vec![x.f_mul(y)?, x.f_add(y)?],
            saved: vec![x.shallow_clone(), y.shallow_clone()],
        })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [product, sum] = call.grads else { panic!("two outputs") };
        let gradient = |other: &Tensor| -> Result<Option<Tensor>> {
            Ok(match (product, sum) {
                (Some(p), Some(s)) => Some(p.f_mul(other)?.f_add(s)?),
                (Some(p), None) => Some(p.f_mul(other)?),
                (None, Some(s)) => Some(s.shallow_clone()),
                (None, None) => None,
            })
        };
        Ok(vec![gradient(&call.saved[1])?, gradient(&call.saved[0])?])
    }
}

struct Failing {
    panics: bool,
}

impl Function for Failing {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        Ok(Forward { outputs: vec![inputs[0].f_mul_scalar(2.0)?], saved: vec![] })
    }

    fn backward(&self, _: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        assert!(!self.panics, "on purpose");
        Err(crate::Error::shape("this backward", "fails on purpose", "nothing"))
    }
}

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor).unwrap()
}

#[test]
fn gradients_flow_through_both_outputs() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 5.0]));
    let out = apply(ProductAndSum(Arc::new(())), &[&x, &y]).unwrap();
    let loss = (&out[0] * 10.0 + &out[1]).sum(Kind::Double);
    loss.backward();
    assert_eq!(values(&x.grad()), [31.0, 51.0]);
    assert_eq!(values(&y.grad()), [11.0, 21.0]);
}

#[test]
fn an_unused_output_gives_none_not_zeros() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 5.0]));
    let out = apply(ProductAndSum(Arc::new(())), &[&x, &y]).unwrap();
    out[1].sum(Kind::Double).backward();
    assert_eq!(values(&x.grad()), [1.0, 1.0]);
}

#[test]
fn operations_compose_with_themselves_and_with_those_of_torch() {
    let x = leaf(&[2.0]);
    let first = apply(ProductAndSum(Arc::new(())), &[&x, &x]).unwrap(); // x², 2x
    let second = apply(ProductAndSum(Arc::new(())), &[&first[0], &first[1]]).unwrap(); // 2x³
    second[0].exp().log().backward();
    assert!((values(&x.grad())[0] - 24.0).abs() < 1e-9);
}

#[test]
fn no_graph_is_stored_without_gradients() {
    let state = Arc::new(());
    let x = Tensor::from_slice(&[1.0]);
    let out = apply(ProductAndSum(state.clone()), &[&x, &x]).unwrap();
    assert!(!out[0].requires_grad());
    drop(out);
    assert_eq!(Arc::strong_count(&state), 1);
}

#[test]
fn the_state_is_dropped_with_the_graph() {
    let state = Arc::new(());
    let x = leaf(&[1.0]);
    let out = apply(ProductAndSum(state.clone()), &[&x, &x]).unwrap();
    assert_eq!(Arc::strong_count(&state), 2);
    out[0].backward();
    drop(out);
    assert_eq!(Arc::strong_count(&state), 1);
}

#[test]
fn errors_and_panics_in_the_backward_are_returned_as_errors() {
    for panics in [false, true] {
        let x = leaf(&[1.0]);
        let out = apply(Failing { panics }, &[&x]).unwrap();
        let error = out[0].f_backward().unwrap_err().to_string();
        assert!(error.contains(if panics { "panicked" } else { "on purpose" }), "{error}");
    }
}
