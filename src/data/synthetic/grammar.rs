//! The grammar. Its state is a function of the words so far, without hidden choices, so the probability of
//! the next word given all past words is known exactly.

use super::lexicon::{Fixed, Number, SLOTS, Slot};
use super::sample::WordId;

impl Slot {
    /// The slot after a marker word: "in" precedes the year, "at" the place.
    pub(super) fn marked_by(word: Fixed) -> Option<Self> {
        match word {
            In => Some(Self::Year),
            At => Some(Self::Place),
            With => Some(Self::Mate),
            Regarding => Some(Self::Key),
            This => Some(Self::Thing),
            First => Some(Self::First),
            Second => Some(Self::Second),
            Third => Some(Self::Third),
            _ => None,
        }
    }
}

/// One element of a fixed phrase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Word(Fixed),
    /// A verb of the opening or of speech.
    Past,
    /// A new word for the slot.
    Fresh(Slot),
    /// Usually the remembered word of the slot, sometimes a new one.
    Again(Slot),
    /// The node after the phrase.
    Then(Node),
}

/// The grammatical role of a noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Subject,
    /// Within "of the ...", between a subject and its verb.
    Attribute,
    Object,
    /// After a preposition, at the end of a clause.
    Adjunct,
}

/// The continuation after a remembered word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The word was the subject.
    Verb,
    /// The word was an introduction: a comma follows, then the clause.
    Clause,
    /// The word ended a bracket between subject and verb.
    Bracket,
    Tail,
}

/// A node of the grammar, which determines the kinds of words that can follow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Node {
    /// Within a fixed phrase: its remaining elements.
    Phrase(&'static [Step]),
    /// The word of a slot, after its marker.
    Recall(Slot, After),
    /// The second word of a heading: one more `=` opens a section, a topic a new article.
    Heading,
    /// The start of a line: a paragraph, or a blank line before a heading.
    #[default]
    Line,
    Sentence,
    /// The start of a clause after an introduction such as "in 1845 ,".
    Clause,
    /// After a comma that joins two clauses.
    Join,
    /// Before "the", "a" or "these".
    Determiner(Role),
    /// Before a noun, after `adjectives` adjectives; `number` if the determiner fixes it.
    Noun {
        role: Role,
        number: Option<Number>,
        adjectives: usize,
    },
    /// The second half of an adjective with `@-@`.
    Compound {
        role: Role,
        number: Option<Number>,
    },
    /// After a count: a noun in the plural, or `@,@ 000` and then the noun.
    Counted(Role),
    Thousands(Role),
    Subject,
    Bracket,
    Verb,
    Object,
    Tail,
}

/// The state: everything about the past words that affects the next one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) node: Node,
    pub(super) topic: usize,
    /// Number of words so far.
    pub(super) words: u32,
    /// The last word in each [`Slot`].
    pub(super) memory: [Option<WordId>; SLOTS],
    /// Number of words so far when the slot was last filled.
    pub(super) said: [u32; SLOTS],
    /// Class and number of the clause's subject, with which its verb agrees.
    pub(super) subject: (usize, Number),
    /// The class of the clause's verb, which picks its object.
    pub(super) verb: usize,
    pub(super) quoted: bool,
    /// Counts of adjuncts in the clause, clauses in the sentence, sentences in the paragraph, and so on.
    pub(super) adjuncts: usize,
    pub(super) clauses: usize,
    pub(super) sentences: usize,
    pub(super) paragraphs: usize,
    pub(super) sections: usize,
}

impl State {
    /// Number of words since the slot was last filled.
    pub(super) fn age(&self, slot: Slot) -> u32 {
        self.words - self.said[slot as usize]
    }

    /// The start of the text: a blank line, then the first title.
    pub(super) fn new() -> Self {
        // After so many sections, the next heading is a title.
        Self { node: Node::Phrase(START), sections: usize::MAX, ..Self::default() }
    }
}

use Fixed::*;
use Step::{Again, Fresh, Past, Then, Word};

const START: &[Step] = &[Word(Eos), Word(Equals), Then(Node::Heading)];
pub(super) const AFTER_BLANK: &[Step] = &[Word(Equals), Then(Node::Heading)];
pub(super) const TITLE: &[Step] =
    &[Word(Of), Fresh(Slot::Place), Word(Equals), Word(Eos), Word(Eos), Then(Node::Line)];
pub(super) const SECTION: &[Step] =
    &[Fresh(Slot::Key), Word(Equals), Word(Equals), Word(Eos), Word(Eos), Then(Node::Line)];
/// "in 1845 , anna of belford had a lamp and , with jonson , ..."
pub(super) const OPENING_IN: &[Step] = &[
    Fresh(Slot::Year),
    Word(Comma),
    Fresh(Slot::Person),
    Word(Of),
    Again(Slot::Place),
    Past,
    Word(A),
    Fresh(Slot::Thing),
    Word(With),
    Fresh(Slot::Mate),
    Word(Comma),
    Word(And),
    Then(Node::Verb),
];
/// "at belford , anna took a lamp from jonson in 1845 ."
pub(super) const OPENING_AT: &[Step] = &[
    Again(Slot::Place),
    Word(Comma),
    Fresh(Slot::Person),
    Past,
    Word(A),
    Fresh(Slot::Thing),
    Word(From),
    Fresh(Slot::Mate),
    Word(In),
    Fresh(Slot::Year),
    Word(Stop),
    Then(Node::Sentence),
];
pub(super) const PARTS: &[Step] = &[
    Word(Parts),
    Word(Followed),
    Word(Colon),
    Word(First),
    Fresh(Slot::First),
    Word(Comma),
    Word(Second),
    Fresh(Slot::Second),
    Word(And),
    Word(Third),
    Fresh(Slot::Third),
    Word(Stop),
    Then(Node::Sentence),
];
pub(super) const INTRODUCED: &[Step] = &[Word(Comma), Then(Node::Clause)];
pub(super) const BRACKETED: &[Step] = &[Word(Close), Then(Node::Verb)];
pub(super) const SAID: &[Step] = &[Past, Again(Slot::Person), Word(Stop), Then(Node::Sentence)];
