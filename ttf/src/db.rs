//! `ttf db`: the schema of the archive's database.

use std::process::ExitCode;

use anyhow::Context;

use crate::{cli::ConfigArgs, config, exit, output};

/// Brings the schema up to date and says what was done.
pub async fn migrate(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args)?;
    let (before, known) = sink_archiver::schema_versions(&config.archive).await.context("the archive's database")?;
    sink_archiver::migrate(&config.archive).await.context("the archive's database")?;
    if before == known {
        output::line(format_args!("the database has schema version {known}: nothing to do"))?;
    } else {
        output::line(format_args!("the database went from schema version {before} to {known}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which version the database has. Fails when it is not this program's.
pub async fn status(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args)?;
    let (stored, known) = sink_archiver::schema_versions(&config.archive).await.context("the archive's database")?;
    let what = match stored.cmp(&known) {
        std::cmp::Ordering::Equal => "up to date".to_owned(),
        std::cmp::Ordering::Less => format!("`ttf db migrate` brings it to {known}"),
        std::cmp::Ordering::Greater => format!("newer than this program, which knows up to {known}"),
    };
    output::line(format_args!("schema version {stored}: {what}"))?;
    Ok(if stored == known { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}
