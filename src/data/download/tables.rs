//! The texts from Parquet files: those in the folder, or those of Hugging Face.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::dataset::HubFolder;
use super::failure::Failure;
use super::fetch::Fetch;
use super::partial_file::{self, PartialFile};
use super::run::Fetched;
use super::text_file::TextFile;
use super::transfer::Remote;
use super::verify::text_difference;
use crate::data::parquet;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// Files whose contents are not the published ones: their indices among all files, and the problem.
struct Wrong(Range<usize>, String);

impl Fetch {
    /// The folder that holds all Parquet files, if the user has put them there: `to`, or the folder of the
    /// repository in it.
    pub(super) fn existing_tables(&self) -> Option<PathBuf> {
        let hub = self.dataset.hugging_face.as_ref()?;
        let mut folders = [self.to.clone(), self.to.join(&hub.folder)].into_iter();
        folders.find(|folder| self.tables().all(|name| folder.join(name).is_file()))
    }

    /// The names of all Parquet files, in the order of the texts.
    fn tables(&self) -> impl Iterator<Item = &String> {
        self.dataset.files.iter().flat_map(|file| &file.parquet)
    }

    /// Restores the texts from the Parquet files in a folder.
    pub(super) fn restore_from(
        &self,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, Failure> {
        let paths: Vec<_> = self.tables().map(|name| folder.join(name)).collect();
        let restored = self.restore(&paths, progress)?;
        restored.map_err(|Wrong(_, problem)| Failure::Permanent(problem))
    }

    /// Downloads the Parquet files and restores the texts. Adds the bytes received to `downloaded`.
    ///
    /// # Errors
    /// [`Failure::Permanent`] if the server does not provide the files, or others than the published ones;
    /// [`Failure::Fatal`] with an error that says what is saved.
    pub(super) fn fetch_tables(
        &self,
        hub: &HubFolder,
        folder_url: &str,
        downloaded: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, Failure> {
        let (mut parts, mut restarts) = (vec![], 0);
        let result = loop {
            match self.try_tables(hub, folder_url, &mut parts, progress) {
                Ok(Ok(fetched)) => break Ok(fetched),
                Ok(Err(Wrong(files, problem))) => {
                    // A server that breaks every connection and sends other files would never be left.
                    let may_restart = restarts < parts.len();
                    restarts += 1;
                    if let Err(failure) =
                        Self::repair(&mut parts[files], problem, may_restart, progress)
                    {
                        break Err(failure);
                    }
                }
                Err(failure) => break Err(failure),
            }
        };
        *downloaded += parts.iter().map(|part| part.received).sum::<u64>();
        result.map_err(|failure| match failure {
            Failure::Fatal(error) => Failure::Fatal(partial_file::explain(&parts, error)),
            failure => failure,
        })
    }

    fn try_tables(
        &self,
        hub: &HubFolder,
        folder_url: &str,
        parts: &mut Vec<PartialFile>,
        progress: &mut dyn Progress,
    ) -> Result<Result<Fetched, Wrong>, Failure> {
        for (index, (name, path)) in self.tables().zip(self.partial_tables(hub)).enumerate() {
            if index == parts.len() {
                parts.push(PartialFile::open(path)?);
            }
            let url = format!("{folder_url}/{name}");
            let remote = Remote {
                url: &url,
                token: self.hub.token(),
                max_bytes: hub.max_bytes,
                published: vec![],
            };
            if !remote.is_complete(&parts[index], &self.interrupt)? {
                progress.message(&format!("fetching {url}"));
            }
            self.transfer(&remote, &mut parts[index], progress)?;
            // Early, so that a wrong server is left before it has sent all.
            match parquet::check(parts[index].path()) {
                Err(Error::BadFile { problem, .. }) => {
                    return Ok(Err(Wrong(index..index + 1, format!("{name}: {problem}"))));
                }
                checked => checked?,
            }
        }
        let paths: Vec<_> = parts.iter().map(|part| part.path().to_path_buf()).collect();
        let restored = self.restore(&paths, progress)?;
        Ok(restored.map(|fetched| Fetched { from: Some(folder_url.into()), ..fetched }))
    }

    /// Restarts files with bytes of several responses, which may be from different files. If there are
    /// none, or a restart is not allowed, puts the files aside.
    ///
    /// # Errors
    /// [`Failure::Permanent`] if no file was restarted.
    fn repair(
        parts: &mut [PartialFile],
        problem: String,
        may_restart: bool,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        if may_restart && parts.iter().any(|part| part.spliced) {
            progress.message(&format!("{problem}; downloading again from the beginning"));
            for part in parts.iter_mut().filter(|part| part.spliced) {
                part.restart()?;
            }
            return Ok(());
        }
        let mut names = vec![];
        for part in parts {
            let refused = part.path().with_extension("refused");
            std::fs::rename(part.path(), &refused).map_err(Error::io(&refused, "write"))?;
            part.delete()?;
            names.push(refused.display().to_string());
        }
        Err(Failure::Permanent(format!("{problem}; saved as {}", names.join(", "))))
    }

    /// Restores the texts from all Parquet files, in their order, and installs them.
    fn restore(
        &self,
        paths: &[PathBuf],
        progress: &mut dyn Progress,
    ) -> Result<Result<Fetched, Wrong>, Failure> {
        let folder = self.unpack_folder()?;
        progress.start(&Task {
            label: "restoring".into(),
            unit: Unit::Bytes,
            done: 0,
            total: None,
        });
        let restored = self.restore_texts(paths, folder.path(), progress);
        progress.finish();
        if let Err(wrong) = restored? {
            return Ok(Err(wrong));
        }
        let fetched = self.fetched(self.install(folder.path())?)?;
        Ok(Ok(Fetched { from_parquet: true, ..fetched }))
    }

    fn restore_texts(
        &self,
        paths: &[PathBuf],
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Result<(), Wrong>, Failure> {
        let mut end = 0;
        for expected in &self.dataset.files {
            let files = end..end + expected.parquet.len();
            end = files.end;
            let mut text = TextFile::create(into, expected)?;
            let write = |block: &[u8]| {
                self.interrupt.check(|| "nothing was changed".into())?;
                progress.advance(block.len() as u64);
                text.append(block)
            };
            match parquet::restore(&paths[files.clone()], write) {
                Ok(()) => text.sync()?,
                Err(Failure::Fatal(Error::BadFile { path, problem, .. })) => {
                    let problem = format!("{}: {problem}", path.display());
                    return Ok(Err(Wrong(files, problem)));
                }
                Err(Failure::Permanent(problem)) => return Ok(Err(Wrong(files, problem))),
                Err(failure) => return Err(failure),
            }
            if let Some(difference) = text_difference(text.path(), expected, &self.interrupt)? {
                let problem = format!(
                    "the text of {} is not the published {}: {difference}",
                    expected.parquet.join(" and "),
                    expected.name
                );
                return Ok(Err(Wrong(files, problem)));
            }
        }
        Ok(Ok(()))
    }

    /// The paths of the partial Parquet files.
    pub(super) fn partial_tables(&self, hub: &HubFolder) -> impl Iterator<Item = PathBuf> {
        self.tables().map(move |name| self.to.join(format!("{}-{name}.part", hub.folder)))
    }
}
