//! The OpenAPI document is held against the running gateway by a tool that makes up requests from it.

use std::{process::Command, time::Duration};

use ttf_tests::{clients, dev::Dev};

/// How long the tool may take.
const LIMIT: Duration = Duration::from_secs(150);

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance";

#[tokio::test]
async fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let dev = Dev::start().await;
    let mut command = Command::new(clients::folder().join("python/bin/schemathesis"));
    command
        .current_dir(dev.folder())
        .arg("run")
        .arg(format!("{}/openapi.json", dev.url))
        .args(["--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"])
        .args(["--workers", "1", "--no-color", "--exclude-path-regex", "^/dev/"]);
    tokio::task::spawn_blocking(move || clients::finish(command, "schemathesis", LIMIT)).await.expect("no findings");
}
