//! What compilers made, kept for jobs whose compile steps would be the same.
//!
//! The name of an entry is a hash of all that a compile step is given: files, command, environment, limits, what its
//! jail sees. So a source whose compiling runs hostile code decides what its own entry holds, as it decides what its
//! own program is, and no other's. Entries lie in the supervisor's memory, where no jail reaches them; each job gets
//! a copy, and what it does to that is gone with it. They go when the supervisor does, and the longest unused go
//! when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::super::pack::Pack;
use crate::sandbox::job::{Outcome, Usage};

/// A hash of all that a compile step is given.
pub(super) type Key = [u8; 32];

/// The largest part of the store that one entry may take.
const LARGEST_PART: u64 = 4;
/// What an entry takes besides its files' bytes and messages.
const OVERHEAD: u64 = 1024;

/// What a compile step came to.
#[derive(Debug)]
pub(super) struct Made {
    pub usage: Usage,
    /// The work folder as the compiler left it, or why there is no program.
    pub result: Result<Pack, Refusal>,
}

/// What a verdict says of a program that its compiler refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub outcome: Outcome,
    pub reason: String,
    pub message: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub truncated: bool,
}

impl Made {
    fn bytes(&self) -> u64 {
        let bytes = match &self.result {
            Ok(pack) => pack.bytes(),
            Err(refusal) => (refusal.message.len() + refusal.reason.len()) as u64,
        };
        bytes + OVERHEAD
    }
}

/// The entries, the longest unused of which go when they take more than `most` bytes.
pub(super) struct Store {
    most: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, (u64, Arc<Made>)>,
    /// Keys by when they were last used.
    uses: BTreeMap<u64, Key>,
    bytes: u64,
    clock: u64,
    /// What is being compiled now; closed when that has ended.
    making: HashMap<Key, watch::Receiver<()>>,
}

impl Store {
    pub(super) fn new(most: u64) -> Self {
        Self { most, state: Mutex::default() }
    }

    /// The most bytes that one pack may take.
    pub(super) fn largest(&self) -> u64 {
        (self.most / LARGEST_PART).saturating_sub(OVERHEAD)
    }

    /// What there is for `key`. Waits for the job that makes it right now, but only once: when nothing came of that,
    /// all who waited compile for themselves, side by side.
    pub(super) async fn turn(&self, key: Key) -> Turn<'_> {
        let mut turn = Turn { store: Some(self), key, found: None, making: None };
        if self.most == 0 {
            turn.store = None;
            return turn;
        }
        let mut waiting = {
            let mut state = self.lock();
            turn.found = state.find(&key);
            match (&turn.found, state.making.get(&key)) {
                (Some(_), _) => return turn,
                (None, Some(waiting)) => waiting.clone(),
                (None, None) => {
                    let (making, waiting) = watch::channel(());
                    state.making.insert(key, waiting);
                    turn.making = Some(making);
                    return turn;
                }
            }
        };
        // Nothing is ever sent: this ends when the sender is gone.
        let _ = waiting.changed().await;
        turn.found = self.lock().find(&key);
        turn
    }

    fn insert(&self, key: Key, made: Arc<Made>) {
        let bytes = made.bytes();
        if bytes > self.most / LARGEST_PART {
            return;
        }
        let mut state = self.lock();
        state.remove(&key);
        state.clock += 1;
        let now = state.clock;
        state.bytes += bytes;
        state.entries.insert(key, (now, made));
        state.uses.insert(now, key);
        while state.bytes > self.most
            && let Some((_, oldest)) = state.uses.pop_first()
        {
            state.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, key: &Key) -> Option<Arc<Made>> {
        let (used, made) = self.entries.get_mut(key)?;
        self.clock += 1;
        self.uses.remove(used);
        *used = self.clock;
        self.uses.insert(*used, *key);
        Some(Arc::clone(made))
    }

    fn remove(&mut self, key: &Key) {
        if let Some((used, made)) = self.entries.remove(key) {
            self.uses.remove(&used);
            self.bytes -= made.bytes();
        }
    }
}

/// A job's place among those with the same compile step.
pub(super) struct Turn<'a> {
    /// `None` when nothing is kept.
    store: Option<&'a Store>,
    key: Key,
    /// What was there already.
    pub found: Option<Arc<Made>>,
    /// Others wait until this is dropped.
    making: Option<watch::Sender<()>>,
}

impl Turn<'_> {
    /// The place of a job that shares nothing.
    pub(super) fn alone() -> Self {
        Self { store: None, key: Key::default(), found: None, making: None }
    }

    /// The most bytes of a pack worth making; `None` when none is kept.
    pub(super) fn most_bytes(&self) -> Option<u64> {
        self.store.map(Store::largest)
    }

    /// Keeps what was made, and lets those go on who wait for it.
    pub(super) fn publish(&mut self, made: &Arc<Made>) {
        if let Some(store) = self.store {
            store.insert(self.key, Arc::clone(made));
        }
        self.end();
    }

    fn end(&mut self) {
        if let (Some(store), Some(_)) = (self.store, self.making.take()) {
            store.lock().making.remove(&self.key);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn made(bytes: usize) -> Arc<Made> {
        let pack = Pack::of(&[("test".to_owned(), vec![7; bytes])]);
        Arc::new(Made { usage: Usage::default(), result: Ok(pack) })
    }

    fn key(number: u8) -> Key {
        [number; 32]
    }

    async fn has(store: &Store, number: u8) -> bool {
        store.turn(key(number)).await.found.is_some()
    }

    #[tokio::test]
    async fn the_longest_unused_goes_first_and_the_bytes_are_kept_to() {
        let store = Store::new(100_000);
        for number in 0..4 {
            store.insert(key(number), made(20_000));
        }
        assert!(has(&store, 0).await);
        store.insert(key(4), made(20_000));
        let there = [has(&store, 0).await, has(&store, 1).await, has(&store, 2).await, has(&store, 4).await];
        assert_eq!(there, [true, false, true, true]);
        // The same again takes no more room; what is too large is not kept and drives nothing out.
        store.insert(key(4), made(20_000));
        store.insert(key(5), made(25_000));
        assert!(has(&store, 2).await && !has(&store, 5).await);
        for number in 0..200 {
            store.insert(key(number), made(usize::from(number) * 100));
            let state = store.lock();
            let sum: u64 = state.entries.values().map(|(_, made)| made.bytes()).sum();
            assert!(state.bytes == sum && sum <= 100_000 && state.uses.len() == state.entries.len());
        }
    }

    #[tokio::test]
    async fn equal_steps_wait_for_the_one_that_runs() {
        let store = Store::new(1 << 20);
        let mut first = store.turn(key(1)).await;
        let (second, ()) = tokio::join!(store.turn(key(1)), async {
            // Another key waits for nobody.
            assert!(store.turn(key(2)).await.found.is_none());
            tokio::time::sleep(Duration::from_millis(20)).await;
            first.publish(&made(1));
        });
        assert!(second.found.is_some());
        assert!(store.lock().making.is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_what_was_given_up() {
        let store = Store::new(1 << 20);
        let first = store.turn(key(1)).await;
        let waiting = async {
            let (a, b) = tokio::join!(store.turn(key(1)), store.turn(key(1)));
            assert!(a.found.is_none() && b.found.is_none());
            assert!(a.making.is_none() && b.making.is_none());
        };
        tokio::join!(waiting, async { drop(first) });
        assert!(store.turn(key(1)).await.making.is_some());
        assert!(store.lock().making.is_empty());
    }

    #[tokio::test]
    async fn a_store_of_no_bytes_keeps_nothing_and_makes_nobody_wait() {
        let store = Store::new(0);
        let mut first = store.turn(key(1)).await;
        assert!(store.turn(key(1)).await.found.is_none());
        first.publish(&made(0));
        assert!(!has(&store, 1).await && first.most_bytes().is_none());
    }
}
