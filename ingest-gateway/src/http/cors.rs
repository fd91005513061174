//! Which pages of browsers may call, and read the answers.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header, request};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::CorsConfig;

const ANY: &str = "*";
/// Browsers keep a permission at most so long (Chromium: 2 h).
const MAX_AGE: Duration = Duration::from_secs(7_200);

/// The layer that answers preflight requests and marks answers; `None` when no page may call.
pub fn layer(config: &CorsConfig) -> Option<CorsLayer> {
    if config.origins.is_empty() {
        return None;
    }
    let is_any = config.origins.iter().any(|origin| origin == ANY);
    let origins = config.origins.clone();
    let is_allowed = move |origin: &HeaderValue, _: &request::Parts| {
        origin.to_str().is_ok_and(|origin| origins.iter().any(|pattern| allows(pattern, origin)))
    };
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
        ])
        .max_age(MAX_AGE)
        // A beacon is always sent with credentials. To every page there is none to give.
        .allow_credentials(!is_any);
    Some(layer)
}

/// True for what may stand in the list.
pub fn is_origin(pattern: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    let host = pattern.strip_prefix("https://").or_else(|| pattern.strip_prefix("http://"));
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "1"));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_name) && port.parse::<u16>().is_ok()
    };
    host.map(|host| host.strip_prefix("*.").unwrap_or(host)).is_some_and(is_host)
}

/// `https://*.example.com` allows any name below it, not itself, with the same scheme and port.
fn allows(pattern: &str, origin: &str) -> bool {
    if pattern == ANY || pattern == origin {
        return true;
    }
    let Some((scheme, parent)) = pattern.split_once("*.") else {
        return false;
    };
    let below =
        origin.strip_prefix(scheme).and_then(|host| host.strip_suffix(parent)).and_then(|name| name.strip_suffix('.'));
    below.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_allows_names_below_it_and_nothing_that_looks_like_it() {
        assert!(allows("https://*.example.com", "https://app.example.com"));
        assert!(allows("https://*.example.com", "https://a.b.example.com"));
        assert!(allows("https://app.example.com:8443", "https://app.example.com:8443"));
        for origin in [
            "https://example.com",
            "http://app.example.com",
            "https://evilexample.com",
            "https://app.example.com.evil.net",
            "https://evil.net/x.example.com",
            "https://app.example.com:1",
            "null",
        ] {
            assert!(!allows("https://*.example.com", origin), "{origin}");
        }
    }

    #[test]
    fn only_origins_may_be_listed() {
        for origin in ["*", "https://app.example.com", "http://localhost:3000", "https://*.example.com"] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in [
            "",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://a.*.com",
            "https://x:99999",
            "https://*",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
