//! Topics and identities.

use stream_runtime::log::{TopicInfo, TopicOutcome};

use super::support::{LONG, Open, fresh, new_topic, spec};

pub fn topics_are_created_once_and_never_resized(open: Open<'_>) {
    let log = open();
    let (first, second) = (fresh("conformance"), fresh("conformance"));
    let outcomes = |partitions: i32, names: &[&String]| {
        let specs: Vec<_> = names.iter().map(|name| spec(name, partitions)).collect();
        log.create_topics(&specs, LONG).unwrap()
    };
    assert_eq!(outcomes(2, &[&first]), [(first.clone(), TopicOutcome::Created)]);
    assert_eq!(
        outcomes(2, &[&first, &second]),
        [(first.clone(), TopicOutcome::Exists), (second.clone(), TopicOutcome::Created)]
    );
    assert_eq!(outcomes(3, &[&first]), [(first.clone(), TopicOutcome::PartitionsDiffer { actual: 2 })]);
    assert_eq!(log.topics(Some(&[&first]), LONG).unwrap(), [TopicInfo { name: first, partitions: 2 }]);
}

pub fn only_topics_that_exist_are_listed(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 4);
    let missing = fresh("missing");
    let listed = log.topics(Some(&[&missing, &topic]), LONG).unwrap();
    assert_eq!(listed, [TopicInfo { name: topic.clone(), partitions: 4 }]);
    let all = log.topics(None, LONG).unwrap();
    assert!(all.iter().any(|info| info.name == topic));
    assert!(all.iter().all(|info| info.name != missing));
}

pub fn cluster_and_topics_keep_their_identity(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let identities = (log.cluster_id(LONG).unwrap(), log.topic_id(&topic, LONG).unwrap());
    assert!(!identities.0.is_empty() && !identities.1.is_empty());
    let other = new_topic(&*log, 1);
    assert_ne!(log.topic_id(&other, LONG).unwrap(), identities.1);
    drop(log);
    let log = open();
    assert_eq!((log.cluster_id(LONG).unwrap(), log.topic_id(&topic, LONG).unwrap()), identities);
}
