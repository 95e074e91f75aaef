//! stub
/// a
#[derive(clap::Args)]
pub struct Args {}
/// x
pub fn run(_a: &Args) -> crate::error::Result<u8> {
    Ok(0)
}
pub fn provide(_l: &crate::sandbox::language::Languages, _s: &[&str], _i: bool) -> crate::error::Result<()> {
    Ok(())
}
