//! Gate activations of a layer over a text, for inspection.

use tch::{Kind, Tensor};

use super::lm::QrnnLm;
use super::vocabulary::check_vocabulary;
use crate::Result;
use crate::data::Corpus;

/// The gates of one layer over a text, after the activation functions.
///
/// The state is c_t = f_t z_t + (1 - f_t) c_{t-1}: a unit keeps its state if f is near 0, and replaces it
/// if f is near 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates {
    /// The layer, counted from 0.
    pub layer: usize,
    /// The words of the text, in order.
    pub words: Vec<String>,
    /// The forget gate f, (words, H), from 0 to 1.
    pub forget: Vec<Vec<f32>>,
    /// The output gate o, (words, H), from 0 to 1.
    pub output: Vec<Vec<f32>>,
    /// The candidate z, (words, H), from -1 to 1.
    pub candidate: Vec<Vec<f32>>,
}

impl QrnnLm {
    /// Computes the gates of layer `layer`, counted from 0, over a text of words separated by spaces
    /// (`<eos>` ends a line), starting from the zero state.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the text is empty, a word is not in the vocabulary, or the layer does
    /// not exist.
    pub fn gates(&self, corpus: &Corpus, text: &str, layer: usize) -> Result<Gates> {
        check_vocabulary(self, corpus)?;
        if layer >= self.config().layers {
            return Err(crate::Error::config(
                "layer",
                layer,
                format!("the model's layers are 0 to {}", self.config().layers - 1),
                "layers are counted from 0",
            ));
        }
        let ids = corpus.ids(text)?;
        if ids.is_empty() {
            return Err(crate::Error::config(
                "text",
                "",
                "is empty",
                "use some words of the corpus",
            ));
        }
        let _no_grad = tch::no_grad_guard();
        let tokens = Tensor::f_from_slice(&ids)?.f_unsqueeze(1)?.f_to_device(self.options().1)?;
        let gates = self.gates_before_activation(&tokens, layer)?.f_squeeze_dim(1)?;
        let parts = gates.f_chunk(3, 1)?;
        if gates.f_isnan()?.f_any()?.f_int64_value(&[])? != 0 {
            return Err(self.explain_not_finite("the gates"));
        }
        Ok(Gates {
            layer,
            words: text.split_whitespace().map(str::to_owned).collect(),
            candidate: rows(&parts[0].f_tanh()?)?,
            forget: rows(&parts[1].f_sigmoid()?)?,
            output: rows(&parts[2].f_sigmoid()?)?,
        })
    }
}

fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(Vec::try_from(tensor.f_to_kind(Kind::Float)?)?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::LmConfig;

    #[test]
    fn the_recurrence_over_the_gates_gives_the_output() {
        tch::set_num_threads(1);
        let corpus = Corpus::synthetic().take_train(300);
        let config = LmConfig::paper(6, 10).layers(2);
        let model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
        let ids = &corpus.tokens(crate::data::Split::Train)[..7];
        let words: Vec<&str> = ids.iter().map(|&id| corpus.vocab().word(id)).collect();
        let last = model.gates(&corpus, &words.join(" "), 1).unwrap();
        assert_eq!((last.words.len(), last.forget.len(), last.forget[0].len()), (7, 7, 6));

        // Computes the recurrence in a loop and compares it with the output of the model.
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let ids = Tensor::from_slice(&ids).unsqueeze(1);
        let forwarded = model.forward(&ids, &model.zero_state(1).unwrap(), None).unwrap();
        let mut state = [0.0f32; 6];
        for t in 0..7 {
            for (unit, state) in state.iter_mut().enumerate() {
                let (f, z) = (last.forget[t][unit], last.candidate[t][unit]);
                *state = f * z + (1.0 - f) * *state;
                let expected = last.output[t][unit] * *state;
                let actual = forwarded.raw.double_value(&[t as i64, 0, unit as i64]) as f32;
                assert!((expected - actual).abs() < 1e-5, "{t} {unit}: {expected} and {actual}");
            }
        }
        for (text, layer, message) in
            [("", 0, "empty"), ("no-such-word", 0, "no-such-word"), (words[0], 2, "0 to 1")]
        {
            let error = model.gates(&corpus, text, layer).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
