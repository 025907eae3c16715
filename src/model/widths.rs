//! The widths of an adaptive embedding's clusters.

use crate::data::IdOrder;
use crate::{Error, Result};

/// Checks the widths of the clusters that the tails begin at `borders`.
///
/// # Errors
/// [`Error::Config`] if there are not as many as clusters, or one is not from 1 to `emsize`.
pub(super) fn check(widths: &[usize], borders: &[usize], emsize: usize) -> Result<()> {
    let clusters = borders.len() + 1;
    let problem = if widths.len() != clusters {
        let of_splits = match clusters {
            1 => "1 cluster".to_owned(),
            n => format!("{n} clusters"),
        };
        format!(
            "an adaptive embedding has one width for each cluster, and config.splits make {of_splits}"
        )
    } else if widths.iter().any(|width| !(1..=emsize).contains(width)) {
        format!("each width must be at least 1 and at most config.emsize, {emsize}")
    } else {
        return Ok(());
    };
    let remedy = "give a width for the words before the first boundary of config.splits, and one for each boundary";
    Err(Error::config("config.widths", list(widths), problem, remedy))
}

/// The error of widths for token ids in another order than by frequency.
pub(super) fn other_order(widths: &[usize], ids: IdOrder) -> Error {
    Error::config(
        "config.widths",
        list(widths),
        format!("the narrow clusters are for rare words, but the token ids are {}", ids.in_words()),
        "number the words by their frequency in the training text with `.by_frequency()`, or leave out \
         config.widths",
    )
}

/// Parameters of embeddings, projections and the decoder's bias.
pub(super) fn parameters(widths: &[usize], borders: &[usize], vocab: usize, emsize: usize) -> u64 {
    let starts = std::iter::once(0).chain(borders.iter().copied());
    let ends = borders.iter().copied().chain([vocab]);
    let sizes = starts.zip(ends).map(|(start, end)| end.saturating_sub(start));
    let product = |rows: usize, columns: usize| (rows as u64).saturating_mul(columns as u64);
    let clusters = sizes.zip(widths).map(|(size, width)| {
        let projection = if *width < emsize { product(emsize, *width) } else { 0 };
        product(size, *width).saturating_add(projection)
    });
    clusters.fold(vocab as u64, u64::saturating_add)
}

/// Widths as `--widths` takes them.
pub(super) fn list(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use crate::data::IdOrder;
    use crate::model::{LmConfig, Splits};

    fn config(splits: Splits, widths: impl Into<Vec<usize>>) -> LmConfig {
        LmConfig::paper(300, 1800).splits(splits).widths(widths)
    }

    #[test]
    fn the_parameters_of_the_entry_with_adaptive_widths() {
        let config = config(Splits::At(vec![3_500, 25_000]), [300, 75, 5]);
        config.check().unwrap();
        let embedding = 3_500 * 300 + 21_500 * 75 + 242_735 * 5 + 300 * 75 + 300 * 5 + 267_735;
        let layers = LmConfig::paper(300, 1800).vocab(1).parameters() - 301;
        assert_eq!(config.parameters(), embedding + layers);
        let whole = LmConfig::paper(300, 1800);
        assert_eq!(whole.parameters(), whole.clone().widths([300; 4]).parameters());
    }

    #[test]
    fn invalid_widths_are_refused_by_name() {
        let two_tails = || Splits::At(vec![10, 20]);
        config(Splits::None, [7]).check().unwrap();
        for (config, message) in [
            (
                config(two_tails(), [300, 75]),
                "config.widths 300,75: an adaptive embedding has one width",
            ),
            (config(Splits::None, [300, 75]), "config.splits make 1 cluster"),
            (config(two_tails(), [301, 75, 5]), "at most config.emsize, 300"),
            (
                config(two_tails(), [300, 0, 5]),
                "config.widths 300,0,5: each width must be at least 1",
            ),
            (config(two_tails(), []), "config.widths: an adaptive embedding"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn widths_need_ids_by_frequency() {
        let config = config(Splits::None, [7]);
        config.check_ids(IdOrder::Frequency).unwrap();
        let error = config.check_ids(IdOrder::FirstAppearance).unwrap_err().to_string();
        assert!(
            error.contains("config.widths 7") && error.contains("`.by_frequency()`"),
            "{error}"
        );
        LmConfig::paper(300, 1800).check_ids(IdOrder::FirstAppearance).unwrap();
    }

    /// Files of models without widths stay as they were.
    #[test]
    fn the_configuration_of_a_published_model_does_not_name_widths() {
        let json = serde_json::to_string(&LmConfig::paper(300, 1800)).unwrap();
        assert!(!json.contains("widths"), "{json}");
        assert_eq!(serde_json::from_str::<LmConfig>(&json).unwrap(), LmConfig::paper(300, 1800));
        let adaptive = config(Splits::At(vec![10]), [300, 75]);
        let json = serde_json::to_string(&adaptive).unwrap();
        assert!(json.contains(r#""widths":[300,75]"#), "{json}");
        assert_eq!(serde_json::from_str::<LmConfig>(&json).unwrap(), adaptive);
    }
}
