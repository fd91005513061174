-- What retention and the counts of a day ask for.
CREATE INDEX events_by_time ON events (occurred_at);
CREATE INDEX events_by_receipt ON events (received_at);
CREATE INDEX ttf_records_by_emission ON ttf_records (emitted_at);
CREATE INDEX breaches_by_detection ON breaches (detected_at);
