//! Training steps and evaluations of peers.

use std::path::Path;

use serde_json::json;
use tch::Device;

use super::{Kind, Peer, device, numbers};

/// How a peer takes its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Eager, single precision, the published pooling kernel.
    Published,
    /// The same with TF32 allowed.
    Tf32,
    /// torch.compile, bf16, fused Adam.
    Tuned,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Tf32 => "tf32",
            Self::Tuned => "tuned",
        }
    }

    /// For people.
    fn words(self) -> &'static str {
        match self {
            Self::Published => "published step, eager, fp32",
            Self::Tf32 => "the same, TF32 allowed",
            Self::Tuned => "tuned: torch.compile, bf16, fused Adam",
        }
    }
}

/// What a peer is to do.
pub struct Setting<'a> {
    /// Holds what [`crate::torch_model::write_inputs`] wrote.
    pub folder: &'a Path,
    pub device: Device,
    /// First words of the softmax's tails.
    pub splits: &'a [usize],
    pub batch: usize,
    /// Of every locked dropout.
    pub dropout: f64,
    pub clip: f64,
}

impl Setting<'_> {
    /// The peers of these modes, to be started.
    pub fn kinds(&self, modes: &[Mode]) -> Vec<Kind> {
        let kind = |mode: &Mode| Kind {
            name: mode.name(),
            words: mode.words(),
            config: json!({"work": "step", "mode": mode.name(), "device": device(self.device),
                "inputs": self.folder, "splits": self.splits, "batch": self.batch,
                "dropout": self.dropout, "clip": self.clip}),
        };
        modes.iter().map(kind).collect()
    }
}

/// What some steps came to.
pub struct Steps {
    pub losses: Vec<f64>,
    /// Of all, by the wall clock.
    pub seconds: f64,
    /// Of each, by the device's clock.
    pub each: Vec<f64>,
    /// On a card.
    pub peak_bytes: Option<f64>,
}

impl Peer {
    /// Trains a step of each length and rate, on the words after those of the last.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn steps(&mut self, lengths: &[usize], rates: &[f64]) -> Result<Steps, String> {
        let answer = self.ask(&json!({"lengths": lengths, "rates": rates}))?;
        let steps = Steps {
            losses: numbers(&answer["losses"]),
            seconds: answer["seconds"].as_f64().unwrap_or(f64::NAN),
            each: numbers(&answer["step_seconds"]),
            peak_bytes: answer["peak_bytes"].as_f64(),
        };
        match steps.losses.len() == lengths.len() && steps.each.len() == lengths.len() {
            true => Ok(steps),
            false => Err(format!("it was asked for {} steps and did others", lengths.len())),
        }
    }

    /// Weights, optimizer and state as at the beginning, with this dropout from now on.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn reset(&mut self, dropout: f64) -> Result<(), String> {
        self.ask(&json!({"reset": dropout})).map(drop)
    }

    /// Reads so many ids in windows, nothing dropped or learned: the summed loss in nats, and seconds.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn evaluate(&mut self, window: usize, words: usize) -> Result<(f64, f64), String> {
        let answer = self.ask(&json!({"evaluate": window, "words": words}))?;
        let number = |name: &str| answer[name].as_f64();
        let both = number("loss_sum").zip(number("seconds"));
        both.ok_or_else(|| "its answer has no loss and no time".into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::super::{Peers, python};
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity").join(name)
    }

    /// 20 steps from the fixtures' weights, each way, against those of tests/parity/reference.py. On
    /// the CPU nothing is rounded to TF32, and what torch.compile made is run as it is.
    #[test]
    fn the_peers_take_the_steps_of_the_reference() {
        let expected = std::fs::read(fixture("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let expected = numbers(&expected["train"]["adam"]);
        let corpus = qrnn::data::Corpus::from_text(fixture("text")).unwrap();
        let ids = corpus.tokens(qrnn::data::Split::Train);
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(fixture("init.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        super::super::super::torch_model::write_ids(folder.path(), ids).unwrap();
        let setting = Setting {
            folder: folder.path(),
            device: Device::Cpu,
            splits: &[20, 35, 50],
            batch: 3,
            dropout: 0.0,
            clip: 0.0,
        };
        let modes = [Mode::Published, Mode::Tf32, Mode::Tuned];
        let mut peers = Peers::spawn(&python(), setting.kinds(&modes)).unwrap();
        peers.hello();
        if peers.live.is_empty() && peers.left_out.is_empty() {
            eprintln!("not tested: {}", peers.closing());
            return;
        }
        assert_eq!(peers.live.len(), 3, "{:?}", peers.left_out.first().map(|peer| &peer.reason));
        for (peer, tolerance) in peers.live.iter_mut().zip([1e-4, 1e-4, 2e-2]) {
            let n = expected.len();
            assert!(n >= 20);
            let take = |peer: &mut Peer| peer.steps(&vec![7; n], &vec![1e-2; n]).unwrap();
            let steps = take(peer);
            assert!(steps.seconds >= steps.each.iter().sum::<f64>() * 0.99);
            for (ours, theirs) in steps.losses.iter().zip(&expected) {
                let name = peer.name;
                assert!((ours - theirs).abs() <= tolerance, "{name}: {ours} and {theirs}");
            }
            // From the beginning, and then with dropout.
            peer.reset(0.0).unwrap();
            let again = take(peer).losses;
            assert!(again.iter().zip(&steps.losses).all(|(a, b)| (a - b).abs() < tolerance));
            peer.reset(0.5).unwrap();
            let dropped = take(peer).losses;
            assert!(dropped.iter().zip(&steps.losses).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }

    #[test]
    fn a_python_that_is_not_there_is_no_peer_and_one_that_ends_is_left_out_with_its_reason() {
        let setting = Setting {
            folder: Path::new("/"),
            device: Device::Cpu,
            splits: &[],
            batch: 1,
            dropout: 0.0,
            clip: 0.0,
        };
        let start = |python: &str| {
            let flags = super::super::PeerFlags { python: python.into(), ..super::super::python() };
            let mut peers = Peers::spawn(&flags, setting.kinds(&[Mode::Tuned])).unwrap();
            peers.hello();
            peers
        };
        let none = start("/no/such/python");
        assert!(none.live.is_empty() && none.left_out.is_empty());
        assert!(none.closing().contains("/no/such/python has no torch"), "{}", none.closing());
        let ended = start("/bin/false");
        assert!(ended.live.is_empty());
        let reason = &ended.left_out[0].reason;
        assert!(reason.contains("ended, exit status: 1"), "{reason}");
    }
}
