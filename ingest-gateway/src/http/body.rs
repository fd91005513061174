//! Bodies: what forms and encodings are taken, and reading them within bounds.

use std::{io::Read, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures::StreamExt;

use super::error::ApiError;
use crate::{batch::Form, in_flight::Reservation};

/// What is done to a body for transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// Inflation goes on in steps of this size, so that a bomb is noticed early.
const CHUNK: usize = 64 * 1024;

/// The form of the body. Without a `Content-Type` it is JSON.
pub fn form_of(headers: &HeaderMap) -> Result<Form, ApiError> {
    const TAKEN: &str = "application/json, application/x-ndjson";
    let unsupported = |message: String| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", message)
            .with_hint(format!("send Content-Type: application/json; taken are {TAKEN}"))
    };
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Form::Json);
    };
    let text = value.to_str().map_err(|_| unsupported("the Content-Type cannot be read".to_owned()))?;
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, charset)| charset.trim().trim_matches('"').to_ascii_lowercase());
    if charset.is_some_and(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")) {
        return Err(unsupported("only UTF-8 is taken".to_owned()));
    }
    match media_type.as_str() {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Form::Ndjson),
        _ => Err(unsupported("this Content-Type is not taken".to_owned())),
    }
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
        Some(_) => return Err(unsupported_encoding()),
    };
    if codings.next().is_some() { Err(unsupported_encoding()) } else { Ok(encoding) }
}

fn unsupported_encoding() -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "this Content-Encoding is not taken")
        .with_hint("send the body as it is, or with Content-Encoding: gzip or deflate (one, not several)")
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
        reservation.grow(chunk.len()).map_err(|_| ApiError::overloaded())?;
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
    Overloaded,
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
        Encoding::Deflate => inflate(ZlibDecoder::new(&body[..]), limit, reservation),
    }
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
        reservation.grow(grown).map_err(|_| DecodeFailure::Overloaded)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use prometheus::IntGauge;

    use super::*;
    use crate::in_flight::InFlight;

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn decoded(encoding: Encoding, body: &Bytes, limit: usize) -> Result<Bytes, DecodeFailure> {
        let budget = InFlight::new(1 << 20, IntGauge::new("bytes", "Bytes.").unwrap());
        decode(encoding, body, limit, &mut budget.reserve())
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
        assert_eq!(decoded(Encoding::Gzip, &bomb, 40 << 20), Err(DecodeFailure::Overloaded));
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
