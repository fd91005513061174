//! What a PostgreSQL error means for the batch at hand.

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::database::DatabaseError;

/// True when the data itself is at fault: SQLSTATE class 22 or 23. "No partition of relation found for row" is a
/// check violation without a constraint; it is the schema's fault and goes away when the partition is made.
pub(super) fn is_data_error(error: &Error) -> bool {
    let Some(database) = error.as_db_error() else { return false };
    is_data_state(database.code(), database.constraint().is_some())
}

fn is_data_state(state: &SqlState, names_a_constraint: bool) -> bool {
    let class = state.code().get(..2).unwrap_or_default();
    match class {
        "22" => true,
        "23" => *state != SqlState::CHECK_VIOLATION || names_a_constraint,
        _ => false,
    }
}

/// The error without any value of a row: PostgreSQL puts those into DETAIL, and into the message of data errors.
pub(super) fn unavailable(error: &Error) -> DatabaseError {
    DatabaseError::Unavailable(describe(error))
}

pub(super) fn of_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => describe(error),
        PoolError::Timeout(_) => "no connection became free in time".to_owned(),
        other => other.to_string(),
    }
}

fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(database) if is_data_error(error) => format!("SQLSTATE {}", database.code().code()),
        Some(database) => format!("{} (SQLSTATE {})", database.message(), database.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_data_are_data_errors() {
        assert!(is_data_state(&SqlState::UNTRANSLATABLE_CHARACTER, false));
        assert!(is_data_state(&SqlState::DATETIME_FIELD_OVERFLOW, false));
        assert!(is_data_state(&SqlState::NOT_NULL_VIOLATION, false));
        assert!(is_data_state(&SqlState::CHECK_VIOLATION, true));
        assert!(!is_data_state(&SqlState::CHECK_VIOLATION, false), "no partition found for row");
        assert!(!is_data_state(&SqlState::DISK_FULL, false));
        assert!(!is_data_state(&SqlState::READ_ONLY_SQL_TRANSACTION, false));
        assert!(!is_data_state(&SqlState::T_R_DEADLOCK_DETECTED, false));
        assert!(!is_data_state(&SqlState::UNDEFINED_TABLE, false));
    }
}
