package io.ttf.bench;

import static io.ttf.bench.Definition.*;
import static io.ttf.bench.Journeys.*;

import io.ttf.telemetry.v1.Anomaly;
import io.ttf.telemetry.v1.BreachKind;
import io.ttf.telemetry.v1.BreachLevel;
import io.ttf.telemetry.v1.BreachReason;
import io.ttf.telemetry.v1.BreachStatus;
import io.ttf.telemetry.v1.JourneyStatus;
import io.ttf.telemetry.v1.StageResult;
import io.ttf.telemetry.v1.TtfBreach;
import io.ttf.telemetry.v1.TtfRecord;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** State → records and breaches. One per stream task: the digest is not shared. */
final class Snapshots {
    private static final HexFormat HEX = HexFormat.of();
    private final MessageDigest sha256;

    Snapshots() {
        try {
            sha256 = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    TtfRecord record(String tenant, String userId, UserState user, Attempt attempt, long now) {
        Long signup = signupAt(attempt);
        Long success = successAt(attempt);
        Long total = success == null ? null : (Long) Math.max(0, success - signup);
        int furthest = furthest(attempt);
        JourneyStatus status = success != null ? JourneyStatus.completed
            : attempt.getAbandoned() ? JourneyStatus.abandoned : JourneyStatus.in_progress;
        Attribute release = earliest(attempt.getTold().get(RELEASE), user.getTold().get(RELEASE));
        byte[] revision = ByteBuffer.allocate(8).putLong(attempt.getRevision()).array();
        return new TtfRecord(
            id("record", tenant, userId, user, attempt, revision), tenant, ID, VERSION, userId, attempt.getId(),
            attempt.getRevision(), user.getGeneration(), status, signup, success, total, stages(attempt, furthest),
            furthest < STAGES.length ? STAGES[furthest] : null, total == null ? null : efficiency(total),
            breachLevel(attempt), segments(user, attempt), Map.of(), release == null ? null : release.getValue(),
            cause(attempt), now);
    }

    TtfBreach breach(String tenant, String userId, UserState user, Attempt attempt, Judged judged, boolean known, long now) {
        BreachLevel level = LEVELS[judged.getLevel()];
        BreachStatus status = judged.getOutcome() == FIRING ? BreachStatus.firing : BreachStatus.resolved;
        BreachReason reason = switch (judged.getOutcome()) {
            case COMPLETED -> BreachReason.completed;
            case REVISED -> BreachReason.revised;
            default -> null;
        };
        int furthest = furthest(attempt);
        byte[] revision = ByteBuffer.allocate(8).putLong(attempt.getRevision()).array();
        return new TtfBreach(
            id("breach", tenant, userId, user, attempt, bytes(level.toString()), bytes(status.toString()), revision),
            tenant, ID, userId, attempt.getId(), BreachKind.deadline, level, DEADLINES[judged.getLevel()], status, reason,
            signupAt(attempt), judged.getDueAt(), known ? now : judged.getDetectedAt(), judged.getLate(),
            furthest < STAGES.length ? STAGES[furthest] : null, segments(user, attempt), attempt.getRevision());
    }

    private static int furthest(Attempt attempt) {
        int furthest = GOAL;
        while (furthest > 0 && attempt.getMilestones().get(furthest) == null) {
            furthest--;
        }
        return furthest;
    }

    private static List<StageResult> stages(Attempt attempt, int furthest) {
        List<StageResult> stages = new ArrayList<>(STAGES.length);
        for (int stage = 0; stage < STAGES.length; stage++) {
            Long from = at(attempt, stage);
            Long to = at(attempt, stage + 1);
            Long duration = null;
            Anomaly anomaly = null;
            if (from != null && to != null) {
                duration = Math.max(0, to - from);
                anomaly = to - from < -OUT_OF_ORDER_TOLERANCE ? Anomaly.out_of_order : null;
            } else if (furthest > (from == null ? stage : stage + 1)) {
                anomaly = Anomaly.skipped;
            }
            Boolean met = duration == null ? null : (Boolean) (duration <= STAGE_TARGETS[stage]);
            stages.add(new StageResult(STAGES[stage], from, to, duration, STAGE_TARGETS[stage], met, anomaly));
        }
        return stages;
    }

    private static double efficiency(long total) {
        return Math.min(100, Math.max(0, 100.0 * (3.0 * TARGET - total) / (2.0 * TARGET)));
    }

    /** The highest deadline missed by event time; of an open journey, the highest judged. */
    private static BreachLevel breachLevel(Attempt attempt) {
        Long success = successAt(attempt);
        for (int level = LEVELS.length - 1; level >= 0; level--) {
            boolean missed = success == null ? isJudged(attempt, level) : success > dueAt(attempt, level);
            if (missed) {
                return LEVELS[level];
            }
        }
        return null;
    }

    private static Map<String, String> segments(UserState user, Attempt attempt) {
        Map<String, String> segments = new TreeMap<>();
        for (int place = 0; place < SEGMENTS.length; place++) {
            Attribute winner = earliest(attempt.getTold().get(place), user.getTold().get(place));
            if (winner != null) {
                segments.put(SEGMENTS[place], winner.getValue());
            }
        }
        return segments;
    }

    /** The event of the milestone with the latest event time. */
    private static String cause(Attempt attempt) {
        Occurrence latest = null;
        for (Occurrence occurrence : attempt.getMilestones()) {
            if (occurrence != null && (latest == null || occurrence.compareTo(latest) > 0)) {
                latest = occurrence;
            }
        }
        return latest == null ? null : latest.getEventId();
    }

    /** The first 128 bits of SHA-256 over the parts, each preceded by its length, in hex. */
    private String id(String kind, String tenant, String userId, UserState user, Attempt attempt, byte[]... rest) {
        add(bytes(kind));
        add(bytes(tenant));
        add(bytes(ID));
        add(bytes(userId));
        add(bytes(attempt.getId()));
        add(ByteBuffer.allocate(4).putInt(user.getGeneration()).array());
        for (byte[] part : rest) {
            add(part);
        }
        return HEX.formatHex(sha256.digest(), 0, 16);
    }

    private void add(byte[] part) {
        sha256.update(ByteBuffer.allocate(8).putLong(part.length).array());
        sha256.update(part);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
