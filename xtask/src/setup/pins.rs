//! The files that make up libtorch here: PyPI's wheels, by their checksums, in three sets.
//!
//! tch 0.24 binds libtorch 2.11.0. The wheel has CUDA in it, but what we link against is the CPU
//! library, which for its profiler wants two small CUDA libraries to be present. NVRTC, which
//! compiles our kernels, comes along so that the tests can compile them on any machine. All that
//! computing on a GPU needs beside a driver is the third set, for those who ask for it.

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
    /// Libraries in the wheel that must be there; those in none of the folders go to `lib`.
    pub libraries: &'static [&'static str],
}

/// Wheels that are installed together, in a folder of `.libtorch`.
#[derive(Debug)]
pub struct Set {
    /// The folder.
    pub folder: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    pub wheels: &'static [Wheel],
    /// What must be there beside the libraries, below the folder.
    pub parts: &'static [&'static str],
    /// Bytes that its set-up takes: the wheels, and what is unpacked from them.
    pub disk: u64,
}

/// What programs are linked against; torch-sys looks for it where `.cargo/config.toml` says.
pub const LINKED: Set = Set {
    folder: "current",
    what: "libtorch",
    wheels: &LINKED_WHEELS,
    parts: &[
        "include/ATen/ATen.h",
        "include/torch/csrc/api/include",
        "lib/libtorch.so",
        "build-version",
    ],
    disk: 1_200_000_000,
};

/// The compiler of CUDA kernels; src/cuda/libraries.rs finds it here.
pub const NVRTC: Set =
    Set { folder: "nvrtc", what: "NVRTC", wheels: &[NVRTC_WHEEL], parts: &[], disk: 350_000_000 };

/// libtorch's CUDA part and what it is linked against, laid out as Python has them: each finds the
/// others by its own path. src/cuda/libraries.rs finds it here.
pub const CUDA: Set = Set {
    folder: "cuda",
    what: "libtorch's CUDA part",
    wheels: &CUDA_WHEELS,
    parts: &[],
    disk: 6_500_000_000,
};

const TORCH: Wheel = Wheel {
    name: "torch",
    version: RELEASE,
    abi: "cp312",
    platform: "manylinux_2_28_x86_64",
    file: "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
    folders: &[("torch/include/", "include/")],
    libraries: &["torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1"],
};

const NVRTC_WHEEL: Wheel = Wheel {
    // The wheel has a second NVRTC, `libnvrtc.alt.so.13`.
    folders: &[
        ("nvidia/cu13/lib/libnvrtc.so", "nvidia/cu13/lib/libnvrtc.so"),
        ("nvidia/cu13/lib/libnvrtc-builtins.so", "nvidia/cu13/lib/libnvrtc-builtins.so"),
    ],
    ..nvidia(
        "nvidia-cuda-nvrtc",
        "13.0.88",
        "manylinux2010_x86_64",
        "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        &["nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cu13/lib/libnvrtc-builtins.so.13.0"],
    )
};

const LINKED_WHEELS: [Wheel; 3] = [
    TORCH,
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

/// The versions are those that the torch wheel requires.
const CUDA_WHEELS: [Wheel; 13] = [
    Wheel {
        folders: &[
            ("torch/lib/libtorch_cuda", "torch/lib/libtorch_cuda"),
            ("torch/lib/libc10_cuda", "torch/lib/libc10_cuda"),
            ("torch/lib/libtorch_nvshmem", "torch/lib/libtorch_nvshmem"),
            ("torch/lib/libcaffe2_nvrtc", "torch/lib/libcaffe2_nvrtc"),
        ],
        libraries: &[
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libc10_cuda.so",
            "torch/lib/libtorch_cuda_linalg.so",
            "torch/lib/libtorch_nvshmem.so",
            "torch/lib/libcaffe2_nvrtc.so",
        ],
        ..TORCH
    },
    NVRTC_WHEEL,
    nvidia(
        "nvidia-cublas",
        "13.1.0.3",
        "manylinux_2_27_x86_64",
        "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        &["nvidia/cu13/lib/libcublas.so.13", "nvidia/cu13/lib/libcublasLt.so.13"],
    ),
    nvidia(
        "nvidia-cudnn-cu13",
        "9.19.0.56",
        "manylinux_2_27_x86_64",
        "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        &["nvidia/cudnn/lib/libcudnn.so.9"],
    ),
    nvidia(
        "nvidia-cufft",
        "12.0.0.61",
        "manylinux2014_x86_64",
        "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        &["nvidia/cu13/lib/libcufft.so.12"],
    ),
    nvidia(
        "nvidia-cufile",
        "1.15.1.6",
        "manylinux2014_x86_64",
        "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        &["nvidia/cu13/lib/libcufile.so.0"],
    ),
    nvidia(
        "nvidia-curand",
        "10.4.0.35",
        "manylinux_2_27_x86_64",
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        &["nvidia/cu13/lib/libcurand.so.10"],
    ),
    nvidia(
        "nvidia-cusolver",
        "12.0.4.66",
        "manylinux_2_27_x86_64",
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        &["nvidia/cu13/lib/libcusolver.so.12"],
    ),
    nvidia(
        "nvidia-cusparse",
        "12.6.3.3",
        "manylinux2014_x86_64",
        "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        &["nvidia/cu13/lib/libcusparse.so.12"],
    ),
    nvidia(
        "nvidia-cusparselt-cu13",
        "0.8.0",
        "manylinux2014_x86_64",
        "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        &["nvidia/cusparselt/lib/libcusparseLt.so.0"],
    ),
    nvidia(
        "nvidia-nccl-cu13",
        "2.28.9",
        "manylinux_2_18_x86_64",
        "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        &["nvidia/nccl/lib/libnccl.so.2"],
    ),
    nvidia(
        "nvidia-nvjitlink",
        "13.0.88",
        "manylinux2010_x86_64",
        "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        &["nvidia/cu13/lib/libnvJitLink.so.13"],
    ),
    nvidia(
        "nvidia-nvshmem-cu13",
        "3.4.5",
        "manylinux2014_x86_64",
        "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        &["nvidia/nvshmem/lib/libnvshmem_host.so.3"],
    ),
];

/// Where NVIDIA's wheels have their libraries, and where those go: no header is needed.
const NVIDIA: [(&str, &str); 5] = [
    ("nvidia/cu13/lib/", "nvidia/cu13/lib/"),
    ("nvidia/cudnn/lib/", "nvidia/cudnn/lib/"),
    ("nvidia/cusparselt/lib/", "nvidia/cusparselt/lib/"),
    ("nvidia/nccl/lib/", "nvidia/nccl/lib/"),
    ("nvidia/nvshmem/lib/", "nvidia/nvshmem/lib/"),
];

/// A wheel of NVIDIA's, laid out as it is.
const fn nvidia(
    name: &'static str,
    version: &'static str,
    platform: &'static str,
    file: &'static str,
    sha256: &'static str,
    libraries: &'static [&'static str],
) -> Wheel {
    Wheel { name, version, abi: "none", platform, file, sha256, folders: &NVIDIA, libraries }
}

/// Bytes that a release build and its tests take after that.
pub const BUILD_DISK: u64 = 2_000_000_000;

impl Wheel {
    /// Where a file of the wheel goes, `None` for those that are left out.
    pub fn place(&self, name: &str) -> Option<String> {
        let moved = self
            .folders
            .iter()
            .find_map(|(from, to)| name.strip_prefix(from).map(|rest| format!("{to}{rest}")));
        let flat = || {
            let base = name.rsplit('/').next().filter(|_| self.libraries.contains(&name))?;
            Some(format!("lib/{base}"))
        };
        moved.or_else(flat)
    }
}
