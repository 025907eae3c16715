//! The words of the embedded language: a few dozen function words in English, everything else made
//! of syllables. Each word has one kind, so that a reader of the text always knows what it saw.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::sample::{self, List, Source, WordId};

/// Article topics; each has nouns, verbs and adjectives of its own.
pub(super) const TOPICS: usize = 16;
/// Classes of nouns; the class of a noun picks its verbs, that of a verb its objects.
pub(super) const CLASSES: usize = 3;
/// The index of the words that every topic shares, after those of the topics.
pub(super) const SHARED: usize = TOPICS;

/// Declares the function words: a variant and its spelling each.
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

/// The stocks of words that the text takes up again later.
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

/// What a word is; the grammar moves on by this alone.
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

/// All words, and the lists that the grammar draws from.
#[derive(Debug)]
pub(super) struct Lexicon {
    words: Vec<String>,
    kinds: Vec<Kind>,
    lists: Vec<List>,
    /// By topic (the last one shared), class and number.
    nouns: [[[Source; 2]; CLASSES]; TOPICS + 1],
    verbs: [[[Source; 2]; CLASSES]; TOPICS + 1],
    adjectives: [Source; TOPICS + 1],
    stocks: [Source; 7],
    /// The words that title an article, one a topic.
    pub(super) topics: Source,
    pub(super) adverbs: Source,
    pub(super) prepositions: Source,
    pub(super) conjunctions: Source,
    /// Verbs of a paragraph's opening and of speech, the same for all subjects.
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
    /// Makes the words of the language with this seed; some 4,500 of them.
    pub(super) fn new(seed: u64) -> Self {
        let mut maker = Maker::new(seed);
        let none = Source::Word(0);
        let mut lexicon = Self {
            words: Vec::new(),
            kinds: Vec::new(),
            lists: Vec::new(),
            nouns: [[[none; 2]; CLASSES]; TOPICS + 1],
            verbs: [[[none; 2]; CLASSES]; TOPICS + 1],
            adjectives: [none; TOPICS + 1],
            stocks: [none; 7],
            topics: none,
            adverbs: none,
            prepositions: none,
            conjunctions: none,
            pasts: none,
            counts: none,
        };
        for (fixed, text) in FIXED {
            lexicon.push(maker.take(text), Kind::Fixed(*fixed));
        }
        for topic in 0..=SHARED {
            let (nouns, verbs, adjectives) =
                if topic == SHARED { (60, 30, 110) } else { (20, 9, 24) };
            for class in 0..CLASSES {
                let stems = maker.stems(nouns, NOUN_ENDS, "s");
                for number in [Number::One, Number::Many] {
                    let kind = Kind::Noun { class: class as u8, number };
                    let end = if number == Number::Many { "s" } else { "" };
                    lexicon.nouns[topic][class][number as usize] = lexicon.list(&stems, end, kind);
                }
                let stems = maker.stems(verbs, VERB_ENDS, "s");
                for number in [Number::One, Number::Many] {
                    let end = if number == Number::One { "s" } else { "" };
                    let kind = Kind::Verb { class: class as u8 };
                    lexicon.verbs[topic][class][number as usize] = lexicon.list(&stems, end, kind);
                }
            }
            let stems = maker.stems(adjectives, ADJECTIVE_ENDS, "");
            lexicon.adjectives[topic] = lexicon.list(&stems, "", Kind::Adjective);
        }
        let adverbs = maker.stems(80, &["ly"], "");
        lexicon.adverbs = lexicon.list(&adverbs, "", Kind::Adverb);
        for (stock, count, ends) in [
            (Stock::Person, 16, PERSON_ENDS),
            (Stock::Place, 12, PLACE_ENDS),
            (Stock::Mate, 16, MATE_ENDS),
            (Stock::Thing, 12, THING_ENDS),
            (Stock::Key, 12, KEY_ENDS),
            (Stock::Item, 12, ITEM_ENDS),
        ] {
            let stems = maker.stems(count, ends, "");
            lexicon.stocks[stock as usize] = lexicon.list(&stems, "", Kind::Remembered);
        }
        let years: Vec<_> = maker.years(20).iter().map(|year| maker.take(year)).collect();
        lexicon.stocks[Stock::Year as usize] = lexicon.list(&years, "", Kind::Remembered);
        let counts: Vec<_> = (2..=60).map(|n| maker.take(&n.to_string())).collect();
        lexicon.counts = lexicon.list(&counts, "", Kind::Count);
        let prepositions = maker.take_all(&PREPOSITIONS);
        lexicon.prepositions = lexicon.list(&prepositions, "", Kind::Preposition);
        let conjunctions = maker.take_all(&CONJUNCTIONS);
        lexicon.conjunctions = lexicon.list(&conjunctions, "", Kind::Conjunction);
        let pasts = maker.take_all(&PASTS);
        lexicon.pasts = lexicon.list(&pasts, "", Kind::Past);
        lexicon.topics = lexicon.topic_list(&mut maker);
        lexicon
    }

    /// How many words there are.
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

    /// Adds `stems` with `end` as one list, the most frequent word first.
    fn list(&mut self, stems: &[String], end: &str, kind: Kind) -> Source {
        let start = self.words.len() as WordId;
        for stem in stems {
            self.push(format!("{stem}{end}"), kind);
        }
        self.close_list(start, stems.len())
    }

    fn topic_list(&mut self, maker: &mut Maker) -> Source {
        let start = self.words.len() as WordId;
        for (topic, word) in TOPIC_WORDS.iter().enumerate() {
            self.push(maker.take(word), Kind::Topic(topic as u8));
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

/// Makes words that no other list has.
struct Maker {
    random: ChaCha8Rng,
    taken: HashSet<String>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        Self { random: sample::generator(seed, 0), taken: HashSet::new() }
    }

    /// Reserves a given word.
    fn take(&mut self, word: &str) -> String {
        self.taken.insert(word.to_owned());
        word.to_owned()
    }

    fn take_all(&mut self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| self.take(word)).collect()
    }

    /// Stems that are free both bare and with `suffix`; frequent ones are shorter.
    fn stems(&mut self, count: usize, ends: &[&str], suffix: &str) -> Vec<String> {
        let mut stems = Vec::with_capacity(count);
        let mut tries = 0;
        while stems.len() < count {
            // A list whose short words are used up goes on to longer ones.
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

    /// Different years between 1700 and 1999 in random order.
    fn years(&mut self, count: usize) -> Vec<String> {
        let mut years: Vec<u32> = (1700..2000).collect();
        for place in 0..count {
            let other = place + sample::below(&mut self.random, years.len() - place);
            years.swap(place, other);
        }
        years[..count].iter().map(u32::to_string).collect()
    }

    fn one_of<'a>(&mut self, parts: &[&'a str]) -> &'a str {
        parts[sample::below(&mut self.random, parts.len())]
    }
}
