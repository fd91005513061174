//! The command line of `ttf erase`, `ttf certificate` and `ttf export`.

use clap::Args;
use service_kit::config::HumanDuration;

use crate::cli::{ConfigArgs, GatewayArgs};

#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The user's id
    #[arg(value_name = "ID")]
    pub user_id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait so long until it is complete everywhere, and print the certificate; asks the configured database
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<HumanDuration>,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct CertificateArgs {
    /// The erasure's id, as the request was answered with; without one: every erasure that is not complete
    #[arg(value_name = "ERASURE_ID")]
    pub erasure_id: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The user's id
    #[arg(value_name = "ID")]
    pub user_id: String,
    /// The tenant whose user it is
    #[arg(long, default_value = "default", value_name = "TENANT")]
    pub tenant: String,
    #[command(flatten)]
    pub config: ConfigArgs,
}
