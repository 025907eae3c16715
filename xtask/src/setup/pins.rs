//! The wheels of PyPI that set-up installs, by their checksums: `wheels.json`.
//!
//! tch 0.24 binds libtorch 2.11.0, which the torch wheel holds. Programs link its CPU library, whose
//! profiler needs two small CUDA libraries. NVRTC comes along so that the tests can compile our kernels on
//! any machine. All that a GPU needs beside its driver is a set that users ask for; its versions are those
//! that the torch wheel requires.

use serde::Deserialize;

use crate::error::{Error, Result};

/// The release of libtorch that tch binds.
pub const RELEASE: &str = "2.11.0";

/// The text of `build-version`; torch-sys compares it with the version that it binds.
pub const VERSION: &str = "2.11.0+cu130";

/// The folder of the libtorch that programs link; `.cargo/config.toml` names it.
pub const LINKED_FOLDER: &str = "current";

/// A wheel on PyPI, and which of its files are taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub name: String,
    pub version: String,
    /// The tags for pip: those of the wheel, not of the Python that runs pip.
    #[serde(default = "no_abi")]
    pub abi: String,
    pub platform: String,
    pub file: String,
    pub sha256: String,
    /// Path prefixes in the wheel and what replaces them. Files with none of these are left out.
    #[serde(default)]
    pub folders: Vec<(String, String)>,
    /// Libraries that the wheel must hold; those with none of the prefixes go to `lib`.
    #[serde(default)]
    pub libraries: Vec<String>,
}

fn no_abi() -> String {
    "none".into()
}

/// Wheels that are installed together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The folder in `.libtorch`; crates/qrnn-ops/src/cuda/libraries.rs looks for these names.
    pub folder: String,
    /// Its name in messages.
    pub what: String,
    /// Paths below the folder that must exist besides the libraries.
    #[serde(default)]
    pub parts: Vec<String>,
    /// Bytes that its set-up takes: the wheels and their unpacked files.
    pub disk: u64,
    pub wheels: Vec<Wheel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// What programs link.
    pub linked: Set,
    /// The compiler of CUDA kernels.
    pub nvrtc: Set,
    /// libtorch's CUDA library and those that it links, in the folders of the wheels, where each finds the
    /// others by a relative path.
    pub cuda: Set,
    /// Baselines of the benches that a Python with torch lacks. They are Python; their kernels are in Triton,
    /// which comes with torch.
    pub baselines: Set,
}

impl Pins {
    pub fn read() -> Result<Self> {
        serde_json::from_str(include_str!("wheels.json")).map_err(|error| {
            Error::machine(format!("xtask/src/setup/wheels.json: {error}"), "correct it")
        })
    }
}

impl Wheel {
    /// The place of a file of the wheel; `None` for one that is left out.
    pub fn place(&self, name: &str) -> Option<String> {
        let moved = |(from, to): &(String, String)| Some(to.clone() + name.strip_prefix(from)?);
        let flat = || {
            let library = self.libraries.iter().find(|library| *library == name)?;
            Some(format!("lib/{}", library.rsplit('/').next()?))
        };
        self.folders.iter().find_map(moved).or_else(flat)
    }
}
