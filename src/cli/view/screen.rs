//! The terminal: taken over, and given back however the command ends.

use std::any::Any;
use std::io::{IsTerminal, Stdout, Write, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, Once, PoisonError};

use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::input::TermRead;
use ratatui::termion::raw::{IntoRawMode, RawTerminal};
use ratatui::termion::screen::{AlternateScreen, IntoAlternateScreen};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::state::Event;
use crate::cli::runtime;
use crate::error::{Error, Result};

/// The terminal. Dropping it gives the old screen, the cursor and the keyboard back.
pub type Screen = Terminal<TermionBackend<AlternateScreen<RawTerminal<Stdout>>>>;

/// Refuses to draw where nobody would see it, or could press a key.
///
/// # Errors
/// stdin or stdout is no terminal.
pub fn require_terminal() -> Result<()> {
    if stdin().is_terminal() && stdout().is_terminal() {
        return Ok(());
    }
    Err(Error::usage("`view` needs a terminal: stdin or stdout is none")
        .hint("ask with `autocodegen query` instead, e.g. --sql \"SELECT * FROM rejected\" --format json"))
}

/// Takes the terminal over.
///
/// # Errors
/// It cannot be.
pub fn open() -> Result<Screen> {
    let raw = stdout().into_raw_mode().and_then(IntoAlternateScreen::into_alternate_screen);
    raw.and_then(|screen| Terminal::new(TermionBackend::new(screen)))
        .map_err(|error| Error::environment(format!("cannot use this terminal: {error}")))
}

/// Sends keys, and what the process is told by signals, as events. Keys are waited for by a thread that lives as long as the
/// process; signals as long as what is returned.
///
/// # Errors
/// Signals cannot be received.
pub fn listen(events: &Sender<Event>) -> Result<Runtime> {
    let runtime = runtime()?;
    let told = [
        (SignalKind::terminate(), (|| Event::Interrupted) as fn() -> Event),
        (SignalKind::interrupt(), || Event::Interrupted),
        (SignalKind::hangup(), || Event::Interrupted),
        (SignalKind::window_change(), || Event::Resized),
    ];
    for (kind, event) in told {
        let _context = runtime.enter();
        let mut signals =
            signal(kind).map_err(|error| Error::environment(format!("cannot receive signals: {error}")))?;
        let events = events.clone();
        runtime.spawn(async move { while signals.recv().await.is_some() && events.send(event()).is_ok() {} });
    }
    let events = events.clone();
    let wait = move || {
        for key in stdin().keys() {
            let Ok(key) = key else { break };
            if events.send(Event::Key(key)).is_err() {
                return;
            }
        }
        // The terminal is gone.
        let _ = events.send(Event::Interrupted);
    };
    std::thread::Builder::new()
        .name("view-keys".into())
        .spawn(wait)
        .map_err(|error| Error::environment(format!("cannot start a thread: {error}")))?;
    Ok(runtime)
}

/// Runs `work`, which takes the terminal over and lets go of it. What a panic says is printed once the terminal is back.
///
/// # Errors
/// Those of `work`.
pub fn with_panics_after<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let said: Arc<Mutex<Option<Vec<String>>>> = Arc::new(Mutex::new(Some(Vec::new())));
    capture_panics(said.clone());
    let result = catch_unwind(AssertUnwindSafe(work));
    // What gives the old screen back may still be in the buffer, and errors are written past it.
    let _ = stdout().flush();
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
    for panic in said.into_iter().flatten() {
        eprintln!("{}", crate::cli::printable(&panic));
    }
    result.unwrap_or_else(|panic: Box<dyn Any + Send>| resume_unwind(panic))
}

/// Has panics written into `said` instead of to stderr, until there is nothing to write into.
fn capture_panics(said: Arc<Mutex<Option<Vec<String>>>>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| match &mut *said.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(said) => said.push(panic.to_string()),
            None => print(panic),
        }));
    });
}

#[cfg(test)]
#[path = "../../../tests/pty/mod.rs"]
mod pty;

#[cfg(test)]
mod tests {
    use super::pty::Pty;
    use super::*;

    #[test]
    fn after_a_panic_the_terminal_is_back_and_says_why() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "cli::view::screen::tests::panics_in_a_terminal",
            "--ignored",
            "--nocapture",
        ]);
        let left = Pty::start(command, 24, 80).end();
        assert_eq!(left.changed, [] as [&str; 0], "{}", left.screen);
        assert!(left.screen.contains("a defect \\u{1b}[2J"), "{}", left.screen);
        assert_eq!(left.code, 101);
    }

    /// What [`after_a_panic_the_terminal_is_back_and_says_why`] starts.
    #[test]
    #[ignore = "needs a terminal"]
    fn panics_in_a_terminal() {
        let _ended = with_panics_after::<()>(|| {
            let mut screen = open()?;
            screen.hide_cursor().unwrap();
            panic!("a defect \u{1b}[2J")
        });
    }
}
