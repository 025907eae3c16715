//! The settings of a download.

use std::path::PathBuf;
use std::time::Duration;

use super::dataset::Dataset;
use super::hub::HubAccess;
use super::request::is_web_url;
use crate::data::parquet::shards::EXTENSION;
use crate::interrupt::Interrupt;
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
    pub(super) dataset: Dataset,
    /// In place of the dataset's mirrors.
    pub(super) url: Option<String>,
    pub(super) hub: HubAccess,
    pub(super) to: PathBuf,
    pub(super) retry_policy: RetryPolicy,
    pub(super) interrupt: Interrupt,
}

impl Fetch {
    /// Downloads into a subfolder of `to` with the name of the dataset. Hugging Face is reached as
    /// [`HubAccess::from_env`] says.
    pub fn new(dataset: Dataset, to: impl Into<PathBuf>) -> Self {
        let (retry_policy, interrupt) = (RetryPolicy::default(), Interrupt::default());
        let hub = HubAccess::from_env();
        Self { dataset, url: None, hub, to: to.into(), retry_policy, interrupt }
    }

    /// Downloads the archive from this URL, instead of from the mirrors and Hugging Face.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not an http or https URL, or names a Parquet file.
    pub fn url(mut self, url: &str) -> Result<Self> {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        if path.ends_with(EXTENSION) {
            return Err(Error::config(
                "fetch.url",
                url,
                "is a Parquet file, and this setting is for the archive",
                "leave it out, and Parquet files are fetched from Hugging Face or from HF_ENDPOINT; to use \
                 those that you already have, put all of them into the folder",
            ));
        }
        if !is_web_url(url) {
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

    /// Sets the address of Hugging Face and the token, instead of those in the environment.
    pub fn hub(mut self, hub: HubAccess) -> Self {
        self.hub = hub;
        self
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
}

/// Upper limit of all delays, including those that a server asks for.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// When a server is abandoned. The defaults suit 200 MB over any network.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Timeout of a connection attempt, and of a server that sends nothing.
    pub timeout: Duration,
    /// Consecutive retries without new data.
    pub max_retries: u32,
    /// Delay before the first retry; doubled for each further one, up to 30 s.
    pub first_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (timeout, first_delay) = (MAX_DELAY, Duration::from_secs(1));
        Self { timeout, max_retries: 4, first_delay }
    }
}

impl RetryPolicy {
    /// The delay before retry number `retry`, counted from 1.
    pub(super) fn delay(&self, retry: u32, retry_after: Duration) -> Duration {
        let doubled = self.first_delay.saturating_mul(1 << (retry - 1).min(16));
        doubled.max(retry_after).min(MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        let policy = RetryPolicy::default();
        let seconds = |retry, after| policy.delay(retry, Duration::from_secs(after)).as_secs();
        assert_eq!([1, 2, 3, 4, 40].map(|retry| seconds(retry, 0)), [1, 2, 4, 8, 30]);
        assert_eq!([7, 7000].map(|after| seconds(1, after)), [7, 30]);
    }
}
