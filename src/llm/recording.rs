//! Replay: recorded replies answer the same requests again.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::{Error, Fault, Recovery, Result};
use crate::frame::key::Key;
use crate::frame::recorded::Recorded;
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Reply};
use crate::llm::key::conversation_key;

/// Recorded replies, in memory. Where two lines answer the same request, the later one counts.
#[derive(Debug, Default)]
pub struct Recording {
    replies: Vec<(Option<Key>, Reply)>,
    by_key: HashMap<Key, usize>,
    by_row: HashMap<(String, String, u32), usize>,
    by_conversation: HashMap<(Key, u32), usize>,
}

/// What a line may have besides [`Recorded`].
#[derive(Default, Deserialize)]
struct More {
    /// The messages it answers, if it was recorded by a version that knew of it.
    #[serde(default)]
    conversation: Option<Key>,
    /// Further samples that were answered in the same words.
    #[serde(default)]
    also: Vec<u32>,
}

/// A recorded answer that is no reply: the verdict of a sandbox.
#[derive(Deserialize)]
struct RecordedVerdict {
    #[serde(rename = "outcome")]
    _outcome: IgnoredAny,
}

impl Recording {
    /// Reads recordings: JSON lines of `Recorded<Reply>`, plain, `.gz` or `.zst`. Verdicts among them are skipped, so
    /// is a last line that was cut off while being written.
    ///
    /// # Errors
    /// A file cannot be read, or a line of it is no recorded answer.
    pub fn load(paths: &[PathBuf]) -> Result<Self> {
        let mut recording = Self::default();
        for path in paths {
            let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
            let lines: Box<dyn BufRead> = match path.extension().and_then(|extension| extension.to_str()) {
                Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
                Some("zst") => {
                    let decoder = zstd::Decoder::new(file).map_err(|error| Error::io("read", path, error))?;
                    Box::new(BufReader::new(decoder))
                }
                _ => Box::new(BufReader::new(file)),
            };
            recording.read(path, lines)?;
        }
        Ok(recording)
    }

    /// Reads a recording that is in memory already; `name` stands for its file name in messages.
    ///
    /// # Errors
    /// A line is no recorded answer.
    pub fn from_lines(name: &str, text: &str) -> Result<Self> {
        let mut recording = Self::default();
        recording.read(Path::new(name), text.as_bytes())?;
        Ok(recording)
    }

    /// How many replies are recorded.
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Whether no reply is recorded.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Names of the models that answered, as far as they are recorded.
    pub(super) fn models(&self) -> Vec<String> {
        let names = self.replies.iter().map(|(_, reply)| reply.model.as_str());
        let names: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn read(&mut self, path: &Path, mut lines: impl BufRead) -> Result<()> {
        let name = path.display();
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = lines
                .read_until(b'\n', &mut line)
                .map_err(|error| Error::io("read", path, error).context(format!("line {number}")))?;
            if read == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match parse_line(&line) {
                Ok(Some((recorded, more))) => self.add(recorded, &more),
                Ok(None) => {}
                Err(_) if line.last() != Some(&b'\n') && is_cut_off(&line) => {
                    tracing::warn!("{name}:{number}: the last line is cut off and left out");
                }
                Err(error) => {
                    return Err(Error::usage(format!("{name}:{number}: not a recorded reply: {error}")).hint(
                        "a recording has one JSON object a line, with stage, row, sample and answer: see --record",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The reply recorded for the request with this key.
    pub(super) fn of_key(&self, key: &Key) -> Option<&Reply> {
        self.by_key.get(key).map(|&at| &self.replies[at].1)
    }

    /// The reply recorded for sample `sample` of this conversation, whatever its sampling was.
    pub(super) fn of_conversation(&self, conversation: Key, sample: u32) -> Option<&Reply> {
        self.by_conversation.get(&(conversation, sample)).map(|&at| &self.replies[at].1)
    }

    fn add(&mut self, recorded: Recorded<Reply>, more: &More) {
        let at = self.replies.len();
        for sample in std::iter::once(recorded.sample).chain(more.also.iter().copied()) {
            if let Some(conversation) = more.conversation {
                self.by_conversation.insert((conversation, sample), at);
            }
            self.by_row.insert((recorded.stage.clone(), recorded.row.clone(), sample), at);
        }
        self.replies.push((recorded.key, recorded.answer));
        if let Some(key) = recorded.key {
            self.by_key.insert(key, at);
        }
    }
}

/// The reply of a line and what it answers, or `None` where the line records something else.
fn parse_line(line: &[u8]) -> serde_json::Result<Option<(Recorded<Reply>, More)>> {
    let more: More = serde_json::from_slice(line)?;
    let Recorded { key, stage, row, language, sample, attempts, reused, answer } =
        serde_json::from_slice::<Recorded<Box<RawValue>>>(line)?;
    match serde_json::from_str(answer.get()) {
        Ok(answer) => {
            let recorded = Recorded { key, stage, row, language, sample, attempts, reused, answer };
            Ok(Some((recorded, more)))
        }
        Err(_) if serde_json::from_str::<RecordedVerdict>(answer.get()).is_ok() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `line` is the beginning of a JSON object: what a writer killed half-way leaves behind.
pub(super) fn is_cut_off(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// Answers requests from a [`Recording`]; costs nothing and sends nothing.
///
/// A request is found by its key. If its key is unknown, the reply to the same messages is given, and otherwise that to the
/// same (stage, row, sample), so that an edited template does not make a recording useless. Replies come as they were recorded, measurements included.
#[derive(Debug)]
pub struct ReplayModel {
    recording: Recording,
    changed: AtomicU64,
}

impl ReplayModel {
    /// A model that answers from `recording`.
    pub fn new(recording: Recording) -> Self {
        Self { recording, changed: AtomicU64::new(0) }
    }

    /// How many requests were answered so far with the reply to a different request of the same row.
    pub fn changed_requests(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    fn find(&self, request: &ChatRequest) -> Option<&Reply> {
        if let Some(reply) = self.recording.of_key(&request.key) {
            return Some(reply);
        }
        let Recording { replies, by_row, by_conversation, .. } = &self.recording;
        let same_words = by_conversation.get(&(conversation_key(&request.messages), request.sample));
        let same_row = || by_row.get(&(request.stage.to_string(), request.row.clone(), request.sample));
        let &at = same_words.or_else(same_row)?;
        let (recorded_key, reply) = &replies[at];
        // A line without a key was written by hand for whatever the row asks.
        if recorded_key.is_some() && self.changed.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "requests have changed since the recording was made (first: stage {}, row {}); \
                 replies are taken by messages, or by stage and row",
                request.stage,
                request.row
            );
        }
        Some(reply)
    }
}

impl Model for ReplayModel {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        let found = self.find(request).cloned().ok_or_else(|| {
            let ChatRequest { stage, row, sample, .. } = request;
            let message = format!("no reply is recorded for stage `{stage}`, row {row}, sample {sample}");
            Fault::new(Recovery::Pend, "not_recorded", message)
                .hint("record one with --record FILE against a real model, or replay a recording that has it")
        });
        Box::pin(std::future::ready(found))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llm::chat::{Message, Sampling};

    fn sampling() -> Arc<Sampling> {
        let (temperature, max_tokens, top_p, seed) = (None, None, None, None);
        Arc::new(Sampling {
            model: "m".into(),
            temperature,
            max_tokens,
            top_p,
            seed,
            extra: Default::default(),
        })
    }

    fn request(key: &str, row: &str, sample: u32) -> ChatRequest {
        let (stage, sampling) = ("solution.reply".into(), sampling());
        let (row, language, messages) = (row.into(), "go".into(), Arc::new([]));
        ChatRequest { key: Key::of(&[key]), stage, row, language, sample, sampling, messages }
    }

    fn line(key: Option<&str>, row: &str, sample: u32, output: &str) -> String {
        let recorded = Recorded {
            key: key.map(|key| Key::of(&[key])),
            stage: "solution.reply".into(),
            row: row.into(),
            language: "python".into(),
            sample,
            attempts: 2,
            reused: false,
            answer: Reply {
                output: output.into(),
                finish_reason: "stop".into(),
                prompt_tokens: 9,
                ..Reply::default()
            },
        };
        serde_json::to_string(&recorded).unwrap() + "\n"
    }

    const VERDICT: &str = r#"{"stage": "probe", "row": "r1", "answer": {"outcome": "PASSED", "stdout": ""}}"#;

    #[tokio::test]
    async fn requests_are_found_by_key_then_by_row() {
        let text = [
            line(Some("k1"), "r1", 0, "first"),
            format!("{VERDICT}\n\n"),
            line(Some("k1"), "r1", 0, "replaced"),
            line(Some("k2"), "r1", 1, "other sample"),
            line(None, "r2", 0, "by hand"),
        ];
        let model = ReplayModel::new(Recording::from_lines("bundled", &text.concat()).unwrap());
        let output = async |request: ChatRequest| model.ask(&request).await.map(|reply| reply.output);

        // A key is enough: another row with the same request gets the same reply.
        assert_eq!(output(request("k1", "r9", 0)).await.unwrap(), "replaced");
        assert_eq!(output(request("edited", "r2", 0)).await.unwrap(), "by hand");
        assert_eq!(model.changed_requests(), 0);
        assert_eq!(output(request("edited", "r1", 1)).await.unwrap(), "other sample");
        assert_eq!(model.changed_requests(), 1);

        let fault = output(request("k3", "r7", 0)).await.unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "not_recorded"));
        assert!(
            fault.message.contains("solution.reply") && fault.message.contains("r7"),
            "{}",
            fault.message
        );
        assert!(fault.hint.is_some());
        assert_eq!(model.ask(&request("k1", "r1", 0)).await.unwrap().prompt_tokens, 9);
    }

    #[tokio::test]
    async fn a_repair_is_told_from_the_first_request_by_what_is_said() {
        let said = |words: &str| {
            let message = Message { role: "user".into(), content: words.into() };
            ChatRequest { messages: Arc::new([message]), ..request("edited", "r", 0) }
        };
        let with = |words: &str, output: &str| {
            let conversation = conversation_key(&said(words).messages);
            line(None, "r", 0, output).replacen('{', &format!("{{\"conversation\":\"{conversation}\","), 1)
        };
        let text = with("ask", "first") + &with("repair", "second");
        let model = ReplayModel::new(Recording::from_lines("bundled", &text).unwrap());
        assert_eq!(model.ask(&said("ask")).await.unwrap().output, "first");
        assert_eq!(model.ask(&said("repair")).await.unwrap().output, "second");
        assert_eq!(model.ask(&said("something else")).await.unwrap().output, "second");
    }

    #[tokio::test]
    async fn one_line_may_answer_several_samples() {
        let one = line(None, "r", 0, "same").replace("\"sample\"", "\"also\":[2,3],\"sample\"");
        let text = one + &line(None, "r", 1, "other");
        let model = ReplayModel::new(Recording::from_lines("bundled", &text).unwrap());
        let mut said = Vec::new();
        for sample in 0..4 {
            said.push(model.ask(&request("k", "r", sample)).await.unwrap().output);
        }
        assert_eq!(said, ["same", "other", "same", "same"]);
        assert!(model.ask(&request("k", "r", 4)).await.is_err());
    }

    #[test]
    fn plain_and_compressed_files_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (plain, gz, zst) = (path("a.jsonl"), path("b.jsonl.gz"), path("c.jsonl.zst"));
        std::fs::write(&plain, line(Some("a"), "a", 0, "α")).unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, line(Some("b"), "b", 0, "β").as_bytes()).unwrap();
        encoder.finish().unwrap();
        std::fs::write(&zst, zstd::encode_all(line(Some("c"), "c", 0, "γ").as_bytes(), 1).unwrap()).unwrap();

        let recording = Recording::load(&[plain, gz, zst.clone()]).unwrap();
        assert_eq!(recording.len(), 3);
        let all: String = recording.replies.iter().map(|(_, reply)| reply.output.as_str()).collect();
        assert_eq!(all, "αβγ");

        let whole = std::fs::read(&zst).unwrap();
        std::fs::write(&zst, &whole[..whole.len() - 4]).unwrap();
        assert!(Recording::load(std::slice::from_ref(&zst)).unwrap_err().to_string().contains("c.jsonl.zst"));
        assert_eq!(Recording::load(&[path("missing.jsonl")]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_malformed_line_is_named_by_file_and_line() {
        let good = line(Some("k"), "r", 0, "x");
        let bad = [
            "nonsense\n",
            "[]\n",
            "{\"stage\": \"s\"}\n",
            "{\"stage\": \"s\", \"row\": \"r\", \"answer\": {\"output\": 3, \"finish_reason\": \"stop\"}}\n",
            "{\"stage\": \"s\", \"row\": \"r\", \"answer\": {\"ouput\": \"typo\", \"finish_reason\": \"stop\"}}\n",
            "{\"key\": \"xyz\", \"stage\": \"s\", \"row\": \"r\", \"answer\": {\"output\": \"\", \"finish_reason\": \"\"}}\n",
            "nonsense at the end",
        ];
        for bad in bad {
            let error = Recording::from_lines("some.jsonl", &format!("{good}\n{bad}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with("some.jsonl:3: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_last_line_cut_off_anywhere_is_left_out() {
        let (first, last) = (line(Some("k"), "r", 0, "x"), line(Some("l"), "s", 0, "\u{1}ü\"y"));
        for end in 1..last.len() - 1 {
            let Some(torn) = last.get(..end) else { continue };
            let recording = Recording::from_lines("torn", &format!("{first}{torn}")).unwrap();
            assert_eq!(recording.len(), 1, "{torn}");
        }
        assert_eq!(Recording::from_lines("whole", &format!("{first}{}", last.trim_end())).unwrap().len(), 2);
    }
}
