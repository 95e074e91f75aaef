//! How a forked interpreter ends: what start-up has made is left to the kernel.
//!
//! At its end CPython takes every module apart. In a forked child that has the kernel copy nearly all pages of the
//! interpreter, which takes longer than most programs. So modules that start-up has imported, and that are as it has
//! left them, are kept from that end. A program could tell only by an object with `__del__` that it has hidden deep
//! inside one of them, which CPython does not promise to call then either.
//!
//! It happens at the last moment at which nothing of the program's runs any more: the interpreter's last full garbage
//! collection calls what is in `gc.callbacks`. A program that imports `gc`, where it could see that, ends as ever.

use std::ffi::{CStr, c_char, c_int};
use std::io::{Error, Result};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::cpython::{Library, Object};

/// What is the interpreter's own or the program's.
const NOT_KEPT: [&CStr; 3] = [c"sys", c"builtins", c"__main__"];

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

/// An interpreter that has started.
struct Started {
    /// `gc.callbacks`.
    callbacks: Object,
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

/// Prepares this interpreter's children for their end. `callbacks` is the list `gc.callbacks`, `names` the dictionary
/// `sys.modules`.
///
/// # Safety
/// The interpreter `library` has started, and this thread holds the GIL.
pub(super) unsafe fn prepare(library: &Library, callbacks: Object, names: Object) -> Result<()> {
    // SAFETY: the caller's promise; these are the functions' documented types.
    unsafe {
        let dictionary_of: unsafe extern "C" fn(Object) -> Object = library.get(c"PyModule_GetDict")?;
        let clear_error: unsafe extern "C" fn() = library.get(c"PyErr_Clear")?;
        let append: unsafe extern "C" fn(Object, Object) -> c_int = library.get(c"PyList_Append")?;
        let function: unsafe extern "C" fn(*const Method, Object, Object) -> Object =
            library.get(c"PyCFunction_NewEx")?;
        let mut started = Box::new(Started {
            callbacks,
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
        if (started.is_finalizing)() != 0 && started.is((started.item)(arguments, 0), c"stop") {
            started.modules.iter().for_each(|module| started.keep(module));
        }
        (started.own)(started.none);
        started.none
    }
}

impl Started {
    /// Keeps `module` from being taken apart if it is as start-up has left it.
    ///
    /// # Safety
    /// The interpreter is at its end, and this thread holds the GIL.
    unsafe fn keep(&self, Module { name, module, dictionary, contents }: &Module) {
        // SAFETY: the caller's promise; a module that is owned has its dictionary, and contents are only compared.
        unsafe {
            if (self.find)(self.names, *name) == *module && self.entries(*dictionary) == *contents {
                // As the interpreter does it with each before it takes any apart.
                (self.set)(self.names, *name, self.none);
            } else {
                (self.disown)(*module);
            }
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
