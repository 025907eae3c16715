//! The download of a dataset: existing texts, mirrors, verification.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::fetch::Fetch;
use super::folder::existing_path;
use super::partial_file::{self, PartialFile};
use super::transfer::Remote;
use super::verify::{checksums, difference};
use crate::progress::Progress;
use crate::{Error, Result};

/// Results of a [`Fetch`].
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The folder of the texts, for [`crate::data::Corpus::from_dir`].
    pub path: PathBuf,
    /// Size of the texts, in bytes.
    pub bytes: u64,
    /// MD5 of the archive: of the one unpacked, otherwise of the published one. The texts have the checksums
    /// of those in the published archive in any case.
    pub md5: String,
    /// SHA-256 of the archive, if one is published.
    pub sha256: Option<String>,
    /// URL or path of the archive, or of the folder of Parquet files; `None` if the texts already existed.
    pub from: Option<String>,
    /// Whether the texts were restored from Parquet files.
    pub from_parquet: bool,
    /// Bytes received over the network.
    pub downloaded: u64,
}

impl Fetch {
    /// Ensures that the folder holds the published texts. Existing texts are kept. Otherwise unpacks the
    /// archive in the folder or restores the texts from the Parquet files in it, if the user has put them
    /// there, or tries Hugging Face and then each mirror of the archive in turn.
    ///
    /// An archive with a different checksum is accepted if all its texts are the published ones.
    ///
    /// # Errors
    /// [`Error::Fetch`] if no server provides the texts or the disk is full; [`Error::Interrupted`];
    /// [`Error::Config`] if the address of Hugging Face is not a URL;
    /// [`Error::BadFile`] if the folder holds different texts; [`Error::Busy`] if another process is
    /// fetching into the folder; [`Error::Io`].
    pub fn run(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        // Respond to the interrupt button of a notebook too.
        let fetch = Self { interrupt: self.interrupt.during_call(), ..self.clone() };
        let fetched = fetch.fetch(progress);
        progress.finish();
        fetched
    }

    fn fetch(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        let _lock = self.lock()?;
        if let Some(path) = self.existing_texts()? {
            return self.fetched(path);
        }
        let local = self.archive_path("");
        if local.is_file() {
            let name = local.display().to_string();
            match self.unpack(&local, progress) {
                Ok(fetched) => return Ok(Fetched { from: Some(name), ..fetched }),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Temporary(problem, _) | Failure::Permanent(problem)) => progress
                    .message(&format!(
                        "ignoring {name}, which is not the published archive: {problem}"
                    )),
            }
        }
        if let Some(folder) = self.existing_tables() {
            let name = folder.display().to_string();
            match self.restore_from(&folder, progress) {
                Ok(fetched) => return Ok(Fetched { from: Some(name), ..fetched }),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Temporary(problem, _) | Failure::Permanent(problem)) => {
                    progress.message(&format!("ignoring the Parquet files in {name}: {problem}"));
                }
            }
        }
        let fetched = self.fetch_from_servers(progress)?;
        // Those of servers that were left for another.
        partial_file::delete(&self.archive_path(".part"))?;
        if let Some(hub) = &self.dataset.hugging_face {
            self.partial_tables(hub).try_for_each(|part| partial_file::delete(&part))?;
        }
        Ok(fetched)
    }

    fn fetch_from_servers(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        let mut problems = String::new();
        let mut downloaded = 0;
        if let (None, Some(hub)) = (&self.url, &self.dataset.hugging_face) {
            let url = self.hub.url(hub)?;
            match self.fetch_tables(hub, &url, &mut downloaded, progress) {
                Ok(fetched) => return Ok(Fetched { downloaded, ..fetched }),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Temporary(problem, _) | Failure::Permanent(problem)) => {
                    if !self.dataset.mirrors.is_empty() {
                        progress.message(&problem);
                    }
                    problems += &format!("\n  {url}: {problem}");
                }
            }
        }
        let urls = self.url.as_ref().map_or(&self.dataset.mirrors[..], std::slice::from_ref);
        for (url, others) in urls.iter().zip((0..urls.len()).rev()) {
            let mut part = PartialFile::open(self.archive_path(".part"))?;
            progress.message(&format!("fetching {url}"));
            let result = self.fetch_from(url, &mut part, progress);
            downloaded += part.received;
            match result {
                Ok(fetched) => return Ok(Fetched { downloaded, ..fetched }),
                Err(Failure::Fatal(error)) => return Err(partial_file::explain(&[part], error)),
                Err(Failure::Temporary(problem, _) | Failure::Permanent(problem)) => {
                    // The error below repeats it.
                    if others > 0 {
                        progress.message(&problem);
                    }
                    problems += &format!("\n  {url}: {problem}");
                }
            }
        }
        let from = self.dataset.mirrors.first().map(|url| format!(" from {url}"));
        Err(Error::Fetch {
            what: self.dataset.name.clone(),
            problem: format!("no server provided the texts{problems}"),
            remedy: format!(
                "run the command again later, give another fetch.url, or download {}{} with a \
                 browser, put it into {}, and run the command again, which verifies and unpacks it",
                self.dataset.archive.file,
                from.unwrap_or_default(),
                self.to.display()
            ),
        })
    }

    /// Downloads the archive from one server, and unpacks it.
    fn fetch_from(
        &self,
        url: &str,
        part: &mut PartialFile,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, Failure> {
        loop {
            let remote = Remote {
                url,
                token: None,
                max_bytes: self.dataset.archive.max_bytes,
                published: self.dataset.archive.published(),
            };
            self.transfer(&remote, part, progress)?;
            match self.unpack(part.path(), progress) {
                Ok(fetched) => {
                    // An earlier process may have completed it from another server.
                    let source = std::mem::take(&mut part.source.url);
                    let from = Some(source).filter(|source| !source.is_empty());
                    part.delete()?;
                    return Ok(Fetched { from: from.or_else(|| Some(url.into())), ..fetched });
                }
                // The bytes may be from different files.
                Err(Failure::Permanent(problem)) if part.spliced => {
                    progress.message(&format!("{problem}; downloading again from the beginning"));
                    part.restart()?;
                }
                Err(Failure::Permanent(problem)) => {
                    let refused = self.archive_path(".refused");
                    std::fs::rename(part.path(), &refused).map_err(Error::io(&refused, "write"))?;
                    part.delete()?;
                    return Err(Failure::Permanent(format!(
                        "{problem}; saved as {}",
                        refused.display()
                    )));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Unpacks an archive and installs its texts.
    fn unpack(&self, path: &Path, progress: &mut dyn Progress) -> Result<Fetched, Failure> {
        let published = self.dataset.archive.published();
        let sums = checksums(path, &published, &self.interrupt)?;
        let difference = difference(&published, &sums);
        let folder = self.unpack_folder()?;
        let archive = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
        let unpacked = self.unpack_texts(archive, folder.path(), progress);
        progress.finish();
        match (unpacked, difference) {
            (Ok(()), None) => {}
            (Ok(()), Some(difference)) => progress.message(&format!(
                "accepted: not the published archive ({difference}), but its texts are the published ones"
            )),
            (Err(Failure::Permanent(problem)), Some(difference)) => {
                return Err(Failure::Permanent(format!("{difference}; {problem}")));
            }
            (Err(failure), _) => return Err(failure),
        }
        let fetched = self.fetched(self.install(folder.path())?)?;
        let mut sums = sums.into_iter().map(|(_, sum)| sum);
        Ok(Fetched { md5: sums.next().unwrap_or_default(), sha256: sums.next(), ..fetched })
    }

    /// The result for the texts in a folder.
    pub(super) fn fetched(&self, path: PathBuf) -> Result<Fetched> {
        let mut bytes = 0;
        for expected in &self.dataset.files {
            let text = existing_path(&path, expected).unwrap_or_else(|| path.join(&expected.name));
            bytes += std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len();
        }
        let (md5, sha256) = (self.dataset.archive.md5.clone(), self.dataset.archive.sha256.clone());
        let (from, from_parquet, downloaded) = (None, false, 0);
        Ok(Fetched { path, bytes, md5, sha256, from, from_parquet, downloaded })
    }
}
