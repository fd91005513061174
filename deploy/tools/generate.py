#!/usr/bin/env python3
"""Writes what is derived: Grafana's dashboards, and the alert rules as an object of the Prometheus operator.

    deploy/tools/generate.py            write
    deploy/tools/generate.py --check    exit 1 when something written is not what would be written now
"""

import json
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[1]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(title: str, *queries: str, unit: str = "short", kind: str = "timeseries", about: str = "", width: int = 12) -> dict:
    """A panel; a query may carry its legend after ` || `."""
    targets = []
    for number, query in enumerate(queries):
        expression, _, legend = query.partition(" || ")
        targets.append({"refId": chr(65 + number), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend or "__auto"})
    if kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    elif kind == "bargauge":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
    else:
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "title": title,
        "description": about,
        "type": kind,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": targets,
        "gridPos": {"h": 8 if kind == "timeseries" else 5, "w": width},
    }


DATABASE = {"type": "grafana-postgresql-datasource", "uid": "${database}"}


def table(title: str, sql: str, kind: str = "table", unit: str = "short", about: str = "", width: int = 12) -> dict:
    """A panel on the archive's database; a series has a column `time`."""
    form = "time_series" if kind == "timeseries" else "table"
    target = {"refId": "A", "datasource": DATABASE, "format": form, "rawQuery": True, "editorMode": "code", "rawSql": sql}
    return {
        "title": title, "description": about, "type": kind, "datasource": DATABASE,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []}, "options": {}, "targets": [target],
        "gridPos": {"h": 8, "w": width},
    }


def row(title: str) -> dict:
    return {"title": title, "type": "row", "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24}}


def variable(name: str, metric: str) -> dict:
    query = {"query": f"label_values({metric}, {name})", "refId": "variable"}
    return {"name": name, "type": "query", "datasource": DATASOURCE, "query": query, "refresh": 2, "multi": True,
            "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}


PROMETHEUS_SOURCE = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source",
                     "current": {"text": "Prometheus", "value": "prometheus"}}
DATABASE_SOURCE = {"name": "database", "type": "datasource", "query": "grafana-postgresql-datasource", "label": "Database",
                   "current": {"text": "Archive", "value": "archive"}}


def dashboard(uid: str, title: str, variables: list[dict], panels: list[dict], source: dict = PROMETHEUS_SOURCE) -> dict:
    x = y = height = 0
    for number, item in enumerate(panels, 1):
        place = item["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place.update(x=x, y=y)
        x, height = x + place["w"], max(height, place["h"])
        item["id"] = number
    return {
        "uid": uid, "title": title, "tags": ["ttf"], "schemaVersion": 39, "version": 1, "editable": False, "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"}, "timezone": "browser", "templating": {"list": [source, *variables]},
        "panels": panels,
    }


JOURNEY = 'journey=~"$journey"'
P = "ttf_processor_"

PRODUCT = dashboard("ttf-product", "TTF: time to first value", [variable("journey", "ttf_journeys_started_total")], [
    row("How users get on"),
    panel("Signed up, last 24 h", f"sum(increase(ttf_journeys_started_total{{{JOURNEY}}}[1d]))", kind="stat", width=6),
    panel("First success, last 24 h", f"sum(increase(ttf_journeys_completed_total{{{JOURNEY}}}[1d]))", kind="stat", width=6),
    panel("On their way now", f"sum(ttf_journeys_in_progress{{{JOURNEY}}})", kind="stat", width=6),
    panel("Late now, by level", f"sum by (level) (ttf_breaches_open{{{JOURNEY}}}) || {{{{level}}}}", kind="stat", width=6),
    panel("Signups and successes", f"sum(rate(ttf_journeys_started_total{{{JOURNEY}}}[5m])) * 3600 || signups an hour",
          f"sum(rate(ttf_journeys_completed_total{{{JOURNEY}}}[5m])) * 3600 || successes an hour"),
    panel("Where users are", f"sum by (stage) (ttf_journeys_in_progress{{{JOURNEY}}}) || {{{{stage}}}}",
          about="Users on their way, by the stage they are in."),
    row("Stages"),
    panel("Within target, last 24 h", f"sum by (stage) (increase(ttf_stage_within_target_total{{{JOURNEY}}}[1d])) / "
          f"(sum by (stage) (increase(ttf_stage_duration_seconds_count{{{JOURNEY}}}[1d])) > 0) || {{{{stage}}}}",
          unit="percentunit", kind="bargauge", about="Of those who completed the stage. Who gave up does not count here: see the cohort figures."),
    panel("Targets", f"max by (stage) (ttf_stage_target_seconds{{{JOURNEY}}}) || {{{{stage}}}}", unit="s", kind="bargauge"),
    panel("Median of a stage, completers", f"histogram_quantile(0.5, sum by (stage, le) (rate(ttf_stage_duration_seconds_bucket{{{JOURNEY}}}[1h]))) || {{{{stage}}}}", unit="s"),
    panel("90 % of a stage, completers", f"histogram_quantile(0.9, sum by (stage, le) (rate(ttf_stage_duration_seconds_bucket{{{JOURNEY}}}[1h]))) || {{{{stage}}}}", unit="s"),
    panel("Median of a stage, by segment", f"histogram_quantile(0.5, sum by (segment, le) (rate(ttf_stage_duration_seconds_bucket{{{JOURNEY}}}[1h]))) || {{{{segment}}}}",
          unit="s", about="Segments are those of `metrics.segment_by` and `metrics.segment_values`."),
    panel("Signup to first success, completers", f"histogram_quantile(0.5, sum by (le) (rate(ttf_total_seconds_bucket{{{JOURNEY}}}[1h]))) || median",
          f"histogram_quantile(0.9, sum by (le) (rate(ttf_total_seconds_bucket{{{JOURNEY}}}[1h]))) || 90 %", unit="s"),
    row("Missed deadlines"),
    panel("Missed an hour", f"sum by (level) (rate(ttf_breaches_total{{{JOURNEY}}}[15m])) * 3600 || {{{{level}}}}"),
    panel("Open", f"sum by (level) (ttf_breaches_open{{{JOURNEY}}}) || {{{{level}}}}"),
])

OPERATIONS = dashboard("ttf-operations", "TTF: pipeline", [variable("instance", "ttf_build_info")], [
    row("Objectives"),
    panel("Ingest: answered without error, 1 h", "1 - slo:ttf_ingest_errors:ratio_rate1h", unit="percentunit", kind="stat", width=6),
    panel("Freshness: queryable within 5 s, 1 h", "1 - slo:ttf_freshness_errors:ratio_rate1h", unit="percentunit", kind="stat", width=6),
    panel("Behind at most", "max(ttf:consumer_oldest_seconds:max)", unit="s", kind="stat", width=6),
    panel("Partitions without an owner", "max(ttf_processor_partitions) - sum(ttf_processor_partition_owned)", kind="stat", width=6),
    row("Gateway"),
    panel("Events, by outcome", "sum by (outcome) (rate(ttf_events_total[5m])) || {{outcome}}", unit="eps"),
    panel("Events received, by source", "sum by (source, tenant) (rate(ttf_events_received_total[5m])) || {{tenant}} {{source}}", unit="eps"),
    panel("Requests, by answer", "sum by (code) (rate(ttf_gateway_requests_total[5m])) || {{code}}", unit="reqps"),
    panel("Duration of a request, p99", "histogram_quantile(0.99, sum by (route, le) (rate(ttf_gateway_request_duration_seconds_bucket[5m]))) || {{route}}", unit="s"),
    panel("In flight", 'sum by (instance) (ttf_gateway_in_flight_bytes{instance=~"$instance"})', unit="bytes"),
    panel("Connections", 'sum by (instance) (ttf_gateway_connections{instance=~"$instance"})'),
    row("Through the pipe"),
    panel("Received until queryable", "histogram_quantile(0.5, sum by (le) (rate(ttf_pipeline_latency_seconds_bucket[5m]))) || p50",
          "histogram_quantile(0.99, sum by (le) (rate(ttf_pipeline_latency_seconds_bucket[5m]))) || p99", unit="s"),
    panel("Oldest unprocessed record", "ttf:consumer_oldest_seconds:max || {{group}} {{topic}}", unit="s"),
    panel("Lag", "sum by (group, topic) (ttf_consumer_lag_records) || {{group}} {{topic}}"),
    panel("Until retention deletes what is unread", "min by (group, topic) (ttf_retention_headroom_seconds) || {{group}} {{topic}}", unit="s"),
    panel("Backlog of sinks", "sum by (sink) (ttf_sink_backlog_records) || {{sink}}"),
    panel("Rows written", "sum by (table) (rate(ttf_archive_rows_total[5m])) || {{table}}", unit="rowsps"),
    row("Processor"),
    panel("Records in and out", f"sum(rate({P}records_in_total[5m])) || in", f"sum(rate({P}records_out_total[5m])) || out", unit="rps"),
    panel("Duration of a commit", f"histogram_quantile(0.5, sum by (le) (rate({P}commit_duration_seconds_bucket[5m]))) || p50",
          f"histogram_quantile(0.99, sum by (le) (rate({P}commit_duration_seconds_bucket[5m]))) || p99", unit="s"),
    panel("Uncommitted for", f"max by (worker) ({P}open_transaction_age_seconds) || {{{{worker}}}}", unit="s"),
    panel("Transactions that did not commit, an hour", f"sum by (class) (increase({P}aborts_total[1h])) || {{{{class}}}}"),
    panel("State", f'sum by (instance) ({P}state_entries{{instance=~"$instance"}})'),
    panel("Still to restore, and rebalances an hour", f"sum({P}restore_remaining_records) || records to restore",
          f"sum(increase({P}rebalances_total[1h])) || rebalances"),
    row("Processes"),
    panel("CPU", 'sum by (instance) (rate(process_cpu_seconds_total{instance=~"$instance", job="ttf"}[5m]))', unit="percentunit"),
    panel("Memory", 'sum by (instance) (process_resident_memory_bytes{instance=~"$instance", job="ttf"})', unit="bytes"),
])

ALERTING = dashboard("ttf-alerting", "TTF: alerting", [], [
    panel("Open alert groups", "sum by (level) (ttf_alert_groups_open) || {{level}}", kind="stat"),
    panel("Decisions, last hour", "sum by (reason) (increase(ttf_alert_decisions_total[1h])) || {{reason}}", kind="bargauge"),
    panel("Deliveries", "sum by (receiver, outcome) (rate(ttf_alert_deliveries_total[15m])) * 3600 || {{receiver}} {{outcome}} an hour"),
    panel("From decision to delivery, p99", "histogram_quantile(0.99, sum by (receiver, le) (rate(ttf_alert_delivery_delay_seconds_bucket[15m]))) || {{receiver}}", unit="s"),
    panel("Breaches read", "sum by (outcome) (rate(ttf_alert_breaches_total[15m])) * 3600 || {{outcome}} an hour"),
    panel("Waiting to be delivered", 'sum by (sink) (ttf_sink_backlog_records{sink=~"alerts-.*"}) || {{sink}}'),
])


OF_TENANT = "tenant = ${tenant:sqlstring}"
TENANT = {"name": "tenant", "type": "query", "datasource": DATABASE, "refresh": 1, "multi": False, "includeAll": False,
          "query": "SELECT DISTINCT tenant FROM journeys ORDER BY tenant"}
ARCHIVE = dashboard("ttf-archive", "TTF: what the archive knows", [TENANT], [
    row("By day of signup"),
    table("Signed up and succeeded", "SELECT day AS time, journey, signups, completed, abandoned, breached FROM v_ttf_daily "
          f"WHERE $__timeFilter(day) AND {OF_TENANT} ORDER BY day, journey", kind="timeseries"),
    table("Minutes to first value", "SELECT day AS time, journey, median_minutes, p90_minutes FROM v_ttf_daily "
          f"WHERE $__timeFilter(day) AND {OF_TENANT} AND completed > 0 ORDER BY day, journey", kind="timeseries", unit="m",
          about="Of those who succeeded; see the cohort figures for those on their way."),
    table("How many came how far", "SELECT day, journey, stage, started, reached, completed, within_target, completed_share, mean_minutes "
          f"FROM v_funnel_daily WHERE $__timeFilter(day) AND {OF_TENANT} ORDER BY day DESC, journey, ordinal"),
    table("Slowest stages", "SELECT journey, stage, count(*) AS times, avg(duration_minutes) AS mean_minutes, max(target_minutes) AS target_minutes "
          f"FROM v_stage_durations WHERE $__timeFilter(signup_at) AND {OF_TENANT} AND duration_minutes IS NOT NULL "
          "GROUP BY journey, stage ORDER BY 4 DESC"),
    row("Now"),
    table("Deadlines that are missed", "SELECT journey, level, current_stage, count(*) AS users, max(overdue_minutes) AS longest_minutes "
          f"FROM v_breaches_open WHERE {OF_TENANT} GROUP BY journey, level, current_stage ORDER BY users DESC",
          about="Users are counted, not named."),
    table("Where users are", "SELECT journey, status, current_stage, count(*) AS users FROM v_user_journeys "
          f"WHERE $__timeFilter(signup_at) AND {OF_TENANT} GROUP BY journey, status, current_stage ORDER BY users DESC"),
    row("The application"),
    table("How fast it answers", "SELECT hour AS time, operation, p50_ms, p95_ms, p99_ms FROM v_app_performance "
          f"WHERE $__timeFilter(hour) AND {OF_TENANT} ORDER BY hour, operation", kind="timeseries", unit="ms"),
    table("What goes wrong", "SELECT error_type, operation, severity, sum(errors) AS errors, sum(users) AS users, max(last_seen_at) AS last_seen "
          f"FROM v_app_errors WHERE $__timeFilter(hour) AND {OF_TENANT} GROUP BY error_type, operation, severity ORDER BY errors DESC"),
    row("The archive itself"),
    table("How far the database has read", "SELECT topic, count(*) AS partitions, sum(next_offset) AS records, min(idle_seconds) AS idle_seconds "
          "FROM v_pipeline_health GROUP BY topic ORDER BY topic", width=24),
], DATABASE_SOURCE)


def files() -> dict[Path, str]:
    written = {
        DEPLOY / "grafana/dashboards" / f"{board['uid']}.json": json.dumps(board, indent=1) + "\n"
        for board in (PRODUCT, OPERATIONS, ALERTING, ARCHIVE)
    }
    groups = []
    for rules in sorted((DEPLOY / "prometheus/rules").glob("*.yml")):
        groups += yaml.safe_load(rules.read_text())["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "telemetry", "namespace": "telemetry", "labels": {"app": "telemetry"}},
        "spec": {"groups": groups},
    }
    header = "# Written by deploy/tools/generate.py from deploy/prometheus/rules.\n"
    text = header + yaml.safe_dump(rule, sort_keys=False, width=200)
    written[DEPLOY / "kubernetes/components/prometheus-operator/rules.yaml"] = text
    return written


def main() -> int:
    stale = 0
    for path, text in files().items():
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                print(f"{path.relative_to(DEPLOY.parent)} is not up to date: run deploy/tools/generate.py", file=sys.stderr)
                stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
