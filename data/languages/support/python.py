"""Tells whether the tests of a program ran to their end.

They may end the process themselves, by `sys.exit` or through `unittest.main`; the solution may not: who called is told
by the line. The secret is written when the interpreter ends, after threads have been waited for.
"""

import atexit
import builtins
import os
import sys

process, read, write, end = os.getpid(), os.read, os.write, sys.exit
quitter = type(builtins.exit)
plain_quit = quitter.__call__


def over():
    if os.getpid() == process:
        write(4, read(3, 64))


def ending(status):
    caller = sys._getframe(2)
    while caller is not None and caller.f_code.co_filename != file:
        caller = caller.f_back
    if caller is not None and caller.f_lineno >= start and not status:
        atexit.register(over)


def exit(status=None, /):
    ending(status)
    end(status)


def quit(self, code=None):
    ending(code)
    return plain_quit(self, code)


def begin():
    """To be called where the tests begin."""
    global start, file
    # Not for the program to see.
    del sys.modules[__name__]
    tests = sys._getframe(1)
    start, file, names = tests.f_lineno, tests.f_code.co_filename, tests.f_globals
    sys.exit = exit
    quitter.__call__ = quit
    names.update({name: exit for name, value in list(names.items()) if value is end})


def ended():
    """To be called where the tests have ended."""
    atexit.register(over)
