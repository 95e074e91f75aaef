//! What supervisor and launcher say to each other.
//!
//! Packets on a `SOCK_SEQPACKET` pair. A request is one byte with file descriptors: a memfd holding the request
//! as JSON (sources may be larger than any packet), and for a step the write ends of its stdout and stderr
//! pipes, for one with input a memfd of that, and for one that must say when its tests are done the ends of the pipes by
//! which it does. A reply is JSON in the packet itself.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

pub(super) use crate::sandbox::job::Limits;

/// Largest reply packet, bytes.
const PACKET: usize = 64 * 1024;

/// What the supervisor asks for. Requests are carried out in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// First packet: how to isolate, and a private empty folder of the supervisor.
    Configure { isolation: Level, scratch: PathBuf },
    /// Makes a work folder holding `files`. Answered only when it fails, through the steps that use it.
    Open { work: u64, view: View, file_bytes: u64, files: Vec<(String, Content)> },
    /// Runs one program in the work folder. Answered by [`Reply::Done`] or [`Reply::Failed`].
    Step(Step),
    /// Kills a running step; it is still answered.
    Kill { step: u64 },
    /// Removes a work folder and everything in it.
    Close { work: u64 },
}

/// The bytes of a file; as JSON a text in which each character stands for a byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Content(pub Vec<u8>);

impl From<Content> for String {
    fn from(content: Content) -> Self {
        content.0.into_iter().map(char::from).collect()
    }
}

impl TryFrom<String> for Content {
    type Error = std::char::TryFromCharError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.chars().map(u8::try_from).collect::<Result<_, _>>().map(Self)
    }
}

/// How strongly the launcher isolates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Level {
    /// Namespaces, or an error.
    Namespaces,
    /// No namespaces: rlimits, seccomp and no_new_privs only.
    Reduced,
}

/// What of the host's file system a job sees besides the system's own folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct View {
    /// Read-only paths, visible at the same place.
    pub read_only: Vec<PathBuf>,
    /// Host folders visible read-only at another place, and where.
    pub prepared: Vec<(PathBuf, PathBuf)>,
    /// Host folders visible writable, and where: only for warming a cache with a trusted command.
    pub writable: Vec<(PathBuf, PathBuf)>,
    /// Host folders visible with a private upper layer that vanishes with the job, and where.
    pub layered: Vec<(PathBuf, PathBuf)>,
}

/// One program to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    pub id: u64,
    pub work: u64,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub limits: Limits,
    /// Whether it runs under the other host name and at the other work path.
    pub elsewhere: bool,
    /// Whether its standard input comes with the request; otherwise there is none.
    pub has_stdin: bool,
}

/// What the launcher answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Jails can be made; `isolation` names what is in force, e.g. `namespaces+cgroup-v1+seccomp`.
    Ready { isolation: String },
    /// No jail can be made here.
    Unavailable { message: String },
    /// The step's process tree is gone.
    Done { step: u64, report: Report },
    /// The sandbox itself failed at this step.
    Failed { step: u64, message: String },
}

/// How a step ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    /// Exit code, when the program exited.
    pub exit_code: Option<i32>,
    /// Signal that ended the program.
    pub signal: Option<i32>,
    /// The limit the launcher ended the step for.
    pub exceeded: Option<Exceeded>,
    /// Processes ended by the kernel for want of memory within the step's limit.
    pub oom_kills: u64,
    pub wall_ms: u64,
    pub cpu_ms: u64,
    pub peak_rss_bytes: u64,
    /// How long it was ready to run but had no core, ms: the most that looks at it and its threads' own counts tell.
    pub waited_ms: u64,
}

/// A limit enforced by ending the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Exceeded {
    Cpu,
    Wall,
    Memory,
    /// The supervisor asked: too much output, or nobody waits for the answer.
    Killed,
}

/// Sends `request` with `fds`; blocks while the socket's buffer is full.
pub(super) fn send_request(
    socket: BorrowedFd<'_>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let mut body = File::from(memfd_create(c"request", MFdFlags::MFD_CLOEXEC)?);
    body.write_all(&serde_json::to_vec(request)?)?;
    let mut raw: Vec<RawFd> = vec![body.as_raw_fd()];
    raw.extend(fds.iter().map(AsRawFd::as_raw_fd));
    let rights = [ControlMessage::ScmRights(&raw)];
    loop {
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"q")], &rights, MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next request and its descriptors; `None` when the supervisor is gone.
pub(super) fn receive_request(socket: BorrowedFd<'_>) -> std::io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let mut byte = [0_u8; 1];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 6]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this process; nothing else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.bytes == 0 || fds.is_empty() {
        return Ok(None);
    }
    let mut body = File::from(fds.remove(0));
    let mut json = Vec::new();
    body.seek(SeekFrom::Start(0))?;
    body.read_to_end(&mut json)?;
    Ok(Some((serde_json::from_slice(&json)?, fds)))
}

/// Sends `reply`; long messages are cut by their makers, so that it fits a packet.
pub(super) fn send_reply(socket: BorrowedFd<'_>, reply: &Reply) -> std::io::Result<()> {
    let json = serde_json::to_vec(reply)?;
    loop {
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&json)], &[], MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next reply; `None` when the launcher is gone.
pub(super) fn receive_reply(socket: BorrowedFd<'_>) -> std::io::Result<Option<Reply>> {
    let mut packet = vec![0_u8; PACKET];
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(Some(serde_json::from_slice(&packet[..length])?)),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
