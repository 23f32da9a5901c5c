"""Native objects give their references back, whichever thread drops them last."""

import gc
import threading
import weakref

from overdrive import WorkStealingExecutor


def test_the_last_thread_of_a_dropped_executor_releases_the_initializer():
    class Initializer:
        def __call__(self):
            pass

    initializer = Initializer()
    gone = weakref.ref(initializer)
    release = threading.Event()
    executor = WorkStealingExecutor(1, initializer=initializer)
    executor.submit(release.wait)
    (thread,) = executor._workers._threads
    del executor, initializer
    release.set()
    thread.join()
    del thread
    gc.collect()
    assert gone() is None
