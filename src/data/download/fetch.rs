//! The download of a dataset: existing texts, mirrors, verification.

use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::retry::RetryPolicy;

use super::archive::{self, UnpackError};
use super::checksums::{FileHasher, FileSummary, hash_file};
use super::destination::{self, Destination, ExistingTexts};
use super::partial_file::PartialFile;
use super::transfer::{Download, DownloadError, interrupted};

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::{Error, Result};

/// A download of a dataset.
///
/// ```no_run
/// use qrnn::data::download::{Dataset, Fetch};
///
/// let fetched = Fetch::new(Dataset::named("wikitext-103")?, "data").run(&mut qrnn::progress::Silent)?;
/// println!("{}", fetched.path.display());
/// # Ok::<(), qrnn::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fetch {
    dataset: Dataset,
    to: PathBuf,
    /// Replaces the mirrors.
    url: Option<String>,
    retry_policy: RetryPolicy,
    interrupt: Interrupt,
}

/// Results of a [`Fetch`].
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The folder of the texts, for [`crate::data::Corpus::from_dir`].
    pub path: PathBuf,
    /// Size of the texts, in bytes.
    pub bytes: u64,
    /// MD5 of the archive: of the one unpacked, otherwise of the published one.
    pub md5: String,
    /// SHA-256 of the archive, if known.
    pub sha256: Option<String>,
    /// URL or path of the archive; `None` if the texts already existed.
    pub from: Option<String>,
    /// Bytes received over the network.
    pub downloaded: u64,
}

impl Fetch {
    /// Downloads into a subfolder of `to` with the name of the dataset.
    pub fn new(dataset: Dataset, to: impl Into<PathBuf>) -> Self {
        let (retry_policy, interrupt) = (RetryPolicy::default(), Interrupt::default());
        Self { dataset, to: to.into(), url: None, retry_policy, interrupt }
    }

    /// Downloads from this URL instead of the mirrors.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not an http or https URL.
    pub fn url(mut self, url: &str) -> Result<Self> {
        let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            return Err(Error::config(
                "fetch.url",
                url,
                "is not an http or https URL",
                format!(
                    "give https://…/{file}; to use an archive that you already have, put it into \
                     the folder as {file}",
                    file = self.dataset.archive.file
                ),
            ));
        }
        self.url = Some(url.into());
        Ok(self)
    }

    /// Sets timeouts and retries.
    pub fn retry_policy(mut self, retry_policy: RetryPolicy) -> Self {
        self.retry_policy = retry_policy;
        self
    }

    /// Sets the flag that interrupts the download. The received bytes stay on disk.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Ensures that the folder holds the published texts. Existing texts are kept. Otherwise unpacks the
    /// archive in the folder, if the user has put it there, or tries each mirror in turn.
    ///
    /// An archive with a different checksum is accepted if all its texts are the published ones.
    ///
    /// # Errors
    /// [`Error::Fetch`] if no mirror provides the archive or the disk is full; [`Error::Interrupted`];
    /// [`Error::BadFile`] if the folder holds different texts; [`Error::Busy`] if another process is
    /// fetching into the folder; [`Error::Io`].
    pub fn run(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        // Respond to the interrupt button of a notebook too.
        let interrupt = self.interrupt.during_call();
        let result = Self { interrupt, ..self.clone() }.fetch_texts(progress);
        progress.finish();
        result
    }

    fn fetch_texts(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        let destination = Destination::open(&self.dataset, &self.to)?;
        if let ExistingTexts::Complete(path) = destination.find_texts(&self.interrupt)? {
            return self.fetched(path, None, None, 0);
        }
        let local_archive = destination.archive_path();
        if local_archive.is_file() {
            match self.unpack(&local_archive, &destination, progress) {
                Ok((path, summary)) => {
                    return self.fetched(
                        path,
                        Some(summary),
                        Some(local_archive.display().to_string()),
                        0,
                    );
                }
                Err(UnpackError::Other(error)) => return Err(error),
                Err(UnpackError::BadArchive(problem)) => progress.message(&format!(
                    "ignoring {}, which is not the published archive: {problem}",
                    local_archive.display()
                )),
            }
        }
        self.download(&destination, progress)
    }

    fn download(
        &self,
        destination: &Destination<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Fetched> {
        let mut problems = vec![];
        let mut downloaded = 0;
        let mirrors = self.url.as_ref().map_or(&self.dataset.mirrors[..], std::slice::from_ref);
        for url in mirrors {
            let mut part = PartialFile::open(destination.archive_path_with(".part"))?;
            part.spliced = part.bytes() > 0;
            progress.message(&format!("fetching {url}"));
            // Repeats if the bytes may be from different files.
            let problem = loop {
                let mut download = Download {
                    url,
                    max_bytes: self.dataset.archive.max_bytes,
                    policy: &self.retry_policy,
                    interrupt: &self.interrupt,
                    progress,
                    is_complete: &|part: &PartialFile| self.is_published(part.path()),
                    received: 0,
                };
                let result = download.run(&mut part);
                downloaded += download.received;
                match result {
                    Ok(()) => {}
                    Err(DownloadError::Fatal(error)) => return Err(error),
                    Err(DownloadError::Server(problem)) => break problem,
                }
                match self.unpack(part.path(), destination, progress) {
                    Ok((path, summary)) => {
                        // An earlier attempt may have completed it from another server.
                        let from = Some(&part.source.url).filter(|url| !url.is_empty());
                        let from = from.unwrap_or(url).clone();
                        part.delete()?;
                        return self.fetched(path, Some(summary), Some(from), downloaded);
                    }
                    Err(UnpackError::Other(Error::Interrupted { .. })) => {
                        return Err(interrupted(&part));
                    }
                    Err(UnpackError::Other(Error::Io { path, source, .. })) => {
                        return Err(disk_error(&path, source, &part));
                    }
                    Err(UnpackError::Other(error)) => return Err(error),
                    Err(UnpackError::BadArchive(problem)) if part.spliced => {
                        progress
                            .message(&format!("{problem}; downloading again from the beginning"));
                        part.restart()?;
                    }
                    Err(UnpackError::BadArchive(problem)) => {
                        let refused = destination.archive_path_with(".refused");
                        part.rename_to(&refused)?;
                        break format!("{problem}; saved as {}", refused.display());
                    }
                }
            };
            progress.message(&problem);
            problems.push(format!("\n  {url}: {problem}"));
        }
        Err(Error::Fetch {
            what: self.dataset.name.clone(),
            problem: format!("no server provided the archive{}", problems.concat()),
            remedy: format!(
                "run the command again later, give another fetch.url, or {}",
                self.dataset.manual_download(&self.to)
            ),
        })
    }

    /// Unpacks an archive and installs its texts.
    fn unpack(
        &self,
        path: &Path,
        destination: &Destination<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, FileSummary), UnpackError> {
        let summary = hash_file(path, FileHasher::of_archive(), &self.interrupt)?;
        let difference = summary.archive_difference(&self.dataset.archive);
        let unpacking = destination.create_unpack_folder()?;
        let unpacked =
            archive::unpack(path, &self.dataset, unpacking.path(), &self.interrupt, progress);
        progress.finish();
        match (unpacked, &difference) {
            (Err(UnpackError::BadArchive(problem)), Some(difference)) => {
                return Err(UnpackError::BadArchive(format!("{difference}; {problem}")));
            }
            (Ok(()), Some(difference)) => progress.message(&format!(
                "accepted: not the published archive ({difference}), but its texts are the published ones"
            )),
            (unpacked, None) => unpacked?,
            (Err(other), _) => return Err(other),
        }
        Ok((destination.install(&unpacking)?, summary))
    }

    fn is_published(&self, path: &Path) -> Result<bool> {
        let summary = hash_file(path, FileHasher::of_archive(), &self.interrupt)?;
        Ok(summary.archive_difference(&self.dataset.archive).is_none())
    }

    fn fetched(
        &self,
        path: PathBuf,
        archive: Option<FileSummary>,
        from: Option<String>,
        downloaded: u64,
    ) -> Result<Fetched> {
        let published = &self.dataset.archive;
        let (md5, sha256) = match archive {
            Some(summary) => (summary.md5.unwrap_or_default(), summary.sha256),
            None => (published.md5.clone(), published.sha256.clone()),
        };
        let mut bytes = 0;
        for expected in &self.dataset.files {
            let text = destination::existing_path(&path, expected)
                .unwrap_or_else(|| path.join(&expected.name));
            bytes += std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len();
        }
        Ok(Fetched { path, bytes, md5, sha256, from, downloaded })
    }
}

/// The error for a disk error during unpacking.
fn disk_error(path: &Path, error: std::io::Error, part: &PartialFile) -> Error {
    Error::Fetch {
        what: path.display().to_string(),
        problem: format!("cannot write to the disk ({error}); {}", part.saved_message()),
        remedy:
            "check the disk (the texts take about 550 MB) and run the command again, which resumes \
                 from there; or choose another folder"
                .into(),
    }
}
