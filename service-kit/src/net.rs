//! Listening addresses.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::net::TcpListener;

/// Why an address could not be listened on; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("address {addr} is in use by another process; set {setting} or stop it")]
    InUse { addr: SocketAddr, setting: String },
    #[error("address {addr} needs privileges this process does not have; set {setting} to a port above 1023")]
    Forbidden { addr: SocketAddr, setting: String },
    #[error("address {addr} does not belong to this machine; set {setting}")]
    NotLocal { addr: SocketAddr, setting: String },
    #[error("cannot listen on {addr} ({setting}): {source}")]
    Other { addr: SocketAddr, setting: String, source: std::io::Error },
}

/// Listens on `addr`; `setting` is the dotted configuration key to name when that fails. Port 0 takes any free port.
pub async fn listen(addr: SocketAddr, setting: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(addr).await.map_err(|source| {
        let setting = setting.to_owned();
        match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse { addr, setting },
            ErrorKind::PermissionDenied => ListenError::Forbidden { addr, setting },
            ErrorKind::AddrNotAvailable => ListenError::NotLocal { addr, setting },
            _ => ListenError::Other { addr, setting, source },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_names_the_address_and_the_setting() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "service.admin_listen").await.unwrap();
        let addr = first.local_addr().unwrap();
        let refused = listen(addr, "service.admin_listen").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("address {addr} is in use by another process; set service.admin_listen or stop it")
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let refused = listen("192.0.2.1:9464".parse().unwrap(), "gateway.listen").await.unwrap_err();
        assert_eq!(refused.to_string(), "address 192.0.2.1:9464 does not belong to this machine; set gateway.listen");
    }
}
