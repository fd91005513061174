//! What is done with personal data before anything is written anywhere, the rejected topic included.
//!
//! - [`config`]: section `privacy` of the configuration.
//! - [`policy`]: the configured policy, compiled, and the order in which its parts come.
//! - `policies`: one for each tenant that has rules of its own.
//! - `consent`: what is left of an event without consent.
//! - `fields`: rules for paths and the lists of properties. `texts`: what detectors find, wherever it stands.
//! - [`detect`]: the detectors. [`keyring`]: keyed hashes, pseudonyms and seals.
//! - `raw`: bytes that are no JSON, for the rejected topic.
//! - `treatment`: the policy at work on what the gateway writes; `sample`: on an event that is only looked at.
//!
//! `schemas/testdata/privacy/README.md` says in full what each part does; the vectors there are held to.

pub mod config;
mod consent;
pub mod detect;
mod fields;
pub mod keyring;
mod policies;
pub mod policy;
mod raw;
mod sample;
#[cfg(test)]
mod tests;
mod texts;
mod treatment;

pub use config::{Action, AfterErasure, Detector, PrivacyConfig};
pub use consent::Milestones;
pub use policies::Policies;
pub use policy::{Policy, PolicyError, Redaction, Treated};
pub use sample::{Sample, sample};
pub use treatment::Treatment;
