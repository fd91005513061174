SELECT pseudonym FROM user_pseudonyms WHERE tenant = ?1 AND kind = ?2 AND subject_id = ?3
