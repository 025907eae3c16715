//! The files that make up libtorch here: PyPI's wheels, by their checksums.
//!
//! tch 0.24 binds libtorch 2.11.0. The wheel has CUDA in it, but what we link against is the CPU
//! library, which for its profiler wants two small CUDA libraries to be present.

/// The release of libtorch that tch binds.
pub const RELEASE: &str = "2.11.0";

/// What `build-version` says; torch-sys compares it with the version that it binds.
pub const VERSION: &str = "2.11.0+cu130";

/// A wheel on PyPI, and which of its files are taken.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    pub name: &'static str,
    pub version: &'static str,
    /// The tags that pip must be told, as they need not be those of the Python that runs it.
    pub abi: &'static str,
    pub platform: &'static str,
    pub file: &'static str,
    pub sha256: &'static str,
    /// Folders in the wheel, and where they go.
    pub folders: &'static [(&'static str, &'static str)],
    /// Libraries in the wheel; they go to `lib`.
    pub libraries: &'static [&'static str],
}

pub const WHEELS: [Wheel; 3] = [
    Wheel {
        name: "torch",
        version: RELEASE,
        abi: "cp312",
        platform: "manylinux_2_28_x86_64",
        file: "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
        folders: &[("torch/include/", "include/")],
        libraries: &["torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1"],
    },
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        abi: "none",
        platform: "manylinux2014_x86_64",
        file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        folders: &[],
        libraries: &["nvidia/cu13/lib/libcudart.so.13"],
    },
    Wheel {
        name: "nvidia-cuda-cupti",
        version: "13.0.85",
        abi: "none",
        platform: "manylinux_2_25_x86_64",
        file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        folders: &[],
        libraries: &["nvidia/cu13/lib/libcupti.so.13"],
    },
];

/// Bytes that set-up takes while it works: the wheels, and what is unpacked from them.
pub const DISK: u64 = 1_200_000_000;

/// Bytes that a release build and its tests take after that.
pub const BUILD_DISK: u64 = 2_000_000_000;

impl Wheel {
    /// Where a file of the wheel goes, `None` for those that are left out.
    pub fn place(&self, name: &str) -> Option<String> {
        if self.libraries.contains(&name) {
            return name.rsplit('/').next().map(|base| format!("lib/{base}"));
        }
        self.folders
            .iter()
            .find_map(|(from, to)| name.strip_prefix(from).map(|rest| format!("{to}{rest}")))
    }
}
