//! Several samples of one conversation: those missing in the journal, with one call where the model can.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};

use super::{Asker, Calls, Pending, internal};
use crate::error::{Fault, Recovery};
use crate::frame::key::Key;
use crate::llm::chat::{ChatRequest, REQUEST_REFUSED};
use crate::stages::{Answer, Request};

type Answered = Result<Arc<Answer>, Fault>;

/// A sample's asker and the key of its request.
type Sample = (Asker, Key);

impl Calls {
    /// Answers the requests of one row, in order; `asker` is that of its first. Requests that share their conversation are
    /// samples of one another: what the journal lacks of them is asked for together.
    pub async fn answer_all(self: &Arc<Self>, asker: &Asker, requests: Vec<Request>) -> Vec<Answered> {
        let mut groups: Vec<Vec<(Asker, Request)>> = Vec::new();
        for (request, sample) in requests.into_iter().zip(asker.sample..) {
            let next = (Asker { sample, ..asker.clone() }, request);
            match groups.last_mut() {
                Some(group) if same_conversation(&group[0].1, &next.1) => group.push(next),
                _ => groups.push(vec![next]),
            }
        }
        join_all(groups.into_iter().map(|group| self.answer_group(group))).await.concat()
    }

    /// Answers samples of one another, or a single request.
    async fn answer_group(self: &Arc<Self>, group: Vec<(Asker, Request)>) -> Vec<Answered> {
        if group.len() == 1 || !self.gives_samples.load(Ordering::Relaxed) {
            return join_all(group.into_iter().map(|(asker, request)| self.answer(asker, request))).await;
        }
        let keyed = group.iter().map(|(asker, request)| {
            let key = self.key(asker, request)?;
            Ok((key, self.find(asker, request, key)?))
        });
        let looked_up: Vec<Result<_, Fault>> = keyed.collect();
        let mut missing: Vec<Sample> = Vec::new();
        for ((asker, _), found) in group.iter().zip(&looked_up) {
            if let Ok((key, None)) = found {
                missing.push((asker.clone(), *key));
            }
        }
        let mut calls = match group.first() {
            Some((_, request)) => self.begin(missing, request).into_iter(),
            None => Vec::new().into_iter(),
        };
        let known = |answer: Answered| std::future::ready(answer).boxed().shared();
        let answers = looked_up.into_iter().map(|found| match found {
            Ok((_, Some(answer))) => known(Ok(answer)),
            Ok((_, None)) => {
                calls.next().unwrap_or_else(|| known(Err(internal(&"a sample was not asked for"))))
            }
            Err(fault) => known(Err(fault)),
        });
        join_all(answers).await
    }

    /// The calls that will answer `missing`: those in flight already, and one new call for all the others.
    fn begin(self: &Arc<Self>, missing: Vec<Sample>, request: &Request) -> Vec<Pending> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let in_call = |(asker, key): &Sample| (asker.stage.clone(), *key);
        let is_new = |sample: &&Sample| !in_flight.contains_key(&in_call(sample));
        let new: Arc<[Sample]> = missing.iter().filter(is_new).cloned().collect();
        let together: Shared<BoxFuture<'static, Arc<HashMap<Key, Answered>>>> = {
            let (calls, new, request) = (self.clone(), new.clone(), request.clone());
            async move {
                let answers = calls.ask_samples(&new, &request).await;
                let mut in_flight = calls.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
                new.iter().for_each(|sample| drop(in_flight.remove(&in_call(sample))));
                Arc::new(answers)
            }
            .boxed()
            .shared()
        };
        for sample in new.iter() {
            let (together, key) = (together.clone(), sample.1);
            let one = async move {
                let answers = together.await;
                answers.get(&key).cloned().unwrap_or_else(|| Err(internal(&"a sample was not answered")))
            };
            in_flight.insert(in_call(sample), one.boxed().shared());
        }
        missing.iter().filter_map(|sample| in_flight.get(&in_call(sample)).cloned()).collect()
    }

    /// Asks for `samples`: together while the model gives several at once, then one by one.
    async fn ask_samples(&self, samples: &[Sample], request: &Request) -> HashMap<Key, Answered> {
        let mut answers = HashMap::new();
        let mut missing = Vec::new();
        for (asker, key) in samples {
            // Another asker may have been answered between our first look and this call's start.
            let found = match self.find(asker, request, *key) {
                Ok(None) => self.reused(asker, request, *key),
                found => found,
            };
            match found {
                Ok(Some(answer)) => drop(answers.insert(*key, Ok(answer))),
                Ok(None) => missing.push((asker.clone(), *key)),
                Err(fault) => drop(answers.insert(*key, Err(fault))),
            }
        }
        while missing.len() > 1 && self.gives_samples.load(Ordering::Relaxed) {
            match self.ask_together(&missing, request).await {
                Ok(replies) => {
                    if replies.len() < 2 {
                        self.gives_samples.store(false, Ordering::Relaxed);
                    }
                    answers.extend(missing.drain(..replies.len()).map(|(_, key)| key).zip(replies));
                }
                Err(fault) if matches!(fault.cause, "bad_request" | REQUEST_REFUSED) => {
                    // Either the endpoint refuses `n`, or this conversation: one plain request tells.
                    let (asker, key) = missing.remove(0);
                    let plain = self.ask(&asker, request.clone(), key).await;
                    let refused = plain.as_ref().is_ok_and(|answer| is_refused(answer));
                    match &plain {
                        Err(_) => answers.extend(missing.drain(..).map(|(_, key)| (key, plain.clone()))),
                        Ok(_) if !refused => self.gives_samples.store(false, Ordering::Relaxed),
                        Ok(_) => {}
                    }
                    answers.insert(key, plain);
                    if refused {
                        break;
                    }
                }
                Err(fault) => {
                    if fault.recovery == Recovery::Stop {
                        self.stop.fail(fault.clone().into());
                    }
                    answers.extend(missing.drain(..).map(|(_, key)| (key, Err(fault.clone()))));
                }
            }
        }
        let rest =
            missing.iter().map(|(asker, key)| async { (*key, self.ask(asker, request.clone(), *key).await) });
        answers.extend(join_all(rest).await);
        answers
    }

    /// One call for all of `samples`; the first so many of them are answered, and written down.
    async fn ask_together(&self, samples: &[Sample], request: &Request) -> Result<Vec<Answered>, Fault> {
        let (Some((asker, key)), Request::Model { sampling, messages }) = (samples.first(), request) else {
            return Err(internal(&"only a model gives samples"));
        };
        let first = ChatRequest {
            key: *key,
            stage: asker.stage.clone(),
            row: asker.row.clone(),
            language: asker.language.clone(),
            sample: asker.sample,
            sampling: sampling.clone(),
            messages: messages.clone(),
        };
        // Asked anew at each attempt: by then another call may have found out that one at a time is all there is.
        let count = || if self.gives_samples.load(Ordering::Relaxed) { samples.len() as u32 } else { 1 };
        let (replies, attempts) = self.attempt_model(asker, &first, count).await?;
        let kept = replies.into_iter().zip(samples).map(|(reply, (asker, key))| {
            self.keep_reply(asker, *key, messages, attempts, reply).map(Arc::new)
        });
        let kept: Vec<Answered> = kept.collect();
        match kept.is_empty() {
            true => Err(internal(&"the model gave no reply and no reason")),
            false => Ok(kept),
        }
    }
}

/// Whether `answer` stands for a request that no endpoint will ever answer.
fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Answer::Model(reply) if reply.finish_reason == REQUEST_REFUSED)
}

/// Whether `b` asks the very conversation of `a`.
fn same_conversation(a: &Request, b: &Request) -> bool {
    match (a, b) {
        (
            Request::Model { sampling, messages },
            Request::Model { sampling: other_sampling, messages: other_messages },
        ) => Arc::ptr_eq(sampling, other_sampling) && Arc::ptr_eq(messages, other_messages),
        _ => false,
    }
}
