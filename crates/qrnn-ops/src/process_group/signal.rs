//! What each rank tells the others about itself, again and again.

/// The state of a rank, as it stores it twice a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signal {
    /// Grows with every signal: a rank whose number stands still has ended, stopped, or is cut off.
    pub beat: u64,
    /// The operations of the group that it has begun.
    pub operations: u64,
    /// The number of the call in which it was asked to stop, from 1; 0 if in none.
    pub stopped_call: u64,
    pub state: RankState,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum RankState {
    #[default]
    Working,
    /// It has left the group, and needs it no more.
    Left,
    Failed {
        /// The rank that made it fail.
        because_of: Option<usize>,
        message: String,
    },
}

impl Signal {
    /// Fields in the first line, then the message of a failure.
    pub fn encode(&self) -> Vec<u8> {
        let (state, message) = match &self.state {
            RankState::Working => ("working".to_owned(), ""),
            RankState::Left => ("left".to_owned(), ""),
            RankState::Failed { because_of: None, message } => ("failed".to_owned(), &message[..]),
            RankState::Failed { because_of: Some(rank), message } => {
                (format!("failed {rank}"), &message[..])
            }
        };
        let Self { beat, operations, stopped_call, .. } = self;
        format!("{beat} {operations} {stopped_call} {state}\n{message}").into_bytes()
    }

    /// `None` if these are not the bytes of a signal.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (first, message) = text.split_once('\n')?;
        let fields: Vec<&str> = first.split(' ').collect();
        let [beat, operations, stopped_call, state, cause @ ..] = &fields[..] else { return None };
        let state = match (*state, cause) {
            ("working", []) => RankState::Working,
            ("left", []) => RankState::Left,
            ("failed", []) => RankState::Failed { because_of: None, message: message.into() },
            ("failed", [rank]) => {
                RankState::Failed { because_of: Some(rank.parse().ok()?), message: message.into() }
            }
            _ => return None,
        };
        Some(Self {
            beat: beat.parse().ok()?,
            operations: operations.parse().ok()?,
            stopped_call: stopped_call.parse().ok()?,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = RankState> {
        let failed = (prop::option::of(0..100usize), ".*");
        prop_oneof![
            Just(RankState::Working),
            Just(RankState::Left),
            failed.prop_map(|(because_of, message)| RankState::Failed { because_of, message }),
        ]
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(
            beat: u64, operations: u64, stopped_call: u64, state in states(),
        ) {
            let signal = Signal { beat, operations, stopped_call, state };
            prop_assert_eq!(Signal::decode(&signal.encode()), Some(signal));
        }

        #[test]
        fn other_bytes_are_no_signal(bytes: Vec<u8>) {
            if let Some(signal) = Signal::decode(&bytes) {
                prop_assert_eq!(Signal::decode(&signal.encode()), Some(signal));
            }
        }
    }
}
