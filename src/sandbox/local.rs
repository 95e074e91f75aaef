//! stub
use super::*;
/// x
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Isolation {
    /// a
    Auto,
    /// b
    Reduced,
}
/// x
pub struct Options {
    /// a
    pub isolation: Isolation,
    /// b
    pub jobs: usize,
}
impl Default for Options {
    fn default() -> Self {
        Options { isolation: Isolation::Auto, jobs: 2 }
    }
}
/// x
pub struct LocalSandbox;
impl LocalSandbox {
    /// x
    pub fn start(_o: Options) -> crate::error::Result<Self> {
        Ok(LocalSandbox)
    }
}
impl Sandbox for LocalSandbox {
    fn run<'a>(&'a self, _j: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        todo!()
    }
    fn identity(&self, _l: &str) -> String {
        String::new()
    }
    fn capacity(&self) -> usize {
        2
    }
    fn describe(&self) -> String {
        String::new()
    }
}
/// x
pub fn launcher_main() -> std::process::ExitCode {
    todo!()
}
