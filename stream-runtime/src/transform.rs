//! The stateless use of the transaction: consume, map, produce, commit, exactly once.
