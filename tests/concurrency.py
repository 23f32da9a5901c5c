"""Threads, forks and interpreters for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest


def run_together(*functions):
    """Run functions on threads that start at the same moment; raise what one of them raised."""
    barrier = threading.Barrier(len(functions))
    errors = []

    def run(function):
        try:
            barrier.wait(30)
            function()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def run_script(code):
    """Run a script in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=50
    )


def needs_fork(test):
    """Mark a test that forks while threads run, which is what newer interpreters warn of."""
    test = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")(test)
    return pytest.mark.filterwarnings(
        "ignore:This process .* is multi-threaded:DeprecationWarning"
    )(test)


@contextlib.contextmanager
def busy_threads(work, *args):
    """Call `work` again and again on two threads.

    What it uses is handed over as arguments and not shared by closure: free-threaded CPython 3.13
    can fork while the cell of a variable is locked by a thread that waits to go on, and any use of
    that cell then hangs in the child.
    """
    stop = threading.Event()

    def loop(is_set, work, args):
        while not is_set():
            work(*args)

    threads = [threading.Thread(target=loop, args=(stop.is_set, work, args)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def in_child(function, *args):
    """Run a function in a forked child and return its exit code; a child that hangs is ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            function(*args)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
