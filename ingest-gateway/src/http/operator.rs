//! What other services serve through the gateway's port below `/api/v1/` is for admins: their key is checked here, and who
//! they are goes along as an [`Operator`].

use axum::{
    Extension,
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use service_kit::{Operator, config::KeyScope};

use super::{erasures::Peer, state::Gateway};

const GUARDED: &str = "/api/v1/";

/// Lets requests through that are an admin's, or for what `ttf dev` alone serves.
pub async fn require(State(gateway): State<Gateway>, peer: Peer, mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(GUARDED) {
        return next.run(request).await;
    }
    let caller = gateway.keys.identify(request.headers());
    let admin = caller.and_then(|caller| caller.require(KeyScope::Admin).map(|()| caller));
    let caller = match admin {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let origin = peer.map_or_else(|| "unknown".to_owned(), |Extension(ConnectInfo(addr))| addr.ip().to_string());
    let operator = Operator { tenant: caller.tenant.to_string(), name: caller.name.to_string(), origin };
    request.extensions_mut().insert(operator);
    next.run(request).await
}
