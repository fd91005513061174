package io.ttf.bench;

import static io.ttf.bench.Definition.SEGMENTS;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.ttf.telemetry.v1.Event;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** The segments and the release that an event tells. */
final class Told {
    private static final int MAX_VALUE_BYTES = 200;
    private static final JsonFactory JSON = new JsonFactory();

    /** One value for each segment, then the release; null where the event says nothing. */
    static String[] of(Event event) {
        String[] told = new String[SEGMENTS.length + 1];
        if (event.getContext().getConsent() != null && !event.getContext().getConsent().getAnalytics()) {
            return told;
        }
        boolean missing = false;
        for (int place = 0; place < SEGMENTS.length; place++) {
            told[place] = usable(event.getContext().getSegments().get(SEGMENTS[place]));
            missing |= told[place] == null;
        }
        if (missing) {
            fromProperties(event.getProperties(), told);
        }
        told[Journeys.RELEASE] = usable(event.getContext().getRelease());
        return told;
    }

    /** A property of the same name says what the context does not. Only what is asked for is read. */
    private static void fromProperties(String properties, String[] told) {
        try (JsonParser parser = JSON.createParser(properties)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                int place = place(parser.currentName());
                JsonToken value = parser.nextToken();
                if (value.isStructStart()) {
                    parser.skipChildren();
                } else if (place >= 0 && told[place] == null && value != JsonToken.VALUE_NULL) {
                    told[place] = usable(parser.getText());
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static int place(String name) {
        for (int place = 0; place < SEGMENTS.length; place++) {
            if (SEGMENTS[place].equals(name)) {
                return place;
            }
        }
        return -1;
    }

    private static String usable(String text) {
        if (text == null || text.isEmpty()) {
            return null;
        }
        boolean fits = text.length() * 3 <= MAX_VALUE_BYTES || text.getBytes(StandardCharsets.UTF_8).length <= MAX_VALUE_BYTES;
        return fits ? text : null;
    }

    private Told() {}
}
