//! Keeps the CUDA copies of the weights up to date.

use qrnn_ops::cuda;
use qrnn_ops::matmul::{
    augmented_weight, matrix_of, one_and_zeros, projection_operand, write_augmented,
    write_projection,
};
use qrnn_ops::profile::{self, Stage};
use qrnn_ops::split_softmax::{self, OperandRows, write_operands};
use tch::Tensor;

use super::layer::QrnnLayer;
use super::lm::QrnnLm;
use super::operands::Operands;
use crate::Result;

impl QrnnLm {
    /// Creates or updates the copies if a parameter, its grid or the precision has changed. Does nothing on the CPU.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn refresh_operands(&mut self) -> Result<()> {
        if !cuda::is_gpu(self.options.1) {
            return Ok(());
        }
        let versions = self.versions()?;
        let _span = profile::span(Stage::Rounding);
        let existing = self.operands.take();
        let existing = existing.filter(|operands| operands.precision == self.precision);
        if existing.as_ref().is_some_and(|operands| operands.versions == versions) {
            self.operands = existing;
            return Ok(());
        }
        let rounded = self.on_grids()?;
        let source = rounded.as_ref().unwrap_or(self);
        self.operands = Some(match existing {
            Some(operands) => {
                source.write_operands(&operands)?;
                Operands { versions, ..operands }
            }
            None => source.new_operands(versions)?,
        });
        Ok(())
    }

    fn write_operands(&self, operands: &Operands) -> Result<()> {
        for (operand, layer) in operands.layers.iter().zip(&self.layers) {
            write_augmented(operand, &[(&layer.weight, &layer.bias)])?;
        }
        write_operands(&self.clusters, &self.softmax, &operands.softmax)?;
        for (operand, matrix) in operands.projections.iter().zip(&self.projections) {
            if let (Some(operand), Some(matrix)) = (operand, matrix) {
                write_projection(matrix, operand)?;
            }
        }
        Ok(())
    }

    fn new_operands(&self, versions: Vec<i64>) -> Result<Operands> {
        let kind = self.precision.activation_kind(self.options);
        let layer = |layer: &QrnnLayer| augmented_weight(&layer.weight, &layer.bias, kind);
        let projection = |matrix: &Option<Tensor>| {
            matrix.as_ref().map(|matrix| projection_operand(matrix, kind)).transpose()
        };
        Ok(Operands {
            precision: self.precision,
            layers: self.layers.iter().map(layer).collect::<Result<_, _>>()?,
            softmax: split_softmax::operands(&self.clusters, &self.softmax, kind)?,
            projections: self.projections.iter().map(projection).collect::<Result<_, _>>()?,
            ones: one_and_zeros((kind, self.options.1))?,
            versions,
        })
    }

    fn versions(&self) -> Result<Vec<i64>> {
        let parameters = self.parameters();
        parameters.iter().map(|(_, tensor)| Ok(tensor.f_internal_version()?)).collect()
    }

    /// The copies, if they exist and are up to date.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] of libtorch.
    pub(super) fn operands(&self) -> Result<Option<&Operands>> {
        let Some(operands) = &self.operands else { return Ok(None) };
        let current =
            operands.precision == self.precision && operands.versions == self.versions()?;
        Ok(current.then_some(operands))
    }

    /// Views of the copies of each parameter, in the order of [`QrnnLm::parameters`]: of consecutive rows, mostly one
    /// for all of them. None on the CPU or if the copies are out of date.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] of libtorch.
    pub(crate) fn copies_of_parameters(&self) -> Result<Vec<Vec<Tensor>>> {
        let Some(operands) = self.operands()? else {
            return Ok(self.parameters().iter().map(|_| vec![]).collect());
        };
        let split = |operand: &Tensor, first: usize, weight: &Tensor| -> Result<[Tensor; 2]> {
            let (rows, width) = weight.size2()?;
            let matrix = operand.f_narrow(0, first as i64, rows)?;
            Ok([matrix.f_narrow(1, 0, width)?, matrix.f_select(1, width)?])
        };
        let at = |OperandRows { operand, first, .. }, weight: &Tensor| {
            split(&operands.softmax[operand], first, weight)
        };
        let (mut all, mut decoder_bias) = (vec![], vec![]);
        for (i, weight) in self.softmax.weights.iter().enumerate() {
            // The bias of an adaptive model lies in the operands of all clusters.
            let [weight, bias] = at(self.clusters.token_rows(i), weight)?;
            all.push(vec![weight]);
            decoder_bias.push(bias);
        }
        for (operand, matrix) in operands.projections.iter().zip(&self.projections) {
            if let (Some(operand), Some(matrix)) = (operand, matrix) {
                all.push(vec![matrix_of(operand, matrix.size2()?)?]);
            }
        }
        for (operand, layer) in operands.layers.iter().zip(&self.layers) {
            all.extend(split(operand, 0, &layer.weight)?.map(|copy| vec![copy]));
        }
        all.push(decoder_bias);
        if let Some((vectors, _)) = &self.softmax.tail {
            all.extend(at(self.clusters.tombstone_rows(), vectors)?.map(|copy| vec![copy]));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use qrnn_ops::matmul::Precision;

    use super::*;
    use crate::model::{CopyGrid, LmConfig, Splits};
    use qrnn_ops::cuda::host_shim::as_on_a_gpu;
    use tch::{Device, Kind};

    /// Each copy equals its parameter after every refresh, and is not used once the parameter changes.
    #[test]
    fn copies_are_refreshed_when_parameters_change() {
        let config = LmConfig::paper(6, 10).vocab(30).layers(2).splits(Splits::At(vec![8, 16]));
        as_on_a_gpu(|| {
            check(&config);
            check(&config.clone().widths([6, 3, 1]));
            check(&config.clone().widths([4, 6, 2]));
        });
    }

    /// While copies are rounded they equal the rounded parameters, and the embedding is gathered from them.
    #[test]
    fn copies_are_rounded_to_the_grids_of_a_compression() {
        let config = LmConfig::paper(6, 10).vocab(30).layers(2).splits(Splits::At(vec![8, 16]));
        as_on_a_gpu(|| {
            for config in [config.clone(), config.widths([6, 3, 1])] {
                check_rounded(&config, Precision::Single);
                check_rounded(&config, Precision::Bf16);
            }
        });
    }

    fn check_rounded(config: &LmConfig, precision: Precision) {
        let _no_grad = tch::no_grad_guard();
        let mut model = QrnnLm::seeded(config, (Kind::Float, Device::Cpu), 1).unwrap();
        model.set_precision(precision);
        model.refresh_operands().unwrap();
        let grid = |(name, parameter): (String, &Tensor)| {
            let rows = if name.starts_with("rnns") { parameter.size()[0] } else { 1 };
            let scales = Tensor::linspace(0.01, 0.05, rows, (Kind::Float, Device::Cpu));
            (!name.contains("linear.bias")).then_some(CopyGrid { scales, largest: 7 })
        };
        model.round_copies(Some(model.parameters().into_iter().map(grid).collect()));
        assert!(model.operands().unwrap().is_none(), "the copies are not rounded yet");
        model.refresh_operands().unwrap();
        let rounded = model.on_grids().unwrap().unwrap();
        let copies = model.copies_of_parameters().unwrap();
        for ((name, parameter), copies) in rounded.parameters().iter().zip(&copies) {
            let copy = Tensor::cat(copies, 0);
            assert_eq!(copy, parameter.to_kind(copy.kind()), "{name}");
        }
        let tokens = Tensor::arange(30, (Kind::Int64, Device::Cpu)).view([6, 5]);
        let (ours, expected) = (model.embed(&tokens).unwrap(), rounded.embed(&tokens).unwrap());
        assert_eq!(ours.kind(), precision.activation_kind((Kind::Float, Device::Cpu)));
        let tolerance = if precision == Precision::Bf16 { 1e-2 } else { 1e-6 };
        let off = (ours - &expected).norm() / expected.norm();
        assert!(off.double_value(&[]) < tolerance, "{off:?}");
        model.round_copies(None);
        model.refresh_operands().unwrap();
        let exact = &model.copies_of_parameters().unwrap()[0][0];
        assert_eq!(*exact, model.parameters()[0].1.to_kind(exact.kind()));
    }

    fn check(config: &LmConfig) {
        let mut model = QrnnLm::seeded(config, (Kind::Float, Device::Cpu), 1).unwrap();
        for precision in [Precision::Single, Precision::Bf16] {
            model.set_precision(precision);
            assert!(model.copies_of_parameters().unwrap().iter().all(Vec::is_empty));
            for round in 0..model.parameters().len() {
                model.refresh_operands().unwrap();
                let copies = model.copies_of_parameters().unwrap();
                for ((name, parameter), copies) in model.parameters().iter().zip(&copies) {
                    let copy = Tensor::cat(copies, 0);
                    let kind = precision.activation_kind((Kind::Float, Device::Cpu));
                    assert_eq!(copy.kind(), kind, "{name}");
                    assert_eq!(copy, parameter.to_kind(kind), "{name}, round {round}");
                }
                let _no_grad = tch::no_grad_guard();
                let _ = model.parameters()[round].1.shallow_clone().g_add_scalar_(0.5);
                // Now the copies are out of date, so they are not used.
                assert!(model.operands().unwrap().is_none());
            }
        }
    }
}
