//! The two headers an Avro datum can stand behind.
//!
//! - Confluent: `00`, then the schema's id in the registry, 4 bytes big endian
//!   (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>).
//! - Single object: `C3 01`, then the schema's CRC-64-AVRO fingerprint, 8 bytes little endian
//!   (<https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding>).

use super::error::DecodeError;

const CONFLUENT_MAGIC: u8 = 0;
const SINGLE_OBJECT_MARKER: [u8; 2] = [0xC3, 0x01];

/// A record's value, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    SingleObject { fingerprint: [u8; 8], datum: &'a [u8] },
    Confluent { schema_id: u32, datum: &'a [u8] },
}

pub(super) fn parse(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    if let Some(rest) = bytes.strip_prefix(&SINGLE_OBJECT_MARKER) {
        let (fingerprint, datum) = rest.split_first_chunk::<8>().ok_or(DecodeError::NotAvro)?;
        return Ok(Frame::SingleObject { fingerprint: *fingerprint, datum });
    }
    if let Some(rest) = bytes.strip_prefix(&[CONFLUENT_MAGIC]) {
        let (id, datum) = rest.split_first_chunk::<4>().ok_or(DecodeError::NotAvro)?;
        return Ok(Frame::Confluent { schema_id: u32::from_be_bytes(*id), datum });
    }
    Err(DecodeError::NotAvro)
}

pub(super) fn push_fingerprint(bytes: &mut Vec<u8>, fingerprint: [u8; 8]) {
    bytes.extend_from_slice(&SINGLE_OBJECT_MARKER);
    bytes.extend_from_slice(&fingerprint);
}

pub(super) fn push_schema_id(bytes: &mut Vec<u8>, schema_id: u32) {
    bytes.push(CONFLUENT_MAGIC);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_header_is_parsed_back() {
        let mut bytes = Vec::new();
        push_fingerprint(&mut bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.push(42);
        assert_eq!(
            parse(&bytes).expect("a frame"),
            Frame::SingleObject { fingerprint: [1, 2, 3, 4, 5, 6, 7, 8], datum: &[42] }
        );

        let mut bytes = Vec::new();
        push_schema_id(&mut bytes, 0x0102_0304);
        assert_eq!(bytes, [0, 1, 2, 3, 4]);
        assert_eq!(parse(&bytes).expect("a frame"), Frame::Confluent { schema_id: 0x0102_0304, datum: &[] });
    }

    #[test]
    fn anything_else_is_not_avro() {
        let others: [&[u8]; 6] =
            [b"", b"{\"a\":1}", &[0xC3], &[0xC3, 2, 0, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 2], &[0xC3, 1, 0]];
        for bytes in others {
            assert!(matches!(parse(bytes), Err(DecodeError::NotAvro)), "{bytes:?}");
        }
    }
}
