//! Access to Hugging Face.

use std::fmt;

use super::dataset::HubFolder;
use super::request::is_web_url;
use crate::{Error, Result};

/// The environment variables that `huggingface_hub` reads too.
const ENDPOINT: &str = "HF_ENDPOINT";
const TOKEN: &str = "HF_TOKEN";

/// The address of Hugging Face or of a mirror of it, and the token for it.
#[derive(Clone, PartialEq, Eq)]
pub struct HubAccess {
    endpoint: String,
    token: Option<String>,
}

impl HubAccess {
    /// An address such as `https://huggingface.co`, and a token, which is sent to that host only.
    pub fn new(endpoint: impl Into<String>, token: Option<String>) -> Self {
        Self { endpoint: endpoint.into(), token }
    }

    /// `HF_ENDPOINT`, by default `https://huggingface.co`, and `HF_TOKEN`, by default none.
    pub fn from_env() -> Self {
        let variable = |name| {
            let value = std::env::var(name).unwrap_or_default().trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let endpoint = variable(ENDPOINT).unwrap_or_else(|| "https://huggingface.co".into());
        Self::new(endpoint, variable(TOKEN))
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The URL of a folder of a dataset.
    ///
    /// # Errors
    /// [`Error::Config`] if the endpoint is not an http or https URL.
    pub(super) fn url(&self, hub: &HubFolder) -> Result<String> {
        if !is_web_url(&self.endpoint) {
            return Err(Error::config(
                ENDPOINT,
                &self.endpoint,
                "is not an http or https URL",
                "set it to https://… of a mirror of Hugging Face, or unset it",
            ));
        }
        let HubFolder { repository, revision, folder, .. } = hub;
        let endpoint = self.endpoint.trim_end_matches('/');
        Ok(format!("{endpoint}/datasets/{repository}/resolve/{revision}/{folder}"))
    }
}

impl fmt::Debug for HubAccess {
    /// Does not show the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubAccess")
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_folders() {
        let hub = HubFolder {
            repository: "a/b".into(),
            revision: "main".into(),
            folder: "c".into(),
            max_bytes: 1,
        };
        let url = |endpoint: &str| HubAccess::new(endpoint, None).url(&hub);
        let expected = "https://host/hf/datasets/a/b/resolve/main/c";
        assert_eq!(url("https://host/hf/").unwrap(), expected);
        for bad in ["host", "ftp://host", "https://"] {
            let error = url(bad).unwrap_err();
            assert!(error.to_string().starts_with(&format!("HF_ENDPOINT {bad}")), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let access = HubAccess::new("https://host", Some("secret".into()));
        assert!(!format!("{access:?}").contains("secret"));
    }
}
