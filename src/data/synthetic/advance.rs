//! State transitions of the grammar.

use super::grammar::{
    AFTER_BLANK, After, BRACKETED, INTRODUCED, Node, OPENING_AT, OPENING_IN, PARTS, Role, SAID,
    SECTION, State, Step, TITLE,
};
use super::lexicon::Fixed::*;
use super::lexicon::{Kind, Lexicon, Number, SLOTS, Slot};
use super::sample::WordId;

impl State {
    /// Advances by one word that the grammar allows in this state.
    pub(super) fn advance(&mut self, word: WordId, lexicon: &Lexicon) {
        let kind = lexicon.kinds[usize::from(word)];
        self.words += 1;
        match self.node {
            Node::Phrase(steps) => {
                if let [Step::Fresh(slot) | Step::Again(slot), ..] = steps {
                    self.remember(*slot, word);
                }
                self.open(&steps[1..]);
            }
            Node::Recall(slot, after) => self.recalled(slot, after, word),
            Node::Heading => self.heading(kind),
            Node::Line => self.open(match kind {
                Kind::Fixed(Eos) => AFTER_BLANK,
                Kind::Fixed(In) => OPENING_IN,
                _ => OPENING_AT,
            }),
            Node::Sentence => self.sentence(word, kind),
            Node::Clause => self.clause(word, kind),
            Node::Join => self.node = Node::Clause,
            Node::Determiner(role) => self.noun_phrase(role, kind),
            Node::Noun { role, number, adjectives } => match kind {
                Kind::Fixed(_) => self.node = Node::Compound { role, number },
                Kind::Adjective => {
                    self.node = Node::Noun { role, number, adjectives: adjectives + 1 };
                }
                _ => self.noun(role, kind),
            },
            Node::Compound { role, number } => {
                self.node = Node::Noun { role, number, adjectives: 2 };
            }
            Node::Counted(role) if kind == Kind::Fixed(Thousand) => {
                self.node = Node::Thousands(role);
            }
            Node::Counted(role) => self.noun(role, kind),
            Node::Thousands(role) => {
                self.node = Node::Noun { role, number: Some(Number::Many), adjectives: 2 };
            }
            Node::Subject => match kind {
                Kind::Fixed(Of) => self.node = Node::Determiner(Role::Attribute),
                Kind::Fixed(_) => self.node = Node::Bracket,
                Kind::Adverb => self.node = Node::Verb,
                _ => self.verb(kind),
            },
            Node::Bracket => self.marked(kind, After::Bracket),
            Node::Verb => self.verb(kind),
            Node::Object => self.object(kind),
            Node::Tail => self.tail(kind),
        }
    }

    fn remember(&mut self, slot: Slot, word: WordId) {
        self.memory[slot as usize] = Some(word);
        self.said[slot as usize] = self.words;
    }

    /// Enters a phrase, or the node after it.
    fn open(&mut self, steps: &'static [Step]) {
        match steps {
            [Step::Then(node), ..] => self.enter(*node),
            _ => self.node = Node::Phrase(steps),
        }
    }

    fn enter(&mut self, node: Node) {
        self.node = node;
        match node {
            Node::Heading => self.paragraphs = 0,
            Node::Line => self.sentences = 0,
            Node::Sentence => self.sentences += 1,
            _ => {}
        }
        if matches!(node, Node::Line | Node::Sentence) {
            // The subject of the verb in a paragraph's opening is the person.
            self.subject = (0, Number::One);
            self.quoted = false;
            self.adjuncts = 0;
            self.clauses = 0;
        }
    }

    fn heading(&mut self, kind: Kind) {
        if let Kind::Topic(topic) = kind {
            self.topic = topic;
            self.memory = [None; SLOTS];
            self.sections = 0;
            self.open(TITLE);
        } else {
            self.sections = self.sections.saturating_add(1);
            self.open(SECTION);
        }
    }

    fn sentence(&mut self, word: WordId, kind: Kind) {
        match kind {
            Kind::Fixed(Eos) => {
                self.paragraphs += 1;
                self.enter(Node::Line);
            }
            Kind::Fixed(Three) => self.open(PARTS),
            Kind::Fixed(Quote) => {
                self.quoted = true;
                self.node = Node::Clause;
            }
            Kind::Fixed(In | At | With | Regarding) => self.marked(kind, After::Clause),
            _ => self.clause(word, kind),
        }
    }

    fn clause(&mut self, word: WordId, kind: Kind) {
        match kind {
            Kind::Remembered => {
                self.remember(Slot::Person, word);
                self.subject = (0, Number::One);
                self.node = Node::Verb;
            }
            Kind::Fixed(marker @ (This | First | Second | Third)) => {
                self.subject = (if marker == This { 1 } else { 2 }, Number::One);
                self.marked(kind, After::Verb);
            }
            _ => self.noun_phrase(Role::Subject, kind),
        }
    }

    fn marked(&mut self, kind: Kind, after: After) {
        if let Kind::Fixed(marker) = kind
            && let Some(slot) = Slot::marked_by(marker)
        {
            self.node = Node::Recall(slot, after);
        }
    }

    fn recalled(&mut self, slot: Slot, after: After, word: WordId) {
        self.remember(slot, word);
        match after {
            After::Verb => self.node = Node::Verb,
            After::Clause => self.open(INTRODUCED),
            After::Bracket => self.open(BRACKETED),
            After::Tail => self.node = Node::Tail,
        }
    }

    /// The first word of a noun phrase. Without a determiner, it is a plural.
    fn noun_phrase(&mut self, role: Role, kind: Kind) {
        let (number, adjectives) = match kind {
            Kind::Noun { .. } => return self.noun(role, kind),
            Kind::Count => return self.node = Node::Counted(role),
            Kind::Adjective => (Some(Number::Many), 1),
            Kind::Fixed(A) => (Some(Number::One), 0),
            Kind::Fixed(These) => (Some(Number::Many), 0),
            _ => (None, 0),
        };
        self.node = Node::Noun { role, number, adjectives };
    }

    fn noun(&mut self, role: Role, kind: Kind) {
        if let (Role::Subject, Kind::Noun { class, number }) = (role, kind) {
            self.subject = (class, number);
        }
        self.node = match role {
            Role::Subject => Node::Subject,
            Role::Attribute => Node::Verb,
            Role::Object | Role::Adjunct => Node::Tail,
        };
    }

    fn verb(&mut self, kind: Kind) {
        if let Kind::Verb { class } = kind {
            self.verb = class;
        }
        self.node = Node::Object;
    }

    fn object(&mut self, kind: Kind) {
        match kind {
            Kind::Fixed(This | First | Second | Third) => self.marked(kind, After::Tail),
            Kind::Count | Kind::Adjective | Kind::Noun { .. } | Kind::Fixed(The | A | These) => {
                self.noun_phrase(Role::Object, kind);
            }
            _ => self.tail(kind),
        }
    }

    fn tail(&mut self, kind: Kind) {
        match kind {
            Kind::Fixed(Stop) => self.enter(Node::Sentence),
            Kind::Fixed(Quote) => self.open(SAID),
            Kind::Fixed(Comma) => {
                self.clauses += 1;
                self.adjuncts = 0;
                self.node = Node::Join;
            }
            _ => {
                self.adjuncts += 1;
                match kind {
                    Kind::Preposition => self.node = Node::Determiner(Role::Adjunct),
                    Kind::Adverb => self.node = Node::Tail,
                    _ => self.marked(kind, After::Tail),
                }
            }
        }
    }
}
