//! Interrupts at each moment of a cell's life.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn interrupter() -> (tempfile::TempDir, Arc<Interrupter>) {
    let folder = tempfile::tempdir().unwrap();
    let interrupts = Interrupts::create(&folder.path().join("interrupts")).unwrap();
    (folder, Interrupter::new(Some(interrupts)))
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

/// A cell, and whether the shell was told to go on without it.
fn accept(interrupter: &Interrupter, request: &Request) -> (u64, Arc<AtomicBool>) {
    let given_up = Arc::new(AtomicBool::new(false));
    let told = given_up.clone();
    (interrupter.accept(request, move || told.store(true, Ordering::Release)), given_up)
}

fn begun(interrupter: &Interrupter, process: u32) -> u64 {
    let cell = accept(interrupter, &request()).0;
    assert!(interrupter.begin(cell, process));
    cell
}

#[test]
fn a_second_interrupt_ends_the_process_after_its_grace() {
    let (_folder, interrupter) = interrupter();
    let mut child = sleeper();
    begun(&interrupter, child.id());
    assert!(interrupter.may_run());
    interrupter.interrupt(0);
    interrupter.interrupt(0);
    let start = Instant::now();
    child.wait().unwrap();
    assert!(start.elapsed() > GRACE / 2, "no time to notice");
    let asked = Asked { interrupted: true, started: true, ended: true, ..Asked::default() };
    assert_eq!(interrupter.end(), asked);
}

#[test]
fn code_that_has_not_started_is_left_behind_and_no_process_ended() {
    let (_folder, interrupter) = interrupter();
    let mut child = sleeper();
    let (cell, given_up) = accept(&interrupter, &request());
    assert!(interrupter.begin(cell, child.id()));
    interrupter.interrupt(0);
    interrupter.interrupt(0);
    assert!(!interrupter.may_run() && interrupter.is_asked());
    let start = Instant::now();
    while !given_up.load(Ordering::Acquire) {
        assert!(start.elapsed() < PATIENCE * 4, "the shell still waits");
    }
    interrupter.answered();
    // The next one waits for its turn, and can be interrupted while it does.
    let (second, given_up) = accept(&interrupter, &request());
    interrupter.interrupt(0);
    assert!(given_up.load(Ordering::Acquire));
    assert!(interrupter.end().before_it_ran);
    assert!(!interrupter.begin(second, child.id()));
    interrupter.answered();
    begun(&interrupter, child.id());
    assert!(interrupter.may_run() && !interrupter.is_asked());
    std::thread::sleep(GRACE + Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(interrupter.end(), Asked { started: true, ..Asked::default() });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_interrupt_that_finds_no_cell_is_for_one_that_was_sent_before_it() {
    let (_folder, interrupter) = interrupter();
    let hit = |request: &Request| {
        let given_up = accept(&interrupter, request).1.load(Ordering::Acquire);
        interrupter.answered();
        given_up
    };
    // It lay in the queue, or came a moment later by the other way.
    let queued = request();
    interrupter.interrupt(0);
    assert!(hit(&queued) && !hit(&queued), "one interrupt, one cell");
    interrupter.interrupt(now(&request()));
    assert!(hit(&Request { arrived: Instant::now(), ..queued.clone() }));
    // It was sent afterwards, or nobody knows when, or it came much later.
    interrupter.interrupt(now(&queued) - 1);
    assert!(!hit(&request()));
    interrupter.interrupt(now(&request()));
    assert!(!hit(&Request { arrived: Instant::now() + 2 * LATE, ..queued }));
}
