//! Interrupts at every stage of a cell.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn interrupter() -> (tempfile::TempDir, Arc<Interrupter>) {
    let folder = tempfile::tempdir().unwrap();
    let counter = InterruptCounter::create(&folder.path().join("interrupts")).unwrap();
    (folder, Interrupter::new(Some(counter)))
}

fn sleeper() -> std::process::Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

/// A cell that was sent now.
fn request() -> Request {
    let message =
        crate::protocol::message::new("execute_request", serde_json::json!({}), None, vec![]);
    let (header, content) = (message.header, serde_json::json!({}));
    Request { identities: vec![], header, content, arrived: Instant::now() }
}

fn now(request: &Request) -> i64 {
    request.header.date.timestamp_micros()
}

/// A cell, and whether the shell was flag to stop waiting.
fn enqueue(interrupter: &Interrupter, request: &Request) -> (u64, Arc<AtomicBool>) {
    let abandoned = Arc::new(AtomicBool::new(false));
    let flag = abandoned.clone();
    (interrupter.enqueue(request, move || flag.store(true, Ordering::Release)), abandoned)
}

fn begun(interrupter: &Interrupter, process: u32) -> u64 {
    let cell = enqueue(interrupter, &request()).0;
    assert!(interrupter.begin(cell, process));
    cell
}

#[test]
fn a_second_interrupt_kills_the_process_after_the_grace_period() {
    let (_folder, interrupter) = interrupter();
    let mut child = sleeper();
    begun(&interrupter, child.id());
    assert!(interrupter.may_start());
    interrupter.interrupt(0);
    interrupter.interrupt(0);
    let start = Instant::now();
    child.wait().unwrap();
    assert!(start.elapsed() > GRACE / 2, "no time to notice");
    let outcome = InterruptOutcome {
        interrupted: true,
        started: true,
        killed: true,
        ..InterruptOutcome::default()
    };
    assert_eq!(interrupter.end(), outcome);
}

#[test]
fn a_cell_whose_code_has_not_started_is_abandoned() {
    let (_folder, interrupter) = interrupter();
    let mut child = sleeper();
    let (cell, abandoned) = enqueue(&interrupter, &request());
    assert!(interrupter.begin(cell, child.id()));
    interrupter.interrupt(0);
    interrupter.interrupt(0);
    assert!(!interrupter.may_start() && interrupter.is_interrupted());
    let start = Instant::now();
    while !abandoned.load(Ordering::Acquire) {
        assert!(start.elapsed() < PATIENCE * 4, "the shell still waits");
    }
    interrupter.dequeue();
    // The next cell can be interrupted while it waits.
    let (second, abandoned) = enqueue(&interrupter, &request());
    interrupter.interrupt(0);
    assert!(abandoned.load(Ordering::Acquire));
    assert!(interrupter.end().prevented);
    assert!(!interrupter.begin(second, child.id()));
    interrupter.dequeue();
    begun(&interrupter, child.id());
    assert!(interrupter.may_start() && !interrupter.is_interrupted());
    std::thread::sleep(GRACE + Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(
        interrupter.end(),
        InterruptOutcome { started: true, ..InterruptOutcome::default() }
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_early_interrupt_applies_to_a_cell_that_was_sent_before() {
    let (_folder, interrupter) = interrupter();
    let hit = |request: &Request| {
        let abandoned = enqueue(&interrupter, request).1.load(Ordering::Acquire);
        interrupter.dequeue();
        abandoned
    };
    // The cell was in the queue, or arrived a moment later on the other channel.
    let queued = request();
    interrupter.interrupt(0);
    assert!(hit(&queued) && !hit(&queued), "one interrupt, one cell");
    interrupter.interrupt(now(&request()));
    assert!(hit(&Request { arrived: Instant::now(), ..queued.clone() }));
    // It was sent later, at an unknown time, or arrived much later.
    interrupter.interrupt(now(&queued) - 1);
    assert!(!hit(&request()));
    interrupter.interrupt(now(&request()));
    assert!(!hit(&Request { arrived: Instant::now() + 2 * MAX_DELAY, ..queued }));
}
