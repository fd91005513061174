"""Benchmarks of the stream processor next to the same topology on Kafka Streams."""
