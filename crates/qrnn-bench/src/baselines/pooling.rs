//! fo-pooling by peers.

use serde_json::{Value, json};
use tch::{Device, Kind as Numbers};

use super::{Kind, Peer, device, numbers};

/// By whose kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The published design.
    Published,
    /// HGRN of flash-linear-attention.
    Hgrn,
    /// accelerated-scan.
    Scan,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Hgrn => "hgrn",
            Self::Scan => "scan",
        }
    }

    /// For people.
    fn words(self) -> &'static str {
        match self {
            Self::Published => "the published design, eager, fp32",
            Self::Hgrn => "HGRN of flash-linear-attention",
            Self::Scan => "accelerated-scan",
        }
    }
}

/// The peers of these methods, to be started.
pub fn kinds(methods: &[Method], place: Device) -> Vec<Kind> {
    let kind = |method: &Method| Kind {
        name: method.name(),
        words: method.words(),
        config: json!({"work": "pool", "mode": method.name(), "device": device(place)}),
    };
    methods.iter().map(kind).collect()
}

/// How a measurement names a kind of numbers.
pub fn numbers_name(kind: Numbers) -> &'static str {
    if kind == Numbers::BFloat16 { "bf16" } else { "f32" }
}

/// One way in which a peer does it.
pub struct Variant {
    pub name: String,
    pub words: String,
    /// The furthest of output and gradient from double precision, or why it cannot be measured.
    pub off: Result<f64, String>,
}

/// What a variant came to: the seconds of each forward, and of each forward with a backward.
pub struct Times {
    pub variant: String,
    pub seconds: [Vec<f64>; 2],
}

impl Peer {
    /// Makes the peer compile what it needs; [`Self::prepared`] waits for it.
    pub fn prepare(&mut self, size: [i64; 3], kind: Numbers) {
        self.tell(&json!({"prepare": size, "kind": numbers_name(kind)}));
    }

    /// The variants that the peer has for what it was told to prepare: none if it does not do such numbers.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn prepared(&mut self) -> Result<Vec<Variant>, String> {
        let answer = self.answer()?;
        let variant = |(name, value): (&String, &Value)| Variant {
            name: name.clone(),
            words: value["words"].as_str().unwrap_or_default().to_owned(),
            off: match value["failed"].as_str() {
                Some(reason) => Err(reason.to_owned()),
                // A distance that is no number comes as null.
                None => Ok(value["off"].as_f64().unwrap_or(f64::NAN)),
            },
        };
        let variants = answer["variants"].as_object().ok_or("its answer names no variants")?;
        Ok(variants.iter().map(variant).collect())
    }

    /// Runs every variant that was prepared.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn pool(&mut self, runs: usize) -> Result<Vec<Times>, String> {
        let answer = self.ask(&json!({"runs": runs}))?;
        let variants = answer["variants"].as_object().ok_or("its answer names no variants")?;
        let times = |(variant, value): (&String, &Value)| {
            let seconds = ["forward", "both"].map(|name| numbers(&value[name]));
            match seconds.iter().all(|each| each.len() == runs) {
                true => Ok(Times { variant: variant.clone(), seconds }),
                false => Err(format!("it was asked for {runs} runs and did others")),
            }
        };
        variants.iter().map(times).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Peers, python};
    use super::*;

    /// What is around the packages' kernels, and the published way, against double precision. A loop takes
    /// the place of the kernels, which need a GPU.
    #[test]
    fn every_method_computes_fo_pooling() {
        let mut kinds = kinds(&[Method::Published, Method::Hgrn, Method::Scan], Device::Cpu);
        kinds.iter_mut().for_each(|kind| kind.config["plain"] = json!(true));
        let mut peers = Peers::spawn(&python(), kinds).unwrap();
        peers.hello();
        if peers.live.is_empty() && peers.left_out.is_empty() {
            eprintln!("not tested: {}", peers.closing());
            return;
        }
        assert_eq!(peers.live.len(), 3, "{:?}", peers.left_out.first().map(|peer| &peer.reason));
        for (kind, bound) in [(Numbers::Float, 1e-6), (Numbers::BFloat16, 1e-2)] {
            // Lengths below, at and above a power of two, and one column.
            for size in [[20, 3, 50], [32, 2, 7], [37, 1, 5]] {
                peers.live.iter_mut().for_each(|peer| peer.prepare(size, kind));
                for peer in &mut peers.live {
                    let variants = peer.prepared().unwrap();
                    let expected = match (peer.name, kind) {
                        ("published", Numbers::BFloat16) => 0,
                        ("scan", _) => 2,
                        _ => 1,
                    };
                    assert_eq!(variants.len(), expected, "{}", peer.name);
                    for variant in variants {
                        let off = variant.off.unwrap();
                        assert!(off < bound, "{} {}: {off:e}", peer.name, variant.name);
                    }
                    assert_eq!(peer.pool(2).unwrap().len(), expected);
                }
            }
        }
    }

    #[test]
    fn kernels_in_triton_are_left_out_without_a_gpu() {
        let kinds = kinds(&[Method::Hgrn, Method::Scan], Device::Cpu);
        let mut peers = Peers::spawn(&python(), kinds).unwrap();
        peers.hello();
        assert!(peers.live.is_empty());
        if peers.left_out.is_empty() {
            eprintln!("not tested: {}", peers.closing());
        }
        assert!(peers.left_out.iter().all(|peer| peer.reason == "needs a GPU"));
    }
}
