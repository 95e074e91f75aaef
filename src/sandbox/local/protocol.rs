//! What supervisor and launcher say to each other.
//!
//! Packets of JSON on a `SOCK_SEQPACKET` pair; what is too long for a packet (sources may be) travels in a memfd, and
//! what a compiler made in another (see `pack`). A step comes with the write ends of its stdout and stderr pipes, one with input with a memfd of that, and one that
//! must say when its tests are done with the ends of the pipes by which it does.
//!
//! The launcher speaks with the init of a jail in the same way: it sends one [`Order`] and hears one [`Word`].

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) use crate::sandbox::job::Limits;

/// Largest packet, bytes.
const PACKET: usize = 64 * 1024;
/// First byte of a packet that holds the message.
const INLINE: u8 = b'i';
/// First byte of a packet whose message is in a memfd, its first descriptor.
const IN_MEMFD: u8 = b'm';
/// Most descriptors of a packet.
const MOST_FDS: usize = 8;

/// What the supervisor asks for. Requests are carried out in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// First packet: how to isolate, and a private empty folder of the supervisor.
    Configure { isolation: Level, scratch: PathBuf },
    /// Makes a work folder holding `files`, for this many steps, and where the request brings a pack, its files, which
    /// take `packed` bytes of memory. Answered only when it fails, through the steps.
    Open { work: u64, surroundings: Surroundings, files: Vec<(String, Content)>, packed: u64, steps: usize },
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

/// An interpreter that is started once and forked for every job; see `fork_server`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Interpreter {
    /// The interpreter as a library.
    pub library: PathBuf,
    /// The command and the environment that every one of its jobs has.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// What the jails of one job are made of before its files and commands are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Surroundings {
    pub view: View,
    /// Bytes of all its files.
    pub file_bytes: u64,
    /// Whether its steps run under the other host name and at the other work path.
    pub elsewhere: bool,
    /// The interpreter to fork, where there is one, for the job's only step.
    pub interpreter: Option<Interpreter>,
}

/// One program to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    pub id: u64,
    pub work: u64,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub limits: Limits,
    /// Whether its standard input comes with the request; otherwise there is none.
    pub has_stdin: bool,
}

/// What a prepared jail is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// Files to put into the work folder first, by name.
    pub files: Vec<(String, Content)>,
    /// Whether a pack, to be put there as well, comes with the order, after what is the step's.
    pub packed: bool,
    pub step: Step,
    /// Whether another step of the job follows: the mount namespace comes with the answer then, and the work folder
    /// if all that the step has left is in there.
    pub keep: bool,
}

/// What became of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Word {
    /// The program has ended, and all that it started.
    Ended {
        /// The program's wait status.
        status: i32,
        /// CPU time the init itself has used, for the jail and not for the program, ms.
        init_cpu_ms: u64,
    },
    /// Why the program could not be started.
    Failed { message: String },
}

/// What the launcher answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Jails can be made; `isolation` names what is in force, e.g. `namespaces+cgroup-v1+seccomp`.
    Ready { isolation: String },
    /// No jail can be made here.
    Unavailable { message: String },
    /// The step's process tree is gone. The work folder comes along as [`Order::keep`] says.
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

/// Sends `message` with `fds`; blocks while the socket's buffer is full.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    if json.len() < PACKET {
        return send_packet(socket, INLINE, &json, &raw);
    }
    let mut body = File::from(memfd_create(c"message", MFdFlags::MFD_CLOEXEC)?);
    body.write_all(&json)?;
    raw.insert(0, body.as_raw_fd());
    send_packet(socket, IN_MEMFD, &[], &raw)
}

fn send_packet(socket: BorrowedFd<'_>, kind: u8, body: &[u8], fds: &[RawFd]) -> std::io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[] } else { &rights[..] };
    let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(body)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next message and its descriptors; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = vec![0_u8; PACKET];
    let mut iov = [IoSliceMut::new(&mut packet)];
    let mut space = nix::cmsg_space!([RawFd; MOST_FDS]);
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds: Vec<OwnedFd> = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this process; nothing else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    match packet.get(..length).and_then(<[u8]>::split_first) {
        None => Ok(None),
        Some((&INLINE, json)) => Ok(Some((serde_json::from_slice(json)?, fds))),
        Some(_) if fds.is_empty() => Err(std::io::Error::other("a message came without its body")),
        Some(_) => {
            let mut body = File::from(fds.remove(0));
            let mut json = Vec::new();
            body.seek(SeekFrom::Start(0))?;
            body.read_to_end(&mut json)?;
            Ok(Some((serde_json::from_slice(&json)?, fds)))
        }
    }
}
