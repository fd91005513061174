//! The whole alerter on a log in memory, with receivers that answer as told.

mod installation;
mod pipeline;
mod receiver;
pub mod strict;
mod troubles;
