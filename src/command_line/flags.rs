//! Names of fields in error messages, and the flags that set them.

/// Fields as the library names them, and the flags of `reproduce`.
const FLAGS: [(&str, &str); 58] = [
    ("config.emsize", "--emsize"),
    ("config.nhid", "--nhid"),
    ("config.layers", "--nlayers"),
    ("config.bptt", "--bptt"),
    ("config.vocab", "--vocab"),
    ("config.input_dropout", "--dropouti"),
    ("config.hidden_dropout", "--dropouth"),
    ("config.output_dropout", "--dropout"),
    ("config.embedding_dropout", "--dropoute"),
    ("config.weight_drop", "--wdrop"),
    ("config.zoneout", "--zoneout"),
    ("config.splits", "--splits"),
    ("config.widths", "--widths"),
    ("config.init_range", "--init-range"),
    ("recipe.bptt", "--bptt"),
    ("recipe.batch", "--batch-size"),
    ("recipe.epochs", "--epochs"),
    ("recipe.steps", "--steps"),
    ("recipe.lr", "--lr"),
    ("recipe.when", "--when"),
    ("recipe.clip", "--clip"),
    ("recipe.alpha", "--alpha"),
    ("recipe.beta", "--beta"),
    ("recipe.wdecay", "--wdecay"),
    ("recipe.optimizer", "--optimizer"),
    ("recipe.finetune", "--finetune"),
    ("recipe.seed", "--seed"),
    ("recipe.nonmono", "--nonmono"),
    ("recipe.fixed_bptt", "--fixed-bptt"),
    ("model.device", "--device"),
    ("model.precision", "--precision"),
    ("corpus.ids", "--ids"),
    ("trainer.checkpoint_every", "--checkpoint-every"),
    ("trainer.log_every", "--log-interval"),
    (".resume(true)", "--resume"),
    (".overwrite(true)", "--overwrite"),
    (".by_frequency()", "--ids frequency"),
    ("options.bptt", "--bptt"),
    ("cache.size", "--cache"),
    ("cache.lambda", "--cache-lambda"),
    ("cache.theta", "--cache-theta"),
    ("sampling.temperature", "--temperature"),
    ("experiment.rows", "--rows"),
    ("experiment.scale", "--scale"),
    ("experiment.lengths", "--lengths"),
    ("experiment.seeds", "--seeds"),
    ("counter.param_bits", "--param-bits"),
    ("counter.activation_bits", "--activation-bits"),
    ("counter.sparsity", "--sparsity"),
    ("counter.cache", "--cache"),
    ("plan.zeros", "--zeros"),
    ("plan.bits", "--bits"),
    ("plan.block", "--block"),
    ("sensitivity", "--sensitivity"),
    ("plan.activation_bits", "--activation-bits"),
    ("gradual.until", "--prune-until"),
    ("gradual.every", "--prune-every"),
    ("group.timeout", "--group-timeout"),
];

/// Rust expressions in remedies, and their flags.
const EXPRESSIONS: [(&str, &str); 6] = [
    ("`OpCounter::rules`", "--strict"),
    ("Device::Cpu", "--device cpu"),
    ("Precision::Single", "`--precision fp32`"),
    ("Corpus::from_dir", "--data"),
    ("QrnnLm::open", "--init"),
    ("fetch.url", "--url"),
];

/// Replaces the names of fields in a message of the library by those of the flags that set them.
pub fn with_flags(message: &str) -> String {
    let names = FLAGS.iter().chain(&EXPRESSIONS);
    names.fold(message.to_owned(), |text, (field, flag)| text.replace(field, flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Recipe;

    #[test]
    fn messages_name_flags() {
        let error = Recipe::paper().batch(0).check().unwrap_err().to_string();
        assert!(error.starts_with("recipe.batch 0:"), "{error}");
        assert!(with_flags(&error).starts_with("--batch-size 0:"), "{}", with_flags(&error));
    }

    /// Otherwise the result of `with_flags` would depend on the order of the table.
    #[test]
    fn no_field_is_a_prefix_of_another() {
        let names: Vec<&str> = FLAGS.iter().chain(&EXPRESSIONS).map(|(field, _)| *field).collect();
        for (i, name) in names.iter().enumerate() {
            let prefix =
                names.iter().enumerate().find(|(j, other)| i != *j && other.starts_with(name));
            assert_eq!(prefix, None, "{name}");
        }
    }
}
