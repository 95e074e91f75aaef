//! The secret by which a program says that its tests ran to their end.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// A secret of one run, and the pipes it goes through.
pub(super) struct Secret {
    text: String,
    /// Where it comes back; reading does not block.
    echo: File,
    /// The program's ends: the secret to read, and where to write it.
    pub(super) ends: [OwnedFd; 2],
}

/// The program's answer, once its end of the pipe is closed.
pub(super) struct Expected {
    text: String,
    echo: File,
}

impl Secret {
    /// A new secret, ready to be read by the program.
    pub(super) fn new() -> Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let text = format!("{:032x}", u128::from_ne_bytes(bytes));
        let (to_read, from_us) = pipe2(OFlag::O_CLOEXEC)?;
        let (echo, to_write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // The program's writes block like any other's.
        nix::fcntl::fcntl(&to_write, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
        writeln!(File::from(from_us), "{text}")?;
        Ok(Self { text, echo: echo.into(), ends: [to_read, to_write] })
    }

    /// Lets go of the program's ends, which its jail has by now.
    pub(super) fn handed_over(self) -> Expected {
        Expected { text: self.text, echo: self.echo }
    }
}

impl Expected {
    /// Whether the secret came back; the program has ended.
    pub(super) fn came_back(mut self) -> bool {
        let mut said = [0; 128];
        match self.echo.read(&mut said) {
            Ok(length) => String::from_utf8_lossy(&said[..length]).trim() == self.text,
            Err(_) => false,
        }
    }
}
