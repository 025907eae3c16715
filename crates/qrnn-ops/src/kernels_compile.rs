//! Compiles every kernel for every architecture. No GPU is needed.

use crate::cuda::{Compiler, Target};
use crate::dropout_mask::DROPOUT_MASK;
use crate::fo_pool::{FO_POOL, FORGET_MULT};

/// Kernels without zoneout must not spill registers on compute capability 9.0. `--nocapture` shows
/// the table of kernels/README.md.
#[test]
fn every_kernel_compiles_for_every_architecture() {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(error) => panic!("this test needs NVRTC, which `cargo xtask setup` installs: {error}"),
    };
    println!("{:33} {:>6} {:>9} {:>7}", "kernel", "target", "registers", "spilled");
    for (source, count) in [(&FO_POOL, 8), (&FORGET_MULT, 4), (&DROPOUT_MASK, 2)] {
        for architecture in [75, 80, 86, 89, 90, 100, 120] {
            let target = Target::Machine(architecture);
            let (image, log) = compiler.compile(source, target, &["--ptxas-options=-v"]).unwrap();
            assert_eq!(image[..4], *b"\x7fELF");
            let kernels = usage(&log);
            assert_eq!(kernels.len(), count, "{log}");
            for (name, registers, spilled) in kernels {
                println!("{name:33} {:>6} {registers:>9} {spilled:>7}", target.name());
                if architecture == 90 && !name.contains("zoneout") {
                    assert!(spilled == 0, "{name} spills {spilled} bytes");
                }
            }
        }
        let (ptx, _) = compiler.compile(source, Target::Virtual(120), &[]).unwrap();
        assert!(String::from_utf8(ptx).unwrap().contains(".target sm_120"));
    }
}

/// Name, registers and spilled bytes of each kernel, from the log of ptxas.
fn usage(log: &str) -> Vec<(String, u32, u32)> {
    let number_before = |line: &str, unit: &str| -> Option<u32> {
        line.split(unit).next()?.split_whitespace().last()?.parse().ok()
    };
    let mut all = vec![];
    let (mut name, mut spilled) = (None, None);
    for line in log.lines() {
        if let Some(rest) = line.split("entry function '").nth(1) {
            name = rest.split('\'').next().map(str::to_owned);
        } else if line.contains("bytes spill stores") {
            spilled = number_before(line, " bytes spill stores");
        } else if line.contains(" registers") {
            let registers = number_before(line, " registers");
            all.push((name.take().unwrap(), registers.unwrap(), spilled.take().unwrap()));
        }
    }
    all.sort();
    all
}
