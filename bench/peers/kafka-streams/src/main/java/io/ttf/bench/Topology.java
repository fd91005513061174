package io.ttf.bench;

import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.state.Stores;

/** events → journeys (and their timers) → records, breaches. */
final class Topology {
    static final String RECORDS = "records";
    static final String BREACHES = "breaches";
    private static final String EVENTS = "telemetry.events.v1";
    private static final String PROCESSOR = "journey-processor";

    static org.apache.kafka.streams.Topology build() {
        var journeys = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(JourneyProcessor.JOURNEYS), Serdes.ByteArray(), AvroSerdes.states())
            .withCachingEnabled();
        var timers = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(JourneyProcessor.TIMERS), Serdes.ByteArray(), Serdes.ByteArray())
            .withLoggingDisabled();
        var key = new ByteArraySerializer();
        return new org.apache.kafka.streams.Topology()
            .addSource("events", new ByteArrayDeserializer(), AvroSerdes.events(), EVENTS)
            .addProcessor(PROCESSOR, JourneyProcessor::new, "events")
            .addStateStore(journeys, PROCESSOR)
            .addStateStore(timers, PROCESSOR)
            .addSink(RECORDS, "peer.ttf.records.v1", key, AvroSerdes.output(), PROCESSOR)
            .addSink(BREACHES, "peer.ttf.breaches.v1", key, AvroSerdes.output(), PROCESSOR);
    }

    private Topology() {}
}
