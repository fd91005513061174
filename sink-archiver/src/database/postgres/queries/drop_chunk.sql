SELECT drop_chunks($1::text::regclass, older_than => to_timestamp($2::bigint / 1000.0),
                   newer_than => to_timestamp($3::bigint / 1000.0))
