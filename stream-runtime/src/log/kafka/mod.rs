//! The log on kafka.
