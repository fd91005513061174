package io.ttf.bench;

import static io.ttf.bench.Definition.*;

import io.ttf.telemetry.v1.Event;
import io.ttf.telemetry.v1.EventType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** How events and the passing of time change what is kept of a user. Pure: time is a parameter. */
final class Journeys {
    static final int FIRING = 0;
    static final int COMPLETED = 1;
    static final int REVISED = 2;
    /** Behind the segments. */
    static final int RELEASE = SEGMENTS.length;
    private static final int TOLD = SEGMENTS.length + 1;
    private static final long DAY = 86_400_000;
    private static final long GENERATION_EPOCH_S = 1_577_836_800;

    /** What an event did: to be written, and to be told. */
    enum Change { NONE, KEPT, CONTENT }

    static boolean takesPart(EventType type) {
        return switch (type) {
            case ttf_milestone, track, page, identify, group -> true;
            default -> false;
        };
    }

    static UserState begin(long now) {
        return new UserState((int) (now / 1_000 - GENERATION_EPOCH_S), 0L, Long.MAX_VALUE, new ArrayList<>(1), nothing(TOLD));
    }

    /** The attempt this event belongs to. */
    static Attempt attemptOf(UserState user, Event event) {
        String id = event.getJourneyId() == null ? "" : event.getJourneyId();
        for (Attempt attempt : user.getAttempts()) {
            if (attempt.getId().equals(id)) {
                return attempt;
            }
        }
        Attempt begun = new Attempt(id, 0L, nothing(MILESTONES), nothing(TOLD), new ArrayList<>(0), false);
        user.getAttempts().add(begun);
        return begun;
    }

    /** Keeps the earliest occurrence of what the event tells and of the milestone it reaches. */
    static Change apply(UserState user, List<Attribute> into, Attempt attempt, Event event, String[] told, Integer milestone) {
        Change change = Change.NONE;
        long day = Math.floorDiv(event.getReceivedAt() + DAY - 1, DAY) * DAY;
        if (day > user.getLastReceivedAt()) {
            user.setLastReceivedAt(day);
            change = Change.KEPT;
        }
        for (int place = 0; place < told.length; place++) {
            if (told[place] == null) {
                continue;
            }
            Attribute known = into.get(place);
            if (known == null || isEarlier(event, told[place], known)) {
                into.set(place, new Attribute(told[place], event.getTimestamp(), event.getEventId()));
                boolean says = known == null || !known.getValue().equals(told[place]);
                change = says ? Change.CONTENT : change == Change.NONE ? Change.KEPT : change;
            }
        }
        if (milestone != null) {
            Occurrence known = attempt.getMilestones().get(milestone);
            if (known == null || compare(event.getTimestamp(), event.getEventId(), known.getAt(), known.getEventId()) < 0) {
                attempt.getMilestones().set(milestone, new Occurrence(event.getTimestamp(), event.getEventId()));
                change = Change.CONTENT;
            }
        }
        return change;
    }

    /** Judges what is due at {@code now}; true when something was. */
    static boolean passTime(Attempt attempt, long now) {
        boolean changed = false;
        for (int level = 0; level < LEVELS.length; level++) {
            if (isUnjudged(attempt, level) && dueAt(attempt, level) + GRACE <= now) {
                long due = dueAt(attempt, level);
                attempt.getDeadlines().add(new Judged(level, -1, due, now - due > MAX_ALERT_LATENESS, now));
                changed = true;
            }
        }
        if (!attempt.getAbandoned() && successAt(attempt) == null && signupAt(attempt) != null
            && signupAt(attempt) + ABANDON_AFTER + GRACE <= now) {
            attempt.setAbandoned(true);
            changed = true;
        }
        return changed;
    }

    static boolean isExpired(UserState user, long now) {
        return user.getLastReceivedAt() + STATE_TTL <= now;
    }

    /** When this user wants to be looked at next. */
    static long nextDue(UserState user) {
        long next = user.getLastReceivedAt() + STATE_TTL;
        for (Attempt attempt : user.getAttempts()) {
            for (int level = 0; level < LEVELS.length; level++) {
                if (isUnjudged(attempt, level)) {
                    next = Math.min(next, dueAt(attempt, level) + GRACE);
                }
            }
            if (!attempt.getAbandoned() && successAt(attempt) == null && signupAt(attempt) != null) {
                next = Math.min(next, signupAt(attempt) + ABANDON_AFTER + GRACE);
            }
        }
        return next;
    }

    /** What a judged deadline comes to, by what is known. */
    static int outcome(Attempt attempt, Judged judged) {
        Long success = successAt(attempt);
        if (success == null) {
            return FIRING;
        }
        return success > dueAt(attempt, judged.getLevel()) ? COMPLETED : REVISED;
    }

    static Long signupAt(Attempt attempt) {
        return at(attempt, 0);
    }

    static Long successAt(Attempt attempt) {
        return at(attempt, GOAL);
    }

    static Long at(Attempt attempt, int milestone) {
        Occurrence occurrence = attempt.getMilestones().get(milestone);
        return occurrence == null ? null : occurrence.getAt();
    }

    static long dueAt(Attempt attempt, int level) {
        return signupAt(attempt) + DEADLINES[level];
    }

    static boolean isJudged(Attempt attempt, int level) {
        for (Judged judged : attempt.getDeadlines()) {
            if (judged.getLevel() == level) {
                return true;
            }
        }
        return false;
    }

    /** The earlier of two, either of which may be missing. */
    static Attribute earliest(Attribute one, Attribute other) {
        if (one == null || other == null) {
            return one == null ? other : one;
        }
        return compare(one, other) <= 0 ? one : other;
    }

    private static boolean isUnjudged(Attempt attempt, int level) {
        if (signupAt(attempt) == null || isJudged(attempt, level)) {
            return false;
        }
        Long success = successAt(attempt);
        return success == null || success > dueAt(attempt, level);
    }

    private static boolean isEarlier(Event event, String value, Attribute known) {
        int order = compare(event.getTimestamp(), event.getEventId(), known.getAt(), known.getEventId());
        return order < 0 || order == 0 && value.compareTo(known.getValue()) < 0;
    }

    private static int compare(Attribute one, Attribute other) {
        int order = compare(one.getAt(), one.getEventId(), other.getAt(), other.getEventId());
        return order != 0 ? order : one.getValue().compareTo(other.getValue());
    }

    private static int compare(long at, String eventId, long otherAt, String otherEventId) {
        return at != otherAt ? Long.compare(at, otherAt) : eventId.compareTo(otherEventId);
    }

    @SuppressWarnings("unchecked")
    private static <T> List<T> nothing(int places) {
        return new ArrayList<>(Arrays.asList((T[]) new Object[places]));
    }

    private Journeys() {}
}
