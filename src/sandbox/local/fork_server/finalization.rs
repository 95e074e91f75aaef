//! How a forked interpreter ends: what start-up has made is left to the kernel.
//!
//! At its end CPython takes every module apart. In a forked child that has the kernel copy nearly all pages of the
//! interpreter, which takes longer than most programs. So the modules that start-up has imported are kept from that end,
//! if they are as the program found them and it has nothing that could tell: that is called, or writes, when its
//! objects go. What is kept might hold such an object deep inside. All other programs end as ever: nothing of theirs is
//! frozen then (see [`Cpython`](super::Cpython)), nothing kept.
//!
//! The moment is the interpreter's last full garbage collection, which calls what is in `gc.callbacks`. A program that
//! imports `gc` could see that; then there is nothing in there.

use std::ffi::{CStr, c_char, c_int};
use std::io::{Error, Result};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use memchr::memmem;

use super::super::protocol::Content;
use super::cpython::{Library, Object};

/// What is the interpreter's own or the program's.
const NOT_KEPT: [&CStr; 3] = [c"sys", c"builtins", c"__main__"];

/// Words without which a program has no finalizers, no suspended code, and no streams of its own.
const TELLING: [&str; 7] = ["__del__", "weakref", "yield", "async", "open", "IO", "Buffered"];

/// `PyMethodDef`.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: unsafe extern "C" fn(Object, Object) -> Object,
    flags: c_int,
    documentation: *const c_char,
}

// SAFETY: its pointers are to static strings that nobody writes.
unsafe impl Sync for Method {}

/// `METH_VARARGS`.
const VARARGS: c_int = 1;

static KEEP: Method =
    Method { name: c"keep".as_ptr(), function: keep_unchanged, flags: VARARGS, documentation: null() };

/// What [`keep_unchanged`] works with.
static STARTED: AtomicPtr<Started> = AtomicPtr::new(null_mut());
/// The modules that the program has found; none of them is to be kept where the program could tell.
static FOUND: Mutex<Option<Modules>> = Mutex::new(None);

/// An interpreter that has started.
struct Started {
    /// `gc.callbacks`.
    callbacks: Object,
    /// `gc.unfreeze`.
    unfreeze: Object,
    /// `sys.modules`.
    names: Object,
    none: Object,
    booleans: [Object; 2],
    is_finalizing: unsafe extern "C" fn() -> c_int,
    item: unsafe extern "C" fn(Object, isize) -> Object,
    compare: unsafe extern "C" fn(Object, *const c_char) -> c_int,
    next: Next,
    dictionary_of: unsafe extern "C" fn(Object) -> Object,
    clear_error: unsafe extern "C" fn(),
    set: unsafe extern "C" fn(Object, Object, Object) -> c_int,
    own: unsafe extern "C" fn(Object),
    call: unsafe extern "C" fn(Object, Object) -> Object,
    cut: unsafe extern "C" fn(Object, isize, isize, Object) -> c_int,
}

/// `PyDict_Next`.
type Next = unsafe extern "C" fn(Object, *mut isize, *mut Object, *mut Object) -> c_int;

/// The first of the modules in `sys.modules`, without looking at what they refer to.
#[derive(Clone, Copy, PartialEq)]
struct Modules {
    count: usize,
    /// Of their names, themselves and what is in them: FNV-1a, a word at a time.
    hash: u64,
}

/// Whether a program of these files could tell how it ends.
pub(in super::super) fn is_telling(files: &[(String, Content)]) -> bool {
    let has =
        |word: &&str| files.iter().any(|(_, Content(bytes))| memmem::find(bytes, word.as_bytes()).is_some());
    TELLING.iter().any(has)
}

/// Prepares this interpreter's children for their end. `callbacks` is the list `gc.callbacks`, `unfreeze` the function
/// `gc.unfreeze`, `names` the dictionary `sys.modules`.
///
/// # Safety
/// The interpreter `library` has started, and this thread holds the GIL.
pub(super) unsafe fn prepare(
    library: &Library,
    callbacks: Object,
    unfreeze: Object,
    names: Object,
) -> Result<()> {
    // SAFETY: the caller's promise; these are the functions' documented types.
    unsafe {
        let append: unsafe extern "C" fn(Object, Object) -> c_int = library.get(c"PyList_Append")?;
        let function: unsafe extern "C" fn(*const Method, Object, Object) -> Object =
            library.get(c"PyCFunction_NewEx")?;
        let started = Box::new(Started {
            callbacks,
            unfreeze,
            names,
            none: library.address(c"_Py_NoneStruct")?,
            booleans: [library.address(c"_Py_FalseStruct")?, library.address(c"_Py_TrueStruct")?],
            is_finalizing: library.get(c"_Py_IsFinalizing").or_else(|_| library.get(c"Py_IsFinalizing"))?,
            item: library.get(c"PyTuple_GetItem")?,
            compare: library.get(c"PyUnicode_CompareWithASCIIString")?,
            next: library.get(c"PyDict_Next")?,
            dictionary_of: library.get(c"PyModule_GetDict")?,
            clear_error: library.get(c"PyErr_Clear")?,
            set: library.get(c"PyDict_SetItem")?,
            own: library.get(c"Py_IncRef")?,
            call: library.get(c"PyObject_CallObject")?,
            cut: library.get(c"PyList_SetSlice")?,
        });
        STARTED.store(Box::into_raw(started), Ordering::Relaxed);
        match append(callbacks, function(&raw const KEEP, null_mut(), null_mut())) {
            0 => Ok(()),
            _ => Err(Error::other("gc.callbacks cannot be added to")),
        }
    }
}

/// Has the program that runs next in this process end without the modules that are there now.
///
/// # Safety
/// The interpreter runs in this process, and this thread holds the GIL.
pub(super) unsafe fn keep_modules() {
    // SAFETY: `prepare` made it, and it is never freed.
    let Some(started) = (unsafe { STARTED.load(Ordering::Relaxed).as_ref() }) else { return };
    // SAFETY: the caller's promise.
    let found = unsafe { started.modules(usize::MAX) };
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).replace(found);
}

/// Takes the preparation back, as the program is about to see `gc`.
///
/// # Safety
/// The interpreter runs in this process, and this thread holds the GIL.
pub(super) unsafe fn give_up() {
    // SAFETY: the caller's promise; `prepare` made it and it is never freed. What is in the list nobody else has put
    // there, as it is seen through `gc` only.
    unsafe {
        if let Some(started) = STARTED.load(Ordering::Relaxed).as_ref() {
            (started.cut)(started.callbacks, 0, isize::MAX, null_mut());
        }
    }
}

/// What the garbage collector calls when it starts and stops.
unsafe extern "C" fn keep_unchanged(_: Object, arguments: Object) -> Object {
    // SAFETY: `prepare` made it before the interpreter knew this function, and it is never freed; the interpreter holds
    // the GIL and calls with a tuple of a string and a dictionary.
    unsafe {
        let Some(started) = STARTED.load(Ordering::Relaxed).as_ref() else { return null_mut() };
        if (started.is_finalizing)() != 0 {
            let found = *FOUND.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Some(found) if started.modules(found.count) == found => {
                    if started.is((started.item)(arguments, 0), c"stop") {
                        started.keep(found.count);
                    }
                }
                _ => started.end_as_ever(),
            }
        }
        (started.own)(started.none);
        started.none
    }
}

impl Started {
    /// The first `most` modules.
    ///
    /// # Safety
    /// This thread holds the GIL.
    unsafe fn modules(&self, most: usize) -> Modules {
        let mut modules = Modules { count: 0, hash: 0xcbf2_9ce4_8422_2325 };
        let mut add = |word: Object| {
            modules.hash = (modules.hash ^ word.addr() as u64).wrapping_mul(0x0100_0000_01b3);
        };
        // SAFETY: the caller's promise.
        unsafe {
            for (name, module) in self.entries(self.names).take(most) {
                [name, module].into_iter().for_each(&mut add);
                for (key, value) in self.contents(name, module) {
                    add(key);
                    // One may become the other: `threading` notes so that the end has begun.
                    if !self.booleans.contains(&value) {
                        add(value);
                    }
                }
                modules.count += 1;
            }
        }
        modules
    }

    /// Has the interpreter leave the first `count` modules as they are.
    ///
    /// # Safety
    /// The interpreter is at its end, and this thread holds the GIL.
    unsafe fn keep(&self, count: usize) {
        // SAFETY: the caller's promise. The interpreter itself sets each name to None before it takes any module apart;
        // that is no change of the dictionary's keys.
        unsafe {
            for (name, module) in self.entries(self.names).take(count) {
                if self.is_kept(name) {
                    (self.own)(module);
                    (self.set)(self.names, name, self.none);
                }
            }
        }
    }

    /// Has the interpreter end as it would have without any of this.
    ///
    /// # Safety
    /// The interpreter is at its end, and this thread holds the GIL.
    unsafe fn end_as_ever(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            (self.cut)(self.callbacks, 0, isize::MAX, null_mut());
            (self.call)(self.unfreeze, null_mut());
        }
    }

    /// What is in a module; nothing for what is not kept, or is something else in the place of a module.
    ///
    /// # Safety
    /// As for [`Self::entries`]; `name` is a string.
    unsafe fn contents(&self, name: Object, module: Object) -> impl Iterator<Item = (Object, Object)> {
        // SAFETY: the caller's promise.
        unsafe {
            let dictionary = (self.dictionary_of)(module);
            if dictionary.is_null() {
                (self.clear_error)();
            }
            let looks = !dictionary.is_null() && self.is_kept(name);
            looks.then(|| self.entries(dictionary)).into_iter().flatten()
        }
    }

    /// Keys and values of a dictionary, borrowed.
    ///
    /// # Safety
    /// `dictionary` is one whose keys stay the same meanwhile, and this thread holds the GIL.
    unsafe fn entries(&self, dictionary: Object) -> impl Iterator<Item = (Object, Object)> {
        let (mut position, mut key, mut value) = (0, null_mut(), null_mut());
        std::iter::from_fn(move || {
            // SAFETY: the caller's promise; the places live during the call.
            let found = unsafe { (self.next)(dictionary, &raw mut position, &raw mut key, &raw mut value) };
            (found != 0).then_some((key, value))
        })
    }

    /// # Safety
    /// As for [`Self::is`].
    unsafe fn is_kept(&self, name: Object) -> bool {
        // SAFETY: the caller's promise.
        NOT_KEPT.iter().all(|other| unsafe { !self.is(name, other) })
    }

    /// Whether a string is this one.
    ///
    /// # Safety
    /// `string` is one, and this thread holds the GIL.
    unsafe fn is(&self, string: Object, other: &CStr) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (self.compare)(string, other.as_ptr()) == 0 }
    }
}
