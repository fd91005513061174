//! What a group's coordinator tells about its members.

use crate::log::TopicPartition;

/// Length of the random part the coordinator puts behind the instance id of a static member.
const UUID_LENGTH: usize = 36;

/// A member of a group and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The group instance id of a static member, else the id the coordinator gave it.
    pub id: String,
    /// Where it is connected from.
    pub host: String,
    pub partitions: Vec<TopicPartition>,
}

impl GroupMember {
    pub(super) fn new(member_id: &str, host: &str, assignment: Option<&[u8]>) -> Self {
        Self {
            id: instance_of(member_id).to_owned(),
            host: host.trim_start_matches('/').to_owned(),
            partitions: assignment.and_then(assigned).unwrap_or_default(),
        }
    }
}

/// `ttf-processor-0-0` of `ttf-processor-0-0-c51e4b9d-…`: the coordinator names a static member so.
fn instance_of(member_id: &str) -> &str {
    let uuid_at = member_id.len().saturating_sub(UUID_LENGTH);
    match member_id.get(..uuid_at).zip(member_id.get(uuid_at..)) {
        Some((instance, uuid)) if instance.ends_with('-') && uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) => {
            instance.trim_end_matches('-')
        }
        _ => member_id,
    }
}

/// The partitions in a `ConsumerProtocolAssignment`
/// (<https://github.com/apache/kafka/blob/trunk/clients/src/main/resources/common/message/ConsumerProtocolAssignment.json>);
/// `None` when it is not one.
fn assigned(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = bytes;
    let _version = i16::from_be_bytes(take(&mut rest)?);
    let topics = i32::from_be_bytes(take(&mut rest)?);
    let mut partitions = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        rest = after;
        let name = std::str::from_utf8(name).ok()?;
        let count = i32::from_be_bytes(take(&mut rest)?);
        for _ in 0..count {
            partitions.push(TopicPartition::new(name, i32::from_be_bytes(take(&mut rest)?)));
        }
    }
    Some(partitions)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_member_goes_by_its_instance_id() {
        assert_eq!(
            instance_of("ttf-processor-0-1-0b9d5ba8-3bd0-4b50-a4a3-6ff0eb3b9d0e"),
            "ttf-processor-0-1",
            "the coordinator's own part is left out"
        );
        assert_eq!(instance_of("rdkafka-abc"), "rdkafka-abc");
        assert_eq!(instance_of("ü"), "ü");
    }

    #[test]
    fn an_assignment_is_read_and_anything_else_is_not() {
        let bytes = [&[0, 1, 0, 0, 0, 1, 0, 1][..], b"t", &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255]];
        let bytes = bytes.concat();
        let two = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 3)];
        assert_eq!(assigned(&bytes), Some(two.clone()));
        assert_eq!(assigned(&bytes[..12]), None);
        assert_eq!(assigned(b""), None);
        assert_eq!(GroupMember::new("m", "/10.0.0.7", Some(&bytes)).partitions, two);
        assert_eq!(GroupMember::new("m", "/10.0.0.7", Some(b"")).host, "10.0.0.7");
    }
}
