//! Consumer groups: assignment, offsets, seek and pause.

use std::collections::BTreeSet;

use stream_runtime::log::{NewRecord, NextOffset, Polled, Position, TopicPartition};

use super::support::{LONG, LOOK, Member, Open, at, fresh, new_topic, options, publish, text, until, values};

fn numbers(topic: &str, partition: i32, range: std::ops::Range<i32>) -> Vec<NewRecord> {
    range.map(|number| NewRecord::new(topic, "k", number.to_string()).with_partition(partition)).collect()
}

fn all(topic: &str, partitions: i32) -> BTreeSet<TopicPartition> {
    (0..partitions).map(|partition| at(topic, partition)).collect()
}

fn next(topic: &str, partition: i32, next: i64, metadata: &str) -> NextOffset {
    NextOffset { at: at(topic, partition), next, metadata: metadata.to_owned() }
}

pub fn a_single_member_is_assigned_everything(open: Open<'_>) {
    let log = open();
    let topics = [new_topic(&*log, 3), new_topic(&*log, 3)];
    let member = Member::alone(&*log, &fresh("group"), &[&topics[0], &topics[1]]);
    let expected: BTreeSet<_> = all(&topics[0], 3).union(&all(&topics[1], 3)).cloned().collect();
    assert_eq!(member.held, expected);
    assert!(!member.subscription.assignment_lost());
}

pub fn a_subscription_reads_from_where_it_is_told(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    publish(&*log, numbers(&topic, 0, 0..5));
    publish(&*log, numbers(&topic, 1, 10..15));
    let mut subscription = log.subscribe(options(&fresh("group"), &[&topic])).unwrap();
    until("the member is assigned", || {
        let polled = subscription.poll(10, LOOK, &mut |_| panic!("nothing is read before the answer")).unwrap();
        matches!(polled, Polled::Assigned(_))
    });
    subscription.assign(&[(at(&topic, 0), Position::Offset(3)), (at(&topic, 1), Position::Beginning)]).unwrap();
    let mut read: [Vec<String>; 2] = [Vec::new(), Vec::new()];
    until("all is read", || {
        subscription.poll(10, LOOK, &mut |record| read[record.partition as usize].push(text(record.value))).unwrap();
        read[0].len() + read[1].len() >= 7
    });
    assert_eq!(read[0], ["3", "4"]);
    assert_eq!(read[1], ["10", "11", "12", "13", "14"]);
    assert_eq!(subscription.position(&at(&topic, 0)), Some(5));
}

pub fn seek_reads_again(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    publish(&*log, numbers(&topic, 0, 0..5));
    let mut member = Member::alone(&*log, &fresh("group"), &[&topic]);
    member.read_until(5);
    member.read.clear();
    member.subscription.seek(&[(at(&topic, 0), Position::Offset(2))]).unwrap();
    member.read_until(3);
    assert_eq!(values(&member.read), ["2", "3", "4"]);
    member.read.clear();
    member.subscription.seek(&[(at(&topic, 0), Position::Beginning)]).unwrap();
    member.read_until(5);
    assert_eq!(values(&member.read), ["0", "1", "2", "3", "4"]);
}

pub fn a_paused_partition_is_silent_until_resumed(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    let mut member = Member::alone(&*log, &fresh("group"), &[&topic]);
    member.subscription.pause(&[at(&topic, 0)]).unwrap();
    publish(&*log, numbers(&topic, 0, 0..3));
    publish(&*log, numbers(&topic, 1, 3..6));
    member.read_until(3);
    member.poll_for_a_while();
    assert_eq!(values(&member.read), ["3", "4", "5"]);
    member.subscription.resume(&[at(&topic, 0)]).unwrap();
    member.read_until(6);
    assert_eq!(values(&member.read), ["3", "4", "5", "0", "1", "2"]);
}

pub fn committed_offsets_survive_the_subscription(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    let group = fresh("group");
    publish(&*log, numbers(&topic, 0, 0..5));
    let mut member = Member::alone(&*log, &group, &[&topic]);
    member.read_until(5);
    member.subscription.commit(&[next(&topic, 0, 2, "older")]).unwrap();
    member.subscription.commit(&[next(&topic, 0, 3, "stream time 17")]).unwrap();
    drop(member);
    drop(log);
    let log = open();
    let committed = log.committed(&group, &[at(&topic, 0), at(&topic, 1)], LONG).unwrap();
    assert_eq!(committed[0].at, at(&topic, 0));
    assert_eq!((committed[0].next, committed[0].metadata.as_str()), (Some(3), "stream time 17"));
    assert_eq!(committed[1].next, None);
    let mut member = Member::alone(&*log, &group, &[&topic]);
    assert_eq!(member.subscription.committed(&[at(&topic, 0)], LONG).unwrap(), committed[..1]);
    member.read_until(2);
    assert_eq!(values(&member.read), ["3", "4"]);
}

pub fn a_group_that_never_committed_has_no_offsets(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let committed = log.committed(&fresh("group"), &[at(&topic, 0)], LONG).unwrap();
    assert_eq!(committed.len(), 1);
    assert_eq!((committed[0].next, committed[0].metadata.as_str()), (None, ""));
}

pub fn groups_do_not_see_each_others_offsets(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    publish(&*log, numbers(&topic, 0, 0..3));
    let groups = [fresh("group"), fresh("group")];
    for (number, group) in groups.iter().enumerate() {
        let mut member = Member::alone(&*log, group, &[&topic]);
        member.read_until(3);
        member.subscription.commit(&[next(&topic, 0, 1 + number as i64, group)]).unwrap();
    }
    for (number, group) in groups.iter().enumerate() {
        let committed = log.committed(group, &[at(&topic, 0)], LONG).unwrap();
        assert_eq!((committed[0].next, committed[0].metadata.as_str()), (Some(1 + number as i64), group.as_str()));
    }
}

/// Polls both until each holds `share` partitions and together they hold all of them.
fn settle(one: &mut Member, two: &mut Member, topic: &str, partitions: i32, share: usize) {
    until("both members have their share", || {
        one.poll();
        two.poll();
        one.held.len() == share
            && two.held.len() == share
            && one.held.union(&two.held).cloned().collect::<BTreeSet<_>>() == all(topic, partitions)
    });
}

pub fn two_members_share_the_partitions_and_the_last_one_has_them_all(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 4);
    let group = fresh("group");
    let mut one = Member::alone(&*log, &group, &[&topic]);
    assert_eq!(one.held, all(&topic, 4));
    let mut two = Member::join(&*log, &group, &[&topic]);
    settle(&mut one, &mut two, &topic, 4, 2);
    assert_eq!(one.assignments, 2);
    for partition in 0..4 {
        publish(&*log, numbers(&topic, partition, 0..3));
    }
    until("both have read their share", || {
        one.poll();
        two.poll();
        one.read.len() + two.read.len() >= 12
    });
    for member in [&one, &two] {
        assert_eq!(member.read.len(), 6);
        assert!(member.read.iter().all(|record| member.held.contains(&record.at())));
    }
    // What was read is committed, so that the other one goes on behind it.
    let done: Vec<_> = two.held.iter().map(|at| next(&topic, at.partition, 3, "")).collect();
    two.subscription.commit(&done).unwrap();
    let done: Vec<_> = one.held.iter().map(|at| next(&topic, at.partition, 3, "")).collect();
    one.subscription.commit(&done).unwrap();
    drop(two);
    until("the remaining member has everything", || {
        one.poll();
        one.held == all(&topic, 4)
    });
    for partition in 0..4 {
        publish(&*log, numbers(&topic, partition, 3..4));
    }
    one.read_until(10);
    one.poll_for_a_while();
    assert_eq!(one.read.len(), 10, "nothing is read twice");
}

pub fn members_of_two_topics_get_the_same_partition_numbers(open: Open<'_>) {
    let log = open();
    let topics = [new_topic(&*log, 3), new_topic(&*log, 3)];
    let group = fresh("group");
    let names = [topics[0].as_str(), topics[1].as_str()];
    let mut one = Member::alone(&*log, &group, &names);
    let mut two = Member::join(&*log, &group, &names);
    until("both members have a share", || {
        one.poll();
        two.poll();
        !one.held.is_empty() && !two.held.is_empty() && one.held.len() + two.held.len() == 6
    });
    for member in [&one, &two] {
        let of = |topic: &str| -> Vec<i32> {
            member.held.iter().filter(|at| *at.topic == *topic).map(|at| at.partition).collect()
        };
        assert_eq!(of(names[0]), of(names[1]));
    }
    assert!(one.held.is_disjoint(&two.held));
}
