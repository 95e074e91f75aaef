//! A program in a terminal of its own: keys in, screen out.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

/// Longest wait for anything to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program asked of the terminal besides drawing.
#[derive(Default)]
pub struct Asked(pub Vec<String>);

impl vt100::Callbacks for Asked {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.0.push("bell".into());
    }
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.0.push(format!("title {}", String::from_utf8_lossy(title)));
    }
    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _: &[u8], _: &[u8]) {
        self.0.push("clipboard".into());
    }
}

/// A running program and its terminal.
pub struct Pty {
    child: Child,
    keys: File,
    slave: OwnedFd,
    before: Termios,
    output: Receiver<Vec<u8>>,
    terminal: vt100::Parser<Asked>,
    /// Everything that was written.
    pub raw: Vec<u8>,
}

/// How a program left its terminal.
pub struct Left {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// What stands on the screen.
    pub screen: String,
    /// Whether the alternate screen is still on, the cursor hidden, or the line discipline another than before.
    pub changed: Vec<&'static str>,
}

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

impl Pty {
    /// Starts `command` in a terminal of this size.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let of = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&of, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command);
        let keys = File::from(pty.master);
        let mut written = keys.try_clone().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(read @ 1..) = written.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let terminal = vt100::Parser::new_with_callbacks(size(rows), size(columns), 0, Asked::default());
        Self { child, keys, slave: pty.slave, before, output, terminal, raw: Vec::new() }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the terminal larger or smaller.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.read(Duration::from_millis(100));
        self.terminal.screen_mut().set_size(size(rows), size(columns));
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows, "cols", &columns]).stdin(Stdio::from(self.slave.try_clone().unwrap()));
        assert!(stty.status().unwrap().success());
        self.signal(Signal::SIGWINCH);
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// What is on the screen now, as far as it was written.
    pub fn screen(&mut self) -> String {
        self.read(Duration::from_millis(0));
        self.terminal.screen().contents()
    }

    /// What was asked of the terminal besides drawing.
    pub fn asked(&self) -> &[String] {
        &self.terminal.callbacks().0
    }

    /// The screen once `is` holds of it.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not appear:\n{screen}");
            self.read(Duration::from_millis(50));
        }
    }

    /// The screen once all of `words` are on it.
    #[track_caller]
    pub fn shows(&mut self, words: &[&str]) -> String {
        self.until(&format!("{words:?}"), |screen| words.iter().all(|word| screen.contains(word)))
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Left {
        use std::os::unix::process::ExitStatusExt;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.screen());
            self.read(Duration::from_millis(20));
        };
        self.read(Duration::from_millis(200));
        let screen = self.terminal.screen();
        let after = tcgetattr(&self.slave).unwrap();
        let checks = [
            (screen.alternate_screen(), "alternate screen"),
            (screen.hide_cursor(), "hidden cursor"),
            (after != self.before, "line discipline"),
        ];
        Left {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            screen: screen.contents(),
            changed: checks.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect(),
        }
    }

    fn read(&mut self, wait: Duration) {
        let mut next = self.output.recv_timeout(wait);
        while let Ok(bytes) = next {
            self.terminal.process(&bytes);
            self.raw.extend(bytes);
            next = self.output.try_recv().map_err(|_| std::sync::mpsc::RecvTimeoutError::Timeout);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
