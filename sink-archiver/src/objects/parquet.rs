//! Rows as Parquet bytes: the same rows make the same bytes.
//!
//! `tenant` and `date` are in the object's path (Hive style), not in its columns.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use telemetry_schemas::time::EventTime;

use super::rows::{BreachRow, EventRow, RecordRow};
use crate::database::rows::{context_json, name_of, pairs_json, properties_json, stages_json};

/// Written into every object; without a version, so that a new release makes the same bytes.
const CREATED_BY: &str = "ttf";
const ZSTD_LEVEL: i32 = 3;

/// The rows of one object.
#[derive(Debug)]
pub enum Rows {
    Events(Vec<EventRow>),
    Records(Vec<RecordRow>),
    Breaches(Vec<BreachRow>),
}

impl Rows {
    pub fn count(&self) -> usize {
        match self {
            Self::Events(rows) => rows.len(),
            Self::Records(rows) => rows.len(),
            Self::Breaches(rows) => rows.len(),
        }
    }
}

/// The object's bytes.
pub fn write(rows: &Rows) -> Result<Bytes, ParquetError> {
    let batch = match rows {
        Rows::Events(rows) => events(rows),
        Rows::Records(rows) => records(rows),
        Rows::Breaches(rows) => breaches(rows),
    }?;
    let properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(&batch)?;
    writer.into_inner().map(Bytes::from)
}

/// Columns in the making.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(&mut self, name: &str, nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
    }

    fn text<S: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = S>) {
        self.add(name, false, Arc::new(StringArray::from_iter_values(values)));
    }

    fn maybe_text<S: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = Option<S>>) {
        self.add(name, true, Arc::new(values.collect::<StringArray>()));
    }

    fn time(&mut self, name: &str, values: impl Iterator<Item = EventTime>) {
        let array = TimestampMillisecondArray::from_iter_values(values.map(|at| at.0)).with_timezone("UTC");
        self.add(name, false, Arc::new(array));
    }

    fn maybe_time(&mut self, name: &str, values: impl Iterator<Item = Option<EventTime>>) {
        let array = values.map(|at| at.map(|at| at.0)).collect::<TimestampMillisecondArray>().with_timezone("UTC");
        self.add(name, true, Arc::new(array));
    }

    fn long(&mut self, name: &str, values: impl Iterator<Item = i64>) {
        self.add(name, false, Arc::new(Int64Array::from_iter_values(values)));
    }

    fn maybe_long(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        self.add(name, true, Arc::new(values.collect::<Int64Array>()));
    }

    fn int(&mut self, name: &str, values: impl Iterator<Item = i32>) {
        self.add(name, false, Arc::new(Int32Array::from_iter_values(values)));
    }

    fn flag(&mut self, name: &str, values: impl Iterator<Item = bool>) {
        self.add(name, false, Arc::new(values.map(Some).collect::<BooleanArray>()));
    }

    fn maybe_number(&mut self, name: &str, values: impl Iterator<Item = Option<f64>>) {
        self.add(name, true, Arc::new(values.collect::<Float64Array>()));
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        debug_assert!(self.fields.iter().all(|field| *field.data_type() != DataType::Null));
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
    }
}

fn events(rows: &[EventRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::default();
    let events = || rows.iter().map(|row| &row.event);
    columns.long("offset", rows.iter().map(|row| row.offset));
    columns.text("source", events().map(|event| &event.source));
    columns.text("event_id", events().map(|event| &event.event_id));
    columns.text("event_name", events().map(|event| &event.event_name));
    columns.text("event_type", events().map(|event| name_of(event.event_type)));
    columns.time("timestamp", events().map(|event| event.timestamp));
    columns.maybe_time("original_timestamp", events().map(|event| event.original_timestamp));
    columns.maybe_time("sent_at", events().map(|event| event.sent_at));
    columns.time("received_at", events().map(|event| event.received_at));
    columns.maybe_text("user_pseudonym", rows.iter().map(|row| row.user.as_ref()));
    columns.maybe_text("anonymous_pseudonym", rows.iter().map(|row| row.anonymous.as_ref()));
    columns.maybe_text("session_id", events().map(|event| event.session_id.as_ref()));
    columns.maybe_text("journey_id", events().map(|event| event.journey_id.as_ref()));
    columns.text("properties", events().map(|event| properties_json(&event.properties)));
    columns.text("context", events().map(|event| context_json(&event.context)));
    columns.flag("replay", events().map(|event| event.replay));
    columns.finish()
}

/// Without `record_id`: it is a hash of the user's id, and would lead back to it.
fn records(rows: &[RecordRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::default();
    let records = || rows.iter().map(|row| &row.record);
    columns.long("offset", rows.iter().map(|row| row.offset));
    columns.text("journey", records().map(|record| &record.journey));
    columns.int("journey_version", records().map(|record| record.journey_version));
    columns.text("user_pseudonym", rows.iter().map(|row| &row.user));
    columns.text("attempt", records().map(|record| &record.attempt));
    columns.int("generation", records().map(|record| record.generation));
    columns.long("revision", records().map(|record| record.revision));
    columns.text("status", records().map(|record| name_of(record.status)));
    columns.time("signup_at", records().map(|record| record.signup_at));
    columns.maybe_time("completed_at", records().map(|record| record.completed_at));
    columns.maybe_long("total_ms", records().map(|record| record.total_ms.map(|total| total.0)));
    columns.text("stages", records().map(stages_json));
    columns.maybe_text("current_stage", records().map(|record| record.current_stage.as_ref()));
    columns.maybe_number("efficiency_score", records().map(|record| record.efficiency_score));
    columns.maybe_text("breach_level", records().map(|record| record.breach_level.map(name_of)));
    columns.text("segments", records().map(|record| pairs_json(&record.segments)));
    columns.text("experiments", records().map(|record| pairs_json(&record.experiments)));
    columns.maybe_text("release", records().map(|record| record.release.as_ref()));
    columns.maybe_text("cause_event_id", records().map(|record| record.cause_event_id.as_ref()));
    columns.time("emitted_at", records().map(|record| record.emitted_at));
    columns.finish()
}

/// Without `breach_id`, for the same reason.
fn breaches(rows: &[BreachRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::default();
    let breaches = || rows.iter().map(|row| &row.breach);
    columns.long("offset", rows.iter().map(|row| row.offset));
    columns.text("journey", breaches().map(|breach| &breach.journey));
    columns.text("user_pseudonym", rows.iter().map(|row| &row.user));
    columns.text("attempt", breaches().map(|breach| &breach.attempt));
    columns.text("kind", breaches().map(|breach| name_of(breach.kind)));
    columns.text("level", breaches().map(|breach| name_of(breach.level)));
    columns.long("threshold_ms", breaches().map(|breach| breach.threshold_ms.0));
    columns.text("status", breaches().map(|breach| name_of(breach.status)));
    columns.maybe_text("reason", breaches().map(|breach| breach.reason.map(name_of)));
    columns.time("signup_at", breaches().map(|breach| breach.signup_at));
    columns.time("due_at", breaches().map(|breach| breach.due_at));
    columns.time("detected_at", breaches().map(|breach| breach.detected_at));
    columns.flag("late", breaches().map(|breach| breach.late));
    columns.maybe_text("current_stage", breaches().map(|breach| breach.current_stage.as_ref()));
    columns.text("segments", breaches().map(|breach| pairs_json(&breach.segments)));
    columns.long("record_revision", breaches().map(|breach| breach.record_revision));
    columns.finish()
}
