//! The whole alerter on a log in memory, with receivers that answer as told.

mod checks;
mod fallback;
mod faults;
mod flood;
mod installation;
mod pipeline;
mod providers;
mod receiver;
pub mod strict;
mod troubles;
mod unheard;
