//! PyTorch to measure a card's work against, each peer in a process of its own: `baselines/peers.py`, which
//! this project wrote. A peer that fails is left out, with its reason.

mod home;
pub mod pooling;
pub mod step;

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::Device;
use tempfile::TempDir;

use crate::python::Python;

/// Who wrote the peers, as every measurement against them says.
pub const WRITTEN_BY: &str = "written for this project, from the published list of operations";

/// Its files. The first is run.
const FILES: [(&str, &str); 6] = [
    ("baselines.py", include_str!("baselines/baselines.py")),
    ("clock.py", include_str!("baselines/clock.py")),
    ("pooling.py", include_str!("baselines/pooling.py")),
    ("reason.py", include_str!("baselines/reason.py")),
    ("recurrence.py", include_str!("baselines/recurrence.py")),
    ("step.py", include_str!("baselines/step.py")),
];

/// The peers that `--peers` names.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen<T>(pub Vec<T>);

impl<T: ValueEnum> FromStr for Chosen<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(vec![]));
        }
        let one = |name: &str| {
            T::from_str(name, false).map_err(|_| {
                let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
                format!("{name} is no peer: write none, or some of {}", names.join(","))
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct PeerFlags {
    /// A Python with torch 2.11 to measure against
    #[arg(long, default_value = "python3")]
    pub python: String,
    /// Longest wait for an answer of a peer, in seconds; one that takes longer is left out
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS", value_parser = seconds)]
    peer_limit: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..1e6).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text} is no number of seconds")),
    }
}

/// What a peer is: a name for programs, one for people, and what peers.py is told.
pub struct Kind {
    pub name: &'static str,
    pub words: &'static str,
    pub config: Value,
}

/// The process.
pub struct Peer {
    pub name: &'static str,
    pub words: &'static str,
    /// Known once it has said hello.
    pub version: String,
    python: Python,
    /// Holds its program.
    _folder: TempDir,
}

/// Why a peer is left out.
pub struct LeftOut {
    pub name: &'static str,
    pub words: &'static str,
    pub reason: String,
}

/// The peers of a bench.
#[derive(Default)]
pub struct Peers {
    python: String,
    pub live: Vec<Peer>,
    pub left_out: Vec<LeftOut>,
    /// Whether there was a Python, and torch in it.
    torch: bool,
}

impl Peers {
    /// Starts all of them and waits for none. They load what they need, and do not touch the device before
    /// [`Self::hello`].
    ///
    /// # Errors
    /// [`Error::Io`] where files cannot be written.
    pub fn spawn(flags: &PeerFlags, kinds: Vec<Kind>) -> Result<Self> {
        let mut peers = Self { python: flags.python.clone(), torch: true, ..Self::default() };
        for Kind { name, words, config } in kinds {
            let folder =
                tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
            let write = |name: &str, text: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).map_err(Error::io(&path, "write"))
            };
            // In files, so that torch.compile can read what it compiles.
            for (name, text) in FILES {
                write(name, text)?;
            }
            write("peer.json", &config.to_string())?;
            let limit = Duration::from_secs_f64(flags.peer_limit);
            let python = Python::spawn(&flags.python, limit, |command| {
                command.arg(folder.path().join(FILES[0].0)).arg(folder.path());
                command.env("CUDA_HOME", home::cuda_home(folder.path()));
            });
            let version = String::new();
            match python {
                Ok(Some(python)) => {
                    peers.live.push(Peer { name, words, version, python, _folder: folder });
                }
                Ok(None) => peers.torch = false,
                Err(error) => {
                    let reason = error.to_string();
                    peers.left_out.push(LeftOut { name, words, reason });
                }
            }
        }
        Ok(peers)
    }

    /// Wakes all of them up, side by side: they make ready on the device.
    pub fn hello(&mut self) {
        self.live.iter_mut().for_each(|peer| peer.tell(&json!({"hello": true})));
        self.each(|peer| {
            let hello = peer.python.answer()?;
            let word = |name: &str| hello[name].as_str().unwrap_or_default();
            peer.version = match hello["torch"].is_string() {
                true => format!("PyTorch {} on {}", word("torch"), word("device")),
                false => String::new(),
            };
            Ok(())
        });
        if self.live.iter().any(|peer| peer.version.is_empty()) {
            self.live.clear();
            self.torch = false;
        }
    }

    /// Does something with each; one that fails is left out.
    pub fn each(&mut self, mut work: impl FnMut(&mut Peer) -> Result<(), String>) {
        let mut at = 0;
        while let Some(peer) = self.live.get_mut(at) {
            match work(peer) {
                Ok(()) => at += 1,
                Err(reason) => {
                    let Peer { name, words, .. } = self.live.remove(at);
                    terminal::note(format_args!("the peer \"{name}\" is left out: {reason}"));
                    self.left_out.push(LeftOut { name, words, reason });
                }
            }
        }
    }

    /// Who the peers are, or why there are none.
    pub fn closing(&self) -> String {
        match (self.live.first(), self.left_out.first()) {
            (Some(peer), _) => format!("the peers are {WRITTEN_BY}; {}", peer.version),
            _ if !self.torch => {
                format!("no PyTorch to measure against: {} has no torch (--python)", self.python)
            }
            (None, Some(_)) => "every peer failed".into(),
            (None, None) => "no peers were asked for (--peers)".into(),
        }
    }
}

impl Peer {
    /// Gives a command, to be answered later: a process that is gone is found then.
    pub fn tell(&mut self, command: &Value) {
        let _ = self.python.tell(&command.to_string());
    }

    /// The next answer.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn answer(&mut self) -> Result<Value, String> {
        self.python.answer()
    }

    /// A command and its answer.
    ///
    /// # Errors
    /// The reason where the peer failed.
    pub fn ask(&mut self, command: &Value) -> Result<Value, String> {
        self.python.ask(command)
    }
}

impl LeftOut {
    /// As a measurement of `of` names it.
    pub fn value(&self) -> Value {
        json!({"peer": self.name, "against": self.words, "failed": self.reason})
    }
}

/// As PyTorch names it.
pub fn device(device: Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// The numbers of a list.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// A Python with torch: the one that QRNN_PYTHON names, else python3.
#[cfg(test)]
pub fn python() -> PeerFlags {
    let python = std::env::var("QRNN_PYTHON").unwrap_or_else(|_| "python3".into());
    PeerFlags { python, peer_limit: 300.0 }
}
