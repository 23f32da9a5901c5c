"""The suites: one module each, one coroutine function a benchmark."""
