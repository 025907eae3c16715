//! The words of the synthetic language: English function words, and content words composed of random
//! syllables. Each word has exactly one kind, so the text determines the state of the grammar.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::sample::{self, List, ListId, WordId};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Number {
    #[default]
    One,
    Many,
}

/// A role whose last word the text remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Person,
    Place,
    Mate,
    Thing,
    Key,
    Year,
    First,
    Second,
    Third,
}

/// Number of slots.
pub(super) const SLOTS: usize = 9;

/// The kind of a word, which alone determines the transition of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed(Fixed),
    Topic(usize),
    Noun { class: usize, number: Number },
    Verb { class: usize },
    Adjective,
    Adverb,
    Preposition,
    Conjunction,
    Past,
    Count,
    Remembered,
}

/// All words, and the lists that they are sampled from.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    /// Spelling and kind by [`WordId`].
    pub(super) words: Vec<String>,
    pub(super) kinds: Vec<Kind>,
    pub(super) lists: Vec<List>,
    /// Indexed by topic (the last one is shared), class and number.
    pub(super) nouns: [[[ListId; 2]; CLASSES]; TOPICS + 1],
    pub(super) verbs: [[[ListId; 2]; CLASSES]; TOPICS + 1],
    pub(super) adjectives: [ListId; TOPICS + 1],
    /// The words of each [`Slot`].
    pub(super) remembered: [ListId; SLOTS],
    /// The titles of articles, one per topic.
    pub(super) topics: ListId,
    pub(super) adverbs: ListId,
    pub(super) prepositions: ListId,
    pub(super) conjunctions: ListId,
    /// Past-tense verbs of openings and of speech, for all subjects.
    pub(super) pasts: ListId,
    pub(super) counts: ListId,
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
        let mut lexicon = Self::default();
        for (fixed, text) in FIXED {
            lexicon.push((*text).to_owned(), Kind::Fixed(*fixed));
        }
        for topic in 0..=SHARED {
            let (nouns, verbs, adjectives) =
                if topic == SHARED { (60, 30, 110) } else { (20, 9, 24) };
            for class in 0..CLASSES {
                let stems = generator.stems(nouns, NOUN_ENDS, "s");
                lexicon.nouns[topic][class] =
                    [(Number::One, ""), (Number::Many, "s")].map(|(number, end)| {
                        lexicon.inflected(&stems, end, Kind::Noun { class, number })
                    });
                let stems = generator.stems(verbs, VERB_ENDS, "s");
                lexicon.verbs[topic][class] =
                    ["s", ""].map(|end| lexicon.inflected(&stems, end, Kind::Verb { class }));
            }
            let stems = generator.stems(adjectives, ADJECTIVE_ENDS, "");
            lexicon.adjectives[topic] = lexicon.list(&stems, Kind::Adjective);
        }
        lexicon.adverbs = lexicon.list(&generator.stems(80, &["ly"], ""), Kind::Adverb);
        for (slots, count, ends) in [
            (&[Slot::Person][..], 16, PERSON_ENDS),
            (&[Slot::Place], 12, PLACE_ENDS),
            (&[Slot::Mate], 16, MATE_ENDS),
            (&[Slot::Thing], 12, THING_ENDS),
            (&[Slot::Key], 12, KEY_ENDS),
            (&[Slot::First, Slot::Second, Slot::Third], 12, ITEM_ENDS),
        ] {
            let list = lexicon.list(&generator.stems(count, ends, ""), Kind::Remembered);
            slots.iter().for_each(|slot| lexicon.remembered[*slot as usize] = list);
        }
        let years = generator.years(20);
        lexicon.remembered[Slot::Year as usize] = lexicon.list(&years, Kind::Remembered);
        let counts: Vec<String> = (2..=60).map(|n: u32| n.to_string()).collect();
        lexicon.counts = lexicon.list(&counts, Kind::Count);
        lexicon.prepositions = lexicon.list(&PREPOSITIONS, Kind::Preposition);
        lexicon.conjunctions = lexicon.list(&CONJUNCTIONS, Kind::Conjunction);
        lexicon.pasts = lexicon.list(&PASTS, Kind::Past);
        lexicon.topics = lexicon.lists.len();
        lexicon.lists.push(List::zipf(lexicon.words.len() as WordId, TOPICS));
        for (topic, word) in TOPIC_WORDS.iter().enumerate() {
            lexicon.push((*word).to_owned(), Kind::Topic(topic));
        }
        lexicon
    }

    fn push(&mut self, word: String, kind: Kind) {
        self.words.push(word);
        self.kinds.push(kind);
    }

    /// Adds a list, the most frequent word first.
    fn list(&mut self, words: &[impl AsRef<str>], kind: Kind) -> ListId {
        self.inflected(words, "", kind)
    }

    /// Adds a list of `stems` with the suffix `end`.
    fn inflected(&mut self, stems: &[impl AsRef<str>], end: &str, kind: Kind) -> ListId {
        self.lists.push(List::zipf(self.words.len() as WordId, stems.len()));
        for stem in stems {
            self.push(format!("{}{end}", stem.as_ref()), kind);
        }
        self.lists.len() - 1
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
        let taken = FIXED.iter().map(|(_, text)| (*text).to_owned()).collect();
        Self { random: sample::generator(seed, 0), taken }
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
