//! stub
/// a
#[derive(clap::Args)]
pub struct Args {}
/// x
pub fn run(_a: &Args) -> crate::error::Result<u8> {
    Ok(0)
}
