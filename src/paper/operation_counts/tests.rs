use proptest::prelude::*;

use super::*;
use crate::compress::{Plan, Preset};
use crate::model::LmConfig;
use crate::model::Splits;
use crate::packed::Grid;
use crate::paper;

fn preset(name: &str) -> Preset {
    name.parse().unwrap()
}

fn formatted(figures: [f64; 4]) -> [String; 4] {
    figures.map(|figure| format!("{figure:.3}"))
}

#[test]
fn the_entry_gives_the_published_table_to_the_last_digit() {
    let table = count_ops(&paper::entry().config());
    let rows: Vec<_> = table.rows_and_total().collect();
    assert_eq!(rows.len(), paper::OPERATIONS.len());
    for (row, published) in rows.iter().zip(&paper::OPERATIONS) {
        assert_eq!(row.op, published.op);
        assert_eq!(formatted(row.figures()), formatted(published.figures()), "{}", row.op);
    }
}

#[test]
fn the_entry_gives_the_published_score() {
    let score = count_ops(&paper::entry().config()).score;
    assert_eq!(format!("{score:.3}"), format!("{:.3}", paper::SCORE));
    assert_eq!(format!("{score:.4}"), format!("{:.4}", paper::LEADERBOARD_SCORE));
}

#[test]
fn all_published_parameter_counts_are_exact() {
    for row in &paper::ROWS {
        let table = count_ops(&row.config());
        let criterion = if row.counts_criterion { table.criterion_parameters } else { 0 };
        assert_eq!(table.parameters + criterion, row.published.parameters, "{}", row.name);
    }
}

#[test]
fn tombstones_are_counted_for_each_tail_cluster() {
    let count = |splits| count_ops(&LmConfig::paper(300, 1800).splits(splits)).criterion_parameters;
    assert_eq!(count(Splits::Auto), 903);
    assert_eq!(count(Splits::At(vec![2_800, 10_000])), 602);
    assert_eq!(count(Splits::None), 0);
    assert_eq!(count_ops(&LmConfig::paper(400, 2500)).criterion_parameters, 1_203);
}

#[test]
fn the_json_has_the_keys_of_the_contract() {
    let json = serde_json::to_value(count_ops(&paper::entry().config())).unwrap();
    assert_eq!(json["parameters"], 104_905_335);
    assert_eq!(json["criterion_parameters"], 903);
    assert_eq!(json["rows"][1]["op"], "block_qrnn");
    for key in ["params_mbytes", "mults_m", "adds_m", "mflops"] {
        assert!(json["rows"][2][key].is_f64() && json["total"][key].is_f64(), "{key}");
    }
    assert!(json["score"].is_f64());
}

#[test]
fn the_rules_add_the_documented_operations() {
    let config = paper::entry().config();
    let published = count_ops(&config);
    let rules = OpCounter::rules().count(&config).unwrap();
    let millions = |n: usize| n as f64 / 1e6;
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    let (vocab, tails, tombstones) = (267_735, 3, 3 * 300);
    close(rules.rows[1].mults_m - published.rows[1].mults_m, millions(3 * 1800 + 300) / 2.0);
    close(rules.rows[1].adds_m, published.rows[1].adds_m);
    // Exponentials and divisions of all classes instead of the maximum over the vocabulary.
    let mults = tombstones + 2 * (vocab + tails) - vocab;
    close(rules.rows[2].mults_m - published.rows[2].mults_m, millions(mults) / 2.0);
    // The published count leaves out the biases, and the sum of each of the four softmaxes.
    let adds = vocab + tombstones + (vocab + tails) - 4;
    close(rules.rows[2].adds_m - published.rows[2].adds_m, millions(adds));
    close(
        rules.total.params_mbytes - published.total.params_mbytes,
        millions(2 * (tombstones + tails)),
    );
}

/// The scores that the specification gives for the entry's shape.
#[test]
fn the_rules_charge_floats_in_full_once_anything_is_quantized() {
    let config = paper::entry().config();
    let score = |counter: OpCounter| format!("{:.4}", counter.count(&config).unwrap().score);
    let rules = OpCounter::rules;
    assert_eq!(score(rules().param_bits(8)), "0.8260");
    assert_eq!(score(rules().param_bits(8).activation_bits(8)), "0.5792");
    assert_eq!(score(rules().param_bits(8).sparsity(0.9)), "0.1063");
    assert_eq!(score(rules().param_bits(8).activation_bits(8).sparsity(0.9)), "0.0816");
    // Nothing is narrower: the free 16 bits stay.
    assert_eq!(score(rules()), score(rules().param_bits(16)));
    assert_eq!(score(rules()), score(rules().activation_bits(16)));
    assert_ne!(score(rules()), score(rules().activation_bits(8)));
}

#[test]
fn a_table_by_the_rules_is_the_sum_of_its_ledger() {
    let config = preset("micronet").config();
    let counter = OpCounter::rules().param_bits(8).activation_bits(8).cache(500);
    let table = counter.sparsity(0.5).count(&config).unwrap();
    let sum = |is: fn(Cost) -> bool| -> f64 {
        let items = table.ledger.iter().filter(|item| is(item.cost));
        items.map(|item| item.number as f64 * f64::from(item.bits)).sum::<f64>() / 32.0
    };
    let (parameters, operations) = (table.parameters_32.unwrap(), table.operations.unwrap());
    assert_eq!(sum(|cost| cost == Cost::Storage), parameters);
    assert_eq!(sum(|cost| cost != Cost::Storage), operations);
    assert_eq!(parameters / 159e6 + operations / 318e6, table.score);
    let rows: Vec<&str> = table.rows.iter().map(|row| row.op.as_ref()).collect();
    assert_eq!(rows, ["embedding", "block_qrnn", "block_decoder", "neural_cache"]);
}

#[test]
fn a_sparsity_of_one_half_stores_half_the_weights_and_a_mask() {
    let config = LmConfig::paper(4, 6).vocab(10).layers(1).splits(Splits::None);
    let table = OpCounter::new().sparsity(0.5).param_bits(8).count(&config).unwrap();
    let bytes: Vec<_> = table.rows.iter().map(|row| (row.params_mbytes * 1e6).round()).collect();
    // 40 weights: 20 bytes and 5 for the mask. 8 × 12 weights: 48 bytes, 12 for the mask, 12 for the bias.
    assert_eq!(bytes, [25.0, 72.0, 10.0]);
    assert_eq!((table.rows[2].adds_m * 1e6).round(), 20.0 - 10.0);
    assert_eq!(table.parameters, 40 + 96 + 12 + 10);
}

#[test]
fn fewer_bits_save_storage_and_more_bits_cost_operations() {
    let config = paper::entry().config();
    let at = |bits| OpCounter::new().param_bits(bits).count(&config).unwrap().total;
    assert!((at(8).params_mbytes * 2.0 - at(16).params_mbytes).abs() < 1e-9);
    assert_eq!(at(8).mults_m, at(16).mults_m);
    assert!((at(32).mults_m - 2.0 * at(16).mults_m).abs() < 1e-9);
    let narrow = OpCounter::new().mul_bits(8).count(&config).unwrap().total;
    assert!((narrow.mults_m * 2.0 - at(16).mults_m).abs() < 1e-9);
}

#[test]
fn invalid_settings_are_refused_by_name() {
    let config = paper::entry().config();
    let refusals = [
        (OpCounter::new().param_bits(0).count(&config), "counter.param_bits 0"),
        (OpCounter::new().param_bits(33).count(&config), "counter.param_bits 33"),
        (OpCounter::new().sparsity(1.0).count(&config), "counter.sparsity 1"),
        (OpCounter::new().sparsity(f64::NAN).count(&config), "counter.sparsity NaN"),
        (OpCounter::rules().activation_bits(0).count(&config), "counter.activation_bits 0"),
        (OpCounter::rules().mul_bits(8).count(&config), "counter.mul_bits 8"),
        (OpCounter::new().cache(9).count(&config), "counter.cache 9"),
        (OpCounter::new().count(&config.clone().vocab(0)), "config.vocab 0"),
        (OpCounter::new().count(&config.clone().layers(usize::MAX)), "config.layers"),
        (
            OpCounter::new().count(&LmConfig::paper(1 << 30, 1 << 30).layers(1 << 30)),
            "config.emsize, config.nhid",
        ),
    ];
    for (result, setting) in refusals {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(setting), "{message}");
    }
}

#[test]
fn extreme_sizes_do_not_overflow() {
    let largest = LmConfig::paper(usize::MAX, usize::MAX).vocab(usize::MAX).layers(usize::MAX);
    for splits in [Splits::Auto, Splits::At(vec![3, 2, 1])] {
        let table =
            OpCounter::new().strict(true).sparsity(0.25).tally(&largest.clone().splits(splits));
        assert!(table.score.is_finite());
        assert_eq!(table.parameters, u64::MAX);
    }
    let none = LmConfig::paper(0, 0).vocab(0).layers(0);
    assert_eq!(count_ops(&none).score, 0.0);
}

#[test]
fn the_text_is_aligned() {
    let table = count_ops(&paper::entry().config());
    let text = table.to_string();
    assert!(text.lines().take(5).all(|line| line.len() == text.lines().next().unwrap().len()));
    assert!(text.contains("104,905,335 parameters (and 903 of the loss), MicroNet score 0.8232"));
}

proptest! {
    #[test]
    fn strict_never_counts_fewer_operations(vocab in 1usize..100_000, e in 1usize..700, h in 1usize..3000, n in 1usize..7) {
        let config = LmConfig::paper(e, h).vocab(vocab).layers(n);
        let published = count_ops(&config);
        let strict = OpCounter::new().strict(true).count(&config).unwrap();
        for (strict, published) in strict.rows_and_total().zip(published.rows_and_total()) {
            for (s, p) in strict.figures().into_iter().zip(published.figures()) {
                prop_assert!(s >= p);
            }
        }
    }

    #[test]
    fn parameters_are_the_sum_over_the_layers(vocab in 1usize..100_000, e in 1usize..700, h in 1usize..3000, n in 1usize..9) {
        let config = LmConfig::paper(e, h).vocab(vocab).layers(n);
        let layers: usize = config.layer_shapes().iter().map(|s| s.rows() * (s.columns() + 1)).sum();
        let table = count_ops(&config);
        prop_assert_eq!(table.parameters, (vocab * e + vocab + layers) as u64);
        prop_assert!((table.total.params_mbytes - table.parameters as f64 * 2.0 / 1e6).abs() < 1e-6);
    }

    #[test]
    fn sparsity_zero_is_dense_and_more_zeros_never_cost_operations(vocab in 1usize..50_000, e in 1usize..400, h in 1usize..900, s in 0.0f64..1.0) {
        let config = LmConfig::paper(e, h).vocab(vocab);
        let dense = count_ops(&config);
        prop_assert_eq!(&OpCounter::new().sparsity(0.0).count(&config).unwrap(), &dense);
        prop_assert!(OpCounter::new().sparsity(s).count(&config).unwrap().total.mflops <= dense.total.mflops);
    }
}

/// Rows of COMPRESSION.md's table: storage and operations in millions, and the score.
#[test]
fn presets_give_the_scores_of_the_specification() {
    let counter = OpCounter::rules().cache(2_000);
    let count = |plan: &Plan| {
        let table = counter.count_plan(&preset("micronet").config(), plan).unwrap();
        let millions = |number: Option<f64>| format!("{:.3}", number.unwrap() / 1e6);
        [millions(table.parameters_32), millions(table.operations), format!("{:.4}", table.score)]
    };
    let plan = |name| preset(name).plan(&preset(name).config());
    assert_eq!(count(&Plan::new().activation_bits(8)), ["7.151", "36.923", "0.1611"]);
    assert_eq!(count(&plan("micronet")), ["4.052", "17.022", "0.0790"]);
    assert_eq!(count(&plan("light")), ["2.837", "10.947", "0.0523"]);
    let four_bits = plan("light").bits("rnns", 4).bits("encoder", 4).bits("projections", 4);
    assert_eq!(count(&four_bits.weights(Grid::Codebook)), ["1.903", "10.947", "0.0464"]);
    assert_eq!(count(&plan("light").block(16)), ["2.011", "10.947", "0.0471"]);
}
