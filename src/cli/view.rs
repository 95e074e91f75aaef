//! `autocodegen view`: the rows of a run in the terminal.
//!
//! Keys and what threads find out come as events; the state makes tasks of them, which threads do; then everything is drawn.

mod background;
mod choice;
mod detail;
mod draw;
mod draw_detail;
mod keys;
mod list;
mod panes;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use self::background::Background;
use self::draw::{Theme, draw, list_height};
use self::state::{State, Task};
use crate::engine::listing::{Listed, listing};
use crate::engine::run_file;
use crate::error::{Error, Result};
use crate::frame::run_dir::RunDir;

/// Longest that events are gathered before the screen is drawn.
const FRAME: Duration = Duration::from_millis(30);

/// Arguments of `view`.
#[derive(clap::Args)]
#[command(after_help = "Keys: ? shows them all, q quits.

Examples:
  autocodegen view
  autocodegen view --run runs/mine")]
pub struct Args {
    /// Run directory, finished or not.
    #[arg(long, value_name = "DIR", default_value = "runs/synthesize")]
    run: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let run = RunDir::open_read_only(&args.run)?;
    screen::require_terminal()?;
    let listed = listing(&run)?;
    screen::with_panics_after(|| show(args, listed))
}

fn show(args: &Args, listed: Listed) -> Result<u8> {
    let (sender, events) = channel();
    let mut state = State::new(title(args, &listed), listed.rows.len());
    let background = Background::new(&args.run, listed.rows, sender.clone());
    let _signals = screen::listen(&sender)?;
    let mut screen = screen::open()?;
    let lost = |error| Error::environment(format!("the terminal cannot be written: {error}"));
    let theme = Theme { color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let mut tasks = state.begin();
    loop {
        let height = screen.size().map_err(lost)?.height;
        tasks.extend(state.resize(list_height(height)));
        for task in tasks.drain(..) {
            match task {
                Task::Quit(code) => return Ok(code),
                task => background.begin(task),
            }
        }
        screen.draw(|frame| draw(&mut state, frame, theme)).map_err(lost)?;
        // The sender lives in this function, so that waiting cannot fail.
        let Ok(first) = events.recv() else { return Ok(0) };
        tasks.extend(state.update(first));
        let drawn = Instant::now();
        while let Ok(next) = events.try_recv() {
            tasks.extend(state.update(next));
            if drawn.elapsed() >= FRAME {
                break;
            }
        }
    }
}

fn title(args: &Args, listed: &Listed) -> String {
    let state = match listed.file.state {
        run_file::State::Running => "under way, or killed",
        run_file::State::Done => "done",
        run_file::State::Pending => "rows are pending",
    };
    format!("{} · {} · {state}", args.run.display(), listed.file.pipeline)
}
