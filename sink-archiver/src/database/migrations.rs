//! The numbered schema changes of both dialects, and the check that a database is not newer than this program.

use super::DatabaseError;

/// One numbered change.
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! migrations {
    ($dialect:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("migrations/", $dialect, "/000", $version, "_", $name, ".sql")),
        }),+]
    };
}

pub const POSTGRES: &[Migration] = migrations!("postgres": 1 "archive", 2 "rollups", 3 "views", 4 "certificates",
    5 "stretches", 6 "pseudonyms");

pub const SQLITE: &[Migration] = migrations!("sqlite": 1 "archive", 2 "rollups", 3 "views", 4 "certificates",
    5 "stretches", 6 "pseudonyms");

/// The changes a database at version `current` still needs.
pub fn pending(all: &'static [Migration], current: i32) -> Result<&'static [Migration], DatabaseError> {
    let newest = all.last().map_or(0, |migration| migration.version);
    if current > newest {
        return Err(DatabaseError::Fatal(format!(
            "the database has schema version {current}, this program knows up to {newest}; use a newer program"
        )));
    }
    let applied = all.iter().take_while(|migration| migration.version <= current).count();
    Ok(&all[applied..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_from_one_without_gaps_and_alike_in_both_dialects() {
        for all in [POSTGRES, SQLITE] {
            let versions: Vec<i32> = all.iter().map(|migration| migration.version).collect();
            let expected: Vec<i32> = (1..=all.len() as i32).collect();
            assert_eq!(versions, expected);
        }
        assert_eq!(POSTGRES.len(), SQLITE.len());
    }

    #[test]
    fn a_newer_database_is_refused_with_both_versions_named() {
        let message = pending(POSTGRES, 99).err().expect("refused").to_string();
        assert!(message.contains("99") && message.contains(&POSTGRES.len().to_string()), "{message}");
        assert_eq!(pending(POSTGRES, 0).expect("old").len(), POSTGRES.len());
        assert!(pending(POSTGRES, POSTGRES.len() as i32).expect("current").is_empty());
    }
}
