//! A download: the folder, the mirrors, the archive.

use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::retry::Patience;

use super::archive::{self, Refusal};
use super::checksums::{Facts, Taker, of_file};
use super::destination::{self, Found, Place};
use super::partial_file::Part;
use super::transfer::{Download, Stop, interrupted};

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::{Error, Result};

/// A fetch to be done.
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
    /// Asked instead of the mirrors.
    url: Option<String>,
    patience: Patience,
    interrupt: Interrupt,
}

/// What a fetch came to.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The folder with the texts, to be read with [`crate::data::Corpus::from_dir`].
    pub path: PathBuf,
    /// Bytes of the texts.
    pub bytes: u64,
    /// MD5 of the archive that they come from, or would.
    pub md5: String,
    /// SHA-256 of that archive, where it is known.
    pub sha256: Option<String>,
    /// Where the archive came from: an address or a file; `None` where the texts were here already.
    pub from: Option<String>,
    /// Bytes that came over the network.
    pub downloaded: u64,
}

impl Fetch {
    /// Fetches into the folder `to`; the texts come to lie in a folder of the dataset's name in it.
    pub fn new(dataset: Dataset, to: impl Into<PathBuf>) -> Self {
        let (patience, interrupt) = (Patience::default(), Interrupt::default());
        Self { dataset, to: to.into(), url: None, patience, interrupt }
    }

    /// Asks this address alone.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is none of http or https.
    pub fn url(mut self, url: &str) -> Result<Self> {
        let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            return Err(Error::usage(
                format!("--url {url}"),
                "is not the address of a file on a web server",
                format!(
                    "say https://…/{file}; an archive that you have is put into --to under the \
                     name {file}",
                    file = self.dataset.archive.file
                ),
            ));
        }
        self.url = Some(url.into());
        Ok(self)
    }

    /// Bears with servers for that long.
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Stops, with the bytes kept, soon after this is requested.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Sees to it that the texts lie in the folder, as published. Texts that are there are left as
    /// they are, and nothing is downloaded; an archive that somebody put there is unpacked; else
    /// each mirror is asked in turn.
    ///
    /// An archive with another sum is taken if all its texts are as published, because these are
    /// what counts, and refused if not.
    ///
    /// # Errors
    /// [`Error::Fetch`] where no mirror gives the archive, or the disk is full;
    /// [`Error::Interrupted`]; [`Error::BadFile`] where other texts are in the way;
    /// [`Error::Usage`] where another process fetches into the folder; [`Error::Io`].
    pub fn run(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        // In a notebook, the interrupt button stops it too.
        let interrupt = self.interrupt.during_call();
        let result = Self { interrupt, ..self.clone() }.steps(progress);
        progress.finish();
        result
    }

    fn steps(&self, progress: &mut dyn Progress) -> Result<Fetched> {
        let place = Place::open(&self.dataset, &self.to)?;
        if let Found::Whole(path) = place.look(&self.interrupt)? {
            return self.fetched(path, None, None, 0);
        }
        let own = place.archive();
        if own.is_file() {
            match self.unpack(&own, &place, progress) {
                Ok((path, facts)) => {
                    return self.fetched(path, Some(facts), Some(own.display().to_string()), 0);
                }
                Err(Refusal::Other(error)) => return Err(error),
                Err(Refusal::Bad(problem)) => progress.message(&format!(
                    "{} is left alone, for it is not the published archive: {problem}",
                    own.display()
                )),
            }
        }
        self.download(&place, progress)
    }

    fn download(&self, place: &Place<'_>, progress: &mut dyn Progress) -> Result<Fetched> {
        let mut refusals = vec![];
        let mut downloaded = 0;
        let mirrors = self.url.as_ref().map_or(&self.dataset.mirrors[..], std::slice::from_ref);
        for url in mirrors {
            let mut part = Part::open(place.beside(".part"))?;
            part.pieced = part.bytes() > 0;
            progress.message(&format!("fetching {url}"));
            // Once more from the beginning where the pieces may be those of different files.
            let problem = loop {
                let mut download = Download {
                    url,
                    max_bytes: self.dataset.archive.max_bytes,
                    patience: &self.patience,
                    interrupt: &self.interrupt,
                    progress,
                    whole: &|part: &Part| self.is_published(part.path()),
                    received: 0,
                };
                let result = download.run(&mut part);
                downloaded += download.received;
                match result {
                    Ok(()) => {}
                    Err(Stop::All(error)) => return Err(error),
                    Err(Stop::Server(problem)) => break problem,
                }
                match self.unpack(part.path(), place, progress) {
                    Ok((path, facts)) => {
                        // An earlier attempt may have had it whole from another server.
                        let from = Some(&part.origin.url).filter(|url| !url.is_empty());
                        let from = from.unwrap_or(url).clone();
                        part.delete()?;
                        return self.fetched(path, Some(facts), Some(from), downloaded);
                    }
                    Err(Refusal::Other(Error::Interrupted { .. })) => {
                        return Err(interrupted(&part));
                    }
                    Err(Refusal::Other(Error::Io { path, source, .. })) => {
                        return Err(no_room(&path, source, &part));
                    }
                    Err(Refusal::Other(error)) => return Err(error),
                    Err(Refusal::Bad(problem)) if part.pieced => {
                        progress.message(&format!("{problem}; once more, from the beginning"));
                        part.begin_anew()?;
                    }
                    Err(Refusal::Bad(problem)) => {
                        let aside = place.beside(".refused");
                        part.set_aside(&aside)?;
                        break format!("{problem}; kept as {}", aside.display());
                    }
                }
            };
            progress.message(&problem);
            refusals.push(format!("\n  {url}: {problem}"));
        }
        Err(Error::Fetch {
            what: self.dataset.name.clone(),
            problem: format!("no server gave the archive{}", refusals.concat()),
            remedy: format!(
                "run the command again later, name another address with --url, or {}",
                self.dataset.by_hand(&self.to)
            ),
        })
    }

    /// Unpacks an archive to where the texts belong.
    fn unpack(
        &self,
        path: &Path,
        place: &Place<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, Facts), Refusal> {
        let facts = of_file(path, Taker::of_archive(), &self.interrupt)?;
        let difference = facts.differ_from_archive(&self.dataset.archive);
        let unpacking = place.unpacking()?;
        let unpacked =
            archive::unpack(path, &self.dataset, unpacking.path(), &self.interrupt, progress);
        progress.finish();
        match (unpacked, &difference) {
            (Err(Refusal::Bad(problem)), Some(difference)) => {
                return Err(Refusal::Bad(format!("{difference}; {problem}")));
            }
            (Ok(()), Some(difference)) => progress.message(&format!(
                "not the archive that was published ({difference}), but its texts are: taken"
            )),
            (unpacked, None) => unpacked?,
            (Err(other), _) => return Err(other),
        }
        Ok((place.put(&unpacking)?, facts))
    }

    fn is_published(&self, path: &Path) -> Result<bool> {
        let facts = of_file(path, Taker::of_archive(), &self.interrupt)?;
        Ok(facts.differ_from_archive(&self.dataset.archive).is_none())
    }

    fn fetched(
        &self,
        path: PathBuf,
        archive: Option<Facts>,
        from: Option<String>,
        downloaded: u64,
    ) -> Result<Fetched> {
        let published = &self.dataset.archive;
        let (md5, sha256) = match archive {
            Some(facts) => (facts.md5.unwrap_or_default(), facts.sha256),
            None => (published.md5.clone(), published.sha256.clone()),
        };
        let mut bytes = 0;
        for known in &self.dataset.files {
            let text = destination::present(&path, known).unwrap_or_else(|| path.join(&known.name));
            bytes += std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len();
        }
        Ok(Fetched { path, bytes, md5, sha256, from, downloaded })
    }
}

/// The disk refused while the texts were unpacked.
fn no_room(path: &Path, error: std::io::Error, part: &Part) -> Error {
    Error::Fetch {
        what: path.display().to_string(),
        problem: format!("the disk refuses ({error}); {}", part.kept()),
        remedy: "see to the disk (the texts take about 550 MB) and run the command again: it goes \
                 on from there; or name another folder with --to"
            .into(),
    }
}
