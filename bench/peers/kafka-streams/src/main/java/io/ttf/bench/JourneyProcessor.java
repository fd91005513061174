package io.ttf.bench;

import io.ttf.bench.Journeys.Change;
import io.ttf.telemetry.v1.Event;
import io.ttf.telemetry.v1.EventType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Keeps the journeys of each user, and says what changed.
 *
 * <p>Deadlines are kept in an index of (due, key) that a punctuator reads from where it last came to: from the
 * beginning it would walk the tombstones of all timers that ever fired. The index is not logged: it follows from the
 * states and is made anew when a task starts.
 */
final class JourneyProcessor implements Processor<byte[], Event, byte[], SpecificRecord> {
    static final String JOURNEYS = "journeys";
    static final String TIMERS = "timers";
    private static final byte[] NOTHING = new byte[0];
    private static final char SEPARATOR = '\u001f';

    private final Snapshots snapshots = new Snapshots();
    private ProcessorContext<byte[], SpecificRecord> context;
    private KeyValueStore<byte[], UserState> journeys;
    private KeyValueStore<byte[], byte[]> timers;
    private long scannedUntil;

    @Override
    public void init(ProcessorContext<byte[], SpecificRecord> context) {
        this.context = context;
        journeys = context.getStateStore(JOURNEYS);
        timers = context.getStateStore(TIMERS);
        rebuildTimers();
        context.schedule(Duration.ofSeconds(1), PunctuationType.WALL_CLOCK_TIME, this::fireTimers);
    }

    @Override
    public void process(Record<byte[], Event> record) {
        Event event = record.value();
        if (event == null || event.getUserId() == null || !Journeys.takesPart(event.getEventType())) {
            return;
        }
        String[] told = Told.of(event);
        Integer milestone = Definition.milestone(event.getEventName());
        boolean saysNothing = milestone == null;
        for (String value : told) {
            saysNothing &= value == null;
        }
        if (saysNothing) {
            return;
        }
        long now = context.currentSystemTimeMs();
        UserState user = journeys.get(record.key());
        boolean isNew = user == null;
        if (isNew) {
            user = Journeys.begin(now);
        }
        boolean ofUser = event.getEventType() == EventType.identify;
        Attempt attempt = ofUser && milestone == null ? null : Journeys.attemptOf(user, event);
        Change change = Journeys.apply(user, ofUser ? user.getTold() : attempt.getTold(), attempt, event, told, milestone);
        if (change == Change.NONE && !isNew) {
            return;
        }
        if (change == Change.CONTENT) {
            List<Attempt> changed = ofUser ? user.getAttempts() : List.of(attempt);
            for (Attempt each : changed) {
                tell(record.key(), user, each, now);
            }
        }
        keep(record.key(), user);
    }

    /** Sends a snapshot of the attempt, once its signup is known, and the breaches that stand differently now. */
    private void tell(byte[] key, UserState user, Attempt attempt, long now) {
        if (Journeys.signupAt(attempt) == null) {
            return;
        }
        String[] parts = new String(key, StandardCharsets.UTF_8).split(String.valueOf(SEPARATOR), 3);
        String tenant = parts[0];
        String userId = parts[2];
        attempt.setRevision(attempt.getRevision() + 1);
        context.forward(new Record<>(key, snapshots.record(tenant, userId, user, attempt, now), now), Topology.RECORDS);
        for (Judged judged : attempt.getDeadlines()) {
            int before = judged.getOutcome();
            long dueBefore = judged.getDueAt();
            judged.setOutcome(Journeys.outcome(attempt, judged));
            judged.setDueAt(Journeys.dueAt(attempt, judged.getLevel()));
            boolean keptAfterAll = judged.getOutcome() == Journeys.REVISED && (before == -1 || before == Journeys.REVISED);
            if (!keptAfterAll && (judged.getOutcome() != before || judged.getDueAt() != dueBefore)) {
                var breach = snapshots.breach(tenant, userId, user, attempt, judged, before != -1, now);
                context.forward(new Record<>(key, breach, now), Topology.BREACHES);
            }
        }
    }

    private void keep(byte[] key, UserState user) {
        long due = Journeys.nextDue(user);
        if (due != user.getNextDue()) {
            if (user.getNextDue() != Long.MAX_VALUE) {
                timers.delete(timer(user.getNextDue(), key));
            }
            timers.put(timer(due, key), NOTHING);
            scannedUntil = Math.min(scannedUntil, due);
            user.setNextDue(due);
        }
        journeys.put(key, user);
    }

    private void fireTimers(long now) {
        List<byte[]> due = new ArrayList<>();
        try (KeyValueIterator<byte[], byte[]> found = timers.range(timer(scannedUntil, NOTHING), timer(now, NOTHING))) {
            while (found.hasNext()) {
                due.add(found.next().key);
            }
        }
        scannedUntil = now;
        for (byte[] timer : due) {
            byte[] key = new byte[timer.length - Long.BYTES];
            System.arraycopy(timer, Long.BYTES, key, 0, key.length);
            timers.delete(timer);
            UserState user = journeys.get(key);
            if (user == null || user.getNextDue() != ByteBuffer.wrap(timer).getLong()) {
                continue;
            }
            for (Attempt attempt : user.getAttempts()) {
                if (Journeys.passTime(attempt, now)) {
                    tell(key, user, attempt, now);
                }
            }
            if (Journeys.isExpired(user, now)) {
                journeys.delete(key);
            } else {
                user.setNextDue(Long.MAX_VALUE);
                keep(key, user);
            }
        }
    }

    private void rebuildTimers() {
        try (KeyValueIterator<byte[], byte[]> old = timers.all()) {
            while (old.hasNext()) {
                timers.delete(old.next().key);
            }
        }
        try (KeyValueIterator<byte[], UserState> all = journeys.all()) {
            while (all.hasNext()) {
                KeyValue<byte[], UserState> entry = all.next();
                timers.put(timer(entry.value.getNextDue(), entry.key), NOTHING);
            }
        }
    }

    private static byte[] timer(long due, byte[] key) {
        return ByteBuffer.allocate(Long.BYTES + key.length).putLong(due).put(key).array();
    }
}
