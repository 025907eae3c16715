//! What else the machine does: shared processors make measurements slow and uneven.

use std::time::Duration;

use qrnn_ops::device::processor_name;
use serde_json::{Value, json};

/// The time that the processors are watched.
const WATCHED: Duration = Duration::from_secs(1);

/// Linux counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

/// The state of the machine at some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    processor: Option<String>,
    processors: usize,
    /// Load averages of 1, 5 and 15 minutes, of our own processes too.
    load: Option<[f64; 3]>,
    /// The share of the processors' time that was used while they were watched.
    busy: Option<f64>,
}

impl Machine {
    /// Watches the machine for a second, in which this program must do nothing.
    pub fn watch() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| load(&text));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { processor: processor_name(), processors, load, busy: busy() }
    }

    /// `when`: before or after which work.
    pub fn to_json(&self, when: &str) -> Value {
        let Self { processor, processors, load, busy } = self;
        json!({"what": "machine", "variant": when, "processor": processor, "processors":
            processors, "load": load, "busy": busy})
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.processor.as_deref().unwrap_or("an unknown processor");
        write!(f, "{} processors of {name}", self.processors)?;
        if let Some([one, five, fifteen]) = self.load {
            write!(f, "; load {one:.2}, {five:.2}, {fifteen:.2}")?;
        }
        match self.busy {
            Some(busy) => write!(f, "; {:.0} % in use by others", 100.0 * busy),
            None => Ok(()),
        }
    }
}

/// The averages in /proc/loadavg.
fn load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// Time of all processors since the system's start, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessorTime {
    pub all: f64,
    /// By programs. Interrupts are left out: those of the network are no program's, though one causes them.
    pub used: f64,
}

impl ProcessorTime {
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads /proc/stat.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<f64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let &[user, nice, system, idle, iowait, irq, softirq, stolen, ..] = &ticks[..] else {
            return None;
        };
        // Guests are part of user. A machine that steals time is another program, too.
        let used = user + nice + system + stolen;
        let all = used + idle + iowait + irq + softirq;
        Some(Self { all: all / TICKS, used: used / TICKS })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { all: self.all - before.all, used: self.used - before.used }
    }

    /// The share of the processors that other programs used.
    ///
    /// * `own`: processor time of our own processes, in seconds.
    pub fn of_others(&self, own: f64) -> f64 {
        ((self.used - own) / self.all.max(1.0 / TICKS)).clamp(0.0, 1.0)
    }
}

/// The share of the processors that is used in the next second; `None` if the system does not tell.
pub fn busy() -> Option<f64> {
    let before = ProcessorTime::now()?;
    std::thread::sleep(WATCHED);
    Some(ProcessorTime::now()?.since(&before).of_others(0.0))
}

/// Processor time of a process, in seconds; 0 if it has ended. `id` may be `self`.
pub fn time_of_process(id: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    process_time(&stat).unwrap_or_default()
}

/// Reads /proc/PID/stat. The name in parentheses may have spaces.
fn process_time(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(load("2.67 1.69 1.63 3/110 19735\n"), Some([2.67, 1.69, 1.63]));
        assert_eq!(load("2.67 1.69"), None);
        let time = |text| ProcessorTime::parse(text).unwrap();
        let before = time("cpu  100 0 10 800 90 0 0 0 7 0\ncpu0 1 2\n");
        assert_eq!(before, ProcessorTime { all: 10.0, used: 1.1 });
        // 2 seconds later, of which 1.5 were idle.
        let passed = time("cpu  140 0 20 900 140 0 0 0 7 0\n").since(&before);
        assert_eq!((passed.of_others(0.0), passed.of_others(0.7)), (0.25, 0.0));
        assert!((passed.of_others(0.3) - 0.1).abs() < 1e-9);
        assert_eq!(ProcessorTime::parse("intr 1 2 3"), None);
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 3 0 5";
        assert_eq!(process_time(stat), Some(3.0));
        assert_eq!(process_time("77 (a) S 1"), None);
    }

    #[test]
    fn own_time_grows() {
        let before = time_of_process("self");
        let started = std::time::Instant::now();
        // Also where others use the processors.
        while time_of_process("self") <= before {
            assert!(started.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(time_of_process("no process"), 0.0);
    }

    #[test]
    fn the_machine_is_described() {
        let machine = Machine {
            processor: Some("AMD EPYC".into()),
            processors: 2,
            load: Some([0.5, 1.0, 1.25]),
            busy: Some(0.034),
        };
        let text = "2 processors of AMD EPYC; load 0.50, 1.00, 1.25; 3 % in use by others";
        assert_eq!(machine.to_string(), text);
        assert_eq!(machine.to_json("before")["load"], json!([0.5, 1.0, 1.25]));
    }
}
