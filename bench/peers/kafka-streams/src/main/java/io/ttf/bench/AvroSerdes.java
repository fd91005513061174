package io.ttf.bench;

import io.ttf.telemetry.v1.Event;
import io.ttf.telemetry.v1.TtfBreach;
import io.ttf.telemetry.v1.TtfRecord;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DatumReader;
import org.apache.avro.io.DatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.BinaryMessageEncoder;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** Avro's single-object encoding on topics, bare datums in the store. */
final class AvroSerdes {
    private static final SpecificData MODEL = new SpecificData();

    static {
        MODEL.setFastReaderEnabled(true);
        MODEL.setCustomCoders(true);
    }

    /** Events that no journey takes are told by their header and not decoded. */
    static Deserializer<Event> events() {
        Set<String> others = Set.of("test", "performance", "error");
        BinaryMessageDecoder<Event> decoder = new BinaryMessageDecoder<>(MODEL, Event.getClassSchema());
        decoder.addSchema(writersEvent());
        return new Deserializer<>() {
            @Override
            public Event deserialize(String topic, byte[] data) {
                return deserialize(topic, null, data);
            }

            @Override
            public Event deserialize(String topic, Headers headers, byte[] data) {
                Header type = headers == null ? null : headers.lastHeader("event_type");
                if (data == null || type != null && others.contains(new String(type.value(), StandardCharsets.UTF_8))) {
                    return null;
                }
                try {
                    return decoder.decode(data, null);
                } catch (IOException error) {
                    throw new SerializationException(error);
                }
            }
        };
    }

    /** Records and breaches. */
    static Serializer<SpecificRecord> output() {
        Map<Schema, BinaryMessageEncoder<SpecificRecord>> encoders = Stream.of(TtfRecord.getClassSchema(), TtfBreach.getClassSchema())
            .collect(Collectors.toMap(schema -> schema, schema -> new BinaryMessageEncoder<>(MODEL, schema)));
        return (topic, message) -> {
            try {
                return encoders.get(message.getSchema()).encode(message).array();
            } catch (IOException error) {
                throw new SerializationException(error);
            }
        };
    }

    /** The state. Each store has its own serde, and a store belongs to one thread: coders and buffer are used again. */
    static Serde<UserState> states() {
        return Serdes.serdeFrom(new StateSerializer(), new StateDeserializer());
    }

    private static final class StateSerializer implements Serializer<UserState> {
        private final DatumWriter<UserState> writer = new SpecificDatumWriter<>(UserState.getClassSchema(), MODEL);
        private final ThreadLocal<ByteArrayOutputStream> buffers = ThreadLocal.withInitial(() -> new ByteArrayOutputStream(1_024));
        private final ThreadLocal<BinaryEncoder> encoders = new ThreadLocal<>();

        @Override
        public byte[] serialize(String topic, UserState state) {
            if (state == null) {
                return null;
            }
            ByteArrayOutputStream buffer = buffers.get();
            buffer.reset();
            BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(buffer, encoders.get());
            encoders.set(encoder);
            try {
                writer.write(state, encoder);
            } catch (IOException error) {
                throw new SerializationException(error);
            }
            return buffer.toByteArray();
        }
    }

    private static final class StateDeserializer implements Deserializer<UserState> {
        private final DatumReader<UserState> reader =
            new SpecificDatumReader<>(UserState.getClassSchema(), UserState.getClassSchema(), MODEL);
        private final ThreadLocal<BinaryDecoder> decoders = new ThreadLocal<>();

        @Override
        public UserState deserialize(String topic, byte[] bytes) {
            if (bytes == null) {
                return null;
            }
            BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, decoders.get());
            decoders.set(decoder);
            try {
                return reader.read(null, decoder);
            } catch (IOException error) {
                throw new SerializationException(error);
            }
        }
    }

    private static Schema writersEvent() {
        try (InputStream file = AvroSerdes.class.getResourceAsStream("/event.avsc")) {
            return new Schema.Parser().parse(file);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private AvroSerdes() {}
}
