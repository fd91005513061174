//! Time intervals in Alertmanager's notation: working hours, weekends, holidays.
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#time_interval>, and `dates` beside it, because holidays are
//! dates.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, Zoned,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};
use telemetry_schemas::EventTime;

/// A named set of times; it holds when one of its parts does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeInterval {
    pub name: String,
    pub time_intervals: Vec<TimeSpec>,
}

/// What all has to hold at once; what is left out holds always.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    #[serde(default)]
    pub times: Vec<TimeRange>,
    /// `monday:friday`, `sunday`.
    #[serde(default)]
    pub weekdays: Vec<Weekdays>,
    /// `1:5`, `-3:-1` (from the month's end).
    #[serde(default)]
    pub days_of_month: Vec<MonthDays>,
    /// `january:march`, `12`.
    #[serde(default)]
    pub months: Vec<Months>,
    /// `2026:2028`, `2030`.
    #[serde(default)]
    pub years: Vec<Years>,
    /// `2026-12-24:2026-12-26`, `2027-01-01`.
    #[serde(default)]
    pub dates: Vec<Dates>,
    /// A zone of the IANA database; UTC when left out.
    #[serde(default)]
    pub location: Zone,
}

/// From one time of day until before another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    pub start_time: MinuteOfDay,
    pub end_time: MinuteOfDay,
}

/// Minutes after midnight, 0 to 1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MinuteOfDay(pub u32);

/// A zone by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

macro_rules! range {
    ($(#[$doc:meta])* $name:ident, $value:ty, $parse:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            first: $value,
            last: $value,
            text: String,
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let (first, last) = text.split_once(':').unwrap_or((&text, &text));
                let parse = $parse;
                let wrong = || format!("`{text}` is no {}", $what);
                let (first, last) = (parse(first.trim()).ok_or_else(wrong)?, parse(last.trim()).ok_or_else(wrong)?);
                Ok(Self { first, last, text })
            }
        }

        impl From<$name> for String {
            fn from(range: $name) -> Self {
                range.text
            }
        }
    };
}

range!(
    /// Days of the week, counted from Sunday as in Alertmanager.
    Weekdays, i64, |text: &str| number_or_name(text, &WEEKDAYS, 0..=6), "range of weekdays, such as `monday:friday`"
);
range!(
    /// Days of the month, from its end when negative.
    MonthDays, i64,
    |text: &str| text.parse::<i64>().ok().filter(|day| *day != 0 && (-31..=31).contains(day)),
    "range of days of the month, such as `1:5` or `-3:-1`"
);
range!(
    /// Months.
    Months, i64, |text: &str| number_or_name(text, &MONTHS, 1..=12), "range of months, such as `january:march` or `12`"
);
range!(
    /// Years.
    Years, i64, |text: &str| text.parse::<i64>().ok().filter(|year| (1970..=9999).contains(year)),
    "range of years, such as `2026:2028`"
);
range!(
    /// Dates.
    Dates, Date, |text: &str| text.parse::<Date>().ok(), "range of dates, such as `2026-12-24:2026-12-26`"
);

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 13] = [
    "",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn number_or_name(text: &str, names: &[&str], valid: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let number = match names.iter().position(|name| !name.is_empty() && *name == text) {
        Some(index) => i64::try_from(index).ok(),
        None => text.parse::<i64>().ok(),
    };
    number.filter(|number| valid.contains(number))
}

impl TryFrom<String> for MinuteOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time of day; expected `HH:MM`, at most `24:00`");
        let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
        if hours.len() != 2 || minutes.len() != 2 {
            return Err(wrong());
        }
        let (hours, minutes): (u32, u32) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
        let minute = hours * 60 + minutes;
        if minutes < 60 && minute <= 1_440 { Ok(Self(minute)) } else { Err(wrong()) }
    }
}

impl From<MinuteOfDay> for String {
    fn from(MinuteOfDay(minute): MinuteOfDay) -> Self {
        format!("{:02}:{:02}", minute / 60, minute % 60)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let zone = TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone, such as `Europe/Berlin`"))?;
        Ok(Self(zone))
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl TimeInterval {
    /// Whether the instant lies in it.
    pub fn contains(&self, at: EventTime) -> bool {
        self.time_intervals.iter().any(|spec| spec.contains(at))
    }

    /// What is wrong with it beyond its notation.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, spec) in self.time_intervals.iter().enumerate() {
            for (range, times) in spec.times.iter().enumerate() {
                if times.start_time >= times.end_time {
                    wrong.push(format!(
                        "time_intervals[{index}].times[{range}]: must end after it begins; a night is two ranges, \
                         until `24:00` and from `00:00`"
                    ));
                }
            }
            let backwards = [
                ("weekdays", spec.weekdays.iter().position(|range| range.first > range.last)),
                ("months", spec.months.iter().position(|range| range.first > range.last)),
                ("years", spec.years.iter().position(|range| range.first > range.last)),
                ("dates", spec.dates.iter().position(|range| range.first > range.last)),
                (
                    "days_of_month",
                    spec.days_of_month
                        .iter()
                        .position(|range| (range.first < 0) == (range.last < 0) && range.first > range.last),
                ),
            ];
            for (key, found) in backwards {
                if let Some(range) = found {
                    wrong.push(format!("time_intervals[{index}].{key}[{range}]: ends before it begins"));
                }
            }
        }
        wrong
    }
}

impl TimeSpec {
    fn zoned(&self, at: EventTime) -> Option<Zoned> {
        Timestamp::from_millisecond(at.0).ok().map(|at| at.to_zoned(self.location.0.clone()))
    }

    fn contains(&self, at: EventTime) -> bool {
        let Some(local) = self.zoned(at) else { return false };
        let within = |value: i64, first: i64, last: i64| (first..=last).contains(&value);
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let (date, days) = (local.date(), i64::from(local.days_in_month()));
        let weekday = i64::from(local.weekday().since(Weekday::Sunday));
        let of_month = |day: i64| if day < 0 { (days + 1 + day).max(1) } else { day.min(days + 1) };
        let holds = |is_empty: bool, any: bool| is_empty || any;
        holds(
            self.times.is_empty(),
            self.times
                .iter()
                .any(|range| within(minute, i64::from(range.start_time.0), i64::from(range.end_time.0) - 1)),
        ) && holds(self.weekdays.is_empty(), self.weekdays.iter().any(|days| within(weekday, days.first, days.last)))
            && holds(
                self.days_of_month.is_empty(),
                self.days_of_month
                    .iter()
                    .any(|range| within(i64::from(local.day()), of_month(range.first), of_month(range.last))),
            )
            && holds(
                self.months.is_empty(),
                self.months.iter().any(|range| within(i64::from(local.month()), range.first, range.last)),
            )
            && holds(
                self.years.is_empty(),
                self.years.iter().any(|range| within(i64::from(local.year()), range.first, range.last)),
            )
            && holds(self.dates.is_empty(), self.dates.iter().any(|range| range.first <= date && date <= range.last))
    }

    /// The instants of the day `days` after `at` at which it may begin or end.
    pub(super) fn boundaries(&self, at: EventTime, days: i64) -> Vec<EventTime> {
        let Some(local) = self.zoned(at) else { return Vec::new() };
        let Ok(date) = local.date().checked_add(jiff::Span::new().days(days)) else { return Vec::new() };
        let minutes = self.times.iter().flat_map(|range| [range.start_time.0, range.end_time.0]).chain([0]);
        let instant = |minute: u32| {
            // A minute that the clocks jump over is the one they jump to.
            let midnight = date.at(0, 0, 0, 0);
            let civil = midnight.checked_add(jiff::Span::new().minutes(i64::from(minute))).ok()?;
            let zoned = self.location.0.to_ambiguous_zoned(civil).compatible().ok()?;
            Some(EventTime(zoned.timestamp().as_millisecond()))
        };
        minutes.filter_map(instant).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn interval(spec: &str) -> TimeInterval {
        serde_json::from_value(serde_json::json!({ "name": "i", "time_intervals": [
            serde_json::from_str::<serde_json::Value>(spec).expect("json")
        ]}))
        .unwrap_or_else(|error| panic!("{spec}: {error}"))
    }

    pub fn at(text: &str) -> EventTime {
        EventTime::parse(text).expect("a time")
    }

    pub const OFFICE: &str = r#"{"weekdays": ["monday:friday"], "times": [{"start_time": "09:00", "end_time": "17:00"}],
                             "location": "Europe/Berlin"}"#;

    #[test]
    fn working_hours_are_those_of_their_zone() {
        let office = interval(OFFICE);
        assert!(!office.contains(at("2026-11-23T07:59:59Z")), "08:59 in winter");
        assert!(office.contains(at("2026-11-23T08:00:00Z")));
        assert!(office.contains(at("2026-11-23T15:59:59Z")));
        assert!(!office.contains(at("2026-11-23T16:00:00Z")), "an end is outside");
        assert!(office.contains(at("2026-07-20T07:00:00Z")), "09:00 in summer");
        assert!(!office.contains(at("2026-11-22T10:00:00Z")), "a Sunday");
    }

    #[test]
    fn holidays_months_years_and_days_from_the_end() {
        let holidays = interval(r#"{"dates": ["2026-12-24:2026-12-26", "2027-01-01"]}"#);
        assert!(holidays.contains(at("2026-12-26T23:59:59Z")) && !holidays.contains(at("2026-12-27T00:00:00Z")));
        let last = interval(r#"{"days_of_month": ["-2:-1"], "months": ["february"], "years": ["2026:2028"]}"#);
        assert!(last.contains(at("2026-02-27T12:00:00Z")) && last.contains(at("2028-02-29T12:00:00Z")));
        assert!(!last.contains(at("2028-02-27T12:00:00Z")) && !last.contains(at("2029-02-28T12:00:00Z")));
        assert!(interval(r#"{"weekdays": ["SUNDAY"]}"#).contains(at("2026-11-22T10:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for spec in [
            r#"{"weekdays": ["someday"]}"#,
            r#"{"months": ["13"]}"#,
            r#"{"days_of_month": ["0"]}"#,
            r#"{"dates": ["2026-02-30"]}"#,
            r#"{"location": "Mars/Olympus"}"#,
            r#"{"times": [{"start_time": "9:00", "end_time": "17:00"}]}"#,
            r#"{"times": [{"start_time": "09:00", "end_time": "24:01"}]}"#,
            r#"{"hours": []}"#,
        ] {
            let refused = serde_json::from_str::<TimeSpec>(spec);
            assert!(refused.is_err(), "{spec}");
        }
        let night =
            interval(r#"{"times": [{"start_time": "22:00", "end_time": "06:00"}], "weekdays": ["friday:monday"]}"#);
        assert_eq!(night.problems().len(), 2);
    }
}
