//! What is archived is read by the tools people use: DuckDB and pyarrow, in the Python named by `TTF_TEST_PYTHON`.

mod common;

use std::{path::Path, process::Command};

use common::{Topics, object_suite::Stores};
use sink_archiver::objects::store::Store;

fn open(folder: &Path, name: &str) -> Store {
    let config = serde_json::json!({"kind": "folder", "path": folder.join(name)});
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_and_pyarrow_read_what_was_written() {
    let python = std::env::var("TTF_TEST_PYTHON")
        .expect("TTF_TEST_PYTHON must name a Python with duckdb and pyarrow; `make services-up` makes one");
    let stores = Stores::new(open).await;
    stores.process("archive", 4).feed(&Topics::of_users(6), 10).await.expect("fed");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    let output = Command::new(python).arg(script).arg(stores.folder.path().join("archive")).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        shown,
        serde_json::json!({
            "duckdb_events": [24, 6, "acme", "2023-11-14", 60],
            "duckdb_completed": [6, 300_000.0],
            "duckdb_breaches": [["firing", 6], ["resolved", 6]],
            "pyarrow_events": 24,
            "pyarrow_received": "timestamp[ms, tz=UTC]",
        })
    );
}
