//! The verdicts on failed transactional calls, each error injected by librdkafka's mock cluster.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use stream_runtime::log::{
    GroupMetadata, Isolation, Log, LogError, NewRecord, NextOffset, Polled, Position, SubscribeOptions, Subscription,
    TopicPartition, TransactionError, Transactor, Verdict, config::KafkaConfig, kafka::KafkaLog,
};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(400);

/// A worker as the runtime has it: a member with an assignment, and a producer.
struct Worker {
    member: Box<dyn Subscription>,
    group: GroupMetadata,
    transactor: Box<dyn Transactor>,
}

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    log: KafkaLog,
}

impl Mock {
    fn new() -> Self {
        Self::with([])
    }

    fn with<const N: usize>(properties: [(&str, &str); N]) -> Self {
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["in", "out"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), properties: BTreeMap::from(properties) };
        Self { log: KafkaLog::open(&config, "verdicts").unwrap(), cluster }
    }

    fn inject(&self, call: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(call, errors);
    }

    fn worker(&self) -> Worker {
        let options = SubscribeOptions {
            group: "workers".into(),
            topics: vec!["in".into()],
            instance_id: Some("worker-0".into()),
            prefetch_bytes: 1 << 20,
            isolation: Isolation::ReadCommitted,
        };
        let mut member = self.log.subscribe(options).unwrap();
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline, "no assignment came");
            if let Polled::Assigned(partitions) = member.poll(10, SHORT, &mut |_| {}).unwrap() {
                let from: Vec<_> = partitions.into_iter().map(|at| (at, Position::Beginning)).collect();
                member.assign(&from).unwrap();
                break;
            }
        }
        let group = member.group().unwrap();
        let mut transactor = self.log.transactor("worker-0").unwrap();
        transactor.init(LONG).unwrap();
        Worker { member, group, transactor }
    }

    /// The values a reader of committed records sees.
    fn read_out(&self) -> Vec<Vec<u8>> {
        let at = TopicPartition::new("out", 0);
        let end = self.log.end_offset(&at, Isolation::ReadUncommitted, LONG).unwrap();
        let mut reader = self.log.reader(Isolation::ReadUncommitted).unwrap();
        reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
        let (mut values, deadline) = (Vec::new(), Instant::now() + LONG);
        while reader.position(&at).unwrap_or(0) < end {
            assert!(Instant::now() < deadline, "the reader did not reach {end}");
            reader.poll(100, SHORT, &mut |record| values.push(record.value.unwrap().to_vec())).unwrap();
        }
        values
    }
}

impl Worker {
    fn begin(&mut self) {
        self.transactor.begin().unwrap();
        let record = NewRecord::new("out", "key", "value").with_partition(0);
        self.transactor.produce(&record).unwrap();
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        let offset = NextOffset { at: TopicPartition::new("in", 0), next: 1, metadata: "0".into() };
        self.transactor.commit(&[offset], &self.group, timeout)
    }

    /// One transaction with an error injected before its commit; the verdict on it.
    fn fails_with(&mut self, mock: &Mock, call: RDKafkaApiKey, errors: &[RDKafkaRespErr]) -> Verdict {
        self.begin();
        mock.inject(call, errors);
        self.commit(LONG).expect_err("the commit must fail").verdict
    }

    /// Polls until there is news of the membership.
    fn told(&mut self, wanted: Polled) {
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline, "{wanted:?} is not told");
            match self.member.poll(10, SHORT, &mut |_| {}) {
                Ok(Polled::Records(_)) => {}
                Err(error) if error.is_retriable() => {}
                other => return assert_eq!(other.unwrap(), wanted),
            }
        }
    }

    fn goes_on(&mut self) {
        self.transactor.abort(LONG).unwrap();
        self.begin();
        self.commit(LONG).unwrap();
    }
}

#[test]
fn what_passes_by_itself_is_not_an_error_at_all() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    worker.begin();
    mock.inject(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE]);
    worker.commit(LONG).unwrap();
}

#[test]
fn a_commit_that_timed_out_is_resumed_and_writes_nothing_twice() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    worker.begin();
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    mock.inject(RDKafkaApiKey::EndTxn, &[loading; 50]);
    assert_eq!(worker.commit(SHORT).expect_err("times out").verdict, Verdict::Retry);
    // Offsets that were sent again would run into this and be refused.
    mock.inject(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    mock.cluster.clear_request_errors(RDKafkaApiKey::EndTxn);
    worker.commit(LONG).unwrap();
    assert_eq!(mock.read_out(), [b"value".to_vec()]);
}

#[test]
fn an_abort_in_the_middle_of_a_commit_cannot_know_its_outcome() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    worker.begin();
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    mock.inject(RDKafkaApiKey::EndTxn, &[loading; 50]);
    assert_eq!(worker.commit(SHORT).expect_err("times out").verdict, Verdict::Retry);
    assert_eq!(worker.transactor.abort(SHORT).expect_err("is under way").verdict, Verdict::Indeterminate);
}

#[test]
fn records_that_do_not_arrive_roll_back_and_the_producer_goes_on() {
    let mock = Mock::with([("transaction.timeout.ms", "1500")]);
    let mut worker = mock.worker();
    worker.begin();
    mock.cluster.broker_round_trip_time(-1, Duration::from_secs(4)).unwrap();
    assert_eq!(worker.commit(SHORT).expect_err("nothing has arrived").verdict, Verdict::Retry);
    let deadline = Instant::now() + LONG;
    while worker.commit(SHORT).expect_err("nothing arrives").verdict != Verdict::RollBack {
        assert!(Instant::now() < deadline, "it is waited for without end");
    }
    mock.cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    worker.goes_on();
}

#[test]
fn a_refused_record_rolls_back_and_the_producer_goes_on() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    worker.transactor.begin().unwrap();
    mock.inject(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    worker.transactor.produce(&NewRecord::new("out", "key", "value").with_partition(0)).unwrap();
    assert_eq!(worker.commit(LONG).expect_err("is refused").verdict, Verdict::RollBack);
    worker.transactor.abort(LONG).unwrap();
    // The refused record has used up a sequence number, which the broker misses in the next transaction: that one
    // is rolled back too, and librdkafka takes a new epoch.
    worker.begin();
    if let Err(error) = worker.commit(LONG) {
        assert_eq!(error.verdict, Verdict::RollBack, "{error}");
        worker.goes_on();
    }
}

#[test]
fn a_group_that_has_moved_on_makes_us_stale_and_the_producer_goes_on() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    for error in
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]
    {
        assert_eq!(worker.fails_with(&mock, RDKafkaApiKey::TxnOffsetCommit, &[error]), Verdict::Stale);
        worker.goes_on();
    }
}

#[test]
fn another_member_with_our_name_means_replaced() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    assert_eq!(worker.fails_with(&mock, RDKafkaApiKey::TxnOffsetCommit, &[error]), Verdict::Replaced);
}

#[test]
fn a_consumer_that_is_told_of_another_member_with_its_name_says_so() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    mock.inject(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID; 3]);
    let deadline = Instant::now() + LONG;
    let error = loop {
        assert!(Instant::now() < deadline, "the consumer does not tell");
        if let Err(error) = worker.member.poll(10, SHORT, &mut |_| {}) {
            break error;
        }
    };
    assert!(matches!(error, LogError::Replaced(_)), "{error}");
}

#[test]
fn a_member_that_was_fenced_by_itself_after_its_session_ended_joins_anew() {
    let mock = Mock::with([("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")]);
    let mut worker = mock.worker();
    let input = TopicPartition::new("in", 0);
    mock.cluster.broker_down(1).unwrap();
    // The question of the lost partitions is not answered, as by a worker in a call that takes long.
    worker.told(Polled::Lost(vec![input.clone()]));
    mock.inject(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID; 3]);
    mock.cluster.broker_up(1).unwrap();
    worker.told(Polled::Lost(vec![input.clone()]));
    assert!(worker.member.assignment_lost());
    mock.cluster.clear_request_errors(RDKafkaApiKey::Heartbeat);
    worker.member.release().unwrap();
    worker.told(Polled::Assigned(vec![input.clone()]));
    worker.member.assign(&[(input.clone(), Position::Beginning)]).unwrap();
    worker.group = worker.member.group().unwrap();
    assert!(!worker.member.assignment_lost());
    worker.begin();
    worker.commit(LONG).unwrap();
}

#[test]
fn a_fence_is_told_by_whichever_call_meets_it() {
    for call in [RDKafkaApiKey::AddOffsetsToTxn, RDKafkaApiKey::TxnOffsetCommit, RDKafkaApiKey::EndTxn] {
        let mock = Mock::new();
        let mut worker = mock.worker();
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
        assert_eq!(worker.fails_with(&mock, call, &[error]), Verdict::Fenced, "{call:?}");
    }
}

#[test]
fn a_coordinator_that_moves_or_loads_is_waited_for() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    for call in [RDKafkaApiKey::AddOffsetsToTxn, RDKafkaApiKey::TxnOffsetCommit, RDKafkaApiKey::EndTxn] {
        worker.begin();
        mock.inject(
            call,
            &[
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            ],
        );
        worker.commit(LONG).unwrap_or_else(|error| panic!("{call:?}: {error}"));
    }
    assert_eq!(mock.read_out().len(), 3);
}

#[test]
fn too_few_replicas_in_sync_are_waited_for_and_nothing_is_written_twice() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    worker.transactor.begin().unwrap();
    mock.inject(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3]);
    worker.transactor.produce(&NewRecord::new("out", "key", "value").with_partition(0)).unwrap();
    worker.commit(LONG).unwrap();
    assert_eq!(mock.read_out(), [b"value".to_vec()]);
}

#[test]
fn another_producer_with_our_id_means_fenced() {
    for error in
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]
    {
        let mock = Mock::new();
        let mut worker = mock.worker();
        assert_eq!(worker.fails_with(&mock, RDKafkaApiKey::EndTxn, &[error]), Verdict::Fenced);
        // A new instance takes over.
        worker.transactor = mock.log.transactor("worker-0").unwrap();
        worker.transactor.init(LONG).unwrap();
        worker.begin();
        worker.commit(LONG).unwrap();
    }
}

#[test]
fn an_unusable_producer_whose_commit_may_have_happened_is_indeterminate() {
    let mock = Mock::new();
    let mut worker = mock.worker();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE;
    assert_eq!(worker.fails_with(&mock, RDKafkaApiKey::EndTxn, &[error]), Verdict::Indeterminate);
}

#[test]
fn a_missing_permission_is_fatal() {
    let mock = Mock::new();
    let mut transactor = mock.log.transactor("worker-1").unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    mock.inject(RDKafkaApiKey::InitProducerId, &[error; 20]);
    assert_eq!(transactor.init(LONG).expect_err("is not allowed").verdict, Verdict::Fatal);
}
