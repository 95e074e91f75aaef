//! Making a recording: each reply appended to a file as it comes in.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Result as IoResult, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::frame::recorded::Recorded;
use crate::llm::chat::{Message, Reply};
use crate::llm::key::conversation_key;
use crate::llm::recording::is_cut_off;

/// One line: besides what a journal has, the conversation, so that the reply is found whichever model is asked.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    recorded: &'a Recorded<Reply>,
    conversation: Key,
}

/// Writes a recording line by line as replies come in. May be shared between threads.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: Mutex<File>,
}

impl Recorder {
    /// Opens the recording at `path`, new or to be extended. A last line cut off by a kill is removed first.
    ///
    /// # Errors
    /// The file cannot be opened, has a compressed file's name, or holds something that is no recording.
    pub fn create(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "gz" || extension == "zst") {
            return Err(Error::usage(format!(
                "cannot record to {}: recordings are written plain",
                path.display()
            ))
            .hint("give the file a .jsonl name and compress it afterwards"));
        }
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = opened.map_err(|error| Error::io("write", path, error))?;
        if !starts_like_a_recording(&file).map_err(|error| Error::io("read", path, error))? {
            return Err(Error::usage(format!("{} exists and is not a recording", path.display()))
                .hint("give --record another file; nothing was written"));
        }
        end_last_line(&mut file).map_err(|error| Error::io("write", path, error))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Appends one line, which answers the conversation `messages`, and hands it to the operating system before returning.
    ///
    /// # Errors
    /// The file cannot be written, a full disk for instance.
    pub fn record(&self, recorded: &Recorded<Reply>, messages: &[Message]) -> Result<()> {
        let failed = |error| Error::io("write", &self.path, error);
        let line = Line { recorded, conversation: conversation_key(messages) };
        let mut line = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(failed)
    }
}

/// Whether the first line is a recorded answer, or there is none, or it was cut off while being written.
fn starts_like_a_recording(file: &File) -> IoResult<bool> {
    let mut first = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut first)?;
    let cut_off = first.first() == Some(&b'{') && first.last() != Some(&b'\n') && is_cut_off(&first);
    Ok(first.is_empty() || cut_off || serde_json::from_slice::<Recorded<IgnoredAny>>(&first).is_ok())
}

/// Makes `file` end with a line break: completes a whole last line, cuts a torn one.
fn end_last_line(file: &mut File) -> IoResult<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = start_of_last_line(file, length)?;
    if start == length {
        return Ok(());
    }
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    if is_cut_off(&tail) { file.set_len(start) } else { file.write_all(b"\n") }
}

/// Where the text after the last line break begins.
fn start_of_last_line(file: &mut File, length: u64) -> IoResult<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::llm::recording::Recording;

    fn recorded(row: &str) -> Recorded<Reply> {
        Recorded {
            key: Some(Key::of(&[row])),
            stage: "question.reply".into(),
            row: row.into(),
            language: "go".into(),
            sample: 0,
            attempts: 1,
            reused: false,
            answer: Reply { output: format!("line\n\u{2028}{row}"), latency_ms: 7, ..Reply::default() },
        }
    }

    #[test]
    fn what_is_recorded_from_several_threads_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for n in 0..50 {
                        recorder.record(&recorded(&format!("{thread}-{n}")), &[]).unwrap();
                    }
                });
            }
        });
        // Not closed yet: lines are there as soon as they are recorded.
        assert_eq!(Recording::load(std::slice::from_ref(&path)).unwrap().len(), 200);
        let first: Recorded<Reply> =
            serde_json::from_str(fs::read_to_string(&path).unwrap().lines().next().unwrap()).unwrap();
        assert_eq!(first, recorded(&first.row));
    }

    #[test]
    fn a_recording_is_extended_wherever_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let line = serde_json::to_string(&recorded("a")).unwrap();
        let long = serde_json::to_string(&recorded(&"x".repeat(200_000))).unwrap();
        let cases = [
            (String::new(), 1),
            (format!("{line}\n"), 2),
            (line.clone(), 2),
            (line[..40].to_owned(), 1),
            (format!("{line}\n{}", &long[..150_000]), 2),
            (format!("{line}\n{long}"), 3),
        ];
        for (before, after) in cases {
            fs::write(&path, &before).unwrap();
            Recorder::create(&path).unwrap().record(&recorded("b"), &[]).unwrap();
            assert_eq!(Recording::load(std::slice::from_ref(&path)).unwrap().len(), after);
            assert!(fs::read_to_string(&path).unwrap().ends_with("\n"));
        }
    }

    #[test]
    fn other_files_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.jsonl");
        for precious in ["my notes\n", "my notes", "{\"text\": \"a seed\"}\n", "\n"] {
            fs::write(&path, precious).unwrap();
            assert_eq!(Recorder::create(&path).unwrap_err().exit_code(), 2);
            assert_eq!(fs::read_to_string(&path).unwrap(), precious);
        }
        let compressed = folder.path().join("r.jsonl.zst");
        assert_eq!(Recorder::create(&compressed).unwrap_err().exit_code(), 2);
        assert!(!compressed.exists());
        assert_eq!(Recorder::create(&folder.path().join("no/such/r.jsonl")).unwrap_err().exit_code(), 2);
    }
}
