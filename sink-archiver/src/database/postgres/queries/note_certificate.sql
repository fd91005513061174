UPDATE erasure_certificates
SET live_view_at = CASE $2::text WHEN 'live_view' THEN to_timestamp($3::bigint / 1000.0) ELSE live_view_at END,
    processor_at = CASE $2::text WHEN 'processor' THEN to_timestamp($3::bigint / 1000.0) ELSE processor_at END,
    complete_at = CASE $2::text WHEN 'complete' THEN to_timestamp($3::bigint / 1000.0) ELSE complete_at END
WHERE erasure_id = $1
  AND CASE $2::text WHEN 'live_view' THEN live_view_at WHEN 'processor' THEN processor_at ELSE complete_at END IS NULL
