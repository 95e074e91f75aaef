//! How a forked interpreter ends: what start-up has made is left to the kernel.
//!
//! At its end CPython takes every module apart. In a forked child that has the kernel copy nearly all pages of the
//! interpreter, which takes longer than most programs. So the modules that start-up has imported are kept from that end,
//! if they are as the program found them and its text has none of the words without which hardly anything of a program
//! is called, or writes, when its objects go: what is kept might hold such an object deep inside. For all other programs
//! everything is unfrozen first (see [`Cpython`](super::Cpython)), and they end as ever.
//!
//! The moment is the interpreter's last full garbage collection, when nothing of Python runs any more: the collector
//! calls what is in `gc.callbacks`. A program that imports `gc` could see that; then there is nothing in there.

use std::ffi::{CStr, c_char, c_int, c_long};
use std::io::{Error, Result};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use memchr::memmem;

use super::super::protocol::Content;
use super::cpython::{Library, Object, Objects};

/// What is the interpreter's own or the program's.
const NOT_KEPT: [&CStr; 3] = [c"sys", c"builtins", c"__main__"];

/// Words of programs with finalizers, suspended code, streams of their own, warnings about what was not closed, or code
/// that is not in their text.
const NOTICING: [&str; 14] = [
    "__del__", "weakref", "yield", "async", "open", "IO", "Buffered", "File", "file", "writer", "socket",
    "warn", "exec", "eval",
];

/// What is set in `sys` when an exception has ended the program: it holds objects of the program's.
const LAST: [&CStr; 3] = [c"last_traceback", c"last_value", c"last_exc"];
/// Streams, and where they are as they were at first.
const STREAMS: [[&CStr; 2]; 3] =
    [[c"stdin", c"__stdin__"], [c"stdout", c"__stdout__"], [c"stderr", c"__stderr__"]];

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

static COLLECTING: Method =
    Method { name: c"collecting".as_ptr(), function: collecting, flags: VARARGS, documentation: null() };

/// What is needed at the end; made once and never freed.
static STARTED: AtomicPtr<Started> = AtomicPtr::new(null_mut());
/// Whether it is to end as ever.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);
/// The modules to keep; none where the program may notice.
static FOUND: Mutex<Option<Modules>> = Mutex::new(None);

/// An interpreter that has started. Its objects are owned.
struct Started {
    objects: Objects,
    /// `gc.callbacks`.
    callbacks: Object,
    /// `gc.unfreeze`.
    unfreeze: Object,
    /// `sys.modules`.
    names: Object,
    not_kept: [Object; 3],
    none: Object,
    booleans: [Object; 2],
    /// The interpreter, of which there may be several in a process, and the one that was first.
    interpreters: [unsafe extern "C" fn() -> *mut (); 2],
    is_finalizing: unsafe extern "C" fn() -> c_int,
    /// The Python code that runs.
    frame: unsafe extern "C" fn() -> Object,
    of_sys: unsafe extern "C" fn(*const c_char) -> Object,
    item: unsafe extern "C" fn(Object, isize) -> Object,
    long: unsafe extern "C" fn(Object) -> c_long,
    compare: unsafe extern "C" fn(Object, *const c_char) -> c_int,
    next: Next,
    dictionary_of: unsafe extern "C" fn(Object) -> Object,
    set: unsafe extern "C" fn(Object, Object, Object) -> c_int,
    own: unsafe extern "C" fn(Object),
    set_slice: unsafe extern "C" fn(Object, isize, isize, Object) -> c_int,
}

/// `PyDict_Next`.
type Next = unsafe extern "C" fn(Object, *mut isize, *mut Object, *mut Object) -> c_int;

/// The first of the modules in `sys.modules`, without looking at what they refer to. What takes the address of something
/// that went looks like it, and is kept with its module.
#[derive(Clone, Copy, PartialEq)]
struct Modules {
    count: usize,
    /// Of the addresses of their names, themselves and what is in them: FNV-1a, a word at a time.
    hash: u64,
}

/// Whether a program of these files may notice how its interpreter ends.
pub(in super::super) fn may_notice_end(files: &[(String, Content)]) -> bool {
    let has =
        |word: &&str| files.iter().any(|(_, Content(bytes))| memmem::find(bytes, word.as_bytes()).is_some());
    files.is_empty() || NOTICING.iter().any(has)
}

/// Prepares this interpreter's children for their end. `callbacks` is the list `gc.callbacks`, `unfreeze` the function
/// `gc.unfreeze`, both owned.
///
/// # Safety
/// The interpreter `library` has started, and this thread holds the GIL.
pub(super) unsafe fn prepare(
    library: &Library,
    objects: Objects,
    callbacks: Object,
    unfreeze: Object,
) -> Result<()> {
    // SAFETY: the caller's promise; these are the functions' documented types.
    unsafe {
        let append: unsafe extern "C" fn(Object, Object) -> c_int = library.get(c"PyList_Append")?;
        let function: unsafe extern "C" fn(*const Method, Object, Object) -> Object =
            library.get(c"PyCFunction_NewEx")?;
        let own: unsafe extern "C" fn(Object) = library.get(c"Py_IncRef")?;
        let names = (objects.modules)();
        own(names);
        let started = Box::new(Started {
            objects,
            callbacks,
            unfreeze,
            names,
            not_kept: NOT_KEPT.map(|name| (objects.find)(names, name.as_ptr())),
            none: library.address(c"_Py_NoneStruct")?,
            booleans: [library.address(c"_Py_FalseStruct")?, library.address(c"_Py_TrueStruct")?],
            interpreters: [library.get(c"PyInterpreterState_Get")?, library.get(c"PyInterpreterState_Main")?],
            is_finalizing: library.get(c"_Py_IsFinalizing").or_else(|_| library.get(c"Py_IsFinalizing"))?,
            frame: library.get(c"PyEval_GetFrame")?,
            of_sys: library.get(c"PySys_GetObject")?,
            item: library.get(c"PyTuple_GetItem")?,
            long: library.get(c"PyLong_AsLong")?,
            compare: library.get(c"PyUnicode_CompareWithASCIIString")?,
            next: library.get(c"PyDict_Next")?,
            dictionary_of: library.get(c"PyModule_GetDict")?,
            set: library.get(c"PyDict_SetItem")?,
            own,
            set_slice: library.get(c"PyList_SetSlice")?,
        });
        STARTED.store(Box::into_raw(started), Ordering::Relaxed);
        match append(callbacks, function(&raw const COLLECTING, null_mut(), null_mut())) {
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

/// Takes all of it back, as the program is about to see `gc`.
///
/// # Safety
/// An interpreter runs in this process, and this thread holds its GIL.
pub(super) unsafe fn give_up() {
    // SAFETY: the caller's promise; `prepare` made it, and it is never freed.
    unsafe {
        if let Some(started) = STARTED.load(Ordering::Relaxed).as_ref()
            && started.is_first_interpreter()
        {
            started.end_as_ever();
        }
    }
}

/// What the garbage collector calls when it starts and stops.
unsafe extern "C" fn collecting(_: Object, arguments: Object) -> Object {
    // SAFETY: `prepare` made it before the interpreter knew this function, and it is never freed; the interpreter holds
    // the GIL and calls with a tuple of a string and a dictionary.
    unsafe {
        let Some(started) = STARTED.load(Ordering::Relaxed).as_ref() else { return null_mut() };
        let [phase, about] = [0, 1].map(|index| (started.item)(arguments, index));
        if started.is_at_its_end(about) {
            let found = *FOUND.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Some(found) if started.is_quiet() && started.modules(found.count) == found => {
                    if (started.compare)(phase, c"stop".as_ptr()) == 0 {
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

/// All of these need the GIL.
impl Started {
    unsafe fn is_first_interpreter(&self) -> bool {
        // SAFETY: the caller has the GIL.
        let [this, first] = self.interpreters.map(|of| unsafe { of() });
        this == first
    }

    /// Whether the collection that the dictionary `about` is about is the interpreter's last full one: on its way to
    /// the end a program's own code may run, and cause others.
    unsafe fn is_at_its_end(&self, about: Object) -> bool {
        // SAFETY: the caller has the GIL.
        unsafe {
            if (self.is_finalizing)() == 0 || !self.is_first_interpreter() || !(self.frame)().is_null() {
                return false;
            }
            let generation = (self.objects.find)(about, c"generation".as_ptr());
            !generation.is_null() && (self.long)(generation) == 2
        }
    }

    /// Whether `sys` holds nothing of the program's that ends before the modules do.
    unsafe fn is_quiet(&self) -> bool {
        // SAFETY: the caller has the GIL.
        let of_sys = |name: &CStr| unsafe { (self.of_sys)(name.as_ptr()) };
        LAST.iter().all(|name| of_sys(name).is_null() || of_sys(name) == self.none)
            && STREAMS.iter().all(|[now, first]| of_sys(now) == of_sys(first))
    }

    /// The first `most` modules.
    unsafe fn modules(&self, most: usize) -> Modules {
        let mut modules = Modules { count: 0, hash: 0xcbf2_9ce4_8422_2325 };
        let mut add = |word: Object| {
            modules.hash = (modules.hash ^ word.addr() as u64).wrapping_mul(0x0100_0000_01b3);
        };
        // SAFETY: the caller has the GIL; `sys.modules` is a dictionary.
        unsafe {
            for (name, module) in self.entries(self.names).take(most) {
                [name, module].into_iter().for_each(&mut add);
                for (key, value) in self.contents(module) {
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
    unsafe fn keep(&self, count: usize) {
        // SAFETY: the caller has the GIL. Other values are no change of a dictionary's keys; these are what the
        // interpreter itself sets next.
        unsafe {
            for (name, module) in self.entries(self.names).take(count) {
                if !self.not_kept.contains(&module) {
                    (self.own)(module);
                    (self.set)(self.names, name, self.none);
                }
            }
            self.forget_callbacks();
        }
    }

    /// Has the interpreter end as it would have without any of this. Whatever it freezes itself from now on stays so.
    unsafe fn end_as_ever(&self) {
        if GIVEN_UP.swap(true, Ordering::Relaxed) {
            return;
        }
        // SAFETY: the caller has the GIL.
        unsafe {
            self.forget_callbacks();
            (self.objects.call)(self.unfreeze, null_mut());
        }
    }

    /// Nobody else has put anything there: it is seen through `gc` only.
    unsafe fn forget_callbacks(&self) {
        // SAFETY: the caller has the GIL. The collector keeps what it calls alive, and looks at the length each time.
        unsafe { (self.set_slice)(self.callbacks, 0, isize::MAX, null_mut()) };
    }

    /// What is in a module; nothing for what is not kept, or is something else in the place of a module.
    unsafe fn contents(&self, module: Object) -> impl Iterator<Item = (Object, Object)> {
        // SAFETY: the caller has the GIL.
        unsafe {
            let dictionary = (self.dictionary_of)(module);
            if dictionary.is_null() {
                (self.objects.clear_error)();
            }
            let looks = !dictionary.is_null() && !self.not_kept.contains(&module);
            looks.then(|| self.entries(dictionary)).into_iter().flatten()
        }
    }

    /// Keys and values of a dictionary whose keys stay the same meanwhile, borrowed.
    unsafe fn entries(&self, dictionary: Object) -> impl Iterator<Item = (Object, Object)> {
        let (mut position, mut key, mut value) = (0, null_mut(), null_mut());
        std::iter::from_fn(move || {
            // SAFETY: the caller has the GIL; the places live during the call.
            let found = unsafe { (self.next)(dictionary, &raw mut position, &raw mut key, &raw mut value) };
            (found != 0).then_some((key, value))
        })
    }
}
