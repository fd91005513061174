//! Who asks a service for something that only operators may.

/// Somebody whose key has the scope `admin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Whose data they may see and touch.
    pub tenant: String,
    /// The key's name, for the audit log.
    pub name: String,
    /// The address the request came from.
    pub origin: String,
}
