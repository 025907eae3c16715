//! fo-pooling by baselines.

use serde_json::{Value, json};
use tch::{Device, Kind};

use super::{Baseline, BaselineSpec, Name, device, numbers};

/// The kernels.
pub const METHODS: [Name; 3] = [
    ("published", "the published design, eager, fp32"),
    ("hgrn", "HGRN of flash-linear-attention"),
    ("scan", "accelerated-scan"),
];

/// The baselines with these names.
pub fn specs(names: &[String], on: Device) -> Vec<BaselineSpec> {
    super::specs(
        &METHODS,
        names,
        |name| json!({"work": "pool", "mode": name, "device": device(on)}),
    )
}

/// The name of a kind in JSON and text.
pub fn kind_name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 { "bf16" } else { "f32" }
}

/// A variant of a baseline's kernel.
pub struct Variant {
    pub name: String,
    pub label: String,
    /// The larger relative deviation of output and gradient from double precision, if it was computed, or
    /// why the variant is left out.
    pub deviation: Result<Option<f64>, String>,
}

/// The times of a variant.
pub struct Times {
    pub variant: String,
    /// Seconds of each forward, and of each forward with a backward.
    pub seconds: [Vec<f64>; 2],
}

impl Baseline {
    /// Compiles the kernels for a shape (seq, batch, hidden); [`Self::prepared`] waits for it.
    pub fn prepare(&mut self, size: [i64; 3], kind: Kind) {
        self.tell(&json!({"prepare": size, "kind": kind_name(kind)}));
    }

    /// The variants for the prepared shape and kind; none if the kind is not supported.
    pub fn prepared(&mut self) -> Result<Vec<Variant>, String> {
        let answer = self.answer()?;
        let variant = |(name, value): (&String, &Value)| Variant {
            name: name.clone(),
            label: value["words"].as_str().unwrap_or_default().to_owned(),
            deviation: match value["failed"].as_str() {
                Some(reason) => Err(reason.to_owned()),
                // JSON has null for NaN.
                None => Ok(Some(value["off"].as_f64().unwrap_or(f64::NAN))),
            },
        };
        let variants = answer["variants"].as_object().ok_or("its answer names no variants")?;
        Ok(variants.iter().map(variant).collect())
    }

    /// Runs every prepared variant `runs` times.
    pub fn pool(&mut self, runs: usize) -> Result<Vec<Times>, String> {
        let answer = self.ask(&json!({"runs": runs}))?;
        let variants = answer["variants"].as_object().ok_or("its answer names no variants")?;
        let times = |(variant, value): (&String, &Value)| {
            let seconds = ["forward", "both"].map(|name| numbers(&value[name]));
            if seconds.iter().all(|each| each.len() == runs) {
                Ok(Times { variant: variant.clone(), seconds })
            } else {
                Err(format!("it did not report {runs} runs"))
            }
        };
        variants.iter().map(times).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Baselines, python, started};
    use super::*;

    /// Compares the methods with double precision. A loop replaces the packages' kernels, which need a GPU.
    #[test]
    #[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
    fn with_torch_every_method_computes_fo_pooling() {
        let mut specs = specs(&METHODS.map(|(name, _)| name.into()), Device::Cpu);
        specs.iter_mut().for_each(|spec| spec.config["plain"] = json!(true));
        let mut baselines = started(specs);
        for (kind, bound) in [(Kind::Float, 1e-6), (Kind::BFloat16, 1e-2)] {
            // Lengths below, at and above a power of two; batch size 1.
            for size in [[20, 3, 50], [32, 2, 7], [37, 1, 5]] {
                baselines.live.iter_mut().for_each(|baseline| baseline.prepare(size, kind));
                for baseline in &mut baselines.live {
                    let variants = baseline.prepared().unwrap();
                    let expected = match (baseline.name, kind) {
                        ("published", Kind::BFloat16) => 0,
                        ("scan", _) => 2,
                        _ => 1,
                    };
                    assert_eq!(variants.len(), expected, "{}", baseline.name);
                    for variant in variants {
                        let deviation = variant.deviation.unwrap().unwrap();
                        assert!(
                            deviation < bound,
                            "{} {}: {deviation:e}",
                            baseline.name,
                            variant.name
                        );
                    }
                    assert_eq!(baseline.pool(2).unwrap().len(), expected);
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
    fn with_torch_triton_kernels_are_left_out_without_a_gpu() {
        let specs = specs(&["hgrn".into(), "scan".into()], Device::Cpu);
        let baselines = Baselines::spawn(&python(), specs, Device::Cpu).unwrap();
        let reasons = baselines.left_out.iter().map(|baseline| baseline.reason.as_str());
        assert_eq!(reasons.collect::<Vec<_>>(), ["needs a GPU"; 2]);
    }
}
