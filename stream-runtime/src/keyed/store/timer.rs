//! Entries of the timer index.

use fjall::Slice;

use super::layout::TIMER;

/// Bytes in front of the key: what it is, and the due time.
const HEAD: usize = 1 + 8;

/// A timer as the index holds it: due time and key, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerEntry(Slice);

impl TimerEntry {
    pub(super) fn new(due_ms: i64, key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + key.len());
        Self::write(&mut bytes, due_ms, key);
        Self(bytes.into())
    }

    /// Appends the entry's bytes.
    pub(super) fn write(bytes: &mut Vec<u8>, due_ms: i64, key: &[u8]) {
        bytes.push(TIMER);
        bytes.extend_from_slice(&order_preserving(due_ms));
        bytes.extend_from_slice(key);
    }

    /// The entry these bytes of the index are; `None` when they are none.
    pub(super) fn read(bytes: Slice) -> Option<Self> {
        (bytes.len() >= HEAD).then_some(Self(bytes))
    }

    pub(super) fn into_bytes(self) -> Slice {
        self.0
    }

    pub(super) fn bytes(&self) -> &Slice {
        &self.0
    }

    /// A place before every timer of `due_ms`.
    pub fn before(due_ms: i64) -> Self {
        Self::new(due_ms.saturating_sub(1), &[])
    }

    pub fn due_ms(&self) -> i64 {
        let bytes: [u8; 8] = self.0[1..HEAD].try_into().expect("an entry begins with its due time");
        (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
    }

    pub fn key(&self) -> &[u8] {
        &self.0[HEAD..]
    }
}

/// Big-endian with the sign flipped: byte order is numeric order.
fn order_preserving(value: i64) -> [u8; 8] {
    (value.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}
