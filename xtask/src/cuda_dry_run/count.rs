//! Counts the events of training steps.

use std::collections::BTreeMap;
use std::ops::Range;

use super::log::{Event, Kind};
use super::names;

#[derive(Debug, Default, PartialEq)]
pub struct Counts {
    /// Launches of our kernels, which come through the driver.
    pub ours: usize,
    /// Launches of libtorch's kernels, which come through the runtime.
    pub libtorch: usize,
    pub products: usize,
    pub copies: usize,
    pub memsets: usize,
    pub synchronizations: usize,
    /// Allocations and frees of GPU or pinned memory; each synchronizes the GPU.
    pub allocations: usize,
    /// Copies of pageable memory, for which the host waits.
    pub pageable: usize,
    /// Work submitted by a thread that had no current context.
    pub without_context: usize,
    /// Calls of functions that the stand-ins do not define, which nothing else here counts.
    pub unknown: usize,
    /// Operations by kernel, product, copy or memset.
    pub by_name: BTreeMap<String, usize>,
}

impl Counts {
    pub fn of(events: &[Event]) -> Self {
        let mut counts = Self::default();
        for event in events {
            counts.add(event);
        }
        counts
    }

    fn add(&mut self, event: &Event) {
        let counter = match event.kind {
            Kind::Launch if event.has("by", "driver") => &mut self.ours,
            Kind::Launch => &mut self.libtorch,
            Kind::Product => &mut self.products,
            Kind::Copy => &mut self.copies,
            Kind::Memset => &mut self.memsets,
            Kind::Synchronize => &mut self.synchronizations,
            Kind::Allocate | Kind::Free => &mut self.allocations,
            Kind::Unknown => &mut self.unknown,
            Kind::Event | Kind::Load => return self.add_context(event),
        };
        *counter += 1;
        if matches!(event.kind, Kind::Launch | Kind::Product | Kind::Copy | Kind::Memset) {
            *self.by_name.entry(names::row(event)).or_default() += 1;
        }
        self.pageable += usize::from(event.kind == Kind::Copy && event.has("memory", "pageable"));
        self.add_context(event);
    }

    fn add_context(&mut self, event: &Event) {
        self.without_context += usize::from(event.has("context", "none"));
    }

    /// Launches, products, copies and memsets.
    pub fn operations(&self) -> usize {
        self.ours + self.libtorch + self.products + self.copies + self.memsets
    }
}

/// The events of steps `range`, counted from 0. `None` where the log lacks a further step, whose beginning
/// is the end of the last.
pub fn steps(events: &[Event], range: Range<usize>) -> Option<&[Event]> {
    let begins = begins(events);
    Some(&events[*begins.get(range.start)?..*begins.get(range.end)?])
}

/// The events in these steps that make the host or the GPU wait or that cannot be counted, each with the
/// number of its step, from 1.
pub fn notable(events: &[Event], range: Range<usize>) -> Vec<String> {
    let begins = begins(events);
    let steps = range.filter_map(|step| Some((step, *begins.get(step)?, *begins.get(step + 1)?)));
    steps
        .flat_map(|(step, begin, end)| events[begin..end].iter().map(move |event| (step, event)))
        .filter(|(_, event)| {
            let mut alone = Counts::default();
            alone.add(event);
            let Counts { synchronizations, allocations, pageable, unknown, .. } = alone;
            synchronizations + allocations + pageable + unknown + alone.without_context > 0
        })
        .map(|(step, event)| format!("step {}: {event}", step + 1))
        .collect()
}

/// The index at which each step begins: its first forward pooling after a backward one. What the host
/// submits before that counts in the previous step, which makes no difference over several steps.
fn begins(events: &[Event]) -> Vec<usize> {
    let mut begins = vec![];
    let mut forward = false;
    for (place, event) in events.iter().enumerate() {
        if event.kind != Kind::Launch || !event.has("by", "driver") {
            continue;
        }
        if event.name.starts_with("fo_pool_backward") {
            forward = false;
        } else if event.name.starts_with("fo_pool_forward") && !forward {
            forward = true;
            begins.push(place);
        }
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::super::log::parse;
    use super::*;

    fn events(kinds: &[&str]) -> Vec<Event> {
        let lines: Vec<_> = kinds.iter().map(|line| format!("1\t2\t{line}\n")).collect();
        parse(&lines.concat()).unwrap()
    }

    const FORWARD: &str = "LAUNCH\tfo_pool_forward_bf16\tby=driver grid=1x1x1";
    const BACKWARD: &str = "LAUNCH\tfo_pool_backward_bf16\tby=driver grid=1x1x1";
    const PRODUCT: &str = "PRODUCT\tcublasGemmEx NN m=1 n=2 k=3\ttypes=bf16,f32";
    const PINNED: &str = "COPY\thost to device\tbytes=4 memory=pinned";

    #[test]
    fn each_event_counts_in_its_place() {
        let counts = Counts::of(&events(&[
            FORWARD,
            "LAUNCH\tvoid at::native::f<int>(int)\tby=runtime grid=1x1x1",
            PRODUCT,
            PINNED,
            PINNED,
            "COPY\tdevice to host\tbytes=4 memory=pageable",
            "COPY\tdevice to device\tbytes=4 memory=device",
            "MEMSET\tmemset\tbytes=4",
            "SYNCHRONIZE\tcudaStreamSynchronize\t",
            "ALLOCATE\tpinned memory\tbytes=4",
            "FREE\tdevice memory\tbytes=4",
            "EVENT\tcudaEventRecord\tstream=(nil)",
            "LOAD\tmodule\tcontext=none",
            "LAUNCH\tg\tby=driver grid=1x1x1 context=none",
            "UNKNOWN\tcudaGraphLaunch\t",
        ]));
        let by_name = [
            ("copy, device to device, device", 1),
            ("copy, device to host, pageable", 1),
            ("copy, host to device, pinned", 2),
            ("cublasGemmEx NN m=1 n=2 k=3 bf16,f32", 1),
            ("f<int>", 1),
            ("fo_pool_forward_bf16", 1),
            ("g", 1),
            ("memset", 1),
        ];
        assert_eq!(counts.operations(), 9);
        let expected = Counts {
            ours: 2,
            libtorch: 1,
            products: 1,
            copies: 4,
            memsets: 1,
            synchronizations: 1,
            allocations: 2,
            pageable: 1,
            without_context: 2,
            unknown: 1,
            by_name: by_name.map(|(name, n)| (name.to_owned(), n)).into(),
        };
        assert_eq!(counts, expected);
    }

    /// Two layers; the host prepares a step with one copy, before or after the end of the previous step.
    #[test]
    fn steps_are_found_whenever_their_inputs_are_sent() {
        let step = [FORWARD, PRODUCT, FORWARD, BACKWARD, BACKWARD];
        let late: Vec<_> = (0..4).flat_map(|_| [&[PINNED], &step[..]].concat()).collect();
        let early: Vec<_> = (0..4)
            .flat_map(|i| {
                let sent: &[&str] = if i == 0 { &[PINNED, PINNED] } else { &[PINNED] };
                [sent, &step[..]].concat()
            })
            .collect();
        for log in [late, early] {
            let all = events(&log);
            let counts = Counts::of(steps(&all, 1..3).unwrap());
            assert_eq!((counts.ours, counts.products, counts.copies), (8, 2, 2));
            assert_eq!(steps(&all, 1..4), None);
        }
    }

    #[test]
    fn what_makes_the_host_wait_is_told_with_its_step() {
        let reading =
            ["SYNCHRONIZE\tcudaStreamSynchronize\t", "ALLOCATE\tpinned memory\tbytes=128"];
        let step = [PINNED, FORWARD, BACKWARD];
        let log = [&step[..], &step, &reading, &step, &reading, &step].concat();
        let events = events(&log);
        assert_eq!(
            notable(&events, 1..2),
            ["step 2: cudaStreamSynchronize", "step 2: allocation of pinned memory, bytes=128"]
        );
        assert_eq!(notable(&events, 0..1), Vec::<String>::new());
        assert_eq!(notable(&events, 0..3).len(), 4);
    }
}
