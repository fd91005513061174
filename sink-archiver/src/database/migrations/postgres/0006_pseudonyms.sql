-- How they are kept changes in SQLite alone; the numbers of both go together.
COMMENT ON TABLE user_pseudonyms IS
    'Random pseudonyms that stand for people in the object archive; destroyed by erasure. A copy of the database that is older than a pseudonym does not have it, and it cannot be made again.';
