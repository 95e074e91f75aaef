//! Reading what a program writes, and giving it what it reads.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

const CHUNK: usize = 64 * 1024;

/// What came out of one pipe.
#[derive(Debug, Default)]
pub(in super::super) struct Captured {
    pub bytes: Vec<u8>,
    /// Whether more came than was kept.
    pub truncated: bool,
}

/// A pipe to read from asynchronously, and the end for the program.
pub(super) fn pipe() -> std::io::Result<(Receiver, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Receiver::from_owned_fd(read)?, write))
}

/// A program's standard input: a file that nobody can change any more.
pub(super) fn input(text: &str) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads to the end, keeping the first `keep` bytes. `total` counts what all pipes of the program have brought;
/// once that passes `flood`, `stop` is called, and the rest is thrown away.
pub(super) async fn drain(
    mut pipe: Receiver,
    keep: u64,
    total: &AtomicU64,
    flood: u64,
    stop: &impl Fn(),
) -> std::io::Result<Captured> {
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let mut captured = Captured::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = pipe.read(&mut chunk).await?;
        if length == 0 {
            return Ok(captured);
        }
        let room = keep - captured.bytes.len();
        captured.bytes.extend_from_slice(&chunk[..length.min(room)]);
        captured.truncated |= length > room;
        let before = total.fetch_add(length as u64, Ordering::Relaxed);
        if before <= flood && before + length as u64 > flood {
            stop();
        }
    }
}
