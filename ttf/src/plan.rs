//! `ttf plan`: whether tracking plans make sense, whether events are as planned, and what a change breaks.

use std::{io::BufRead, path::PathBuf, process::ExitCode};

use ingest_gateway::plan::{Plans, diff};
use serde_json::{Map, Value};

use crate::{
    cli::{ConfigArgs, PlanCheckArgs, PlanDiffArgs},
    config, exit, output, send,
};

/// `ttf plan check`
pub fn check(args: PlanCheckArgs) -> anyhow::Result<ExitCode> {
    let plan = config::load_plan(&args.config)?;
    for (tenant, plan) in &plan.0 {
        output::line(format_args!("{tenant}: {} events planned, mode {}", plan.events.len(), plan.mode.as_str()))?;
    }
    let Some(path) = args.events else {
        output::line(format_args!("{} plans: valid", plan.0.len()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let plans = Plans::new(&plan);
    let (mut checked, mut wrong) = (0_u64, 0_u64);
    for (number, line) in send::open(&path)?.split(b'\n').enumerate() {
        let line = line?;
        // What is no event at all is for `ttf validate`.
        let Ok(event) = serde_json::from_slice::<Map<String, Value>>(&line) else { continue };
        checked += 1;
        let Some(finding) = plans.judge(&args.tenant, &event) else { continue };
        wrong += 1;
        for violation in finding.violations {
            anstream::eprintln!("line {}: {} at {}: {}", number + 1, violation.code, violation.path, violation.message);
            if let Some(hint) = &violation.hint {
                anstream::eprintln!("  hint: {hint}");
            }
        }
    }
    output::line(format_args!("{checked} events checked, {wrong} not as planned"))?;
    Ok(if wrong > 0 { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}

/// `ttf plan diff`
pub fn diff(args: PlanDiffArgs) -> anyhow::Result<ExitCode> {
    let named = |path: PathBuf| ConfigArgs { config: Some(path) };
    let old = config::load_plan(&named(args.old))?;
    let new = config::load_plan(&args.new.map_or(args.config, named))?;
    let changes = diff::diff(&old, &new);
    for change in &changes {
        let mark = if change.breaks { "breaks" } else { "ok" };
        output::line(format_args!("{mark:6}  {} {}", change.place, change.what))?;
    }
    let breaking = changes.iter().filter(|change| change.breaks).count();
    output::line(format_args!("{} changes, {breaking} of them break senders", changes.len()))?;
    Ok(if breaking > 0 { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}
