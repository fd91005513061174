//! The HTTP client of the tests.

/// A client. Plain HTTP needs no TLS, but the client wants to know of a provider all the same.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
