//! (to come)
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}
pub fn run(_: &Args) -> std::io::Result<std::process::ExitCode> {
    Ok(std::process::ExitCode::SUCCESS)
}
