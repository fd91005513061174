//! The partitions a member has, and how far each was visited.

use crate::log::{Position, TopicPartition};

/// One assigned partition.
#[derive(Debug, Clone)]
pub(super) struct Place {
    at: TopicPartition,
    /// Where it was last told to read from.
    pub(super) told: Position,
    /// The offset after the last record visited since.
    pub(super) read_to: Option<i64>,
}

/// All assigned partitions. Noting a visit costs a comparison while records of one partition follow each other.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    latest: usize,
}

impl Places {
    pub(super) fn assign(&mut self, from: &[(TopicPartition, Position)]) {
        self.places = from.iter().map(|(at, told)| Place { at: at.clone(), told: *told, read_to: None }).collect();
        self.latest = 0;
    }

    pub(super) fn clear(&mut self) {
        self.assign(&[]);
    }

    pub(super) fn get(&self, at: &TopicPartition) -> Option<&Place> {
        self.places.iter().find(|place| place.at == *at)
    }

    /// Notes where a partition is read from next; false when it is not assigned.
    pub(super) fn seek(&mut self, at: &TopicPartition, position: Position) -> bool {
        let Some(place) = self.places.iter_mut().find(|place| place.at == *at) else { return false };
        place.told = position;
        place.read_to = None;
        true
    }

    pub(super) fn visited(&mut self, topic: &str, partition: i32, offset: i64) {
        let is = |place: &Place| place.at.partition == partition && *place.at.topic == *topic;
        if !self.places.get(self.latest).is_some_and(is) {
            // A record of a partition that was given up meanwhile has no place.
            let Some(found) = self.places.iter().position(is) else { return };
            self.latest = found;
        }
        self.places[self.latest].read_to = Some(offset + 1);
    }

    /// Where each partition stands: after the last record visited, or where it was told to start.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, Position)> {
        self.places.iter().map(|place| (place.at.clone(), place.read_to.map_or(place.told, Position::Offset))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_moves_its_own_partition_only_and_a_seek_takes_it_back() {
        let (a, b) = (TopicPartition::new("orders", 0), TopicPartition::new("returns", 0));
        let mut places = Places::default();
        places.assign(&[(a.clone(), Position::Beginning), (b.clone(), Position::Offset(4))]);
        places.visited("returns", 0, 6);
        places.visited("orders", 1, 9);
        assert_eq!(places.positions(), [(a.clone(), Position::Beginning), (b.clone(), Position::Offset(7))]);
        assert!(places.seek(&b, Position::Offset(4)));
        assert_eq!(places.positions(), [(a, Position::Beginning), (b, Position::Offset(4))]);
        assert!(!places.seek(&TopicPartition::new("orders", 1), Position::End));
    }
}
