"""Keys, values and functions that do their worst."""


class Clock:
    """A time that tests set."""

    def __init__(self):
        self.time = 0

    def __call__(self):
        return self.time


class Failing(Clock):
    """A clock that does something when it is read."""

    on_read = staticmethod(lambda: None)

    def __call__(self):
        self.on_read()
        return self.time


class Colliding:
    """A key whose hash is always the same and whose equality calls a function."""

    def __init__(self, value, on_compare=lambda: None):
        self.value = value
        self.on_compare = on_compare

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self.on_compare()
        return isinstance(other, Colliding) and self.value == other.value


class Moody:
    """A key with one hash, and an equality that a test decides."""

    def __init__(self, answer):
        self.answer = answer

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return self.answer


class Meddler:
    """A value that calls a function when it is dropped."""

    def __init__(self, function):
        self.function = function

    def __del__(self):
        self.function()


def explode(*_args):
    raise ZeroDivisionError


def kinds(failures):
    """Return the types of the exceptions that went to `sys.unraisablehook`."""
    return [failure.exc_type for failure in failures]


USES = {
    "getitem": lambda cache, key: cache[key],
    "setitem": lambda cache, key: cache.__setitem__(key, "new"),
    "delitem": lambda cache, key: cache.__delitem__(key),
    "contains": lambda cache, key: key in cache,
    "get": lambda cache, key: cache.get(key),
    "pop": lambda cache, key: cache.pop(key, None),
    "setdefault": lambda cache, key: cache.setdefault(key, "new"),
    "set": lambda cache, key: cache.set(key, "new", ttl=5, tags="tag"),
    "get_or_create": lambda cache, key: cache.get_or_create(key, lambda: "new"),
}
