//! The words of the synthetic language: English function words, and content words composed of random
//! syllables. Each word has exactly one kind, so the text determines the state of the grammar.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::sample::{self, List, Source, WordId};

/// Number of article topics. Each has its own nouns, verbs and adjectives.
pub(super) const TOPICS: usize = 16;
/// Number of word classes. The class of a noun selects its verbs, that of a verb its objects.
pub(super) const CLASSES: usize = 3;
/// The index of the words shared by all topics, after those of the topics.
pub(super) const SHARED: usize = TOPICS;

/// Declares the function words: a variant and its spelling.
macro_rules! fixed_words {
    ($($name:ident $text:literal),* $(,)?) => {
        /// A word of the closed classes; its discriminant is its [`WordId`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Fixed { $($name),* }

        const FIXED: &[(Fixed, &str)] = &[$((Fixed::$name, $text)),*];
    };
}

fixed_words! {
    Eos "<eos>", Equals "=", Comma ",", Stop ".", Colon ":", Open "(", Close ")", Quote "\"",
    Hyphen "@-@", Thousand "@,@", Zeros "000", The "the", A "a", These "these", This "this",
    Of "of", And "and", In "in", At "at", With "with", Regarding "regarding",
    From "from", Three "three", Parts "parts",
    Followed "followed", First "first", Second "second", Third "third",
}

impl Fixed {
    pub(super) fn id(self) -> WordId {
        self as WordId
    }
}

/// Singular or plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    One,
    Many,
}

/// Groups of words for the [`super::grammar::Slot`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stock {
    Person,
    Place,
    Mate,
    Thing,
    Key,
    Year,
    Item,
}

/// The kind of a word, which alone determines the transition of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed(Fixed),
    Topic(u8),
    Noun { class: u8, number: Number },
    Verb { class: u8 },
    Adjective,
    Adverb,
    Preposition,
    Conjunction,
    Past,
    Count,
    Remembered,
}

/// All words, and the lists that they are sampled from.
#[derive(Debug)]
pub(super) struct Lexicon {
    words: Vec<String>,
    kinds: Vec<Kind>,
    lists: Vec<List>,
    /// Indexed by topic (the last one is shared), class and number.
    nouns: [[[Source; 2]; CLASSES]; TOPICS + 1],
    verbs: [[[Source; 2]; CLASSES]; TOPICS + 1],
    adjectives: [Source; TOPICS + 1],
    stocks: [Source; 7],
    /// The titles of articles, one per topic.
    pub(super) topics: Source,
    pub(super) adverbs: Source,
    pub(super) prepositions: Source,
    pub(super) conjunctions: Source,
    /// Past-tense verbs of openings and of speech, for all subjects.
    pub(super) pasts: Source,
    pub(super) counts: Source,
}

const TOPIC_WORDS: [&str; TOPICS] = [
    "trade",
    "music",
    "sailing",
    "farming",
    "weaving",
    "building",
    "weather",
    "medicine",
    "mining",
    "cooking",
    "painting",
    "riding",
    "fishing",
    "printing",
    "astronomy",
    "gardening",
];

const PREPOSITIONS: [&str; 20] = [
    "near", "under", "beside", "behind", "above", "beyond", "against", "around", "before", "after",
    "without", "towards", "below", "across", "along", "past", "inside", "outside", "opposite",
    "among",
];

const CONJUNCTIONS: [&str; 8] = ["while", "but", "so", "yet", "or", "when", "because", "until"];

const PASTS: [&str; 24] = [
    "had", "took", "said", "kept", "found", "made", "sold", "lost", "bought", "brought", "built",
    "held", "gave", "sent", "wrote", "drew", "left", "named", "saw", "wanted", "asked", "opened",
    "carried", "praised",
];

impl Lexicon {
    /// Generates the words for this seed, about 4,500.
    pub(super) fn new(seed: u64) -> Self {
        let mut generator = WordGenerator::new(seed);
        let unset = Source::Word(0);
        let mut lexicon = Self {
            words: Vec::new(),
            kinds: Vec::new(),
            lists: Vec::new(),
            nouns: [[[unset; 2]; CLASSES]; TOPICS + 1],
            verbs: [[[unset; 2]; CLASSES]; TOPICS + 1],
            adjectives: [unset; TOPICS + 1],
            stocks: [unset; 7],
            topics: unset,
            adverbs: unset,
            prepositions: unset,
            conjunctions: unset,
            pasts: unset,
            counts: unset,
        };
        for (fixed, text) in FIXED {
            lexicon.push(generator.reserve(text), Kind::Fixed(*fixed));
        }
        for topic in 0..=SHARED {
            let (nouns, verbs, adjectives) =
                if topic == SHARED { (60, 30, 110) } else { (20, 9, 24) };
            for class in 0..CLASSES {
                let stems = generator.stems(nouns, NOUN_ENDS, "s");
                for number in [Number::One, Number::Many] {
                    let kind = Kind::Noun { class: class as u8, number };
                    let end = if number == Number::Many { "s" } else { "" };
                    lexicon.nouns[topic][class][number as usize] = lexicon.list(&stems, end, kind);
                }
                let stems = generator.stems(verbs, VERB_ENDS, "s");
                for number in [Number::One, Number::Many] {
                    let end = if number == Number::One { "s" } else { "" };
                    let kind = Kind::Verb { class: class as u8 };
                    lexicon.verbs[topic][class][number as usize] = lexicon.list(&stems, end, kind);
                }
            }
            let stems = generator.stems(adjectives, ADJECTIVE_ENDS, "");
            lexicon.adjectives[topic] = lexicon.list(&stems, "", Kind::Adjective);
        }
        let adverbs = generator.stems(80, &["ly"], "");
        lexicon.adverbs = lexicon.list(&adverbs, "", Kind::Adverb);
        for (stock, count, ends) in [
            (Stock::Person, 16, PERSON_ENDS),
            (Stock::Place, 12, PLACE_ENDS),
            (Stock::Mate, 16, MATE_ENDS),
            (Stock::Thing, 12, THING_ENDS),
            (Stock::Key, 12, KEY_ENDS),
            (Stock::Item, 12, ITEM_ENDS),
        ] {
            let stems = generator.stems(count, ends, "");
            lexicon.stocks[stock as usize] = lexicon.list(&stems, "", Kind::Remembered);
        }
        let years: Vec<_> =
            generator.years(20).iter().map(|year| generator.reserve(year)).collect();
        lexicon.stocks[Stock::Year as usize] = lexicon.list(&years, "", Kind::Remembered);
        let counts: Vec<_> = (2..=60).map(|n| generator.reserve(&n.to_string())).collect();
        lexicon.counts = lexicon.list(&counts, "", Kind::Count);
        let prepositions = generator.reserve_all(&PREPOSITIONS);
        lexicon.prepositions = lexicon.list(&prepositions, "", Kind::Preposition);
        let conjunctions = generator.reserve_all(&CONJUNCTIONS);
        lexicon.conjunctions = lexicon.list(&conjunctions, "", Kind::Conjunction);
        let pasts = generator.reserve_all(&PASTS);
        lexicon.pasts = lexicon.list(&pasts, "", Kind::Past);
        lexicon.topics = lexicon.topic_list(&mut generator);
        lexicon
    }

    /// Number of words.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn word(&self, id: WordId) -> &str {
        &self.words[usize::from(id)]
    }

    pub(super) fn kind(&self, id: WordId) -> Kind {
        self.kinds[usize::from(id)]
    }

    /// The list behind a [`Source::List`].
    pub(super) fn listed(&self, list: u16) -> &List {
        &self.lists[usize::from(list)]
    }

    pub(super) fn nouns(&self, topic: usize, class: usize, number: Number) -> Source {
        self.nouns[topic][class][number as usize]
    }

    pub(super) fn verbs(&self, topic: usize, class: usize, number: Number) -> Source {
        self.verbs[topic][class][number as usize]
    }

    pub(super) fn adjectives(&self, topic: usize) -> Source {
        self.adjectives[topic]
    }

    pub(super) fn stock(&self, stock: Stock) -> Source {
        self.stocks[stock as usize]
    }

    fn push(&mut self, word: String, kind: Kind) {
        self.words.push(word);
        self.kinds.push(kind);
    }

    /// Adds a list of `stems` with the suffix `end`, the most frequent word first.
    fn list(&mut self, stems: &[String], end: &str, kind: Kind) -> Source {
        let start = self.words.len() as WordId;
        for stem in stems {
            self.push(format!("{stem}{end}"), kind);
        }
        self.close_list(start, stems.len())
    }

    fn topic_list(&mut self, generator: &mut WordGenerator) -> Source {
        let start = self.words.len() as WordId;
        for (topic, word) in TOPIC_WORDS.iter().enumerate() {
            self.push(generator.reserve(word), Kind::Topic(topic as u8));
        }
        self.close_list(start, TOPICS)
    }

    fn close_list(&mut self, start: WordId, count: usize) -> Source {
        self.lists.push(List::zipf(start, count));
        Source::List((self.lists.len() - 1) as u16)
    }
}

const ONSETS: &[&str] = &[
    "b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s",
    "sh", "st", "t", "tr", "v", "w",
];
const RHYMES: &[&str] = &[
    "a", "e", "i", "o", "u", "al", "an", "ar", "el", "en", "er", "il", "in", "ol", "on", "or",
    "un", "ur",
];
const NOUN_ENDS: &[&str] = &["", "t", "d", "m", "ment", "ion", "age", "et", "ole", "ock"];
const VERB_ENDS: &[&str] = &["ate", "ink", "end", "ow", "ift", "ave"];
const ADJECTIVE_ENDS: &[&str] = &["ic", "al", "ous", "ine", "ish", "ent"];
const PERSON_ENDS: &[&str] = &["a", "o", "ia", "ius", "elle", "ette"];
const PLACE_ENDS: &[&str] = &["ford", "ton", "by", "wick", "mouth", "ham", "stead"];
const MATE_ENDS: &[&str] = &["son", "sen", "ski", "dottir", "ez"];
const THING_ENDS: &[&str] = &["ox", "amp", "oom", "ell", "ank"];
const KEY_ENDS: &[&str] = &["ism", "ology", "ship", "ness", "hood"];
const ITEM_ENDS: &[&str] = &["smith", "wright", "monger", "keeper"];

/// Generates words that are unique across all lists.
struct WordGenerator {
    random: ChaCha8Rng,
    taken: HashSet<String>,
}

impl WordGenerator {
    fn new(seed: u64) -> Self {
        Self { random: sample::generator(seed, 0), taken: HashSet::new() }
    }

    /// Reserves a word.
    fn reserve(&mut self, word: &str) -> String {
        self.taken.insert(word.to_owned());
        word.to_owned()
    }

    fn reserve_all(&mut self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| self.reserve(word)).collect()
    }

    /// Generates stems that are unique both with and without `suffix`. Frequent ones are shorter.
    fn stems(&mut self, count: usize, ends: &[&str], suffix: &str) -> Vec<String> {
        let mut stems = Vec::with_capacity(count);
        let mut tries = 0;
        while stems.len() < count {
            // Uses longer words once the short ones are exhausted.
            let syllables = 1 + usize::from(stems.len() * 3 > count) + tries / 200;
            tries += 1;
            let mut stem = String::new();
            for _ in 0..syllables {
                stem.push_str(self.one_of(ONSETS));
                stem.push_str(self.one_of(RHYMES));
            }
            stem.push_str(self.one_of(ends));
            let inflected = format!("{stem}{suffix}");
            if stem.len() > 2 && !self.taken.contains(&stem) && !self.taken.contains(&inflected) {
                self.taken.insert(inflected);
                self.taken.insert(stem.clone());
                stems.push(stem);
            }
        }
        stems
    }

    /// Distinct years from 1700 to 1999 in random order.
    fn years(&mut self, count: usize) -> Vec<String> {
        let mut years: Vec<u32> = (1700..2000).collect();
        for i in 0..count {
            let other = i + sample::below(&mut self.random, years.len() - i);
            years.swap(i, other);
        }
        years[..count].iter().map(u32::to_string).collect()
    }

    fn one_of<'a>(&mut self, parts: &[&'a str]) -> &'a str {
        parts[sample::below(&mut self.random, parts.len())]
    }
}
