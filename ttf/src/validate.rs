//! `ttf validate`: checks the configuration, and events in a file, without sending anything.

use std::{io::BufRead, process::ExitCode};

use crate::{cli::ValidateArgs, config, exit, output, send};

pub fn run(args: ValidateArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let Some(path) = args.events else {
        output::line("configuration is valid")?;
        return Ok(ExitCode::SUCCESS);
    };
    let limits = ingest_gateway::validate::Limits::from(&config.gateway);
    let received_at = service_kit::clock::now_ms();
    let (mut checked, mut wrong) = (0_u64, 0_u64);
    for (number, line) in send::open(&path)?.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        checked += 1;
        let violations = ingest_gateway::validate::check(line.as_bytes(), &limits, received_at);
        wrong += u64::from(!violations.is_empty());
        for violation in violations {
            anstream::eprintln!("line {}: {} at {}: {}", number + 1, violation.code, violation.path, violation.message);
            if let Some(hint) = &violation.hint {
                anstream::eprintln!("  hint: {hint}");
            }
        }
    }
    output::line(format_args!("{checked} events checked, {wrong} not valid"))?;
    Ok(if wrong > 0 { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}
