//! A thread that tells the other ranks that this one lives, and watches whether they do.
//!
//! c10d's messages say that a connection was closed or that time ran out, and never whose fault that was.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::signal::{RankState, Signal};
use super::store::Store;

/// Time between two signals of a rank.
const BEAT: Duration = Duration::from_millis(500);

/// How long a store may take to answer while the end of this process waits for it.
const LAST_SIGNAL: Duration = Duration::from_secs(2);

/// The thread, and what it has seen.
#[derive(Debug)]
pub(super) struct Monitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    operations: AtomicU64,
    /// The number of the current call, from 1; all ranks count them alike.
    call: AtomicU64,
    /// The call in which this rank was asked to stop.
    stopped_call: AtomicU64,
    /// Whether another rank was asked to stop in this call.
    stop_elsewhere: Arc<AtomicBool>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: RankState,
    /// Grows with every change that the store must have at once.
    version: u64,
    /// The version that the store has.
    stored: u64,
    /// The thread ends after its next signal.
    done: bool,
    ranks: Vec<Seen>,
    store: StoreContact,
}

/// What was last seen of a rank.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub signal: Signal,
    /// When its signal last changed, by this machine's clock.
    pub changed: Instant,
}

/// What was last seen of the store.
#[derive(Debug, Clone)]
pub(super) struct StoreContact {
    /// When it last answered.
    pub answered: Instant,
    /// Why it will not answer any more.
    pub lost: Option<String>,
}

impl StoreContact {
    fn may_answer(&self) -> bool {
        self.lost.is_none() && self.answered.elapsed() < LAST_SIGNAL
    }
}

impl Monitor {
    /// Starts to send the signals of this rank; all ranks must have stored one.
    ///
    /// # Errors
    /// Those of the system if it starts no thread.
    pub fn start(
        store: Store,
        prefix: &str,
        rank: usize,
        world_size: usize,
    ) -> std::io::Result<Self> {
        let now = Instant::now();
        let seen = Seen { signal: Signal::default(), changed: now };
        let shared = Arc::new(Shared {
            operations: AtomicU64::new(0),
            call: AtomicU64::new(0),
            stopped_call: AtomicU64::new(0),
            stop_elsewhere: Arc::default(),
            inner: Mutex::new(Inner {
                state: RankState::Working,
                version: 0,
                stored: 0,
                done: false,
                ranks: vec![seen; world_size],
                store: StoreContact { answered: now, lost: None },
            }),
            changed: Condvar::new(),
        });
        let keys: Vec<_> = (0..world_size).map(|rank| key(prefix, rank)).collect();
        let of_thread = shared.clone();
        let builder = std::thread::Builder::new().name("group monitor".into());
        let thread = builder.spawn(move || of_thread.run(&store, &keys, rank))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Counts an operation that this rank begins.
    pub fn operation_begins(&self) {
        self.shared.operations.fetch_add(1, Ordering::Relaxed);
    }

    pub fn operations(&self) -> u64 {
        self.shared.operations.load(Ordering::Relaxed)
    }

    /// Begins a call that ranks can be asked to stop.
    pub fn begin_call(&self) {
        self.shared.call.fetch_add(1, Ordering::Relaxed);
        self.shared.stop_elsewhere.store(false, Ordering::Relaxed);
    }

    /// Tells the other ranks that this one was asked to stop its call.
    pub fn request_stop(&self) {
        let call = self.shared.call.load(Ordering::Relaxed);
        if self.shared.stopped_call.swap(call, Ordering::Relaxed) != call {
            self.shared.lock().version += 1;
            self.shared.changed.notify_all();
        }
    }

    /// Set if another rank was asked to stop its call.
    pub fn stop_elsewhere(&self) -> Arc<AtomicBool> {
        self.shared.stop_elsewhere.clone()
    }

    /// What was last seen of all ranks and of the store.
    pub fn seen(&self) -> (Vec<Seen>, StoreContact) {
        let inner = self.shared.lock();
        (inner.ranks.clone(), inner.store.clone())
    }

    /// Tells the other ranks how this one ends, and waits until the store has it, for two seconds at most. Only the
    /// first end counts.
    pub fn end(&self, state: RankState) {
        let mut inner = self.shared.lock();
        if inner.state != RankState::Working {
            return;
        }
        inner.state = state;
        inner.version += 1;
        self.shared.changed.notify_all();
        let unsaid = |inner: &mut Inner| inner.stored < inner.version && inner.store.may_answer();
        let _ = self.shared.changed.wait_timeout_while(inner, LAST_SIGNAL, unsaid);
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.lock().done = true;
        self.shared.changed.notify_all();
        // A store that does not answer would keep the thread; it then ends with the process.
        let runs = |thread: &JoinHandle<()>| !thread.is_finished();
        while self.thread.as_ref().is_some_and(runs) && self.shared.lock().store.may_answer() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            let _ = thread.join();
        }
    }
}

/// The key of a rank's signal.
pub(super) fn key(prefix: &str, rank: usize) -> String {
    format!("{prefix}/signal/{rank}")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, store: &Store, keys: &[String], rank: usize) {
        // The store of many ranks is not asked more often than that of a few.
        let pause = BEAT.max(Duration::from_millis(10) * keys.len() as u32);
        for beat in 1.. {
            let (signal, version, done) = {
                let inner = self.lock();
                let signal = Signal {
                    beat,
                    operations: self.operations.load(Ordering::Relaxed),
                    stopped_call: self.stopped_call.load(Ordering::Relaxed),
                    state: inner.state.clone(),
                };
                (signal, inner.version, inner.done)
            };
            let stored = store.set(&keys[rank], &signal.encode());
            // An answer says that the store has the signal, which `set` does not wait for.
            let answer = stored.and_then(|()| store.get(keys));
            let mut inner = self.lock();
            match answer {
                Ok(values) => {
                    inner.stored = version;
                    inner.note(rank, &values.unwrap_or_default(), Instant::now());
                }
                Err(problem) => inner.store.lost = Some(problem),
            }
            let call = self.call.load(Ordering::Relaxed);
            let stops = |seen: &Seen| call > 0 && seen.signal.stopped_call == call;
            if inner.ranks.iter().enumerate().any(|(other, seen)| other != rank && stops(seen)) {
                self.stop_elsewhere.store(true, Ordering::Relaxed);
            }
            self.changed.notify_all();
            if done || inner.store.lost.is_some() {
                return;
            }
            let idle = |inner: &mut Inner| inner.stored == inner.version && !inner.done;
            let _ = self.changed.wait_timeout_while(inner, pause, idle);
        }
    }
}

impl Inner {
    /// Takes note of the signals that the store has.
    fn note(&mut self, own: usize, values: &[Vec<u8>], now: Instant) {
        self.store.answered = now;
        for (rank, (seen, value)) in self.ranks.iter_mut().zip(values).enumerate() {
            let signal = Signal::decode(value);
            if let Some(signal) = signal.filter(|signal| *signal != seen.signal || rank == own) {
                *seen = Seen { signal, changed: now };
            }
        }
    }
}
