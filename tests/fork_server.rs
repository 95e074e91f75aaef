//! Python forked from an interpreter that has started is a fresh `python3 test.py`: the same programs run both ways,
//! what a hostile one finds there, and fork servers that die.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[allow(dead_code)]
#[path = "attacks/host.rs"]
mod host;

use std::fs;
use std::time::Duration;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn job(source: &str) -> Job {
    Job { language: "python".into(), source: source.into(), ..Job::default() }
}

fn options() -> Options {
    Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() }
}

/// A sandbox without fork servers.
fn plain(test: &str) -> Option<LocalSandbox> {
    let mut python = Languages::embedded().unwrap().get("python").unwrap().clone();
    python.fork_server = None;
    start(test, Options { languages: Some(Languages::new(vec![python]).unwrap()), ..options() })
}

fn start(test: &str, options: Options) -> Option<LocalSandbox> {
    match LocalSandbox::start(options) {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            common::skip(test, &error.to_string());
            None
        }
    }
}

/// A sandbox whose next jobs are forked, or `None`, and said so, where there is no interpreter to fork.
async fn forked(test: &str) -> Option<LocalSandbox> {
    let sandbox = start(test, options())?;
    warm_up(test, &sandbox).await.then_some(sandbox)
}

async fn warm_up(test: &str, sandbox: &LocalSandbox) -> bool {
    for _ in 0..100 {
        if is_forked(sandbox).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Only a python without a shared library is an excuse.
    let ask = "import sysconfig; print(sysconfig.get_config_var('Py_ENABLE_SHARED'))";
    let said = sandbox.run(&job(ask)).await.unwrap().stdout;
    assert_eq!(said.trim(), "0", "{test}: nothing is forked");
    common::skip(test, "python has no shared library");
    false
}

/// Whether the executable of a program is this project's, and not python's.
async fn is_forked(sandbox: &LocalSandbox) -> bool {
    let source = "import os\nprint(os.readlink('/proc/self/exe'))";
    sandbox.run(&job(source)).await.unwrap().stdout.contains("autocodegen")
}

/// What a program decides of a verdict, addresses and times apart.
fn answer(verdict: &Verdict) -> String {
    let Verdict { outcome, exit_code, signal, stdout, stderr, .. } = verdict;
    let steady = |line: &&str| !line.starts_with("Ran ");
    let stderr: Vec<_> =
        stderr.lines().filter(steady).map(|line| line.split(" 0x").next().unwrap()).collect();
    format!("{outcome:?} {exit_code:?} {signal:?}\n{stdout}\n{}", stderr.join("\n"))
}

/// Runs `job` both ways; how the answers differ.
async fn difference(plain: &LocalSandbox, forked: &LocalSandbox, job: &Job) -> Option<String> {
    let (expected, found) = tokio::join!(plain.run(job), forked.run(job));
    let (expected, found) = (answer(&expected.unwrap()), answer(&found.unwrap()));
    let different: Vec<_> =
        expected.lines().zip(found.lines()).filter(|(expected, found)| expected != found).collect();
    (expected != found).then(|| format!("{:.200}: plain and forked: {different:#?}", job.source))
}

/// What a program can find out about its process and interpreter, one fact a line.
const STATE: &str = r#"
before = dir(), __name__, __file__, __doc__, __package__, __spec__, type(__loader__).__name__, __builtins__.__name__
import sys
modules = list(sys.modules)
frames = sys._getframe().f_back
import atexit, faulthandler, locale, os, resource, signal, socket, threading, time, tracemalloc, warnings
def show(name, value): print(name, repr(value))
show("main", before)
show("modules", modules)
show("frames", frames)
for name in ("argv", "orig_argv", "path", "executable", "prefix", "base_prefix", "exec_prefix", "flags", "warnoptions",
             "_xoptions", "dont_write_bytecode", "version", "hash_info", "meta_path", "path_hooks", "platform",
             "excepthook", "displayhook", "breakpointhook", "unraisablehook", "pycache_prefix", "stdlib_module_names"):
    value = getattr(sys, name)
    show(name, sorted(value) if isinstance(value, frozenset) else str(value).split(" at 0x")[0])
show("caches", list(sys.path_importer_cache))
show("calls", [getattr(sys, name)() for name in ("getrecursionlimit", "getswitchinterval", "gettrace", "getprofile",
    "getfilesystemencoding", "getfilesystemencodeerrors", "getdefaultencoding", "getdlopenflags", "get_asyncgen_hooks",
    "get_coroutine_origin_tracking_depth", "get_int_max_str_digits")])
for stream in (sys.stdin, sys.stdout, sys.stderr):
    show(stream.name, (stream, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.mode,
         stream.buffer.raw, stream.isatty(), stream.seekable(), stream.fileno(), os.fstat(stream.fileno()).st_mode))
show("environment", dict(os.environ))
show("ids", [getattr(os, name)() for name in ("getpid", "getppid", "getpgrp", "getresuid", "getresgid", "getgroups",
    "getcwd", "cpu_count")] + [os.getsid(0), os.umask(0), os.getpriority(0, 0), os.sched_getaffinity(0),
    os.sched_getscheduler(0)])
show("signals", [(s, str(signal.getsignal(s)).split(" at 0x")[0]) for s in signal.valid_signals()])
show("masks", signal.pthread_sigmask(signal.SIG_BLOCK, []))
show("timers", [signal.getitimer(n) for n in range(3)])
show("limits", [(n, resource.getrlimit(getattr(resource, n))) for n in dir(resource) if n.startswith("RLIMIT")])
show("threads", [(t.name, t.daemon, t.native_id == os.getpid(), t.ident == threading.get_ident())
                 for t in threading.enumerate()] + [threading.main_thread() is threading.current_thread()])
show("descriptors", [fd for fd in range(3000) if os.path.exists(f"/proc/self/fd/{fd}")])
keys = ("Umask", "Uid", "Gid", "Groups", "NStgid", "NSpid", "Threads", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn",
        "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Name",
        "TracerPid", "CoreDumping", "Speculation_Store_Bypass")
show("status", [l for l in open("/proc/self/status").read().splitlines() if l.split(":")[0] in keys])
for name in ("cmdline", "environ", "comm", "setgroups", "oom_score_adj", "mounts", "personality",
             "net/dev", "timerslack_ns", "limits"):
    try: show(name, open("/proc/self/" + name, "rb").read())
    except OSError as error: show(name, error)
show("owners", [(n, os.stat("/proc/self/" + n).st_uid) for n in ("fd", "environ", "maps", "mem")])
show("id maps", [open(f"/proc/self/{n}_map").read().split()[::2] for n in ("uid", "gid")])
show("groups", len(open("/proc/self/cgroup").read().splitlines()))
show("names", (socket.gethostname(), socket.if_nameindex(), os.getlogin if 0 else os.uname().nodename))
show("files", [sorted(os.listdir(f)) for f in ("/", "/work", "/tmp", "/dev", "/proc/self/task", "/etc")][:4])
show("hash", (hash("abc"), hash(1.5), {"ab", "cd", "ef"}))
show("locale", (locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), time.tzname))
show("warnings", warnings.filters)
show("registered", (atexit._ncallbacks(), faulthandler.is_enabled(), tracemalloc.is_tracing()))
show("young", time.process_time() < 1)
import gc
show("gc", (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug(), gc.callbacks, gc.garbage))
show("referrers", len([r for r in gc.get_referrers(os) if isinstance(r, dict)]) > 1)
show("tracked", any(o is os.__dict__ for o in gc.get_objects()))
gc.collect()
show("classes", sorted(c.__module__ + "." + c.__name__ for c in object.__subclasses__()))
show("shutdown", threading._shutdown.__name__)
import ctypes
show("library", ctypes.CDLL(None).getpid() == ctypes.pythonapi.getpid() == os.getpid())
"#;

const PROGRAMS: &[&str] = &[
    "print('hello')",
    "",
    "import sys\nsys.exit()",
    "import sys\nsys.exit(7)",
    "import sys\nsys.exit('a message')",
    "raise SystemExit([1, 2])",
    "import os\nprint('lost')\nos._exit(5)",
    "def f(n):\n    return 1 // n\n\ndef g():\n    try:\n        f(0)\n    except ZeroDivisionError as e:\n        raise ValueError('wrong') from e\n\ng()",
    "def f(:\n    pass\n",
    "print(1)\n  print(2)\n",
    "x = 'unended\n",
    "# -*- coding: latin-1 -*-\nprint('\u{e9}')",
    "print('\\udc80')",
    "x = b'\\xff'\nimport sys\nsys.stdout.buffer.write(x)",
    "def f(n):\n    return f(n + 1)\n\nf(0)",
    "import sys\nsys.setrecursionlimit(50000)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(20000))",
    "try:\n    print(input())\nexcept EOFError as e:\n    print('end', e)",
    "import sys\nprint(sys.stdin.read() == '', sys.stdin.readline() == '')",
    "raise KeyboardInterrupt",
    "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(5)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "import os\nos.abort()",
    "import ctypes\nctypes.string_at(0)",
    "import faulthandler, ctypes\nfaulthandler.enable()\nctypes.string_at(0)",
    "import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('got', a[0]))\nos.kill(os.getpid(), signal.SIGUSR1)",
    "import signal\nsignal.alarm(1)\nsignal.pause()",
    "import atexit\natexit.register(print, 'first')\natexit.register(print, 'second')\nprint('main')\n1 / 0",
    "import threading, time\ndef late():\n    time.sleep(0.1)\n    print('late')\nthreading.Thread(target=late).start()\nprint('main')",
    "import threading\ndef bad():\n    raise ValueError('in a thread')\nt = threading.Thread(target=bad, name='worker')\nt.start()\nt.join()\nprint(threading.active_count())",
    "import threading\nlock, n = threading.Lock(), 0\ndef add():\n    global n\n    for _ in range(1000):\n        with lock:\n            n += 1\nts = [threading.Thread(target=add) for _ in range(8)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nprint(n)",
    "import multiprocessing\ndef square(n):\n    return n * n\nif __name__ == '__main__':\n    for way in ('fork', 'spawn', 'forkserver'):\n        with multiprocessing.get_context(way).Pool(2) as pool:\n            print(way, pool.map(square, range(5)))",
    "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\ndef f(n):\n    return n + 1\nif __name__ == '__main__':\n    for pool in (ProcessPoolExecutor(2), ThreadPoolExecutor(2)):\n        with pool:\n            print(list(pool.map(f, range(4))))",
    "import os\nchild = os.fork()\nif child == 0:\n    print('child', os.getppid() > 1, flush=True)\n    os._exit(3)\nprint('parent', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))",
    "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, sys.flags.isolated)'], capture_output=True, text=True))\nprint(subprocess.run('exit 4', shell=True).returncode)\nprint(subprocess.run(['false']).returncode)",
    "import os, sys\nsys.stdout.flush()\nos.execv(sys.executable, [sys.executable, '-c', 'import os; print(os.getpid(), os.listdir(\"/proc/self/fd\")[:3])'])",
    "import unittest\nclass T(unittest.TestCase):\n    def test_good(self):\n        self.assertEqual(1, 1)\n    def test_bad(self):\n        self.fail('no')\nunittest.main(argv=['x', '-q'], exit=False)\nprint('after')",
    "import pickle\nclass Point:\n    def __init__(self, x):\n        self.x = x\np = pickle.loads(pickle.dumps(Point(3)))\nprint(type(p), p.x, Point.__module__, pickle.dumps(Point))",
    "import inspect\ndef f(x):\n    '''doc'''\n    return x\nprint(inspect.getsource(f), inspect.getfile(f), len(inspect.stack()), inspect.getmodule(f))",
    "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n    x: int\n    y: list = field(default_factory=list)\nprint(P(1), P(1) < P(2))",
    "from collections import namedtuple\nfrom enum import Enum\nP = namedtuple('P', 'x y')\nclass C(Enum):\n    A = 1\nprint(P(1, 2), P.__module__, C.A, repr(C))",
    "import asyncio\nasync def f(n):\n    await asyncio.sleep(0.01)\n    return n\nasync def main():\n    print(await asyncio.gather(*(f(n) for n in range(5))))\nasyncio.run(main())",
    "import asyncio\nasync def main():\n    raise ValueError('x')\nasyncio.run(main())",
    "import warnings\nwarnings.warn('careful')\nwarnings.warn('deep', stacklevel=5)\nimport traceback\ntraceback.print_stack()",
    "import logging\nlogging.warning('%s', 'w')\nlogging.getLogger('x').error('e', exc_info=True)",
    "class D:\n    def __init__(self, n):\n        self.n = n\n    def __del__(self):\n        print('del', self.n)\na = D(1)\nb = D(2)\nb.me = b\nimport os\nos.d = D(3)\n[].append(D(4))\nimport string\nstring.d = D(5)\nprint('end')",
    "class D:\n    def __del__(self):\n        raise ValueError('in del')\nd = D()",
    "class D:\n    def __init__(self, n):\n        self.n = n\n    def __del__(self):\n        print('del', self.n)\nimport os, stat, posixpath, abc\nstat.d = D(1)\nposixpath.sep = D(2)\ndel os.sep\nos.sep = D(3)\nabc.a = D(4)\ndel abc.a\nsize, abc.__doc__ = 5, D(5)",
    "import os, sys\nclass D:\n    def __del__(self):\n        try:\n            import shutil\n        except ImportError as e:\n            print(type(e).__name__)\n        print(os and os.sep, sys and sys.modules.get('os', 0) is not 0)\nd = D()\ne = D()\ne.me = e\ndef keep(d=D()):\n    return keep\nimport string\nstring.d = D()",
    "import sys\nimport os as first\ndel sys.modules['os'], first\nimport os\nprint(os.sep, sys.modules['os'] is os)\nsys.modules['stat'] = 3\nsys.modules['abc'] = None\nsys.modules['codecs'] = os",
    "import sys\nclass D:\n    def __del__(self):\n        print('del')\nd = D()\nsys.modules.clear()",
    "import threading, time\ndef endless():\n    while True:\n        [[[]] for _ in range(1000)]\nthreading.Thread(target=endless, daemon=True).start()\ntime.sleep(0.05)\nprint('end')",
    "import os, sys\nclass D:\n    def __del__(self):\n        print('del', flush=True)\nd = D()\nif os.fork() == 0:\n    sys.exit(3)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "import sys\nsys.stdout = open('/dev/full', 'w')\nprint('x')",
    "import sys\nclass Out:\n    def write(self, text):\n        pass\n    def flush(self):\n        raise OSError('cannot flush')\nsys.stdout = Out()",
    "import sys\nd = type('D', (), {'__' + 'del' + '__': lambda self: print('del')})()\nd.me = d",
    "import sys, os\nout = os.__dict__['op' + 'en']\nstat = sys.modules.get('stat')\nwrapped = os.getcwd\nos.getcwd = lambda: wrapped()\nclass D: pass\nsetattr(D, '__' 'del' + '__', lambda self: print('del'))\nd = D()",
    "import sys\nclass Out:\n    def __init__(self, inner):\n        self.inner, self.lines = inner, []\n    def write(self, text):\n        self.lines.append(text)\n    def flush(self):\n        rows = [[line] for line in self.lines]\n        import os\n        self.inner.write(os.linesep.join(str(len(rows)) for _ in range(1)) + '\\n')\n        self.inner.flush()\nsys.stdout = Out(sys.stdout)\nfor n in range(1500):\n    print(n)",
    "import os\nclass D:\n    def __call__(self): pass\ndef end(self, write=os.write, numbers=range(5000)):\n    rows = [[n] for n in numbers]\n    write(2, b'late\\n')\nsetattr(D, '__' 'del' + '__', end)\nos.register_at_fork(before=D())",
    "try: import _interpreters as s\nexcept ImportError: import _xxsubinterpreters as s\ni = s.create()\ns.run_string(i, 'import gc')\ns.destroy(i)\nimport gc\nprint(gc.get_freeze_count(), gc.callbacks, len(gc.get_objects()) > 1000)",
    "import sys\nclass D: pass\ndef end(self):\n    import os\n    print('end', os.sep)\nsetattr(D, '__' 'del' + '__', end)\ndef f():\n    d = D()\n    return 1 / 0\nf()",
    "import typing, sys, gzip\nclass A:\n    def f(self): pass\nx = typing.List[A]\nz = gzip.GzipFile(fileobj=sys.stdout.buffer, mode='wb', mtime=0)\nz.write(b'hello')",
    "from typing import Optional, List\nclass D:\n    def __del__(self):\n        print('del')\nd = D()\nx = Optional[D], List[D]",
    "import sys, collections, typing, re, functools\nf = open('/dev/stdout', 'w')\nf.write('unflushed')\nclass A:\n    pass\na = typing.List[A]",
    "def numbers():\n    try:\n        yield 1\n        yield 2\n    finally:\n        print('closed')\nn = numbers()\nprint(next(n))\nimport time\ntime.sleep = numbers",
    "class D:\n    def __init__(self):\n        self.me = self\n    def __del__(self):\n        import gc\n        print(gc.callbacks, len(gc.get_objects()) > 1000)\nd = D()",
    "import weakref\nclass X:\n    pass\nx = X()\nf = weakref.finalize(x, print, 'finalized')\nw = weakref.ref(x, lambda r: print('gone'))",
    "import gc\nclass D:\n    def __del__(self):\n        print('collected')\nfor _ in range(3):\n    d = D()\n    d.me = d\ndel d\nprint(gc.collect() > 0, gc.get_freeze_count(), len(gc.get_objects()) > 1000)",
    "import importlib\nimportlib.import_module('gc')\nimport gc\nprint(gc.get_freeze_count(), len(gc.get_objects()) > 1000)",
    "import contextlib, io, sys\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    print('inside')\nprint(repr(out.getvalue()))\nsys.stdout = open('/dev/null', 'w')\nprint('unseen')",
    "import sys\nsys.excepthook = lambda *e: print('hook', e[0])\n1 / 0",
    "import sys\nsys.stderr.write('no line end')\nsys.stdout.write('no line end')",
    "import sys\nsys.stdout.close()\nprint('x')",
    "import os\nos.close(1)\nprint('x')",
    "open('f.txt', 'w').write('text')\nimport os\nprint(os.path.abspath('f.txt'), open('/work/f.txt').read(), sorted(os.listdir('.')))",
    "open('helper.py', 'w').write('value = 3\\nprint(__name__, __file__)')\nimport helper\nprint(helper.value)",
    "import test\nprint(test.__name__, test.__file__)",
    "import os\nprint(open('/dev/fd/0').read(), open('/dev/stdin').read())\nprint('out', file=open('/dev/stdout', 'w'))",
    "import sys\nprint(sys.version_info >= (3, 8), __import__('platform').python_implementation())\nimport site\nprint(site.ENABLE_USER_SITE, site.getsitepackages(), exit, quit, copyright)",
    "import code, sys\ncode.interact(banner='', readfunc=lambda p: exit())",
    "assert 1 == 2, 'unequal'",
    "import doctest\ndef f():\n    '''\n    >>> f()\n    2\n    '''\n    return 1\nprint(doctest.testmod())",
    "import timeit\nprint(timeit.timeit('pass', number=10) < 1)",
    "import tempfile, os\nwith tempfile.NamedTemporaryFile() as f:\n    print(os.path.dirname(f.name))",
    "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1))\ns = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\nprint(c.getpeername()[0])",
    "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.05:\n    pass\nprint(time.process_time() < 2, time.thread_time() < 2)",
    "import random\nrandom.seed(4)\nprint(random.random(), random.sample(range(100), 5))",
    "x = [0] * 10_000_000\nprint(len(x))",
    "x = bytearray(2 << 30)",
    "while True:\n    pass",
];

#[tokio::test]
async fn a_forked_interpreter_is_a_fresh_one() {
    let (Some(plain), Some(forked)) = (plain("equal"), forked("equal").await) else { return };
    let (server, mut differences) = (servers(&forked), Vec::new());
    for source in PROGRAMS.iter().chain([&STATE]) {
        let limits = LimitOverrides {
            cpu_ms: Some(if source.starts_with("while") { 300 } else { 20_000 }),
            ..LimitOverrides::default()
        };
        differences.extend(difference(&plain, &forked, &Job { limits, ..job(source) }).await);
    }
    for stdin in ["a line\nanother\n", "no end", "\u{e9}\n"] {
        let source = "import sys\nprint(input(), sys.stdin.read(), sys.stdin.seekable())";
        differences.extend(difference(&plain, &forked, &Job { stdin: stdin.into(), ..job(source) }).await);
    }
    for (solution, tests) in [
        ("def f(): return 1", "assert f() == 1\nprint('ok')"),
        ("def f(): return 1", "assert f() == 2"),
        ("import os\ndef f(): os._exit(0)", "assert f() == 1"),
        ("import sys\ndef f(): sys.exit(0)", "assert f() == 1"),
        ("import os\nprint(sorted(map(int, os.listdir('/proc/self/fd')))[:5])", "import sys\nsys.exit(0)"),
    ] {
        let job = Job { tests: Some(tests.into()), strict: true, ..job(solution) };
        differences.extend(difference(&plain, &forked, &job).await);
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(is_forked(&forked).await && !is_forked(&plain).await);
    assert_eq!(servers(&forked), server, "one fork server served all");
}

#[tokio::test]
async fn forked_programs_share_no_random_state() {
    let Some(sandbox) = forked("random").await else { return };
    let source = "import os, random, secrets, tempfile, uuid\nprint(random.random())\nprint(tempfile.mktemp())\n\
                  print(random.SystemRandom().random())\nprint(uuid.uuid4())\nprint(secrets.token_hex())";
    let runs = [sandbox.run(&job(source)).await.unwrap(), sandbox.run(&job(source)).await.unwrap()];
    assert!(is_forked(&sandbox).await);
    for (first, second) in runs[0].stdout.lines().zip(runs[1].stdout.lines()) {
        assert_ne!(first, second);
    }
    assert_eq!(runs[0].stdout.lines().count(), 5);
}

#[tokio::test]
async fn a_varied_run_is_not_forked() {
    let Some(sandbox) = forked("varied").await else { return };
    let varied = Job { variation: 1, ..job("import os\nprint(os.readlink('/proc/self/exe'))") };
    assert!(!sandbox.run(&varied).await.unwrap().stdout.contains("autocodegen"));
}

#[tokio::test]
async fn usage_is_the_programs_own() {
    let Some(sandbox) = forked("usage").await else { return };
    let idle = sandbox.run(&job("pass")).await.unwrap().usage;
    assert!(idle.cpu_ms < 500, "{idle:?}");
    let source = "import time\nwhile time.process_time() < 0.6: pass\nx = bytearray(100 << 20)";
    let busy = sandbox.run(&job(source)).await.unwrap().usage;
    assert!((600..3000).contains(&busy.cpu_ms) && busy.peak_rss_bytes > 100 << 20, "{busy:?}");
}

/// The fork servers of a sandbox.
fn servers(sandbox: &LocalSandbox) -> Vec<i32> {
    let launcher = sandbox.launcher_pid();
    let children =
        fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap_or_default();
    let children = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
    children.filter(|&pid| host::is_fork_server(pid)).map(|pid| pid as i32).collect()
}

#[tokio::test]
async fn a_hostile_program_finds_nothing_of_the_fork_server_or_of_other_jobs() {
    let Some(host) = host::Host::new("fork server").await else { return };
    if !warm_up("fork server", &host.sandbox).await {
        return;
    }
    let server = servers(&host.sandbox);
    let secret = "the-answer-of-another-tenant";
    for _ in 0..6 {
        let tests = Some(format!("assert answer() == {secret:?}"));
        let source = format!("def answer(): return {secret:?}");
        host.sandbox.run(&Job { tests, strict: true, stdin: secret.into(), ..job(&source) }).await.unwrap();
    }
    let source = format!(
        "{}{}",
        host::REFUSED,
        r#"
import signal, time
print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()), os.getppid())
print([fd for fd in range(4096) if os.path.exists(f'/proc/self/fd/{fd}')])
# Everything this process has in memory; its own text is put together only here.
word, found, read = b'-'.join([b'the', b'answer', b'of', b'another', b'tenant']), [], 0
memory = open('/proc/self/mem', 'rb', 0)
for line in open('/proc/self/maps'):
    start, end = (int(n, 16) for n in line.split()[0].split('-'))
    if line.split()[1][0] != 'r' or '[v' in line: continue
    while start < end:
        try: memory.seek(start); block = memory.read(min(1 << 22, end - start))
        except (OSError, ValueError): break
        if not block: break
        read += len(block)
        if block.count(word) > (1 if word in block and id(word) in range(start, start + len(block)) else 0):
            found.append(line.split()[-1])
        start += len(block)
print(read > 10_000_000, found)
refused('signal the launcher', lambda: os.kill(os.getppid(), signal.SIGKILL) if os.getppid() != 1 else -1)
for pid in list(range(2, 40000)):
    if pid != os.getpid():
        try: os.kill(pid, 9); print('COULD kill', pid)
        except OSError: pass
refused('trace', lambda: libc.ptrace(16, 1, 0, 0))
refused('read', lambda: libc.syscall(310, 1, 0, 0, 0, 0, 0))
refused('pidfd', lambda: libc.syscall(438, libc.syscall(434, 1, 0), 0, 0))
for kind in os.listdir('/proc/self/ns'):
    refused(kind, lambda: libc.setns(os.open('/proc/self/ns/' + kind, os.O_RDONLY), 0))
refused('user namespace', lambda: libc.unshare(0x10000000))
refused('capabilities', lambda: libc.sethostname(b'x', 1))
refused('user', lambda: os.setuid(0))
refused('command line', lambda: libc.prctl(35, 8, 4096, 0, 0))
refused('init memory', lambda: open('/proc/1/mem', 'rb').read(1))
refused('init descriptors', lambda: os.listdir('/proc/1/fd'))
refused('init roots', lambda: os.listdir('/proc/1/root'))
refused('own executable', lambda: open('/proc/self/exe', 'r+b'))
refused('kill all', lambda: os.kill(-1, 9))
print('end')
"#
    );
    let generous = LimitOverrides { cpu_ms: Some(20_000), ..LimitOverrides::default() };
    let verdict = host.sandbox.run(&Job { limits: generous, ..job(&source) }).await.unwrap();
    assert_eq!(verdict.stdout, "[2] 1\n[0, 1, 2]\nTrue []\nend\n", "{verdict:#?}");
    assert!(is_forked(&host.sandbox).await);
    assert_eq!(servers(&host.sandbox), server);
    let (launcher, server) = (host.sandbox.launcher_pid(), server[0]);
    host.assert_clean().await;
    assert!(!std::path::Path::new(&format!("/proc/{server}")).exists(), "the server of {launcher} lives on");
}

/// Whatever is done to fork servers, verdicts are right, and later jobs are forked again.
#[tokio::test]
async fn a_fork_server_that_dies_or_stops_is_never_scored() {
    let Some(sandbox) = forked("killed").await else { return };
    let known = [
        ("print(6 * 7)", Outcome::Passed, "42\n"),
        ("import sys\nprint(1)\nsys.exit(3)", Outcome::RuntimeError, "1\n"),
        ("assert 1 == 2", Outcome::WrongAnswer, ""),
        ("import time\ntime.sleep(0.05)\nprint('slept')", Outcome::Passed, "slept\n"),
    ];
    let mut struck = 0;
    for round in 0..40_u64 {
        let jobs = known.map(|(source, ..)| job(source));
        let strike = async {
            tokio::time::sleep(Duration::from_millis(round * 7 % 60)).await;
            for server in servers(&sandbox) {
                let signal = if round % 10 == 9 { Signal::SIGSTOP } else { Signal::SIGKILL };
                struck += u32::from(kill(Pid::from_raw(server), signal).is_ok());
            }
        };
        let (answers, ()) = tokio::join!(join_all(jobs.iter().map(|job| sandbox.run(job))), strike);
        for ((source, outcome, stdout), verdict) in known.iter().zip(answers) {
            let verdict = verdict.unwrap_or_else(|fault| panic!("{source}: {fault}"));
            assert_eq!(
                (verdict.outcome, verdict.stdout.as_str()),
                (*outcome, *stdout),
                "{source}: {verdict:#?}"
            );
        }
    }
    println!("{struck} fork servers struck, no verdict was wrong");
    assert!(struck >= 3);
}

#[tokio::test]
async fn where_nothing_can_be_forked_the_plain_way_is_taken() {
    let mut python = Languages::embedded().unwrap().get("python").unwrap().clone();
    // A library that is none of an interpreter.
    let libc =
        "import ctypes.util; print([l.split()[-1] for l in open('/proc/self/maps') if '/libc.so' in l][0])";
    python.fork_server.as_mut().unwrap().library = vec!["{python3}".into(), "-c".into(), libc.into()];
    let languages = Some(Languages::new(vec![python]).unwrap());
    let Some(sandbox) = start("plain way", Options { languages, ..options() }) else { return };
    for _ in 0..8 {
        let verdict = sandbox.run(&job("print('well')")).await.unwrap();
        assert_eq!((verdict.outcome, verdict.stdout.as_str()), (Outcome::Passed, "well\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_forked(&sandbox).await);
}

#[tokio::test]
async fn the_process_is_gone_with_its_sandbox() {
    let Some(sandbox) = forked("gone").await else { return };
    let server = servers(&sandbox);
    assert_eq!(server.len(), 1);
    let launcher = sandbox.launcher_pid();
    kill(Pid::from_raw(launcher as i32), Signal::SIGKILL).unwrap();
    for _ in 0..100 {
        if fs::read(format!("/proc/{}/cmdline", server[0])).unwrap_or_default().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("fork server {} outlives its launcher", server[0]);
}
