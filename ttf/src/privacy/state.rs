//! A user's state, from the topic it is kept on.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};
use stream_runtime::log::{Isolation, Log, Position, TopicPartition, partitioner};
use telemetry_schemas::{Codec, RecordKey, json::to_json, state::JourneyState, topics::TTF_STATE};

const CALL: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);

/// The newest state of a user as JSON; `null` when there is none. Reads the user's partition. Blocks.
pub fn read(log: &dyn Log, codec: &Codec, tenant: &str, user_id: &str) -> anyhow::Result<Value> {
    let Some(topic) = log.topics(Some(&[TTF_STATE]), CALL)?.pop() else { return Ok(Value::Null) };
    let key = RecordKey::user(tenant, user_id).to_bytes();
    let at = TopicPartition::new(TTF_STATE, partitioner::partition_for(&key, topic.partitions));
    let end = log.end_offset(&at, Isolation::ReadCommitted, CALL)?;
    let start = log.start_offset(&at, CALL)?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(at.clone(), Position::Beginning)])?;
    let mut newest: Option<Vec<u8>> = None;
    let (mut reached, mut moved) = (start, Instant::now());
    while reached < end {
        reader.poll(5_000, Duration::from_millis(50), &mut |record| {
            if record.key == Some(&*key) {
                newest = record.value.map(<[u8]>::to_vec);
            }
        })?;
        let position = reader.position(&at).unwrap_or(reached);
        if position > reached {
            (reached, moved) = (position, Instant::now());
        } else if moved.elapsed() > STALL {
            bail!("{at} has brought nothing for {} s", STALL.as_secs());
        }
    }
    match newest {
        None => Ok(Value::Null),
        Some(value) => match codec.decode::<JourneyState>(&value) {
            Ok(state) => Ok(to_json(&state)),
            Err(_) => Ok(json!({"unreadable": "written by another version of the program"})),
        },
    }
}
