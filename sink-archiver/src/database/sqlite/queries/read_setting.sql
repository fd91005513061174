SELECT value FROM archive_settings WHERE name = ?1
