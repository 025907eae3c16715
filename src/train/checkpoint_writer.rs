//! The thread that writes a run's files of tensors while training goes on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use tch::{Device, Tensor};

use crate::files::tensor_file;
use crate::{Error, Result};
use qrnn_ops::libtorch::pinned::{HostCopy, HostMemory};

/// Files that are being written or wait for their turn: an epoch's best weights, and its checkpoint.
/// Each holds a copy of its tensors.
const MOST: usize = 2;

/// Writes files of tensors, whole and in their order: at once, or in the background, where the caller
/// goes on as soon as the tensors' copy is under way. Dropped, it finishes what it was given.
#[derive(Debug)]
pub(super) struct Writer {
    background: Option<Background>,
}

#[derive(Debug)]
struct Background {
    memory: HostMemory,
    writing: Option<Writing>,
}

/// A thread that writes a file after those that were begun before it.
#[derive(Debug)]
struct Writing {
    path: PathBuf,
    /// How many files it and the threads before it write.
    files: usize,
    /// Joined, at the latest, when this is dropped.
    thread: Option<JoinHandle<Written>>,
}

/// Copies that are no longer needed, and how it went.
type Written = (Vec<HostCopy>, Result<()>);

impl Writer {
    /// For tensors on `device`.
    pub fn new(device: Device, in_background: bool) -> Self {
        let background = Background { memory: HostMemory::new(device), writing: None };
        Self { background: in_background.then_some(background) }
    }

    /// Writes a file, and then does what is to be done `afterwards`. In the background, the file holds
    /// the tensors as they are now, whatever becomes of them later; where an earlier file failed, it is
    /// not written.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full or the folder unwritable; in the background, of an earlier
    /// file.
    pub fn write(
        &mut self,
        path: &Path,
        tensors: &[(String, &Tensor)],
        metadata: HashMap<String, String>,
        afterwards: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if self.writing().is_some_and(|writing| writing.files == MOST) {
            self.finish()?;
        }
        let Some(background) = &mut self.background else {
            tensor_file::write(path, tensors, metadata)?;
            return afterwards();
        };
        let (entries, tensors): (Vec<_>, Vec<_>) =
            tensor_file::entries(tensors)?.into_iter().unzip();
        let mut copy = background.memory.copy(&tensors)?;
        let before = background.writing.take();
        let files = 1 + before.as_ref().map_or(0, |writing| writing.files);
        let target = path.to_owned();
        let thread = Builder::new().name("checkpoint".into()).spawn(move || {
            let (mut copies, before) = before.map_or((vec![], Ok(())), Writing::join);
            let result = before
                .and_then(|()| tensor_file::write_bytes(&target, entries, copy.bytes()?, metadata))
                .and_then(|()| afterwards());
            copies.push(copy);
            (copies, result)
        });
        let thread = Some(thread.map_err(Error::io(path, "write"))?);
        background.writing = Some(Writing { path: path.into(), files, thread });
        Ok(())
    }

    /// Whether a file is being written.
    ///
    /// # Errors
    /// Those of the files that were written since the last call.
    pub fn is_writing(&mut self) -> Result<bool> {
        if self.writing().is_some_and(|writing| !writing.is_done()) {
            return Ok(true);
        }
        self.finish().map(|()| false)
    }

    fn writing(&self) -> Option<&Writing> {
        self.background.as_ref()?.writing.as_ref()
    }

    /// Waits until all files are on the disk.
    ///
    /// # Errors
    /// Those of the files that were written since the last call.
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

impl Writing {
    fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(mut self) -> Written {
        let panicked = || {
            let error = std::io::Error::other("the thread that writes it panicked");
            (vec![], Err(Error::io(&self.path, "write")(error)))
        };
        let written = self.thread.take().and_then(|thread| thread.join().ok());
        written.unwrap_or_else(panicked)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Only a run that has failed already ends without having asked how it went.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use tch::Kind;

    use super::*;

    /// Tensors of several blocks' pieces, kinds and layouts.
    fn tensors() -> Vec<Tensor> {
        let numbers = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu)) / 3.0;
        vec![
            numbers(1000, Kind::Float).view([8, 125]).transpose(0, 1),
            numbers(3, Kind::Double),
            numbers(5, Kind::BFloat16),
            numbers(0, Kind::Double),
            Tensor::from(2.5f32),
        ]
    }

    fn named(tensors: &[Tensor]) -> Vec<(String, &Tensor)> {
        tensors.iter().enumerate().map(|(i, tensor)| (format!("t{i}"), tensor)).collect()
    }

    fn note() -> HashMap<String, String> {
        HashMap::from([("note".into(), "kept".into())])
    }

    #[test]
    fn a_file_holds_what_the_tensors_held_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let read = |in_background| {
            let path = folder.path().join("file");
            let mut tensors = tensors();
            let mut writer = Writer::new(Device::Cpu, in_background);
            writer.write(&path, &named(&tensors), note(), || Ok(())).unwrap();
            for tensor in &mut tensors {
                let _ = tensor.fill_(-1.0);
            }
            writer.finish().unwrap();
            let file = tensor_file::read(&path, "").unwrap();
            assert!(tensor_file::has_checksum(&file));
            file
        };
        let (at_once, later) = (read(false), read(true));
        assert_eq!(at_once.tensors.len(), 5);
        assert_eq!(at_once.tensors["t0"], tensors()[0]);
        assert_eq!(at_once.tensors, later.tensors);
        assert_eq!(at_once.metadata, later.metadata);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_written_in_their_order_and_a_third_waits() {
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
            writer.write(&path, &named(&tensors), note(), afterwards).unwrap();
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
    fn a_failure_is_told_once_and_nothing_is_written_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        let tensors = tensors();
        let message = |in_background| {
            let mut writer = Writer::new(Device::Cpu, in_background);
            let pending = writer.write(&taken, &named(&tensors), note(), || panic!("not reached"));
            if in_background {
                pending.unwrap();
                let next = folder.path().join("next");
                writer.write(&next, &named(&tensors), note(), || Ok(())).unwrap();
                let error = writer.finish().unwrap_err();
                assert!(!next.exists());
                writer.finish().unwrap();
                error.to_string()
            } else {
                pending.unwrap_err().to_string()
            }
        };
        let (at_once, later) = (message(false), message(true));
        assert!(later.contains("taken: cannot write"), "{later}");
        assert_eq!(at_once, later);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_panic_of_the_thread_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut writer = Writer::new(Device::Cpu, true);
        writer.write(&path, &named(&tensors()), note(), || panic!("on purpose")).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("file: cannot write"), "{error}");
    }
}
