//! The download of a dataset: existing texts, mirrors, verification.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::fetch::Fetch;
use super::folder::existing_path;
use super::partial_file::PartialFile;
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
    /// MD5 of the archive: of the one unpacked, otherwise of the published one.
    pub md5: String,
    /// SHA-256 of the archive, if one is published.
    pub sha256: Option<String>,
    /// URL or path of the archive; `None` if the texts already existed.
    pub from: Option<String>,
    /// Bytes received over the network.
    pub downloaded: u64,
}

impl Fetch {
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
        let mut problems = String::new();
        let mut downloaded = 0;
        let urls = self.url.as_ref().map_or(&self.dataset.mirrors[..], std::slice::from_ref);
        for (url, others) in urls.iter().zip((0..urls.len()).rev()) {
            let mut part = PartialFile::open(self.archive_path(".part"))?;
            progress.message(&format!("fetching {url}"));
            let result = self.fetch_from(url, &mut part, progress);
            downloaded += part.received;
            match result {
                Ok(fetched) => return Ok(Fetched { downloaded, ..fetched }),
                Err(Failure::Fatal(error)) => return Err(part.explain(error)),
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
            problem: format!("no server provided the archive{problems}"),
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
            self.transfer(url, part, progress)?;
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

    fn fetched(&self, path: PathBuf) -> Result<Fetched> {
        let mut bytes = 0;
        for expected in &self.dataset.files {
            let text = existing_path(&path, expected).unwrap_or_else(|| path.join(&expected.name));
            bytes += std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len();
        }
        let (md5, sha256) = (self.dataset.archive.md5.clone(), self.dataset.archive.sha256.clone());
        Ok(Fetched { path, bytes, md5, sha256, from: None, downloaded: 0 })
    }
}
