"""Requests and tasks of frameworks as performance and error events. Each module needs its framework and no more."""
