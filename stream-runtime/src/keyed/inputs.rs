//! Where the inputs stood with a state: kept in the local store and, as a header, in the changelog, so that a group
//! whose offsets have expired goes on exactly where its state ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::positions::{InputPosition, Note};

/// Header of a changelog record: where the inputs stood when its transaction was committed. The first record of each
/// transaction carries it, so that the newest mark always is in the changelog.
pub const HEADER: &str = "inputs";

/// Input topic → next offset, and what is kept with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputMarks(BTreeMap<String, (i64, String)>);

impl InputMarks {
    pub fn of(inputs: &[InputPosition]) -> Self {
        let mark = |input: &InputPosition| (input.at.topic.to_string(), (input.next, input.note.to_metadata()));
        Self(inputs.iter().map(mark).collect())
    }

    pub fn to_header(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("marks are strings and numbers")
    }

    /// `None` for what this program does not understand.
    pub fn from_header(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Takes over what lies further on.
    pub fn advance(&mut self, later: Self) {
        for (topic, (next, metadata)) in later.0 {
            match self.0.get(&topic) {
                Some((known, _)) if *known > next => {}
                _ => drop(self.0.insert(topic, (next, metadata))),
            }
        }
    }

    pub fn get(&self, topic: &str) -> Option<(i64, Note)> {
        self.0.get(topic).map(|(next, metadata)| (*next, Note::parse(metadata)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(next: i64) -> InputMarks {
        InputMarks(BTreeMap::from([("events".to_owned(), (next, "7 6".to_owned()))]))
    }

    #[test]
    fn marks_come_back_from_their_header_and_never_go_back() {
        let mut known = InputMarks::from_header(&marks(5).to_header()).unwrap();
        known.advance(marks(9));
        known.advance(marks(3));
        assert_eq!(known.get("events"), Some((9, Note { stream_time_ms: Some(7), last_ms: Some(6) })));
        assert_eq!(known.get("erasures"), None);
        assert_eq!(InputMarks::from_header(b"\0"), None);
    }
}
