//! CPython as a library: started here, then run in forked children as its own `main` would.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::finalization;

pub(super) type Object = *mut c_void;
type InitModule = unsafe extern "C" fn() -> Object;

/// `PyStatus`.
#[repr(C)]
struct Status {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

/// `struct _inittab`: a module that is built in.
#[repr(C)]
struct BuiltIn {
    name: *const c_char,
    init: Option<InitModule>,
}

/// Room for `PyPreConfig` and `PyConfig`, whose sizes differ between versions: several times the largest.
type Configuration = [u64; 1024];

/// An interpreter that has started and not yet looked at its program.
pub(in super::super) struct Cpython {
    objects: Objects,
    after_fork_child: unsafe extern "C" fn(),
    run_main: unsafe extern "C" fn() -> c_int,
}

/// What is needed to call into modules.
#[derive(Clone, Copy)]
pub(super) struct Objects {
    pub(super) modules: unsafe extern "C" fn() -> Object,
    pub(super) find: unsafe extern "C" fn(Object, *const c_char) -> Object,
    attribute: unsafe extern "C" fn(Object, *const c_char) -> Object,
    pub(super) call: unsafe extern "C" fn(Object, Object) -> Object,
    pub(super) clear_error: unsafe extern "C" fn(),
}

/// `PyInit_gc`.
static INIT_GC: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// How many times it was called.
static INITS_OF_GC: AtomicU32 = AtomicU32::new(0);

impl Cpython {
    /// Starts the interpreter `library` for the command `argv`, up to where it would read the program, and makes it
    /// ready to be forked. To be called once in a process that has a single thread.
    ///
    /// # Errors
    /// The library cannot be loaded or is none of CPython, or the interpreter cannot start.
    pub(super) fn start(library: &Path, argv: &[String]) -> Result<Self> {
        let path = CString::new(library.as_os_str().as_bytes())?;
        let arguments: Vec<CString> =
            argv.iter().map(|a| CString::new(a.as_str())).collect::<std::result::Result<_, _>>()?;
        let mut pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(null());
        let count = c_long::try_from(arguments.len()).map_err(Error::other)?;
        // SAFETY: the library is the toolchain's own; each symbol has the type that CPython documents for it. The
        // buffers and strings outlive the calls that use them, and there is one thread, which holds the GIL once the
        // interpreter has started.
        unsafe {
            let library = Library::open(&path)?;
            let this = Self {
                objects: Objects::of(&library)?,
                after_fork_child: library.get(c"PyOS_AfterFork_Child")?,
                run_main: library.get(c"Py_RunMain")?,
            };
            let before_fork: unsafe extern "C" fn() = library.get(c"PyOS_BeforeFork")?;
            watch_gc(&library)?;
            let init_preconfig: unsafe extern "C" fn(*mut Configuration) =
                library.get(c"PyPreConfig_InitPythonConfig")?;
            let preinitialize: unsafe extern "C" fn(
                *const Configuration,
                c_long,
                *const *const c_char,
            ) -> Status = library.get(c"Py_PreInitializeFromBytesArgs")?;
            let init_config: unsafe extern "C" fn(*mut Configuration) =
                library.get(c"PyConfig_InitPythonConfig")?;
            let set_argv: unsafe extern "C" fn(*mut Configuration, c_long, *const *const c_char) -> Status =
                library.get(c"PyConfig_SetBytesArgv")?;
            let initialize: unsafe extern "C" fn(*const Configuration) -> Status =
                library.get(c"Py_InitializeFromConfig")?;
            let clear: unsafe extern "C" fn(*mut Configuration) = library.get(c"PyConfig_Clear")?;
            // What Py_BytesMain does before Py_RunMain.
            let mut preconfig = Box::new([0; 1024]);
            init_preconfig(&raw mut *preconfig);
            preinitialize(&raw const *preconfig, count, pointers.as_ptr()).check()?;
            let mut config = Box::new([0; 1024]);
            init_config(&raw mut *config);
            set_argv(&raw mut *config, count, pointers.as_ptr()).check()?;
            initialize(&raw const *config).check()?;
            clear(&raw mut *config);
            this.objects.freeze(&library)?;
            // Held in this process for ever: it forks and does nothing else.
            before_fork();
            Ok(this)
        }
    }

    /// Runs the program in a forked child; returns the exit code. `may_notice_end` is whether the program may notice
    /// what its interpreter leaves undone at its end.
    ///
    /// # Safety
    /// Only in a child, made by the C library's `fork`, of the process that called [`Self::start`]; once.
    pub(in super::super) unsafe fn run(&self, may_notice_end: bool) -> i32 {
        // SAFETY: the caller's promise, and that of `start`.
        unsafe {
            (self.after_fork_child)();
            self.objects.name_main_thread();
            if !may_notice_end {
                finalization::keep_modules();
            }
            (self.run_main)()
        }
    }
}

impl Status {
    fn check(self) -> Result<()> {
        match self.kind {
            0 => Ok(()),
            _ if self.message.is_null() => Err(Error::other("the interpreter does not start")),
            // SAFETY: CPython's messages are static NUL-terminated strings.
            _ => Err(Error::other(unsafe { CStr::from_ptr(self.message) }.to_string_lossy().into_owned())),
        }
    }
}

impl Objects {
    /// # Safety
    /// The library is CPython's.
    unsafe fn of(library: &Library) -> Result<Self> {
        // SAFETY: these are the functions' documented types.
        unsafe {
            Ok(Self {
                modules: library.get(c"PyImport_GetModuleDict")?,
                find: library.get(c"PyDict_GetItemString")?,
                attribute: library.get(c"PyObject_GetAttrString")?,
                call: library.get(c"PyObject_CallObject")?,
                clear_error: library.get(c"PyErr_Clear")?,
            })
        }
    }

    /// Keeps the garbage collector from looking at what start-up has made, which would have the child copy all of it.
    /// That can be seen through the module `gc`: whoever imports it finds everything unfrozen. The program's own
    /// module is not frozen: its end is when the objects of most programs are collected.
    ///
    /// # Safety
    /// The interpreter `library` has started, and this thread holds the GIL.
    unsafe fn freeze(&self, library: &Library) -> Result<()> {
        let Self { modules, find, attribute, call, .. } = self;
        // SAFETY: the caller's promise; objects are used while they are owned or borrowed from a living owner. Those
        // that are tracked anew are modules and their dictionaries, which always are.
        unsafe {
            let remove: unsafe extern "C" fn(Object, *const c_char) -> c_int =
                library.get(c"PyDict_DelItemString")?;
            let import: unsafe extern "C" fn(*const c_char) -> Object =
                library.get(c"PyImport_ImportModule")?;
            let dictionary: unsafe extern "C" fn(Object) -> Object = library.get(c"PyModule_GetDict")?;
            let untrack: unsafe extern "C" fn(Object) = library.get(c"PyObject_GC_UnTrack")?;
            let track: unsafe extern "C" fn(Object) = library.get(c"PyObject_GC_Track")?;
            let imported = !find(modules(), c"gc".as_ptr()).is_null();
            let main = find(modules(), c"__main__".as_ptr());
            if imported || main.is_null() || INIT_GC.load(Ordering::Relaxed).is_null() {
                // Nobody would tell when a program looks at it.
                return Ok(());
            }
            let mut gc = null_mut();
            for _ in 0..2 {
                gc = import(c"gc".as_ptr());
                if gc.is_null() || remove(modules(), c"gc".as_ptr()) != 0 {
                    return Err(Error::other("the interpreter has no module gc"));
                }
            }
            if INITS_OF_GC.load(Ordering::Relaxed) < 2 {
                // As with no gc to watch: before 3.10 it is made once, and copied from then on.
                return Ok(());
            }
            let (freeze, unfreeze) = (attribute(gc, c"freeze".as_ptr()), attribute(gc, c"unfreeze".as_ptr()));
            if freeze.is_null() || unfreeze.is_null() {
                return Err(Error::other("the interpreter's module gc is not the usual one"));
            }
            if call(freeze, null_mut()).is_null() {
                return Err(Error::other("gc.freeze failed"));
            }
            for object in [main, dictionary(main)] {
                untrack(object);
                track(object);
            }
            let callbacks = attribute(gc, c"callbacks".as_ptr());
            if callbacks.is_null() {
                return Err(Error::other("the interpreter's module gc has no callbacks"));
            }
            finalization::prepare(library, *self, callbacks, unfreeze)
        }
    }

    /// Has the module `threading`, where start-up has brought it, know the kernel's number of this thread: some
    /// versions leave it as it was before the fork.
    ///
    /// # Safety
    /// The interpreter runs in this process, and this thread holds the GIL.
    unsafe fn name_main_thread(&self) {
        let Self { modules, find, attribute, call, clear_error } = self;
        // SAFETY: the caller's promise; what a failed step leaves is cleared, and no step follows it.
        unsafe {
            let threading = find(modules(), c"threading".as_ptr());
            if threading.is_null() {
                return;
            }
            let named = [attribute(threading, c"main_thread".as_ptr())]
                .into_iter()
                .filter(|found| !found.is_null())
                .map(|main_thread| call(main_thread, null_mut()))
                .filter(|thread| !thread.is_null())
                .map(|thread| attribute(thread, c"_set_native_id".as_ptr()))
                .filter(|set| !set.is_null())
                .map(|set| call(set, null_mut()))
                .any(|result| !result.is_null());
            if !named {
                clear_error();
            }
        }
    }
}

/// Puts [`init_gc`] in the place of the module's own function.
///
/// # Safety
/// The interpreter `library` has not started.
unsafe fn watch_gc(library: &Library) -> Result<()> {
    // SAFETY: the table is an array of entries that ends with one without a name; nobody else reads it yet.
    unsafe {
        let table: *const *mut BuiltIn = library.address(c"PyImport_Inittab")?.cast();
        let mut entry = *table;
        while !entry.is_null() && !(*entry).name.is_null() {
            if CStr::from_ptr((*entry).name) == c"gc"
                && let Some(init) = (*entry).init.replace(init_gc)
            {
                INIT_GC.store(init as *mut c_void, Ordering::Relaxed);
            }
            entry = entry.add(1);
        }
    }
    Ok(())
}

/// Makes the module `gc` for a program that imports it.
unsafe extern "C" fn init_gc() -> Object {
    let init = INIT_GC.load(Ordering::Relaxed);
    INITS_OF_GC.fetch_add(1, Ordering::Relaxed);
    // SAFETY: it was stored by `watch_gc` from a function of this type before this one could be called; the interpreter
    // calls it with the GIL held.
    unsafe {
        finalization::give_up();
        let init: InitModule = std::mem::transmute(init);
        init()
    }
}

/// A loaded library; never unloaded.
pub(super) struct Library(*mut c_void);

impl Library {
    /// # Safety
    /// Loading it runs its initialisers.
    unsafe fn open(path: &CStr) -> Result<Self> {
        // SAFETY: `path` is NUL-terminated; global, since extension modules look there for the interpreter.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() { Err(load_error()) } else { Ok(Self(handle)) }
    }

    pub(super) fn address(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: the handle is one of dlopen's, `name` is NUL-terminated.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() { Err(load_error()) } else { Ok(address) }
    }

    /// # Safety
    /// `F` is the type of the function `name`, as a function pointer.
    pub(super) unsafe fn get<F: Copy>(&self, name: &CStr) -> Result<F> {
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        let address = self.address(name)?;
        // SAFETY: the caller's promise; both are pointers of the same size.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}

fn load_error() -> Error {
    // SAFETY: dlerror returns NULL or a NUL-terminated string that is valid until the next call.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return Error::other("cannot load the interpreter");
    }
    // SAFETY: see above.
    Error::other(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
}
