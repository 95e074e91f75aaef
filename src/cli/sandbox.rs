//! stub
/// a
#[derive(clap::Subcommand)]
pub enum Command {
    /// x
    Exec,
}
/// x
pub fn run(_a: &Command) -> crate::error::Result<u8> {
    Ok(0)
}
