//! `reproduce train --preset`: published settings, expanded to flags.

use std::ffi::OsString;

use qrnn::paper::{self, PublishedRow};
use qrnn::{Error, Result};

/// Flags that the QRNN recipes of awd-lstm-lm share (from its README; defaults from its main.py).
const AWD: &str = "--emsize 400 --nhid 1550 --nlayers 4 --splits auto --bptt 70 --optimizer sgd \
                   --lr 30 --when -1 --nonmono 5 --alpha 2 --beta 1 --dropout 0.4 --dropouti 0.4 \
                   --dropoute 0.1 --wdrop 0.1 --wdecay 0.0000012";

/// The preset that needs a trained model.
const FINETUNE: &str = "penn-treebank-finetune";

/// Name, description, and flags in addition to [`AWD`].
const OTHERS: [(&str, &str, &str); 3] = [
    (
        "penn-treebank",
        "awd-lstm-lm's QRNN on Penn Treebank",
        "--dropouth 0.3 --clip 0.2 --batch-size 20 --epochs 550 --seed 9001",
    ),
    (
        FINETUNE,
        "finetuning of penn-treebank; needs --finetune FILE",
        "--dropouth 0.3 --clip 0.2 --batch-size 20 --epochs 300 --seed 404",
    ),
    (
        "wikitext-2",
        "awd-lstm-lm's QRNN on WikiText-2",
        "--dropouth 0.2 --clip 0.25 --batch-size 40 --epochs 500 --seed 4002",
    ),
];

/// List of all presets for --help.
pub fn list() -> String {
    let rows = paper::ROWS.iter().map(|row| {
        let entry = if row.name == paper::entry().name { ", the entry" } else { "" };
        (row.name, format!("row of the experiment table{entry}"))
    });
    let others = OTHERS.iter().map(|(name, description, _)| (*name, (*description).to_owned()));
    let lines =
        rows.chain(others).map(|(name, description)| format!("  {name:<24}{description}\n"));
    format!("Presets:\n{}", lines.collect::<String>())
}

/// The flags of a preset.
fn flags(name: &str) -> Option<String> {
    if let Some(row) = paper::row(name) {
        let PublishedRow { emsize, nhid, bptt, batch, epochs, .. } = row.published;
        return Some(format!(
            "--emsize {emsize} --nhid {nhid} --bptt {bptt} --batch-size {batch} --epochs {epochs}"
        ));
    }
    let (.., flags) = OTHERS.iter().find(|(other, ..)| *other == name)?;
    Some(format!("{AWD} {flags}"))
}

/// # Errors
/// [`Error::Config`] for the preset that finetunes a model if there is none.
pub fn check(preset: Option<&str>, finetunes: bool) -> Result<()> {
    if preset != Some(FINETUNE) || finetunes {
        return Ok(());
    }
    Err(Error::config(
        "--preset",
        FINETUNE,
        "needs a trained model, but --finetune is missing",
        "add --finetune FILE, with a model trained by --preset penn-treebank",
    ))
}

/// Adds the flags of `--preset NAME`, placed first so that other flags override them. Drops `--help` after
/// `help`, since clap takes it for the name of a command.
///
/// # Errors
/// [`Error::Config`] for an unknown preset.
pub fn expand(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_some_and(|command| command == "help") {
        args.retain(|arg| arg != "--help" && arg != "-h");
    }
    if args.get(1).is_none_or(|command| command != "train") {
        return Ok(args);
    }
    let at = args.iter().position(|arg| {
        arg.to_str().is_some_and(|arg| arg == "--preset" || arg.starts_with("--preset="))
    });
    let Some(at) = at else { return Ok(args) };
    let name = match args[at].to_str().and_then(|arg| arg.strip_prefix("--preset=")) {
        Some(name) => name.to_owned(),
        // The name is missing, which clap reports.
        None if at + 1 == args.len() => return Ok(args),
        None => args[at + 1].to_string_lossy().into_owned(),
    };
    let Some(flags) = flags(&name) else {
        return Err(Error::config(
            "--preset",
            name,
            "there is no such preset",
            format!("use one of these\n{}", list().trim_end()),
        ));
    };
    args.splice(2..2, flags.split_whitespace().map(OsString::from));
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(args: &str) -> String {
        let args = args.split_whitespace().map(OsString::from);
        let args = expand(args).unwrap();
        args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn other_flags_follow_and_override_those_of_the_preset() {
        let expected = "reproduce train --emsize 400 --nhid 2500 --bptt 140 --batch-size 60 \
                        --epochs 14 --epochs 2";
        for preset in ["--preset 400-2500-140", "--preset=400-2500-140"] {
            let args = format!("--epochs 2 {preset} --seed 3");
            let expected = format!("{expected} {preset} --seed 3");
            assert_eq!(expanded(&format!("reproduce train {args}")), expected);
        }
        assert!(expanded("reproduce train --preset wikitext-2").contains("--seed 4002"));
        assert_eq!(expanded("reproduce count --preset x"), "reproduce count --preset x");
        assert_eq!(expanded("reproduce help train --help"), "reproduce help train");
        let args = ["reproduce", "train", "--preset", "x"].map(OsString::from);
        assert!(expand(args.into_iter()).unwrap_err().to_string().contains("wikitext-2"));
    }
}
