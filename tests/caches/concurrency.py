"""Threads, forked children and other interpreters to test with."""

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
    """Run a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )


def needs_fork(test):
    """Mark a test that forks among threads."""
    test = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")(test)
    message = "ignore:This process .* is multi-threaded:DeprecationWarning"
    return pytest.mark.filterwarnings(message)(test)


def in_child(function):
    """Run a function in a forked child and return its exit code; a child that hangs is ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
