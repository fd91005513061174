//! The log on embedded.
