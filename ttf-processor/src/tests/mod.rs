//! The processor as its runtime sees it: transactions, timers, crashes; the rules of journeys by example and
//! against the oracle.

mod attempts;
mod breaches;
mod definitions;
mod documentation;
mod driver;
mod erasure;
mod figures;
mod properties;
mod records;
mod runtime;
mod stages;
mod told;
mod wire;
