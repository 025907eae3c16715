//! Gradient clipping and Adam, with the moments as named tensors.

use tch::{Kind, Tensor};

use super::recipe::Recipe;
use crate::Result;
use crate::libtorch::{AdamStep, AdamTensors, fused_adam};
use crate::model::QrnnLm;

/// Adam over the parameters of one model.
#[derive(Debug)]
pub struct Adam {
    moments: Vec<Moments>,
}

/// Adam's state of one parameter.
#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
    /// Steps done, a scalar of kind Float as libtorch's kernel wants it.
    step: Tensor,
}

impl Adam {
    /// Moments of zero.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn new(model: &QrnnLm) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let moments = model
            .parameters()
            .into_iter()
            .map(|(_, parameter)| {
                Ok(Moments {
                    first: parameter.f_zeros_like()?,
                    second: parameter.f_zeros_like()?,
                    step: Tensor::f_zeros(0, (Kind::Float, parameter.device()))?
                        .f_new_zeros([], (Kind::Float, parameter.device()))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { moments })
    }

    /// One step, after clipping the gradients' common norm to `recipe.clip`.
    ///
    /// * `grads`: one for each of the model's parameters, in their order.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where shapes do not agree.
    pub fn step(
        &mut self,
        model: &QrnnLm,
        grads: &[Tensor],
        recipe: &Recipe,
        lr: f64,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let inverse_scale = match recipe.clip {
            0.0 => None,
            clip => Some(inverse_clip(grads, clip)?),
        };
        let parameters = model.parameters();
        let tensors: Vec<_> = parameters
            .iter()
            .zip(grads)
            .zip(&self.moments)
            .map(|(((_, parameter), grad), moments)| AdamTensors {
                parameter,
                grad,
                exp_avg: &moments.first,
                exp_avg_sq: &moments.second,
                step: &moments.step,
            })
            .collect();
        let step =
            AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: recipe.wdecay };
        fused_adam(&tensors, step, inverse_scale.as_ref())
    }
}

/// What to divide gradients by so that their common norm is at most `clip`: a scalar tensor of at
/// least 1 (clip_grad_norm of torch.nn.utils, its 1e-6 included), never copied to the host.
fn inverse_clip(grads: &[Tensor], clip: f64) -> Result<Tensor> {
    let norms = grads.iter().map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
    let norm = Tensor::f_stack(&norms, 0)?.f_norm()?.f_to_kind(Kind::Float)?;
    Ok(norm.f_add_scalar(1e-6)?.f_div_scalar(clip)?.f_clamp_min(1.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_is_one_below_the_bound_and_the_ratio_above_it() {
        let grads = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[4.0f32])];
        let inverse = |clip| inverse_clip(&grads, clip).unwrap().double_value(&[]);
        assert_eq!(inverse(6.0), 1.0);
        assert!((inverse(0.25) - 20.0).abs() < 1e-4);
    }
}
