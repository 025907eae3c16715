//! The instruction set that the kernels use.

use std::sync::LazyLock;

/// An instruction set with kernels of its own. All of them give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// Portable Rust: the reference.
    Plain,
    /// AVX2 and POPCNT.
    Avx2,
    /// AVX-512 with VBMI, VBMI2 and VNNI: Ice Lake and Zen 4 on.
    Avx512,
}

impl Instructions {
    /// The fastest set of this processor. It is detected once: in a virtual machine, each `cpuid`
    /// instruction is a call of the hypervisor.
    pub fn best() -> Self {
        static BEST: LazyLock<Instructions> = LazyLock::new(detect);
        *BEST
    }

    /// The sets of this processor, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Plain, Self::Avx2, Self::Avx512].into_iter().filter(|&set| set <= Self::best())
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Instructions {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx512vnni");
    match (avx2, avx512) {
        (true, true) => Instructions::Avx512,
        (true, false) => Instructions::Avx2,
        _ => Instructions::Plain,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Instructions {
    Instructions::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_sets_end_with_the_best() {
        let sets: Vec<_> = Instructions::available().collect();
        assert_eq!(sets.first(), Some(&Instructions::Plain));
        assert_eq!(sets.last(), Some(&Instructions::best()));
    }
}
