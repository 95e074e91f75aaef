//! What the launcher knows of a job.

use std::os::fd::OwnedFd;

use super::super::init::Tree;
use super::super::pool::Ready;
use super::super::protocol::{Content, Surroundings};
use super::super::workspace::Workspace;

/// A job.
pub(super) struct Work {
    pub surroundings: Surroundings,
    pub slot: u32,
    /// Its folder on the host, without namespaces.
    pub workspace: Option<Workspace>,
    /// To be written by its first jail.
    pub files: Vec<(String, Content)>,
    /// To be unpacked by its first jail.
    pub pack: Option<OwnedFd>,
    /// The memory that takes, bytes.
    pub packed: u64,
    /// Steps still to come.
    pub steps: usize,
    /// The jail for the next of them, or why there is none.
    pub next: Option<std::result::Result<Ready, String>>,
    /// The mount namespace of its last step.
    pub tree: Option<OwnedFd>,
}

impl Work {
    pub(super) fn tree(&self) -> Option<Tree<'_>> {
        self.workspace.as_ref().map(Tree::Host).or_else(|| self.tree.as_ref().map(Tree::Before))
    }
}
