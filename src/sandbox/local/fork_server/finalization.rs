//! How a forked interpreter ends: what start-up has made is left to the kernel.
//!
//! At its end CPython takes every module apart. In a forked child that has the kernel copy nearly all pages of the
//! interpreter, which takes longer than most programs. So the modules that start-up has imported are kept from that end,
//! if they are as it has left them and the program has nothing that could tell: that is called, or writes, when its
//! objects go. What is kept might hold such an object deep inside. All other programs end as ever: nothing of theirs is
//! frozen then (see [`Cpython`](super::Cpython)), nothing kept.
//!
//! The moment is the interpreter's last full garbage collection, which calls what is in `gc.callbacks`. A program that
//! imports `gc` could see that; then there is nothing in there.

use std::ffi::{CStr, c_char, c_int};
use std::io::{Error, Result};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

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
/// Whether modules may be kept.
static KEEPS: AtomicBool = AtomicBool::new(false);

/// An interpreter that has started.
struct Started {
    /// `gc.callbacks`.
    callbacks: Object,
    /// `gc.unfreeze`.
    unfreeze: Object,
    /// `sys.modules`.
    names: Object,
    modules: Vec<Module>,
    none: Object,
    is_finalizing: unsafe extern "C" fn() -> c_int,
    item: unsafe extern "C" fn(Object, isize) -> Object,
    compare: unsafe extern "C" fn(Object, *const c_char) -> c_int,
    next: Next,
    find: unsafe extern "C" fn(Object, Object) -> Object,
    set: unsafe extern "C" fn(Object, Object, Object) -> c_int,
    own: unsafe extern "C" fn(Object),
    disown: unsafe extern "C" fn(Object),
    call: unsafe extern "C" fn(Object, Object) -> Object,
    cut: unsafe extern "C" fn(Object, isize, isize, Object) -> c_int,
}

/// `PyDict_Next`.
type Next = unsafe extern "C" fn(Object, *mut isize, *mut Object, *mut Object) -> c_int;

/// A module as start-up has left it; it and its name are owned, its contents are not.
struct Module {
    name: Object,
    module: Object,
    dictionary: Object,
    contents: Vec<(Object, Object)>,
}

/// Whether a program of these files could tell how it ends.
pub(in super::super) fn is_telling(files: &[(String, Content)]) -> bool {
    let has =
        |word: &&str| files.iter().any(|(_, Content(bytes))| memmem::find(bytes, word.as_bytes()).is_some());
    TELLING.iter().any(has)
}

/// Lets the program that runs next in this process end without its modules being taken apart.
pub(super) fn allow() {
    KEEPS.store(true, Ordering::Relaxed);
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
        let dictionary_of: unsafe extern "C" fn(Object) -> Object = library.get(c"PyModule_GetDict")?;
        let clear_error: unsafe extern "C" fn() = library.get(c"PyErr_Clear")?;
        let append: unsafe extern "C" fn(Object, Object) -> c_int = library.get(c"PyList_Append")?;
        let function: unsafe extern "C" fn(*const Method, Object, Object) -> Object =
            library.get(c"PyCFunction_NewEx")?;
        let mut started = Box::new(Started {
            callbacks,
            unfreeze,
            names,
            modules: Vec::new(),
            none: library.address(c"_Py_NoneStruct")?,
            is_finalizing: library.get(c"_Py_IsFinalizing").or_else(|_| library.get(c"Py_IsFinalizing"))?,
            item: library.get(c"PyTuple_GetItem")?,
            compare: library.get(c"PyUnicode_CompareWithASCIIString")?,
            next: library.get(c"PyDict_Next")?,
            find: library.get(c"PyDict_GetItemWithError")?,
            set: library.get(c"PyDict_SetItem")?,
            own: library.get(c"Py_IncRef")?,
            disown: library.get(c"Py_DecRef")?,
            call: library.get(c"PyObject_CallObject")?,
            cut: library.get(c"PyList_SetSlice")?,
        });
        for (name, module) in started.entries(names) {
            let dictionary = dictionary_of(module);
            if dictionary.is_null() {
                // Something else that is called a module.
                clear_error();
            } else if NOT_KEPT.iter().all(|other| !started.is(name, other)) {
                (started.own)(name);
                (started.own)(module);
                let contents = started.entries(dictionary);
                started.modules.push(Module { name, module, dictionary, contents });
            }
        }
        STARTED.store(Box::into_raw(started), Ordering::Relaxed);
        match append(callbacks, function(&raw const KEEP, null_mut(), null_mut())) {
            0 => Ok(()),
            _ => Err(Error::other("gc.callbacks cannot be added to")),
        }
    }
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
            let keeps = KEEPS.load(Ordering::Relaxed);
            if !keeps || !started.modules.iter().all(|module| started.is_unchanged(module)) {
                started.end_as_ever();
            } else if started.is((started.item)(arguments, 0), c"stop") {
                started.keep();
            }
        }
        (started.own)(started.none);
        started.none
    }
}

impl Started {
    /// Whether `module` is as start-up has left it.
    ///
    /// # Safety
    /// This thread holds the GIL.
    unsafe fn is_unchanged(&self, Module { name, module, dictionary, contents }: &Module) -> bool {
        // SAFETY: the caller's promise; a module that is owned has its dictionary, and contents are only compared.
        unsafe { (self.find)(self.names, *name) == *module && self.entries(*dictionary) == *contents }
    }

    /// Has the interpreter leave the modules as they are.
    ///
    /// # Safety
    /// The interpreter is at its end, and this thread holds the GIL.
    unsafe fn keep(&self) {
        for Module { name, .. } in &self.modules {
            // SAFETY: the caller's promise. The interpreter itself does this with each before it takes any apart.
            unsafe { (self.set)(self.names, *name, self.none) };
        }
    }

    /// Has the interpreter end as it would have without any of this.
    ///
    /// # Safety
    /// The interpreter is at its end, and this thread holds the GIL.
    unsafe fn end_as_ever(&self) {
        // SAFETY: the caller's promise; what was owned is given up once, since this is not called again.
        unsafe {
            (self.cut)(self.callbacks, 0, isize::MAX, null_mut());
            (self.call)(self.unfreeze, null_mut());
            self.modules.iter().for_each(|module| (self.disown)(module.module));
        }
    }

    /// Keys and values of a dictionary, borrowed.
    ///
    /// # Safety
    /// `dictionary` is one, and this thread holds the GIL.
    unsafe fn entries(&self, dictionary: Object) -> Vec<(Object, Object)> {
        let (mut position, mut entries) = (0, Vec::new());
        let (mut key, mut value) = (null_mut(), null_mut());
        // SAFETY: the caller's promise; the places live during the call.
        while unsafe { (self.next)(dictionary, &raw mut position, &raw mut key, &raw mut value) } != 0 {
            entries.push((key, value));
        }
        entries
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
