//! Whole scenarios across services against real servers: what they share.

pub mod clients;
pub mod command;
pub mod dev;
pub mod faults;
pub mod flaky;
pub mod http;
pub mod observe;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod scenario;
pub mod search;
pub mod sender;
pub mod servers;
pub mod store;
pub mod system;
pub mod verify;
pub mod wait;
