//! The bytes of a stored state: format version, checksum, due time, state.

use fjall::Slice;

/// Version of the form below; 0 is never written, so that a zeroed block is noticed.
const FORMAT: u8 = 1;
const HEADER: usize = 1 + 4 + 8;
/// Stands for "no timer".
const NEVER: i64 = i64::MIN;

/// A stored state whose checksum was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(Slice);

impl Sealed {
    /// The bytes to store for the state of `key`.
    pub fn seal(key: &[u8], state: &[u8], due_ms: Option<i64>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + state.len());
        Self::write(&mut bytes, key, state, due_ms);
        bytes
    }

    /// Appends them.
    pub fn write(bytes: &mut Vec<u8>, key: &[u8], state: &[u8], due_ms: Option<i64>) {
        let due = due_ms.unwrap_or(NEVER).to_be_bytes();
        bytes.push(FORMAT);
        bytes.extend_from_slice(&checksum(key, &due, state).to_be_bytes());
        bytes.extend_from_slice(&due);
        bytes.extend_from_slice(state);
    }

    /// Checks what was stored for `key`; says what is wrong with it, without its content.
    pub fn open(key: &[u8], bytes: Slice) -> Result<Self, String> {
        if bytes.len() < HEADER {
            return Err(format!("a state of {} bytes", bytes.len()));
        }
        if bytes[0] != FORMAT {
            return Err(format!("a state of format {}", bytes[0]));
        }
        let stored = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        if stored != checksum(key, &bytes[5..HEADER], &bytes[HEADER..]) {
            return Err("a state with a wrong checksum".to_owned());
        }
        Ok(Self(bytes))
    }

    pub fn state(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    /// When this state's timer is due.
    pub fn due_ms(&self) -> Option<i64> {
        let due = i64::from_be_bytes(self.0[5..HEADER].try_into().expect("the header holds eight bytes of it"));
        (due != NEVER).then_some(due)
    }
}

fn checksum(key: &[u8], due: &[u8], state: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(due);
    hasher.update(state);
    hasher.finalize()
}
