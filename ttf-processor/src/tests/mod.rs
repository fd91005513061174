//! The processor as its runtime sees it: transactions, timers, crashes; the rules of journeys by example and
//! against the oracle.

mod attempts;
mod breaches;
mod changes;
mod definitions;
mod documentation;
mod driver;
mod erasure;
mod figures;
mod in_force;
mod properties;
mod records;
mod replay;
mod runtime;
mod simulation;
mod stages;
mod told;
mod wire;
