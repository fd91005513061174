//! `ttf validate`: checks the configuration, and events in a file, without sending anything.

use std::{io::BufRead, path::Path, process::ExitCode};

use ingest_gateway::privacy::{self, Policies};

use crate::{
    cli::ValidateArgs,
    config::{self, Config},
    exit, output, send,
};

pub fn run(args: ValidateArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    if let Some(path) = &args.sample {
        return sample(path, &args.tenant, &config);
    }
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

/// Prints, for every event, what would be written of it and what the privacy policy changed; a line of JSON each.
fn sample(path: &Path, tenant: &str, config: &Config) -> anyhow::Result<ExitCode> {
    let settings = config::gateway_settings(config);
    let policies = Policies::compile(&settings.privacy, &settings.milestones)?;
    let event_bytes = config.gateway.limits.event_bytes.as_usize();
    for line in send::open(path)?.split(b'\n') {
        let line = line?;
        if !line.trim_ascii().is_empty() {
            output::line(serde_json::to_string(&privacy::sample(policies.of(tenant), tenant, &line, event_bytes))?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
