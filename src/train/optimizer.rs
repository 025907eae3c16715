//! Gradient clipping, and optimizers whose state is tensors.

use tch::{Kind, Tensor};

use super::adam_on_gpu::adam_on_gpu;
use super::gradients::Gradients;
use super::moments::{Moments, adam_settings};
use super::recipe::{OptimizerKind, Recipe};
use crate::Result;
use crate::model::QrnnLm;
use qrnn_ops::adam::BAD_GRADIENT;
use qrnn_ops::cuda;
use qrnn_ops::libtorch::{AdamTensors, fused_adam};
use qrnn_ops::profile::{self, Stage};

/// An optimizer with its state for the parameters of one model.
#[derive(Debug)]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015); one entry per parameter.
    Adam(Vec<Moments>),
    /// Plain stochastic gradient descent.
    Sgd,
    /// Averaged SGD: also keeps the running mean of the weights (Polyak and Juditsky 1992; torch.optim.ASGD
    /// with t0 = 0 and lambd = 0).
    Averaged(Average),
}

/// State of averaged SGD.
#[derive(Debug)]
pub struct Average {
    /// Running mean of each parameter.
    mean: Vec<Tensor>,
    steps: u64,
    /// Learning rate of the next step. torch's ASGD updates it after each step, so a changing rate takes
    /// effect one step late; awd-lstm-lm trains that way.
    rate: Option<f64>,
}

impl Optimizer {
    /// Creates the optimizer of a recipe in its initial state.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn new(model: &QrnnLm, recipe: &Recipe) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        match recipe.optimizer {
            OptimizerKind::Adam => {
                let options = (Kind::Float, model.options().1);
                let moments = model
                    .parameters()
                    .into_iter()
                    .map(|(_, parameter)| {
                        Ok(Moments {
                            first: parameter.f_zeros_like()?,
                            second: parameter.f_zeros_like()?,
                            step: Tensor::f_zeros(&[] as &[i64], options)?,
                        })
                    })
                    .collect::<Result<_>>()?;
                Ok(Self::Adam(share_step_counter(model, moments)))
            }
            OptimizerKind::Sgd => Ok(Self::Sgd),
            OptimizerKind::Asgd => Self::averaging(model),
        }
    }

    /// Creates averaged SGD that starts from the current weights.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn averaging(model: &QrnnLm) -> Result<Self> {
        Ok(Self::Averaged(Average { mean: model.weight_copies()?, steps: 0, rate: None }))
    }

    /// Name in checkpoints.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Adam(_) => "adam",
            Self::Sgd => "sgd",
            Self::Averaged(_) => "averaged",
        }
    }

    /// State as named tensors, for a checkpoint.
    pub(super) fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = vec![];
        match self {
            Self::Sgd => {}
            Self::Adam(moments) => {
                for (i, moments) in moments.iter().enumerate() {
                    tensors.push((format!("{i}.first"), moments.first.shallow_clone()));
                    tensors.push((format!("{i}.second"), moments.second.shallow_clone()));
                    tensors.push((format!("{i}.step"), moments.step.shallow_clone()));
                }
            }
            Self::Averaged(average) => {
                for (i, mean) in average.mean.iter().enumerate() {
                    tensors.push((format!("{i}.mean"), mean.shallow_clone()));
                }
                let counters = [average.steps as f64, average.rate.unwrap_or(f64::NAN)];
                tensors.push(("counters".into(), Tensor::f_from_slice(&counters)?));
            }
        }
        Ok(tensors)
    }

    /// Restores an optimizer from its [`Optimizer::name`] and [`Optimizer::tensors`]; `None` for an unknown
    /// name. `take` returns a tensor by name, of the same shape as the given tensor.
    pub(super) fn restored(
        model: &QrnnLm,
        name: &str,
        take: &dyn Fn(String, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Option<Self>> {
        let parameters = model.parameters();
        let parameters = parameters.iter().enumerate();
        Ok(match name {
            "sgd" => Some(Self::Sgd),
            "adam" => {
                let moments = parameters.map(|(i, (_, parameter))| {
                    Ok(Moments {
                        first: take(format!("{i}.first"), Some(parameter))?,
                        second: take(format!("{i}.second"), Some(parameter))?,
                        step: take(format!("{i}.step"), None)?,
                    })
                });
                Some(Self::Adam(share_step_counter(model, moments.collect::<Result<_>>()?)))
            }
            "averaged" => {
                let mean = parameters
                    .map(|(i, (_, parameter))| take(format!("{i}.mean"), Some(parameter)))
                    .collect::<Result<_>>()?;
                let counters = take("counters".into(), None)?;
                let rate = Some(counters.f_double_value(&[1])?).filter(|rate| !rate.is_nan());
                let steps = counters.f_double_value(&[0])? as u64;
                Some(Self::Averaged(Average { mean, steps, rate }))
            }
            _ => None,
        })
    }

    /// The averaged weights, which are evaluated instead of the current ones; `None` without averaging.
    pub fn mean(&self) -> Option<&[Tensor]> {
        match self {
            Self::Averaged(average) => Some(&average.mean),
            Self::Adam(_) | Self::Sgd => None,
        }
    }

    /// Running means of the squared gradients of parameter `i`; `None` if the optimizer has none.
    pub(super) fn squared_gradients(&self, i: usize) -> Option<&Tensor> {
        match self {
            Self::Adam(moments) => Some(&moments[i].second),
            Self::Averaged(_) | Self::Sgd => None,
        }
    }

    /// Removes the state of pruned weights of parameter `i`: moments and means.
    ///
    /// * `mask`: 1 where a weight stays, else 0.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if the shapes do not match.
    pub(super) fn mask_state(&self, i: usize, mask: &Tensor) -> Result<()> {
        let state = match self {
            Self::Adam(moments) => vec![&moments[i].first, &moments[i].second],
            Self::Averaged(average) => vec![&average.mean[i]],
            Self::Sgd => vec![],
        };
        for tensor in state {
            let _ = tensor.shallow_clone().f_mul_(mask)?;
        }
        Ok(())
    }

    /// Clips the global norm of the gradients to `recipe.clip` and updates the weights. Once the loss or
    /// the norm is not finite, this and all later steps leave the weights unchanged. Does not synchronize
    /// with the device.
    ///
    /// * `grads`: those that masks make 0 do not count in the norm;
    /// * `loss`: scalar; set to -infinity if the norm is not finite;
    /// * `healthy`: scalar of kind Float: 1, or 0 after a step that was not finite.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if the shapes do not match.
    pub fn step(
        &mut self,
        model: &QrnnLm,
        grads: Gradients<'_>,
        (loss, healthy): (&Tensor, &Tensor),
        recipe: &Recipe,
        lr: f64,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        if let (Self::Adam(moments), Some(launcher)) = (&*self, cuda::launcher(model.options().1)?)
        {
            return adam_on_gpu(&*launcher, model, grads, (loss, healthy), moments, recipe, lr);
        }
        for (gradient, mask) in grads.all.iter().zip(grads.masks) {
            if let Some(mask) = mask {
                // As the kernel: a pruned weight's infinite gradient counts as 0, and not as NaN.
                let _ = gradient.shallow_clone().f_masked_fill_(&mask.f_eq(0)?, 0.0)?;
            }
        }
        let grads = grads.all;
        let norm = {
            let _span = profile::span(Stage::GradientNorm);
            norm(grads)?
        };
        let inverse_scale = match recipe.clip {
            0.0 => None,
            clip => Some(inverse_clip(&norm, clip)?),
        };
        check_finite(&norm, loss, healthy)?;
        let _span = profile::span(Stage::Optimizer);
        match self {
            Self::Adam(moments) => {
                adam_by_libtorch(model, grads, healthy, moments, recipe, lr, inverse_scale.as_ref())
            }
            Self::Sgd => sgd_step(model, grads, healthy, recipe, lr, inverse_scale.as_ref()),
            Self::Averaged(average) => {
                let rate = average.rate.replace(lr).unwrap_or(lr);
                sgd_step(model, grads, healthy, recipe, rate, inverse_scale.as_ref())?;
                average.steps += 1;
                // torch.optim.ASGD: the mean starts with the weights after the second step.
                let weight = 1.0 / average.steps.saturating_sub(1).max(1) as f64;
                for ((_, parameter), mean) in model.parameters().into_iter().zip(&average.mean) {
                    let _ = mean.shallow_clone().f_lerp_(parameter, weight)?;
                }
                Ok(())
            }
        }
    }
}

/// On a GPU, makes all parameters share the step counter of the first.
fn share_step_counter(model: &QrnnLm, mut moments: Vec<Moments>) -> Vec<Moments> {
    if cuda::is_gpu(model.options().1)
        && let Some((first, others)) = moments.split_first_mut()
    {
        others.iter_mut().for_each(|other| other.step = first.step.shallow_clone());
    }
    moments
}

fn adam_by_libtorch(
    model: &QrnnLm,
    grads: &[Tensor],
    healthy: &Tensor,
    moments: &[Moments],
    recipe: &Recipe,
    lr: f64,
    inverse_scale: Option<&Tensor>,
) -> Result<()> {
    let parameters = model.parameters();
    let tensors: Vec<_> = parameters
        .iter()
        .zip(grads)
        .zip(moments)
        .map(|(((_, parameter), grad), moments)| AdamTensors {
            parameter,
            grad,
            exp_avg: &moments.first,
            exp_avg_sq: &moments.second,
            step: &moments.step,
        })
        .collect();
    let step = adam_settings(recipe, lr);
    let skip = healthy.f_logical_not()?.f_to_kind(Kind::Float)?;
    Ok(fused_adam(&tensors, step, inverse_scale, Some(&skip))?)
}

fn sgd_step(
    model: &QrnnLm,
    grads: &[Tensor],
    healthy: &Tensor,
    recipe: &Recipe,
    lr: f64,
    inverse_scale: Option<&Tensor>,
) -> Result<()> {
    let (healthy, zero) = (healthy.f_to_kind(Kind::Bool)?, healthy.f_zeros_like()?);
    for ((_, parameter), grad) in model.parameters().into_iter().zip(grads) {
        let mut step = match inverse_scale {
            Some(scale) => grad.f_div(scale)?,
            None => grad.shallow_clone(),
        };
        if recipe.wdecay > 0.0 {
            step = step.f_add(&parameter.f_mul_scalar(recipe.wdecay)?)?;
        }
        let step = step.f_mul_scalar(lr)?.f_where_self(&healthy, &zero)?;
        let _ = parameter.shallow_clone().f_sub_(&step)?;
    }
    Ok(())
}

/// Global L2 norm of the gradients: a scalar tensor of kind Float on their device.
fn norm(grads: &[Tensor]) -> Result<Tensor> {
    let square = |grad: &Tensor| -> Result<Tensor> {
        // On a GPU, the gradient of a bias is a strided view into that of its weight.
        if !grad.is_contiguous() {
            return Ok(grad.f_norm()?.f_square()?);
        }
        let flat = grad.f_reshape(-1)?;
        Ok(flat.f_dot(&flat)?)
    };
    let squares = grads.iter().map(square).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_stack(&squares, 0)?.f_sum(Kind::Double)?.f_sqrt()?.f_to_kind(Kind::Float)?)
}

/// Divisor that clips gradients of this norm to `clip`: a scalar tensor of at least 1, as in
/// torch.nn.utils.clip_grad_norm_, including its 1e-6.
fn inverse_clip(norm: &Tensor, clip: f64) -> Result<Tensor> {
    Ok(norm.f_add_scalar(1e-6)?.f_div_scalar(clip)?.f_clamp_min(1.0)?)
}

/// Sets `healthy` to 0 if the norm or the loss is not finite, and the loss to [`BAD_GRADIENT`] if the norm
/// is the first to fail.
fn check_finite(norm: &Tensor, loss: &Tensor, healthy: &Tensor) -> Result<()> {
    let (norm_finite, loss_finite) = (norm.f_isfinite()?, loss.f_isfinite()?);
    let was_healthy = healthy.f_to_kind(Kind::Bool)?;
    let only_norm_failed =
        norm_finite.f_logical_not()?.f_logical_and(&loss_finite)?.f_logical_and(&was_healthy)?;
    let _ = loss.shallow_clone().f_masked_fill_(&only_norm_failed, BAD_GRADIENT)?;
    let is_healthy = norm_finite.f_logical_and(&loss_finite)?.f_logical_and(&was_healthy)?;
    healthy.shallow_clone().f_copy_(&is_healthy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_clip_is_one_below_the_bound_and_the_ratio_above_it() {
        let grads = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[4.0f32])];
        let norm = norm(&grads).unwrap();
        let inverse = |clip| inverse_clip(&norm, clip).unwrap().double_value(&[]);
        assert_eq!(inverse(6.0), 1.0);
        assert!((inverse(0.25) - 20.0).abs() < 1e-4);
    }

    #[test]
    fn no_step_is_taken_after_one_that_was_not_finite() {
        let healthy = Tensor::from(1f32);
        let step = |norm: f32, loss: f32| {
            let loss = Tensor::from(loss);
            check_finite(&Tensor::from(norm), &loss, &healthy).unwrap();
            (loss.double_value(&[]), healthy.double_value(&[]))
        };
        assert_eq!(step(3.0, 2.0), (2.0, 1.0));
        assert_eq!(step(f32::NAN, 2.0), (BAD_GRADIENT, 0.0));
        assert_eq!(step(3.0, 2.0), (2.0, 0.0));
        assert_eq!(step(f32::INFINITY, 2.0), (2.0, 0.0));
    }
}
