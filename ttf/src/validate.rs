//! `ttf validate`: checks the configuration, and events in a file, without sending anything.

use std::{io::BufRead, process::ExitCode};

use crate::{cli::ValidateArgs, config, exit, send};

pub fn run(args: ValidateArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    ttf_processor::check(&config.journeys)?;
    let Some(path) = args.events else {
        println!("configuration is valid");
        return Ok(ExitCode::SUCCESS);
    };
    let event_bytes = config.gateway.limits.event_bytes.as_usize();
    let (mut checked, mut wrong) = (0_u64, 0_u64);
    for (number, line) in send::open(&path)?.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        checked += 1;
        let Err(invalid) = ingest_gateway::validate::event(line.as_bytes(), event_bytes) else { continue };
        wrong += 1;
        for violation in &invalid.violations {
            anstream::eprintln!(
                "line {}: {} at {}: {}",
                number + 1,
                violation.code.as_str(),
                violation.path,
                violation.message
            );
            if let Some(hint) = &violation.hint {
                anstream::eprintln!("  hint: {hint}");
            }
        }
    }
    println!("{checked} events checked, {wrong} not valid");
    Ok(if wrong > 0 { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}
