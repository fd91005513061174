//! Bodies: what forms and encodings are taken, and reading them within bounds.

use std::{io::Read, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures::StreamExt;

use super::{error::ApiError, intake::Door};
use crate::{
    adapters::cloudevents,
    batch::Form,
    in_flight::{Exhausted, Reservation},
};

/// What is done to a body for transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// As RFC 9110 has it (zlib), or without its wrapper, as some clients send it.
    Deflate,
    Zstd,
    Brotli,
}

/// Inflation goes on in steps of this size, so that a bomb is noticed early.
const CHUNK: usize = 64 * 1024;

const BROTLI_BUFFER: usize = 4 * 1024;

/// 2^23 = 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The form of the events. Without a `Content-Type` they are JSON; attributes of a CloudEvent among the headers make the
/// body its data, whatever type that has.
pub fn door_of(headers: &HeaderMap) -> Result<Door, ApiError> {
    let content_type = media_type(headers)?;
    let media_type = content_type.as_deref().unwrap_or("application/json");
    // The batch first: its name begins with the other's.
    if media_type.starts_with("application/cloudevents-batch+json")
        || media_type.starts_with("application/cloudevents+json")
    {
        return Ok(Door::CloudEvents);
    }
    if media_type.starts_with("application/cloudevents") {
        return Err(unsupported_type("of the formats of CloudEvents only JSON is taken"));
    }
    if headers.contains_key("ce-specversion") || headers.contains_key("ce-id") {
        return Ok(Door::BinaryCloudEvent { attributes: attributes(headers), content_type });
    }
    match media_type {
        "application/json" | "text/plain" => Ok(Door::Native(Form::Json)),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Door::Native(Form::Ndjson)),
        _ => Err(unsupported_type("this Content-Type is not taken")),
    }
}

/// Refuses anything but plain JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    match media_type(headers)?.as_deref() {
        None | Some("application/json") => Ok(()),
        Some(_) => Err(unsupported_type("send plain JSON")),
    }
}

/// The media type in lower case, without its parameters; `None` when none is given.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| unsupported_type("the Content-Type cannot be read"))?;
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, charset)| charset.trim().trim_matches('"').to_ascii_lowercase());
    if charset.is_some_and(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")) {
        return Err(unsupported_type("only UTF-8 is taken"));
    }
    Ok(Some(media_type))
}

fn unsupported_type(message: &str) -> ApiError {
    const TAKEN: &str = "application/json, application/x-ndjson, application/cloudevents+json, \
                         application/cloudevents-batch+json";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", message)
        .with_hint(format!("send Content-Type: application/json; taken are {TAKEN}"))
}

/// The attributes of a CloudEvent in binary mode. A header that cannot be read is left out, and missed later.
fn attributes(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_event = headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value)));
    of_event.filter_map(|(name, value)| Some((name.to_owned(), cloudevents::header_text(value.as_bytes())?))).collect()
}

/// The encoding of the body.
pub fn encoding_of(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let mut codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity");
    let encoding = match codings.next().as_deref() {
        None => Encoding::Identity,
        Some("gzip" | "x-gzip") => Encoding::Gzip,
        Some("deflate") => Encoding::Deflate,
        Some("zstd") => Encoding::Zstd,
        Some("br") => Encoding::Brotli,
        Some(_) => return Err(unsupported_encoding()),
    };
    if codings.next().is_some() { Err(unsupported_encoding()) } else { Ok(encoding) }
}

fn unsupported_encoding() -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "this Content-Encoding is not taken")
        .with_hint("send the body as it is, or with Content-Encoding: gzip, zstd, deflate or br (one, not several)")
}

/// Reads a body as it is sent, taking memory from the budget as it comes in.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
    reservation: &mut Reservation,
) -> Result<Bytes, ApiError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::body_too_large(limit, "body_bytes"));
    }
    let collected = tokio::time::timeout(timeout, collect(body, limit, reservation)).await;
    collected.unwrap_or_else(|_| {
        let message = format!("the body was not complete after {} s", timeout.as_secs());
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
    })
}

async fn collect(body: Body, limit: usize, reservation: &mut Reservation) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "body_incomplete", "the body ended before it was complete")
        })?;
        let so_far = first.as_ref().map_or(joined.len(), Bytes::len);
        if so_far + chunk.len() > limit {
            return Err(ApiError::body_too_large(limit, "body_bytes"));
        }
        reservation.grow(chunk.len()).map_err(ApiError::overloaded)?;
        // Most bodies are one chunk, which then is not copied.
        match first.take() {
            None if joined.is_empty() => first = Some(chunk),
            None => joined.extend_from_slice(&chunk),
            Some(earlier) => {
                joined.extend_from_slice(&earlier);
                joined.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| joined.freeze()))
}

/// Why a body could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeFailure {
    /// Not what its encoding says, or cut off.
    Damaged,
    TooLarge,
    /// The budget of bytes in flight is used up.
    Overloaded(Exhausted),
}

/// Undoes the encoding, in capped chunks. Blocks for as long as it takes.
pub fn decode(
    encoding: Encoding,
    body: &Bytes,
    limit: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, DecodeFailure> {
    match encoding {
        Encoding::Identity if body.len() > limit => Err(DecodeFailure::TooLarge),
        Encoding::Identity => Ok(body.clone()),
        Encoding::Gzip => inflate(MultiGzDecoder::new(&body[..]), limit, reservation),
        Encoding::Deflate if has_zlib_header(body) => inflate(ZlibDecoder::new(&body[..]), limit, reservation),
        Encoding::Deflate => inflate(DeflateDecoder::new(&body[..]), limit, reservation),
        Encoding::Zstd => inflate(zstd_decoder(body)?, limit, reservation),
        Encoding::Brotli => {
            inflate(brotli_decompressor::Decompressor::new(&body[..], BROTLI_BUFFER), limit, reservation)
        }
    }
}

/// RFC 1950, 2.2: the method is 8, and the first two bytes are a multiple of 31.
fn has_zlib_header(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0)
}

/// A frame may ask for a window of gigabytes; what RFC 9659 lets senders ask for is 8 MiB.
fn zstd_decoder(body: &Bytes) -> Result<impl Read, DecodeFailure> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(|_| DecodeFailure::Damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| DecodeFailure::Damaged)?;
    Ok(decoder)
}

fn inflate(decoder: impl Read, limit: usize, reservation: &mut Reservation) -> Result<Bytes, DecodeFailure> {
    let mut inflated = Vec::new();
    // One byte more than allowed, to tell "exactly full" from "too much".
    let mut decoder = decoder.take(limit as u64 + 1);
    loop {
        let before = inflated.len();
        decoder.by_ref().take(CHUNK as u64).read_to_end(&mut inflated).map_err(|_| DecodeFailure::Damaged)?;
        let grown = inflated.len() - before;
        if inflated.len() > limit {
            return Err(DecodeFailure::TooLarge);
        }
        if grown == 0 {
            return Ok(inflated.into());
        }
        reservation.grow(grown).map_err(DecodeFailure::Overloaded)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::in_flight::tests::in_flight;
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn decoded(encoding: Encoding, body: &Bytes, limit: usize) -> Result<Bytes, DecodeFailure> {
        decode(encoding, body, limit, &mut in_flight(2 << 20).reserve_for_unknown().unwrap())
    }

    #[test]
    fn both_encodings_are_undone() {
        let text = "x".repeat(200_000);
        assert_eq!(decoded(Encoding::Gzip, &gzip(text.as_bytes()), 200_000).unwrap(), text);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").unwrap();
        assert_eq!(decoded(Encoding::Deflate, &zlib.finish().unwrap().into(), 10).unwrap(), "hello");
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_at_the_budget() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decoded(Encoding::Gzip, &bomb, 1 << 19), Err(DecodeFailure::TooLarge));
        assert_eq!(decoded(Encoding::Gzip, &bomb, 40 << 20), Err(DecodeFailure::Overloaded(Exhausted::Share)));
        assert_eq!(decoded(Encoding::Gzip, &gzip(&[0; 101]), 100), Err(DecodeFailure::TooLarge));
        assert!(decoded(Encoding::Gzip, &gzip(&[0; 100]), 100).is_ok());
    }

    #[test]
    fn a_damaged_or_cut_body_is_noticed() {
        let whole = gzip(b"{\"a\":1}");
        assert_eq!(decoded(Encoding::Gzip, &whole.slice(..whole.len() - 3), 100), Err(DecodeFailure::Damaged));
        assert_eq!(decoded(Encoding::Gzip, &Bytes::from_static(b"plain"), 100), Err(DecodeFailure::Damaged));
    }
}
