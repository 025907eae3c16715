//! The distribution of the next word in each state.

use super::grammar::{Node, Role, State, Step};
use super::lexicon::{CLASSES, Fixed, Lexicon, Number, SHARED, Slot};
use super::mixture::Mixture;
use super::sample::{ListId, Source};

/// Probability that a recalled word is the remembered one.
const RECALL: f64 = 0.95;
/// Probability that a content word is from the article's topic.
const TOPICAL: f64 = 0.6;
/// Probability that a verb has the class of its subject, and an object that of its verb.
const FITTING: f64 = 0.8;
/// A slot is not recalled within this many words; its weight is complete after [`FULL_WEIGHT_AGE`].
const MIN_AGE: u32 = 7;
const FULL_WEIGHT_AGE: u32 = 30;

/// Fills `next` with the distribution of the word after `state`.
pub(super) fn fill(state: &State, lexicon: &Lexicon, next: &mut Mixture) {
    next.clear();
    Distribution { state, lexicon, next }.all();
}

struct Distribution<'a> {
    state: &'a State,
    lexicon: &'a Lexicon,
    next: &'a mut Mixture,
}

impl Distribution<'_> {
    fn all(&mut self) {
        match self.state.node {
            Node::Phrase(steps) => self.step(steps),
            Node::Recall(slot, _) => self.recall(1.0, slot),
            Node::Heading => {
                let article = end_probability(&[0.0, 0.2, 0.4, 0.6, 0.8], self.state.sections);
                self.word(1.0 - article, Fixed::Equals);
                self.list(article, self.lexicon.topics);
            }
            Node::Line => {
                let end = end_probability(&[0.0, 0.35, 0.5, 0.7], self.state.paragraphs);
                self.word(end, Fixed::Eos);
                self.word(0.6 * (1.0 - end), Fixed::In);
                self.word(0.4 * (1.0 - end), Fixed::At);
            }
            Node::Sentence => self.sentence(),
            Node::Clause => self.clause(1.0),
            Node::Join => self.list(1.0, self.lexicon.conjunctions),
            Node::Determiner(role) => {
                self.word(0.40, Fixed::The);
                self.word(if role == Role::Attribute { 0.0 } else { 0.15 }, Fixed::A);
                self.word(0.05, Fixed::These);
                self.bare(0.40, role);
            }
            Node::Noun { role, number, adjectives } => {
                let adjective = [0.5, 0.15, 0.0][adjectives.min(2)];
                let hyphen = if adjectives == 1 { 0.06 } else { 0.0 };
                self.adjectives(adjective);
                self.word(hyphen, Fixed::Hyphen);
                self.nouns(1.0 - adjective - hyphen, role, number);
            }
            Node::Compound { .. } => self.adjectives(1.0),
            Node::Counted(role) => {
                self.word(0.25, Fixed::Thousand);
                self.nouns(0.75, role, Some(Number::Many));
            }
            Node::Thousands(_) => self.word(1.0, Fixed::Zeros),
            Node::Subject => {
                self.word(0.18, Fixed::Of);
                self.word(0.06, Fixed::Open);
                self.list(0.16, self.lexicon.adverbs);
                self.verbs(0.60);
            }
            Node::Bracket => {
                self.word(0.5, Fixed::In);
                self.word(0.5, Fixed::With);
            }
            Node::Verb => self.verbs(1.0),
            Node::Object => self.object(),
            Node::Tail => self.tail(1.0),
        }
    }

    fn step(&mut self, steps: &[Step]) {
        match steps.first() {
            Some(Step::Word(fixed)) => self.word(1.0, *fixed),
            Some(Step::Past) => self.list(1.0, self.lexicon.pasts),
            Some(Step::Fresh(slot)) => self.list(1.0, self.lexicon.remembered[*slot as usize]),
            Some(Step::Again(slot)) => self.recall(1.0, *slot),
            Some(Step::Then(_)) | None => {}
        }
    }

    fn sentence(&mut self) {
        if self.state.sentences == 1 && self.state.paragraphs == 0 {
            return self.word(1.0, Fixed::Three);
        }
        let end = match self.state.sentences {
            0..5 => 0.0,
            5..15 => 0.15,
            _ => 1.0,
        };
        self.word(end, Fixed::Eos);
        let more = 1.0 - end;
        self.word(0.06 * more, Fixed::Quote);
        self.marker(0.12 * more, Fixed::In);
        self.marker(0.14 * more, Fixed::At);
        self.marker(0.14 * more, Fixed::Regarding);
        self.marker(0.12 * more, Fixed::With);
        self.clause(0.55 * more);
    }

    fn clause(&mut self, share: f64) {
        self.recall(0.35 * share * self.age_weight(Slot::Person), Slot::Person);
        self.ordinals(share);
        self.marker(0.20 * share, Fixed::This);
        self.word(0.22 * share, Fixed::The);
        self.word(0.04 * share, Fixed::These);
        self.list(0.03 * share, self.lexicon.counts);
        self.bare(0.28 * share, Role::Subject);
    }

    fn object(&mut self) {
        self.ordinals(1.0);
        self.marker(0.20, Fixed::This);
        self.word(0.18, Fixed::The);
        self.word(0.12, Fixed::A);
        self.word(0.04, Fixed::These);
        self.list(0.04, self.lexicon.counts);
        self.bare(0.26, Role::Object);
        self.tail(0.12);
    }

    fn tail(&mut self, share: f64) {
        let end = end_probability(&[0.2, 0.5, 0.8], self.state.adjuncts);
        let stop = if self.state.quoted { Fixed::Quote } else { Fixed::Stop };
        self.word(end * share, stop);
        let more = (1.0 - end) * share;
        self.marker(0.26 * more, Fixed::At);
        self.marker(0.26 * more, Fixed::With);
        self.marker(0.22 * more, Fixed::In);
        self.marker(0.26 * more, Fixed::Regarding);
        self.word(if self.state.clauses == 0 { 0.10 * more } else { 0.0 }, Fixed::Comma);
        self.list(0.35 * more, self.lexicon.prepositions);
        self.list(0.25 * more, self.lexicon.adverbs);
    }

    fn ordinals(&mut self, share: f64) {
        // Before the parts are listed, there is nothing to recall.
        if self.state.paragraphs > 0 || self.state.sentences > 1 {
            self.marker(0.09 * share, Fixed::First);
            self.marker(0.09 * share, Fixed::Second);
            self.marker(0.09 * share, Fixed::Third);
        }
    }

    fn bare(&mut self, share: f64, role: Role) {
        self.adjectives(0.5 * share);
        self.nouns(0.5 * share, role, Some(Number::Many));
    }

    fn nouns(&mut self, share: f64, role: Role, number: Option<Number>) {
        let fitting = (self.state.verb + 1) % CLASSES;
        for class in 0..CLASSES {
            let by_class = match role {
                Role::Object => class_weight(class == fitting),
                _ => [0.5, 0.3, 0.2][class],
            };
            let one = match number {
                Some(Number::One) => 1.0,
                Some(Number::Many) => 0.0,
                None => 0.6,
            };
            for (by_number, number) in [(one, Number::One), (1.0 - one, Number::Many)] {
                for (by_topic, topic) in self.topics() {
                    let list = self.lexicon.nouns[topic][class][number as usize];
                    self.list(share * by_class * by_number * by_topic, list);
                }
            }
        }
    }

    fn verbs(&mut self, share: f64) {
        let (fitting, number) = self.state.subject;
        for class in 0..CLASSES {
            let by_class = class_weight(class == fitting);
            for (by_topic, topic) in self.topics() {
                let list = self.lexicon.verbs[topic][class][number as usize];
                self.list(share * by_class * by_topic, list);
            }
        }
    }

    fn adjectives(&mut self, share: f64) {
        for (by_topic, topic) in self.topics() {
            self.list(share * by_topic, self.lexicon.adjectives[topic]);
        }
    }

    fn topics(&self) -> [(f64, usize); 2] {
        [(TOPICAL, self.state.topic), (1.0 - TOPICAL, SHARED)]
    }

    /// Adds the marker word of a slot, weighted by the slot's age.
    fn marker(&mut self, weight: f64, marker: Fixed) {
        let age_weight = Slot::marked_by(marker).map_or(1.0, |slot| self.age_weight(slot));
        self.word(weight * age_weight, marker);
    }

    fn age_weight(&self, slot: Slot) -> f64 {
        match self.state.age(slot) {
            0..MIN_AGE => 0.0,
            age => f64::from(age.min(FULL_WEIGHT_AGE)) / f64::from(FULL_WEIGHT_AGE),
        }
    }

    /// Adds the words of a slot: mostly the remembered one.
    fn recall(&mut self, share: f64, slot: Slot) {
        let list = self.lexicon.remembered[slot as usize];
        match self.state.memory[slot as usize] {
            Some(word) => {
                self.next.add(RECALL * share, Source::Word(word));
                self.list((1.0 - RECALL) * share, list);
            }
            None => self.list(share, list),
        }
    }

    fn list(&mut self, weight: f64, list: ListId) {
        self.next.add(weight, Source::List(list));
    }

    fn word(&mut self, weight: f64, fixed: Fixed) {
        self.next.add(weight, Source::Word(fixed.id()));
    }
}

/// The weight of a word class that does or does not match.
fn class_weight(fitting: bool) -> f64 {
    if fitting { FITTING } else { (1.0 - FITTING) / (CLASSES - 1) as f64 }
}

/// The probability of an end after `count` items; 1 beyond the list.
fn end_probability(chances: &[f64], count: usize) -> f64 {
    chances.get(count).copied().unwrap_or(1.0)
}
