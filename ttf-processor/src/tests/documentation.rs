//! The examples of `docs/ttf-metrics.md` are worked here.
