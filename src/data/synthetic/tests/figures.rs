//! Statistics of the language. `cargo test --release figures -- --ignored --nocapture` prints them.

use std::collections::HashMap;

use super::*;
use crate::data::{Corpus, Split, SyntheticConfig};
use lexicon::SLOTS;

const DISTANCES: [u32; 9] = [3, 5, 10, 15, 20, 30, 40, 60, 80];

fn category(node: grammar::Node) -> String {
    let text = format!("{node:?}");
    text.split(['(', ' ', '[']).next().unwrap().to_owned()
}

/// The probability of `word` without the information from more than `distance` words ago: first without
/// such slots, then also without such a topic.
fn limited_memory(
    state: &State,
    word: WordId,
    topic_age: u32,
    distance: u32,
    lexicon: &Lexicon,
    next: &mut Mixture,
) -> (f64, f64) {
    let probability = |state: &State, next: &mut Mixture| {
        offers::fill(state, lexicon, next);
        next.probability(word, lexicon)
    };
    let mut guess = state.clone();
    for slot in 0..SLOTS {
        if state.words - state.said[slot] > distance {
            guess.memory[slot] = None;
        }
    }
    let slots = probability(&guess, next);
    if topic_age <= distance {
        return (slots, slots);
    }
    let all = (0..lexicon::TOPICS).map(|topic| {
        guess.topic = topic;
        probability(&guess, next) / lexicon::TOPICS as f64
    });
    (slots, all.sum())
}

#[test]
#[ignore = "prints statistics and asserts nothing"]
fn figures() {
    let config = SyntheticConfig::default();
    let lexicon = Lexicon::new(config.seed);
    let mut random = sample::generator(config.seed, 3);
    let (mut state, mut next) = (State::new(), Mixture::default());
    let mut by_node: HashMap<String, (f64, f64)> = HashMap::new();
    let (mut total, mut count, mut topic_seen) = (0.0, 0.0, 0u32);
    let mut lost = [0.0f64; DISTANCES.len()];
    let mut lost_topic = [0.0f64; DISTANCES.len()];
    let mut gaps = [0usize; DISTANCES.len() + 1];
    let mut recalls = 0usize;
    for _ in 0..60_000 {
        offers::fill(&state, &lexicon, &mut next);
        let word = next.sample(&lexicon, &mut random);
        let exact = -next.probability(word, &lexicon).ln();
        let entry = by_node.entry(category(state.node)).or_default();
        entry.0 += 1.0;
        entry.1 += exact;
        total += exact;
        count += 1.0;
        let age = state.words - topic_seen;
        for (bin, distance) in DISTANCES.iter().enumerate() {
            let (slots, all) = limited_memory(&state, word, age, *distance, &lexicon, &mut next);
            lost[bin] += -all.ln() - exact;
            lost_topic[bin] += slots.ln() - all.ln();
        }
        let before = state.clone();
        state.advance(word, &lexicon);
        for slot in 0..SLOTS {
            if state.said[slot] != before.said[slot] && before.memory[slot] == Some(word) {
                let gap = state.words - before.said[slot];
                recalls += 1;
                let bin = DISTANCES.iter().position(|d| gap <= *d).unwrap_or(DISTANCES.len());
                gaps[bin] += 1;
            }
        }
        let topical = |list: usize| lexicon.lists[list].probability(word) > 0.0;
        let topic = state.topic;
        let by_class = [lexicon.nouns[topic], lexicon.verbs[topic]].concat().concat();
        let shows_topic = topical(lexicon.adjectives[topic]) || by_class.into_iter().any(topical);
        if shows_topic {
            topic_seen = state.words;
        }
    }
    println!("best {:.2} ({:.3} nats)", f64::exp(total / count), total / count);
    let mut rows: Vec<_> = by_node.into_iter().collect();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    for (name, (times, nats)) in rows {
        println!(
            "{name:12} {:5.1} % of words, {:.2} nats each, {:5.1} % of nats",
            100.0 * times / count,
            nats / times,
            100.0 * nats / total
        );
    }
    println!("recalls {:.1} % of words", 100.0 * recalls as f64 / count);
    for (bin, distance) in DISTANCES.iter().enumerate() {
        println!(
            "gap <= {distance}: {:4.1} % of recalls | facts older than {distance} words unknown: +{:.3} nats (topic {:.3}), perplexity {:.2}",
            100.0 * gaps[..=bin].iter().sum::<usize>() as f64 / recalls as f64,
            lost[bin] / count,
            lost_topic[bin] / count,
            f64::exp((total + lost[bin]) / count),
        );
    }
    ngrams(&Corpus::synthetic().take_train(200_000));
}

/// Bigram and trigram scores with interpolation by counts (Witten-Bell).
fn ngrams(corpus: &Corpus) {
    let (train, test) = (corpus.tokens(Split::Train), corpus.tokens(Split::Test));
    println!("{corpus}");
    println!("unigram {:.1}", corpus.unigram_perplexity(Split::Test));
    let unseen =
        corpus.vocab().iter().enumerate().filter(|(id, _)| !train.contains(&(*id as u32))).count();
    println!("types not in train {unseen}");
    let mut counts: Vec<HashMap<Vec<u32>, HashMap<u32, f64>>> = vec![HashMap::new(); 5];
    for order in 0..5 {
        for window in train.windows(order + 1) {
            *counts[order]
                .entry(window[..order].to_vec())
                .or_default()
                .entry(window[order])
                .or_default() += 1.0;
        }
    }
    for order in 1..5 {
        let mut nats = 0.0;
        for window in test.windows(order + 1) {
            let word = window[order];
            let mut p = 1.0 / corpus.vocab().len() as f64;
            for lower in 0..=order {
                if let Some(after) = counts[lower].get(&window[order - lower..order]) {
                    let (n, types) = (after.values().sum::<f64>(), after.len() as f64);
                    p = (after.get(&word).copied().unwrap_or(0.0) + types * p) / (n + types);
                }
            }
            nats -= p.ln();
        }
        println!("{}-gram {:.1}", order + 1, f64::exp(nats / (test.len() - order) as f64));
    }
}
