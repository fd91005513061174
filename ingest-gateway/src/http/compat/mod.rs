//! Endpoints for the clients of other products, as those clients expect them.
//!
//! What they have in common, found in the sources of the clients: several take anything but exactly 200 for a failure to
//! try again, so 200 is the answer once every event has its outcome; a 400 makes them drop the whole batch, so one bad
//! record is reported and never answered with one; their key may stand in the body.

mod answer;
mod request;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Uri},
    response::Response,
    routing::{MethodRouter, post},
};

pub use self::request::Request;
use self::{
    answer::Style,
    request::{Form, Vendor, is_verbose, wants_text},
};
use super::{
    auth,
    body::{self, Encoding},
    error::ApiError,
    intake::{self, Door, Intake, Sender, Taken},
    state::{Gateway, now},
};
use crate::adapters::{mixpanel::Endpoint, segment::Kind};

/// The paths, as the OpenAPI document has them. Each is taken with and without a slash at its end.
pub const PATHS: [&str; 16] = [
    "/v1/track",
    "/v1/identify",
    "/v1/page",
    "/v1/screen",
    "/v1/group",
    "/v1/alias",
    "/v1/batch",
    "/batch",
    "/capture",
    "/e",
    "/i/v0/e",
    "/i/v1/analytics/events",
    "/track",
    "/import",
    "/engage",
    "/groups",
];

fn vendor_of(path: &str) -> (Vendor, Style) {
    match path {
        "/batch" | "/capture" | "/e" | "/i/v0/e" => (Vendor::PostHog, Style::Plain),
        "/i/v1/analytics/events" => (Vendor::PostHog, Style::PostHogV1),
        "/track" => (Vendor::Mixpanel(Endpoint::Events), Style::Mixpanel),
        "/import" => (Vendor::Mixpanel(Endpoint::Events), Style::MixpanelImport),
        "/engage" => (Vendor::Mixpanel(Endpoint::People), Style::Mixpanel),
        "/groups" => (Vendor::Mixpanel(Endpoint::Groups), Style::Mixpanel),
        path => (Vendor::Segment(path.strip_prefix("/v1/").and_then(Kind::named)), Style::Plain),
    }
}

/// The endpoints.
pub fn router() -> Router<Gateway> {
    PATHS.into_iter().fold(Router::new(), |router, path| {
        router.route(path, endpoint(path)).route(&format!("{path}/"), endpoint(path))
    })
}

fn endpoint(path: &'static str) -> MethodRouter<Gateway> {
    let (vendor, style) = vendor_of(path);
    let answer = move |State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap, body: Body| async move {
        let is_text = style == Style::Mixpanel && wants_text(&headers, uri.query());
        let style = if is_text { Style::MixpanelText } else { style };
        receive(gateway, vendor, style, Form::Said, &headers, body).await
    };
    if style != Style::Mixpanel {
        return post(answer);
    }
    // Images in mails and senders without POST: everything stands in the query.
    let by_query = move |State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap| async move {
        let query = uri.query().unwrap_or_default();
        let style = if is_verbose(query) { style } else { Style::MixpanelText };
        receive(gateway, vendor, style, Form::Always, &headers, Body::from(query.to_owned())).await
    };
    post(answer).get(by_query)
}

async fn receive(
    gateway: Gateway,
    vendor: Vendor,
    style: Style,
    form: Form,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    match take_in(gateway, vendor, form, headers, body).await {
        Ok(taken) => {
            let mut response = style.answer(&taken);
            if let Some(standing) = &taken.standing {
                standing.put_headers(response.headers_mut());
            }
            response
        }
        Err(error) => style.refusal(&error),
    }
}

async fn take_in(
    gateway: Gateway,
    vendor: Vendor,
    form: Form,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, ApiError> {
    let presented = auth::presented(headers)?.into_iter().collect();
    let mut encoding = body::encoding_of(headers)?;
    let request = Request::of(vendor, headers, form)?;
    let mut reservation = gateway.in_flight.reserve_for_unknown().map_err(ApiError::overloaded)?;
    let limit = gateway.config.limits.body_bytes.as_usize();
    let body = body::read(headers, body, limit, gateway.config.body_timeout.as_std(), &mut reservation).await?;
    // Browsers' clients compress without saying so in a header.
    if encoding == Encoding::Identity && body.starts_with(&[0x1f, 0x8b]) {
        encoding = Encoding::Gzip;
    }
    let intake = Intake {
        sender: Sender::ByKeys { presented },
        door: Door::Compatible(request),
        encoding,
        body,
        received_at: now(),
        validate_only: false,
        reservation,
    };
    intake::carry(gateway, intake).await
}
