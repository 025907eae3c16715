//! Gradient clipping, and the optimizers with their state as tensors.

use tch::{Kind, Tensor};

use super::recipe::{OptimizerKind, Recipe};
use crate::Result;
use crate::model::QrnnLm;
use qrnn_ops::adam::{self, AdamUpdate, BAD_GRADIENT};
use qrnn_ops::cuda::Launch;
use qrnn_ops::libtorch::{AdamStep, AdamTensors, fused_adam};
use qrnn_ops::{cuda, profile};

/// The state of an optimizer over the parameters of one model.
#[derive(Debug)]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015).
    Adam(Vec<Moments>),
    /// Plain stochastic gradient descent.
    Sgd,
    /// Descent that also keeps the mean of all weights since it began (Polyak and Juditsky 1992,
    /// as torch.optim.ASGD with t0 = 0 and lambd = 0).
    Averaged(Average),
}

/// Adam's state of one parameter.
#[derive(Debug)]
pub struct Moments {
    first: Tensor,
    second: Tensor,
    /// Steps done, a scalar of kind Float as libtorch's kernel wants it; on a GPU all parameters
    /// share one.
    step: Tensor,
}

/// The running mean of the weights.
#[derive(Debug)]
pub struct Average {
    /// One a parameter.
    mean: Vec<Tensor>,
    steps: u64,
    /// The rate of the next step: torch's ASGD sets it after a step, so that a rate which changes
    /// from step to step comes one step late. The original trains so.
    rate: Option<f64>,
}

impl Optimizer {
    /// The recipe's optimizer before its first step.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where memory runs out.
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
                Ok(Self::Adam(with_one_counter(model, moments)))
            }
            OptimizerKind::Sgd => Ok(Self::Sgd),
            OptimizerKind::Asgd => Self::averaging(model),
        }
    }

    /// Averaged descent from the model's present weights on.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where memory runs out.
    pub fn averaging(model: &QrnnLm) -> Result<Self> {
        Ok(Self::Averaged(Average { mean: model.weight_copies()?, steps: 0, rate: None }))
    }

    /// What a checkpoint calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Adam(_) => "adam",
            Self::Sgd => "sgd",
            Self::Averaged(_) => "averaged",
        }
    }

    /// Its state as named tensors, for a checkpoint.
    pub(super) fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = vec![];
        match self {
            Self::Sgd => {}
            Self::Adam(moments) => {
                for (i, moments) in moments.iter().enumerate() {
                    all.push((format!("{i}.first"), moments.first.shallow_clone()));
                    all.push((format!("{i}.second"), moments.second.shallow_clone()));
                    all.push((format!("{i}.step"), moments.step.shallow_clone()));
                }
            }
            Self::Averaged(average) => {
                for (i, mean) in average.mean.iter().enumerate() {
                    all.push((format!("{i}.mean"), mean.shallow_clone()));
                }
                let counters = [average.steps as f64, average.rate.unwrap_or(f64::NAN)];
                all.push(("counters".into(), Tensor::f_from_slice(&counters)?));
            }
        }
        Ok(all)
    }

    /// The optimizer that [`Optimizer::name`] and [`Optimizer::tensors`] described; `None` for a
    /// name that there is not. `take` gives a tensor by its name, of the shape of another.
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
                Some(Self::Adam(with_one_counter(model, moments.collect::<Result<_>>()?)))
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

    /// The mean of the weights, where there is one: what is to be evaluated.
    pub fn mean(&self) -> Option<&[Tensor]> {
        match self {
            Self::Averaged(average) => Some(&average.mean),
            Self::Adam(_) | Self::Sgd => None,
        }
    }

    /// One step, after clipping the gradients' common norm to `recipe.clip`. Where the loss or that
    /// norm is no finite number, the weights stay as they are, and so they do in all later steps.
    ///
    /// * `grads`: one for each of the model's parameters, in their order;
    /// * `loss`: a scalar, which is not copied to the host; becomes -infinity where the norm
    ///   is not finite;
    /// * `healthy`: a scalar of kind Float, 1 until a step goes wrong, then 0.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where shapes do not agree.
    pub fn step(
        &mut self,
        model: &QrnnLm,
        grads: &[Tensor],
        (loss, healthy): (&Tensor, &Tensor),
        recipe: &Recipe,
        lr: f64,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        if let (Self::Adam(moments), Some(launcher)) = (&*self, cuda::launcher(model.options().1)?)
        {
            let judged = (loss, healthy);
            return adam_on_gpu(&*launcher, model, grads, judged, moments, recipe, lr);
        }
        let norm = {
            let _stage = profile::stage("gradient norm").over(grads);
            norm(grads)?
        };
        let inverse_scale = match recipe.clip {
            0.0 => None,
            clip => Some(inverse_clip(&norm, clip)?),
        };
        judge(&norm, loss, healthy)?;
        let stage = profile::stage("optimizer");
        match self {
            Self::Adam(moments) => {
                let kept = moments.iter().flat_map(|moments| [&moments.first, &moments.second]);
                let parameters = model.parameters();
                let changed = parameters.iter().map(|(_, tensor)| *tensor).chain(kept);
                // Read and written, but for the gradients.
                let _stage = stage.over(changed.clone().chain(changed).chain(grads));
                adam(model, grads, healthy, moments, recipe, lr, inverse_scale.as_ref())
            }
            Self::Sgd => descend(model, grads, healthy, recipe, lr, inverse_scale.as_ref()),
            Self::Averaged(average) => {
                let rate = average.rate.replace(lr).unwrap_or(lr);
                descend(model, grads, healthy, recipe, rate, inverse_scale.as_ref())?;
                average.steps += 1;
                // torch's mean begins with the weights of the second step.
                let share = 1.0 / average.steps.saturating_sub(1).max(1) as f64;
                for ((_, parameter), mean) in model.parameters().into_iter().zip(&average.mean) {
                    let _ = mean.shallow_clone().f_lerp_(parameter, share)?;
                }
                Ok(())
            }
        }
    }
}

/// On a GPU, the parameters' moments with one counter of steps.
fn with_one_counter(model: &QrnnLm, mut moments: Vec<Moments>) -> Vec<Moments> {
    if cuda::is_gpu(model.options().1)
        && let Some((first, others)) = moments.split_first_mut()
    {
        others.iter_mut().for_each(|other| other.step = first.step.shallow_clone());
    }
    moments
}

/// Clip, skip, update and the copies for the next step's products, all on the GPU.
fn adam_on_gpu(
    launcher: &dyn Launch,
    model: &QrnnLm,
    grads: &[Tensor],
    judged: (&Tensor, &Tensor),
    moments: &[Moments],
    recipe: &Recipe,
    lr: f64,
) -> Result<()> {
    let parameters = model.parameters();
    let copies = model.copies_of_parameters()?;
    let updates: Vec<_> = parameters
        .iter()
        .zip(grads)
        .zip(moments)
        .zip(&copies)
        .map(|((((_, parameter), gradient), moments), copy)| AdamUpdate {
            parameter,
            gradient,
            first_moment: &moments.first,
            second_moment: &moments.second,
            copy: copy.as_ref(),
        })
        .collect();
    let Some(Moments { step: steps, .. }) = moments.first() else { return Ok(()) };
    Ok(adam::adam_step(launcher, &updates, steps, judged, adam_settings(recipe, lr), recipe.clip)?)
}

fn adam_settings(recipe: &Recipe, lr: f64) -> AdamStep {
    AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: recipe.wdecay }
}

fn adam(
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

fn descend(
    model: &QrnnLm,
    grads: &[Tensor],
    healthy: &Tensor,
    recipe: &Recipe,
    lr: f64,
    inverse_scale: Option<&Tensor>,
) -> Result<()> {
    let (healthy, nothing) = (healthy.f_to_kind(Kind::Bool)?, healthy.f_zeros_like()?);
    for ((_, parameter), grad) in model.parameters().into_iter().zip(grads) {
        let mut step = match inverse_scale {
            Some(scale) => grad.f_div(scale)?,
            None => grad.shallow_clone(),
        };
        if recipe.wdecay > 0.0 {
            step = step.f_add(&parameter.f_mul_scalar(recipe.wdecay)?)?;
        }
        let step = step.f_mul_scalar(lr)?.f_where_self(&healthy, &nothing)?;
        let _ = parameter.shallow_clone().f_sub_(&step)?;
    }
    Ok(())
}

/// The common norm of all gradients: a scalar tensor of kind Float, never copied to the host.
fn norm(grads: &[Tensor]) -> Result<Tensor> {
    let square = |grad: &Tensor| -> Result<Tensor> {
        // On a GPU the gradients of biases lie apart, in those of their weights.
        if !grad.is_contiguous() {
            return Ok(grad.f_norm()?.f_square()?);
        }
        let flat = grad.f_reshape(-1)?;
        Ok(flat.f_dot(&flat)?)
    };
    let squares = grads.iter().map(square).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_stack(&squares, 0)?.f_sum(Kind::Double)?.f_sqrt()?.f_to_kind(Kind::Float)?)
}

/// What to divide gradients of this norm by so that it is at most `clip`: a scalar tensor of at least
/// 1 (clip_grad_norm of torch.nn.utils, its 1e-6 included).
fn inverse_clip(norm: &Tensor, clip: f64) -> Result<Tensor> {
    Ok(norm.f_add_scalar(1e-6)?.f_div_scalar(clip)?.f_clamp_min(1.0)?)
}

/// Whether a step may be taken: neither its loss nor its norm is at fault, and no step before was.
/// Says so in `healthy`, and in the loss where it was the norm.
fn judge(norm: &Tensor, loss: &Tensor, healthy: &Tensor) -> Result<()> {
    let (of_norm, of_loss) = (norm.f_isfinite()?, loss.f_isfinite()?);
    let was_healthy = healthy.f_to_kind(Kind::Bool)?;
    let only_norm =
        of_norm.f_logical_not()?.f_logical_and(&of_loss)?.f_logical_and(&was_healthy)?;
    let _ = loss.shallow_clone().f_masked_fill_(&only_norm, BAD_GRADIENT)?;
    let all_well = of_norm.f_logical_and(&of_loss)?.f_logical_and(&was_healthy)?;
    healthy.shallow_clone().f_copy_(&all_well)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_is_one_below_the_bound_and_the_ratio_above_it() {
        let grads = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[4.0f32])];
        let norm = norm(&grads).unwrap();
        let inverse = |clip| inverse_clip(&norm, clip).unwrap().double_value(&[]);
        assert_eq!(inverse(6.0), 1.0);
        assert!((inverse(0.25) - 20.0).abs() < 1e-4);
    }

    #[test]
    fn once_a_step_went_wrong_no_later_one_is_taken() {
        let healthy = Tensor::from(1f32);
        let step = |norm: f32, loss: f32| {
            let loss = Tensor::from(loss);
            judge(&Tensor::from(norm), &loss, &healthy).unwrap();
            (loss.double_value(&[]), healthy.double_value(&[]))
        };
        assert_eq!(step(3.0, 2.0), (2.0, 1.0));
        assert_eq!(step(f32::NAN, 2.0), (BAD_GRADIENT, 0.0));
        assert_eq!(step(3.0, 2.0), (2.0, 0.0));
        assert_eq!(step(f32::INFINITY, 2.0), (2.0, 0.0));
    }
}
