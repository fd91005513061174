UPDATE erasure_certificates
SET live_view_at = CASE ?2 WHEN 'live_view' THEN ?3 ELSE live_view_at END,
    processor_at = CASE ?2 WHEN 'processor' THEN ?3 ELSE processor_at END,
    complete_at = CASE ?2 WHEN 'complete' THEN ?3 ELSE complete_at END
WHERE erasure_id = ?1
  AND CASE ?2 WHEN 'live_view' THEN live_view_at WHEN 'processor' THEN processor_at ELSE complete_at END IS NULL
