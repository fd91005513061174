"""Reads an archive with DuckDB and pyarrow and prints what it finds as JSON."""

import json
import sys

import duckdb
import pyarrow.dataset

root = sys.argv[1]


def rows(dataset):
    return f"read_parquet('{root}/dataset={dataset}/**/*.parquet', hive_partitioning = true)"


def ask(sql):
    return duckdb.sql(sql).fetchall()


events = pyarrow.dataset.dataset(f"{root}/dataset=events", format="parquet", partitioning="hive")
print(
    json.dumps(
        {
            "duckdb_events": ask(
                "SELECT count(*), count(DISTINCT user_pseudonym), min(tenant), min(date)::text,"
                " sum((properties->>'$.n')::int) FROM " + rows("events")
            )[0],
            "duckdb_completed": ask(
                f"SELECT count(*), median(total_ms) FROM {rows('records')} WHERE status = 'completed'"
            )[0],
            "duckdb_breaches": ask(f"SELECT status, count(*) FROM {rows('breaches')} GROUP BY 1 ORDER BY 1"),
            "pyarrow_events": events.count_rows(),
            "pyarrow_received": str(events.schema.field("received_at").type),
        }
    )
)
