-- One long statement among writers: it may take its time, and gives way when somebody else holds what it wants.
SET LOCAL statement_timeout = '10min';
SET LOCAL lock_timeout = '10s'
