//! The key-value store where the ranks of a group meet.

use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::libtorch::shim::check_text;

unsafe extern "C" {
    fn qrnn_store_open(
        host: *const c_char,
        port: u16,
        serves: bool,
        timeout_ms: i64,
        store: *mut *mut c_void,
        bound: *mut u16,
    ) -> *mut c_char;
    fn qrnn_store_set(
        store: *mut c_void,
        key: *const c_char,
        bytes: *const u8,
        n: usize,
    ) -> *mut c_char;
    fn qrnn_store_add(
        store: *mut c_void,
        key: *const c_char,
        value: i64,
        sum: *mut i64,
    ) -> *mut c_char;
    fn qrnn_store_get(
        store: *mut c_void,
        keys: *const *const c_char,
        n: usize,
        context: *mut c_void,
        found: unsafe extern "C" fn(*mut c_void, usize, *const u8, usize),
    ) -> *mut c_char;
    fn qrnn_store_close(store: *mut c_void);
}

/// How long a store may take for an answer. A machine under load may stand still for a while.
const ANSWER: Duration = Duration::from_secs(10);

/// How much longer it may take if the clock ran on while this process was stopped.
const LATE_ANSWER: Duration = Duration::from_secs(1);

/// A connection to the store, which is c10d's TCPStore, of torchrun or of rank 0. Errors are its messages.
#[derive(Debug)]
pub(super) struct Store(NonNull<c_void>);

// SAFETY: the C++ object may be used by any thread; calls of several threads wait for each other.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store, which this process hosts if `serves`; with port 0 on a free port. Returns the port as
    /// well. Tries for `timeout`.
    pub fn open(
        host: &str,
        port: u16,
        serves: bool,
        timeout: Duration,
    ) -> Result<(Self, u16), String> {
        let host = c_string(host)?;
        let (mut store, mut bound) = (std::ptr::null_mut(), 0);
        // SAFETY: the host is a C string, the out parameters are valid for the call.
        unsafe {
            let timeout = milliseconds(timeout);
            check_text(qrnn_store_open(
                host.as_ptr(),
                port,
                serves,
                timeout,
                &mut store,
                &mut bound,
            ))?;
        }
        let store = NonNull::new(store).ok_or("no store was made")?;
        Ok((Self(store), bound))
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let key = c_string(key)?;
        // SAFETY: the store lives, the key is a C string, and the bytes are read during the call.
        unsafe {
            check_text(qrnn_store_set(self.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()))
        }
    }

    /// The result of a call, which runs on a thread of its own: a store that is stopped would keep the caller for ever.
    ///
    /// # Errors
    /// That of the call; that the store does not answer.
    pub fn in_time<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (sender, receiver) = mpsc::channel();
        let of_thread = self.clone();
        let spawned = std::thread::Builder::new().name("group store".into()).spawn(move || {
            // Nobody listens any more if this took too long.
            let _ = sender.send(call(&of_thread));
        });
        spawned.map_err(|error| format!("no thread can be started ({error})"))?;
        // If this process itself was stopped meanwhile, the answer comes soon.
        let answer = receiver.recv_timeout(ANSWER).or_else(|_| receiver.recv_timeout(LATE_ANSWER));
        answer.map_err(|_| format!("nothing was heard of it for {} s", ANSWER.as_secs()))?
    }

    /// Adds 1 to the counter of a key, and returns the result.
    pub fn count(&self, key: &str) -> Result<i64, String> {
        let key = c_string(key)?;
        let mut sum = 0;
        // SAFETY: as for `set`; `sum` is valid for the call.
        unsafe { check_text(qrnn_store_add(self.as_ptr(), key.as_ptr(), 1, &mut sum))? };
        Ok(sum)
    }

    /// The values of all keys; `None` if some of them were never set.
    pub fn get(&self, keys: &[String]) -> Result<Option<Vec<Vec<u8>>>, String> {
        let keys = keys.iter().map(|key| c_string(key)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<_> = keys.iter().map(|key| key.as_ptr()).collect();
        let mut values: Vec<Vec<u8>> = vec![];
        let context = (&raw mut values).cast();
        // SAFETY: the store lives, the keys are C strings; `found` gets the vector of this call.
        unsafe {
            let (keys, n) = (pointers.as_ptr(), pointers.len());
            check_text(qrnn_store_get(self.as_ptr(), keys, n, context, found))?;
        }
        Ok((values.len() == keys.len()).then_some(values))
    }
}

/// Appends a value to the vector at `context`.
///
/// # Safety
/// `context` is a `Vec<Vec<u8>>` that nobody else uses, and `bytes` has n bytes, or n is 0.
unsafe extern "C" fn found(context: *mut c_void, _index: usize, bytes: *const u8, n: usize) {
    // SAFETY: by this function's contract.
    let (values, bytes) = unsafe {
        let bytes = if n == 0 { &[] } else { std::slice::from_raw_parts(bytes, n) };
        (&mut *context.cast::<Vec<Vec<u8>>>(), bytes)
    };
    values.push(bytes.to_vec());
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: closed once, and not used after.
        unsafe { qrnn_store_close(self.as_ptr()) }
    }
}

/// A duration for c10d, which takes 0 for no limit and overflows beyond some centuries.
pub(super) fn milliseconds(time: Duration) -> i64 {
    const YEAR: i64 = 365 * 24 * 3600 * 1000;
    i64::try_from(time.as_millis()).unwrap_or(YEAR).clamp(1, YEAR)
}

pub(super) fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("'{text}' has a zero byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn values_are_seen_by_all_connections() {
        let (host, port) = Store::open("127.0.0.1", 0, true, SECOND).unwrap();
        let (client, _) = Store::open("127.0.0.1", port, false, SECOND).unwrap();
        let keys = ["a", "b"].map(str::to_owned);
        assert_eq!(client.get(&keys).unwrap(), None);
        host.set("a", b"1").unwrap();
        assert_eq!(client.get(&keys).unwrap(), None);
        client.set("b", b"").unwrap();
        client.get(&keys).unwrap(); // `set` does not wait for the store
        assert_eq!(host.get(&keys).unwrap(), Some(vec![b"1".to_vec(), vec![]]));
        assert_eq!((host.count("n").unwrap(), client.count("n").unwrap()), (1, 2));
        assert!(client.set("a\0", b"").is_err());
    }

    #[test]
    fn a_taken_port_and_a_missing_host_are_errors() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Store::open("127.0.0.1", port, true, SECOND).unwrap_err();
        assert!(error.contains("EADDRINUSE") || error.contains("in use"), "{error}");
        drop(taken);
        assert!(Store::open("127.0.0.1", port, false, SECOND / 10).is_err());
    }
}
