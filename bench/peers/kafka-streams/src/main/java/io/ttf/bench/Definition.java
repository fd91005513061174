package io.ttf.bench;

import static io.ttf.telemetry.v1.BreachLevel.critical;
import static io.ttf.telemetry.v1.BreachLevel.escalation;
import static io.ttf.telemetry.v1.BreachLevel.warning;

import io.ttf.telemetry.v1.BreachLevel;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The default journey, as {@code config/telemetry.yaml} defines it. */
final class Definition {
    static final String ID = "onboarding";
    static final int VERSION = 1;
    static final String[] STAGES = {
        "signup_to_first_project", "first_project_to_first_agent", "first_agent_to_first_workflow", "first_workflow_to_first_success",
    };
    static final long[] STAGE_TARGETS = {minutes(5), minutes(10), minutes(15), minutes(30)};
    static final int MILESTONES = 5;
    static final int GOAL = MILESTONES - 1;
    static final long TARGET = minutes(60);
    static final BreachLevel[] LEVELS = {warning, critical, escalation};
    static final long[] DEADLINES = {minutes(75), minutes(120), minutes(180)};
    static final String[] SEGMENTS = {"plan", "channel", "country", "company_size"};
    static final long GRACE = 5_000;
    static final long MAX_ALERT_LATENESS = minutes(24 * 60);
    static final long ABANDON_AFTER = minutes(14 * 24 * 60);
    static final long STATE_TTL = minutes(430 * 24 * 60);
    static final long OUT_OF_ORDER_TOLERANCE = 2_000;

    private static final Map<String, Integer> MILESTONE_OF_EVENT = new HashMap<>();

    static {
        List<List<String>> aliases = List.of(
            List.of("signup", "sign_up", "signed_up", "user_signed_up", "Signed Up", "User Signed Up"),
            List.of("first_project_created", "project_created", "Project Created"),
            List.of("first_agent_created", "agent_created", "Agent Created"),
            List.of("first_workflow_created", "workflow_created", "Workflow Created"),
            List.of("first_success", "first_workflow_succeeded", "workflow_succeeded", "Workflow Succeeded"));
        for (int milestone = 0; milestone < aliases.size(); milestone++) {
            for (String event : aliases.get(milestone)) {
                MILESTONE_OF_EVENT.put(event, milestone);
            }
        }
    }

    /** The place of the milestone that this event reaches, or null. */
    static Integer milestone(String eventName) {
        return MILESTONE_OF_EVENT.get(eventName);
    }

    private static long minutes(long minutes) {
        return minutes * 60_000;
    }

    private Definition() {}
}
