//! The detectors against the vectors that the clients share.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    found: Vec<(Detector, String)>,
}

fn all() -> Detectors {
    Detectors::new(ORDER)
}

#[test]
fn the_vectors_are_found_and_nothing_else() {
    let text = include_str!("../../../../schemas/testdata/privacy/detectors.json");
    let vectors: Vectors = serde_json::from_str(text).expect("the vectors are readable");
    assert!(vectors.cases.len() > 90, "only {} vectors", vectors.cases.len());
    let detectors = all();
    let wrong: Vec<String> = vectors
        .cases
        .iter()
        .filter_map(|case| {
            let finds = detectors.find(&case.text).into_iter();
            let found: Vec<_> = finds.map(|find| (find.detector, case.text[find.range].to_owned())).collect();
            (found != case.found).then(|| format!("{:?}: found {found:?}, expected {:?}", case.text, case.found))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_detector_that_is_off_finds_nothing() {
    let email_only = Detectors::new([Detector::Email]);
    let finds = email_only.find("ada@example.com from 203.0.113.7");
    assert_eq!(finds.iter().map(|find| find.detector).collect::<Vec<_>>(), [Detector::Email]);
    assert!(!Detectors::new([]).is_any_on());
}

proptest! {
    #[test]
    fn any_text_is_survived_and_finds_are_in_order_and_apart(text in "[ -~äß€\u{0}\n@.:+0-9a-f-]{0,120}|\\PC{0,60}") {
        let mut end = 0;
        for find in all().find(&text) {
            prop_assert!(find.range.start >= end && find.range.end <= text.len() && !find.range.is_empty());
            prop_assert!(text.get(find.range.clone()).is_some(), "not between characters");
            end = find.range.end;
        }
    }

    #[test]
    fn a_secret_is_never_ruled_out_before_it_is_looked_for(
        which in 0..secret::PREFIXES.len(), tail in "[a-zA-Z0-9._:@-]{1,12}|[A-Z0-9]{10,40}", url in "[a-z]{0,2}:b@",
    ) {
        let prefix = secret::PREFIXES[which].0;
        for text in [format!("{prefix}{tail}"), format!("{prefix}{url}")] {
            let mut found = false;
            SecretScanner::of_known_prefixes().find(&text, &mut |_| found = true);
            prop_assert!(!found || Signals::of(text.as_bytes()).may_hold(Detector::Secret), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_found_wherever_it_stands(front in "[ ,;(\"]{1,9}", back in "[ ,;)\"]{1,9}", which in 0usize..5) {
        let (detector, value) = [
            (Detector::Email, "ada@example.com"),
            (Detector::Card, "4111111111111111"),
            (Detector::Ip, "203.0.113.77"),
            (Detector::Phone, "+491711234567"),
            (Detector::NationalId, "123-45-6789"),
        ][which];
        let text = format!("{front}{value}{back}");
        let finds = all().find(&text);
        prop_assert_eq!(finds, vec![Find { detector, range: front.len()..front.len() + value.len() }]);
    }
}
