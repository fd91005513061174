//! What every log promises, one function per behaviour.
//!
//! Each takes a function that opens the log: called again after everything of the first was dropped it opens the
//! same log anew, with all that was written to it. Topics and groups are fresh in each test.

pub mod groups;
pub mod publishing;
pub mod reading;
pub mod support;
pub mod topics;
pub mod transactions;

/// Makes a test of every behaviour. `$with` is called with the behaviour and gives it a log to open.
#[macro_export]
macro_rules! conformance_suite {
    ($with:path) => {
        $crate::conformance_suite!(@tests $with;
            publishing: a_record_comes_back_as_it_was_written,
            publishing: records_without_key_or_value_are_taken,
            publishing: a_key_decides_the_partition_as_in_kafkas_clients,
            publishing: records_without_key_spread_over_the_partitions,
            publishing: records_of_a_partition_keep_the_order_of_publishing,
            publishing: flush_waits_for_everything_queued,
            publishing: an_unknown_topic_is_refused_by_name,
            publishing: an_oversize_record_is_refused_and_the_next_one_taken,
            publishing: acknowledged_records_are_there_after_opening_anew,
            reading: a_reader_starts_where_it_is_told,
            reading: a_waiting_reader_is_woken_by_a_record,
            reading: a_reader_visits_no_more_than_asked_and_misses_nothing,
            reading: a_position_that_does_not_exist_is_out_of_range,
            reading: start_and_end_enclose_the_records,
            reading: a_time_leads_to_the_first_record_at_or_after_it,
            topics: topics_are_created_once_and_never_resized,
            topics: only_topics_that_exist_are_listed,
            topics: cluster_and_topics_keep_their_identity,
            groups: a_single_member_is_assigned_everything,
            groups: a_subscription_reads_from_where_it_is_told,
            groups: seek_reads_again,
            groups: a_paused_partition_is_silent_until_resumed,
            groups: committed_offsets_survive_the_subscription,
            groups: a_group_that_never_committed_has_no_offsets,
            groups: groups_do_not_see_each_others_offsets,
            groups: two_members_share_the_partitions_and_the_last_one_has_them_all,
            groups: members_of_two_topics_get_the_same_partition_numbers,
            transactions: a_transaction_is_invisible_until_committed_and_then_whole,
            transactions: an_aborted_transaction_leaves_nothing,
            transactions: a_rolled_back_transaction_does_not_move_offsets,
            transactions: a_newer_producer_fences_the_older_one,
            transactions: a_predecessors_open_transaction_never_appears,
            transactions: offsets_without_records_are_committed,
            transactions: one_producer_commits_many_transactions,
            transactions: a_stale_generation_is_refused,
            transactions: a_reader_gets_past_markers_and_aborted_records,
            transactions: a_subscription_tells_that_it_got_past_aborted_records,
        );
    };
    (@tests $with:path; $($module:ident: $behaviour:ident,)+) => {
        $(
            #[test]
            fn $behaviour() {
                $with(&$crate::conformance::$module::$behaviour);
            }
        )+
    };
}
