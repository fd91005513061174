use std::fmt::Write;

use super::*;

fn page(ordinal: u32, partitions: &[i32], lag: i64) -> String {
    let mut text = format!(
        "ttf_processor_partitions 4\nttf_processor_open_transaction_age_seconds{{worker=\"ttf-processor-{ordinal}-0\"}} 0.1\n"
    );
    for partition in partitions {
        writeln!(
            text,
            "ttf_processor_partition_owned{{partition=\"{partition}\",worker=\"ttf-processor-{ordinal}-0\"}} 1\n\
             ttf_consumer_lag_records{{group=\"ttf-processor\",partition=\"{partition}\",topic=\"e\"}} {lag}\n\
             ttf_consumer_lag_records{{group=\"ttf-processor\",partition=\"{partition}\",topic=\"x\"}} 1\n\
             ttf_consumer_oldest_unprocessed_seconds{{group=\"ttf-processor\",partition=\"{partition}\",topic=\"e\"}} 2.5"
        )
        .unwrap();
    }
    text
}

fn look(pages: &[(&str, String)], group: Option<&Group>) -> View {
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, text)| (*url, Page::parse(text))).collect();
    let told: Vec<Told<'_>> = pages.iter().map(|(url, now)| Told { url, now, before: None, earlier: None }).collect();
    view("now".into(), &told, group, BTreeMap::new())
}

#[test]
fn every_partition_is_shown_with_its_owner_or_flagged() {
    let view = look(&[("http://a", page(0, &[0, 2], 7)), ("http://b", page(1, &[1], 0))], None);
    let owners: Vec<_> = view.partitions.iter().map(|it| it.owner.as_deref()).collect();
    assert_eq!(owners, [Some("ttf-processor-0-0"), Some("ttf-processor-1-0"), Some("ttf-processor-0-0"), None]);
    assert_eq!(view.partitions[0].lag_records, Some(8), "over the inputs");
    assert_eq!(view.partitions[3].lag_records, None);
    assert_eq!(view.problems, ["partition 3 has no owner among the processes asked"]);
    assert_eq!(view.lag_records(), Some(17));
    assert_eq!(view.oldest_unprocessed_seconds(), Some(2.5));
    let topics: Vec<_> = view.consumers.iter().map(|it| (it.topic.as_str(), it.partitions, it.lag_records)).collect();
    assert_eq!(topics, [("e", 3, 14), ("x", 3, 3)]);
}

#[test]
fn two_addresses_of_one_process_count_once() {
    let view =
        look(&[("http://a:8080", page(0, &[0, 1, 2, 3], 7)), ("http://a:9464", page(0, &[0, 1, 2, 3], 7))], None);
    assert_eq!((view.processes.len(), view.lag_records()), (1, Some(32)));
    assert_eq!(view.problems, [""; 0]);
}

#[test]
fn a_partition_two_processes_claim_is_a_problem() {
    let view = look(&[("http://a", page(0, &[0, 1, 2, 3], 0)), ("http://b", page(1, &[3], 0))], None);
    assert_eq!(view.problems.len(), 1, "{:?}", view.problems);
    assert!(view.problems[0].starts_with("partition 3 is claimed by `ttf-processor-0-0` and by `ttf-processor-1-0`"));
}

#[test]
fn the_group_tells_of_what_no_process_does() {
    let standing = |owner: Option<&str>, lag| super::super::group::Standing {
        owner: owner.map(str::to_owned),
        host: owner.map(|_| "10.0.0.7".to_owned()),
        lag_records: Some(lag),
        oldest_unprocessed_seconds: None,
    };
    let group = Group {
        partitions: BTreeMap::from([(0, standing(Some("x"), 99)), (1, standing(Some("y"), 5)), (2, standing(None, 6))]),
    };
    let view = look(&[("http://a", page(0, &[0], 1))], Some(&group));
    let shown: Vec<_> = view.partitions.iter().map(|it| (it.owner.as_deref(), it.lag_records)).collect();
    assert_eq!(
        shown,
        [(Some("ttf-processor-0-0"), Some(2)), (Some("y"), Some(5)), (None, Some(6)), (None, None)],
        "what a process says of its own partition goes first"
    );
    assert_eq!(view.problems, ["partitions 2, 3 have no owner in the group"]);
}

#[test]
fn rates_and_commit_times_are_between_two_looks_and_not_across_a_restart() {
    let text = |records: u32, fast: u32, all: u32| {
        Page::parse(&format!(
            "{}ttf_processor_records_in_total {records}\nttf_processor_commit_duration_seconds_bucket{{le=\"0.01\"}} {fast}\n\
             ttf_processor_commit_duration_seconds_bucket{{le=\"1\"}} {all}\n\
             ttf_processor_commit_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n",
            page(0, &[0], 0)
        ))
    };
    let (before, now) = (text(100, 0, 100), text(300, 100, 200));
    let rate = |before: &Page, now: &Page| {
        let told = [Told { url: "u", now, before: Some((before, 2.0)), earlier: Some(before) }];
        let mut view = view(String::new(), &told, None, BTreeMap::new());
        view.processes.remove(0)
    };
    let process = rate(&before, &now);
    assert_eq!(process.records_in_per_second, Some(100.0));
    assert!((process.commit_p50_ms.unwrap() - 5.0).abs() < 1e-6, "of the last commits: {process:?}");
    assert_eq!(rate(&now, &before).records_in_per_second, None, "the counter began anew");
}

#[test]
fn what_is_about_to_be_deleted_and_what_does_not_commit_are_problems() {
    let waiting = format!(
        "{}ttf_retention_headroom_seconds{{group=\"ttf-processor\",topic=\"e\"}} 7300\n",
        page(0, &[0, 1, 2, 3], 9).replace("worker=\"ttf-processor-0-0\"} 0.1", "worker=\"ttf-processor-0-0\"} 42")
    );
    let view = look(&[("http://a", waiting)], None);
    assert_eq!(
        view.problems,
        [
            "http://a has not committed for 42 s although it has something to commit",
            "ttf-processor loses unprocessed records of e in 2 h unless it catches up",
        ]
    );
}
