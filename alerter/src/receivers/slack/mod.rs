//! Slack: an incoming webhook, or the Web API, which can change a message in place, has threads and buttons.

mod body;
pub mod endpoint;
pub mod interactions;
mod web_api;
mod webhook;

pub use self::{
    body::{Buttons, body},
    web_api::WebApi,
    webhook::Webhook,
};
