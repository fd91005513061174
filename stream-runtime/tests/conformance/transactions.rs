//! Transactions: records and offsets together, or not at all.

use stream_runtime::log::{GroupMetadata, Isolation, Log, NewRecord, NextOffset, Position, Transactor, Verdict};

use super::support::{LONG, LOOK, Member, Open, at, fresh, new_topic, publish, read_all, text, until, values};

/// An input topic with ten records, a group that reads it, and two output topics.
struct Scene {
    input: String,
    outputs: [String; 2],
    group: String,
    member: Member,
}

impl Scene {
    fn new(log: &dyn Log) -> Self {
        let input = new_topic(log, 1);
        let outputs = [new_topic(log, 2), new_topic(log, 2)];
        publish(log, (0..10).map(|number| NewRecord::new(input.as_str(), "k", number.to_string())));
        let group = fresh("group");
        let member = Member::alone(log, &group, &[&input]);
        Self { input, outputs, group, member }
    }

    fn proof(&self) -> GroupMetadata {
        self.member.subscription.group().unwrap()
    }

    fn offset(&self, next: i64) -> Vec<NextOffset> {
        vec![NextOffset { at: at(&self.input, 0), next, metadata: format!("up to {next}") }]
    }

    /// One record to each output topic and partition.
    fn produce(&self, transactor: &mut dyn Transactor, value: &str) {
        for output in &self.outputs {
            for partition in 0..2 {
                let record = NewRecord::new(output.as_str(), "k", value.to_owned()).with_partition(partition);
                transactor.produce(&record).unwrap();
            }
        }
    }

    /// What a reader sees in the output topics, and what the group has committed.
    fn seen(&self, log: &dyn Log) -> (Vec<String>, Option<i64>) {
        let mut seen = values(&read_all(log, &self.outputs[0]));
        seen.extend(values(&read_all(log, &self.outputs[1])));
        (seen, self.committed(log))
    }

    fn committed(&self, log: &dyn Log) -> Option<i64> {
        log.committed(&self.group, &[at(&self.input, 0)], LONG).unwrap()[0].next
    }
}

fn transactor(log: &dyn Log, id: &str) -> Box<dyn Transactor> {
    let mut transactor = log.transactor(id).unwrap();
    transactor.init(LONG).unwrap();
    transactor
}

/// Commits, with the same call again as long as the verdict says so.
fn commit(transactor: &mut dyn Transactor, offsets: &[NextOffset], group: &GroupMetadata) {
    until("the transaction is committed", || match transactor.commit(offsets, group, LONG) {
        Ok(()) => true,
        Err(error) if error.verdict == Verdict::Retry => false,
        Err(error) => panic!("{error}"),
    });
}

pub fn a_transaction_is_invisible_until_committed_and_then_whole(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let mut transactor = transactor(&*log, &fresh("transactional"));
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "one");
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    let from: Vec<_> = (0..2).map(|partition| (at(&scene.outputs[0], partition), Position::Beginning)).collect();
    reader.assign(&from).unwrap();
    for _ in 0..5 {
        let visited = reader.poll(10, LOOK, &mut |_| {}).unwrap();
        assert_eq!(visited, 0, "an open transaction was seen");
    }
    assert_eq!(log.end_offset(&at(&scene.outputs[0], 0), Isolation::ReadCommitted, LONG).unwrap(), 0);
    commit(&mut *transactor, &scene.offset(4), &scene.proof());
    let mut read = Vec::new();
    until("the committed records are seen", || {
        reader.poll(10, LOOK, &mut |record| read.push(text(record.value))).unwrap();
        read.len() >= 2
    });
    assert_eq!(scene.seen(&*log), (vec!["one".to_owned(); 4], Some(4)));
    let committed = log.committed(&scene.group, &[at(&scene.input, 0)], LONG).unwrap();
    assert_eq!(committed[0].metadata, "up to 4");
}

pub fn an_aborted_transaction_leaves_nothing(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let mut transactor = transactor(&*log, &fresh("transactional"));
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "aborted");
    transactor.abort(LONG).unwrap();
    assert_eq!(scene.seen(&*log), (Vec::new(), None));
}

pub fn a_rolled_back_transaction_does_not_move_offsets(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let mut transactor = transactor(&*log, &fresh("transactional"));
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "one");
    commit(&mut *transactor, &scene.offset(3), &scene.proof());
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "two");
    transactor.abort(LONG).unwrap();
    assert_eq!(scene.seen(&*log), (vec!["one".to_owned(); 4], Some(3)));
    // And the same producer goes on.
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "three");
    commit(&mut *transactor, &scene.offset(5), &scene.proof());
    let (mut seen, committed) = scene.seen(&*log);
    seen.sort();
    assert_eq!(seen, ["one", "one", "one", "one", "three", "three", "three", "three"]);
    assert_eq!(committed, Some(5));
}

pub fn a_newer_producer_fences_the_older_one(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let id = fresh("transactional");
    let mut older = transactor(&*log, &id);
    older.begin().unwrap();
    scene.produce(&mut *older, "older");
    let mut newer = transactor(&*log, &id);
    let refused = older
        .produce(&NewRecord::new(scene.outputs[0].as_str(), "k", "older").with_partition(0))
        .and_then(|()| older.commit(&scene.offset(9), &scene.proof(), LONG))
        .unwrap_err();
    assert_eq!(refused.verdict, Verdict::Fenced, "{refused}");
    newer.begin().unwrap();
    scene.produce(&mut *newer, "newer");
    commit(&mut *newer, &scene.offset(2), &scene.proof());
    assert_eq!(scene.seen(&*log), (vec!["newer".to_owned(); 4], Some(2)));
}

pub fn a_predecessors_open_transaction_never_appears(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let id = fresh("transactional");
    let mut predecessor = transactor(&*log, &id);
    predecessor.begin().unwrap();
    scene.produce(&mut *predecessor, "unfinished");
    drop(predecessor);
    let mut successor = transactor(&*log, &id);
    assert_eq!(scene.committed(&*log), None);
    successor.begin().unwrap();
    scene.produce(&mut *successor, "finished");
    commit(&mut *successor, &scene.offset(1), &scene.proof());
    assert_eq!(scene.seen(&*log), (vec!["finished".to_owned(); 4], Some(1)));
}

pub fn offsets_without_records_are_committed(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let mut transactor = transactor(&*log, &fresh("transactional"));
    transactor.begin().unwrap();
    commit(&mut *transactor, &scene.offset(8), &scene.proof());
    assert_eq!(scene.seen(&*log), (Vec::new(), Some(8)));
}

pub fn one_producer_commits_many_transactions(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    let mut transactor = transactor(&*log, &fresh("transactional"));
    for number in 1..=20 {
        transactor.begin().unwrap();
        let record = NewRecord::new(scene.outputs[0].as_str(), "k", number.to_string()).with_partition(0);
        transactor.produce(&record).unwrap();
        commit(&mut *transactor, &scene.offset(number), &scene.proof());
    }
    let (seen, committed) = scene.seen(&*log);
    assert_eq!(seen, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(committed, Some(20));
}

pub fn a_stale_generation_is_refused(open: Open<'_>) {
    let log = open();
    let mut scene = Scene::new(&*log);
    let stale = scene.proof();
    let mut transactor = transactor(&*log, &fresh("transactional"));
    let mut second = Member::join(&*log, &scene.group, &[&scene.input]);
    until("the group has moved on", || {
        scene.member.poll();
        second.poll();
        scene.member.assignments == 2 && second.assignments == 1
    });
    transactor.begin().unwrap();
    scene.produce(&mut *transactor, "stale");
    let refused = transactor.commit(&scene.offset(9), &stale, LONG).unwrap_err();
    assert_eq!(refused.verdict, Verdict::Stale, "{refused}");
    transactor.abort(LONG).unwrap();
    assert_eq!(scene.seen(&*log), (Vec::new(), None));
    // With the proof of the new generation it goes through.
    transactor.begin().unwrap();
    commit(&mut *transactor, &scene.offset(1), &scene.proof());
    assert_eq!(scene.committed(&*log), Some(1));
}

/// Three transactions: committed, aborted, committed; the aborted one last when `end_aborted`.
fn committed_and_aborted(log: &dyn Log, scene: &Scene, end_aborted: bool) {
    let mut transactor = transactor(log, &fresh("transactional"));
    let outcomes = if end_aborted { [true, true, false] } else { [true, false, true] };
    for (number, committed) in outcomes.into_iter().enumerate() {
        transactor.begin().unwrap();
        scene.produce(&mut *transactor, &number.to_string());
        if committed {
            commit(&mut *transactor, &scene.offset(1), &scene.proof());
        } else {
            transactor.abort(LONG).unwrap();
        }
    }
}

pub fn a_reader_gets_past_markers_and_aborted_records(open: Open<'_>) {
    for end_aborted in [false, true] {
        let log = open();
        let scene = Scene::new(&*log);
        committed_and_aborted(&*log, &scene, end_aborted);
        let place = at(&scene.outputs[0], 0);
        let end = log.end_offset(&place, Isolation::ReadUncommitted, LONG).unwrap();
        let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
        reader.assign(&[(place.clone(), Position::Beginning)]).unwrap();
        let mut read = Vec::new();
        until("the reader has reached the end", || {
            reader.poll(10, LOOK, &mut |record| read.push(text(record.value))).unwrap();
            reader.position(&place).is_some_and(|position| position >= end)
        });
        assert_eq!(read, if end_aborted { ["0", "1"] } else { ["0", "2"] });
    }
}

pub fn a_subscription_tells_that_it_got_past_aborted_records(open: Open<'_>) {
    let log = open();
    let scene = Scene::new(&*log);
    committed_and_aborted(&*log, &scene, true);
    let place = at(&scene.outputs[0], 1);
    let end = log.end_offset(&place, Isolation::ReadUncommitted, LONG).unwrap();
    let mut member = Member::alone(&*log, &fresh("group"), &[&scene.outputs[0]]);
    until("the subscription has reached the end", || {
        member.poll();
        member.subscription.position(&place).is_some_and(|position| position >= end)
    });
    assert_eq!(member.read.iter().filter(|record| record.at() == place).count(), 2);
}
