//! Panics of the libraries that read frames, as errors.
//!
//! The parquet crate checks most of what it reads, but asserts some of it: a flipped bit in a footer can panic. So does polars of
//! questions.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    /// Whether a panic of this thread is about to become an error, which says all there is to say.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read` and turns a panic into the error that `damaged` makes of its message. Nothing is printed.
///
/// Whatever `read` has borrowed must not be used again after an error.
///
/// # Errors
/// Those of `read`, and its panics.
pub(crate) fn panics<T>(
    read: impl FnOnce() -> Result<T>,
    damaged: impl FnOnce(String) -> Error,
) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                print(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    CONTAINED.set(outer);
    result.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<&str>().map(|why| (*why).to_owned());
        let why = why.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(damaged(why.unwrap_or_else(|| "the reader panicked".into())))
    })
}
