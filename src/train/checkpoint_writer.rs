//! Writes checkpoint files in a background thread while training continues.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use tch::{Device, Tensor};

use crate::files::tensor_file;
use crate::{Error, Result};
use qrnn_ops::libtorch::pinned::{HostCopy, HostMemory};

/// Maximum number of pending files: the best weights of an epoch and its checkpoint. Each pending file holds
/// a host copy of its tensors.
const MAX_PENDING: usize = 2;

/// Writes tensor files atomically and in order: synchronously, or in the background after copying the
/// tensors. Dropping it waits for pending files.
#[derive(Debug)]
pub(super) struct Writer {
    background: Option<Background>,
}

#[derive(Debug)]
struct Background {
    memory: HostMemory,
    writing: Option<FileThread>,
}

/// A thread that writes a file after joining the thread of the previous file.
#[derive(Debug)]
struct FileThread {
    path: PathBuf,
    /// Number of files that this thread and the previous ones still write.
    files: usize,
    /// Joined when this is dropped, at the latest.
    thread: Option<JoinHandle<ThreadResult>>,
}

/// Host copies to reuse, and the result of writing.
type ThreadResult = (Vec<HostCopy>, Result<()>);

impl Writer {
    /// Creates a writer for tensors on `device`.
    pub fn new(device: Device, in_background: bool) -> Self {
        let background = Background { memory: HostMemory::new(device), writing: None };
        Self { background: in_background.then_some(background) }
    }

    /// Writes a file and then calls `afterwards`. In the background, the file holds the values of the tensors
    /// at the time of this call; it is not written if an earlier file failed.
    ///
    /// # Errors
    /// [`Error::Io`]; in the background, that of an earlier file.
    pub fn write(
        &mut self,
        path: &Path,
        tensors: &[(String, &Tensor)],
        metadata: HashMap<String, String>,
        afterwards: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if self.writing().is_some_and(|writing| writing.files == MAX_PENDING) {
            self.finish()?;
        }
        let Some(background) = &mut self.background else {
            tensor_file::write(path, tensors, metadata)?;
            return afterwards();
        };
        let (entries, tensors): (Vec<_>, Vec<_>) =
            tensor_file::entries(tensors)?.into_iter().unzip();
        let mut copy = background.memory.copy(&tensors)?;
        let previous = background.writing.take();
        let files = 1 + previous.as_ref().map_or(0, |writing| writing.files);
        let target = path.to_owned();
        let thread = Builder::new().name("checkpoint".into()).spawn(move || {
            let (mut copies, earlier) = previous.map_or((vec![], Ok(())), FileThread::join);
            let result = earlier
                .and_then(|()| tensor_file::write_bytes(&target, entries, copy.bytes()?, metadata))
                .and_then(|()| afterwards());
            copies.push(copy);
            (copies, result)
        });
        let thread = Some(thread.map_err(Error::io(path, "write"))?);
        background.writing = Some(FileThread { path: path.into(), files, thread });
        Ok(())
    }

    /// Whether a file is being written.
    ///
    /// # Errors
    /// Those of files written since the last call.
    pub fn is_writing(&mut self) -> Result<bool> {
        if self.writing().is_some_and(|writing| !writing.is_finished()) {
            return Ok(true);
        }
        self.finish().map(|()| false)
    }

    fn writing(&self) -> Option<&FileThread> {
        self.background.as_ref()?.writing.as_ref()
    }

    /// Waits until all files are on the disk.
    ///
    /// # Errors
    /// Those of files written since the last call.
    pub fn finish(&mut self) -> Result<()> {
        let Some(background) = &mut self.background else { return Ok(()) };
        let Some(writing) = background.writing.take() else { return Ok(()) };
        let (copies, result) = writing.join();
        for copy in copies {
            background.memory.take_back(copy)?;
        }
        result
    }
}

impl FileThread {
    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(mut self) -> ThreadResult {
        let panicked = || {
            let error = std::io::Error::other("the thread that writes it panicked");
            (vec![], Err(Error::io(&self.path, "write")(error)))
        };
        let written = self.thread.take().and_then(|thread| thread.join().ok());
        written.unwrap_or_else(panicked)
    }
}

impl Drop for FileThread {
    fn drop(&mut self) {
        // Only a run that has already failed is dropped without `finish`, so the result is ignored.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use tch::Kind;

    use super::*;

    /// Tensors of several sizes, kinds and layouts.
    fn tensors() -> Vec<Tensor> {
        let values = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu)) / 3.0;
        vec![
            values(1000, Kind::Float).view([8, 125]).transpose(0, 1),
            values(3, Kind::Double),
            values(5, Kind::BFloat16),
            values(0, Kind::Double),
            Tensor::from(2.5f32),
        ]
    }

    fn named(tensors: &[Tensor]) -> Vec<(String, &Tensor)> {
        tensors.iter().enumerate().map(|(i, tensor)| (format!("t{i}"), tensor)).collect()
    }

    fn metadata() -> HashMap<String, String> {
        HashMap::from([("note".into(), "kept".into())])
    }

    #[test]
    fn both_modes_write_the_values_at_the_time_of_the_call() {
        let folder = tempfile::tempdir().unwrap();
        let read = |in_background| {
            let path = folder.path().join("file");
            let mut tensors = tensors();
            let mut writer = Writer::new(Device::Cpu, in_background);
            writer.write(&path, &named(&tensors), metadata(), || Ok(())).unwrap();
            for tensor in &mut tensors {
                let _ = tensor.fill_(-1.0);
            }
            writer.finish().unwrap();
            let file = tensor_file::read(&path, "").unwrap();
            assert!(tensor_file::has_checksum(&file));
            file
        };
        let (synchronous, background) = (read(false), read(true));
        assert_eq!(synchronous.tensors.len(), 5);
        assert_eq!(synchronous.tensors["t0"], tensors()[0]);
        assert_eq!(synchronous.tensors, background.tensors);
        assert_eq!(synchronous.metadata, background.metadata);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_written_in_order_and_a_third_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let done = Arc::new(Mutex::new(vec![]));
        let (release, wait) = mpsc::channel::<()>();
        let mut wait = Some(wait);
        let mut writer = Writer::new(Device::Cpu, true);
        let tensors = tensors();
        let mut write = |writer: &mut Writer, name: &'static str| {
            let (done, wait) = (done.clone(), wait.take());
            let afterwards = move || {
                if let Some(wait) = wait {
                    wait.recv().unwrap();
                }
                done.lock().unwrap().push(name);
                Ok(())
            };
            let path = folder.path().join(name);
            writer.write(&path, &named(&tensors), metadata(), afterwards).unwrap();
        };
        write(&mut writer, "first");
        write(&mut writer, "second");
        assert!(writer.is_writing().unwrap());
        assert!(done.lock().unwrap().is_empty() && !folder.path().join("second").exists());
        release.send(()).unwrap();
        write(&mut writer, "third");
        assert_eq!(done.lock().unwrap()[..2], ["first", "second"]);
        drop(writer);
        assert_eq!(done.lock().unwrap()[..], ["first", "second", "third"]);
        assert!(folder.path().join("third").exists());
    }

    #[test]
    fn a_failure_is_reported_once_and_later_files_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        let tensors = tensors();
        let message = |in_background| {
            let mut writer = Writer::new(Device::Cpu, in_background);
            let pending =
                writer.write(&taken, &named(&tensors), metadata(), || panic!("not reached"));
            if in_background {
                pending.unwrap();
                let next = folder.path().join("next");
                writer.write(&next, &named(&tensors), metadata(), || Ok(())).unwrap();
                let error = writer.finish().unwrap_err();
                assert!(!next.exists());
                writer.finish().unwrap();
                error.to_string()
            } else {
                pending.unwrap_err().to_string()
            }
        };
        let (synchronous, background) = (message(false), message(true));
        assert!(background.contains("taken: cannot write"), "{background}");
        assert_eq!(synchronous, background);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_panic_of_the_thread_is_reported_as_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut writer = Writer::new(Device::Cpu, true);
        writer.write(&path, &named(&tensors()), metadata(), || panic!("on purpose")).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("file: cannot write"), "{error}");
    }
}
