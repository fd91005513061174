//! What the embedded log promises beyond the conformance suite: nothing acknowledged is lost in a crash, damage is
//! noticed, old records go and the latest ones stay.

#[path = "conformance/support.rs"]
#[allow(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod support;

#[path = "support/folder.rs"]
mod folder;

#[path = "embedded/crash.rs"]
mod crash;
#[path = "embedded/damage.rs"]
mod damage;
#[path = "embedded/limits.rs"]
mod limits;
#[path = "embedded/model.rs"]
mod model;
#[path = "embedded/retention.rs"]
mod retention;
