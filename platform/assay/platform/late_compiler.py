"""The encoder's libraries, imported without torch's compiler.

torchvision and timm import `torch._dynamo` as they start, and with it sympy, inductor and 800 modules in all: two
fifths of the CPU time until an encoder is ready. Each does so for one function, which no encoder here calls. While
`defer_compiler` is entered, they find the compiler's modules not yet run, holding these two functions, which run the
compiler when they are called.

Knows those two by name. Imports no torch. A release of these libraries that asks for more gets it, as slowly as before.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
QUESTIONS = "torch._dynamo.utils"


@contextmanager
def defer_compiler() -> Iterator[None]:
    """For the time of an import: what is taken from the compiler runs it when called. Does nothing if it has run."""
    if COMPILER in sys.modules or find_spec(COMPILER) is None:
        yield
        return
    held = [_hold(COMPILER, {"disable": _disable}), _hold(QUESTIONS, {"is_compile_supported": _is_compile_supported})]
    try:
        yield
    finally:
        for module in filter(_is_held, held):  # nobody made it run; who imports it from now on does
            del sys.modules[module.__name__]


def _hold(name: str, functions: Mapping[str, Callable[..., Any]]) -> ModuleType:
    """A module as it is found, before it runs, with some functions in place; asked for anything else, it runs."""
    spec = find_spec(name)
    assert spec is not None
    module = module_from_spec(spec)

    def run_after_all(wanted: str) -> Any:
        if wanted.startswith("__"):  # the import system looks for a `__path__` on every module
            raise AttributeError(wanted)
        return getattr(_run(module), wanted)

    module.__dict__.update(functions, __getattr__=run_after_all)
    sys.modules[name] = module
    return module


def _is_held(module: ModuleType) -> bool:
    return "__getattr__" in module.__dict__


def _run(module: ModuleType) -> ModuleType:
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    del module.__dict__["__getattr__"]
    module.__spec__.loader.exec_module(module)
    return module


def _real(name: str) -> ModuleType:
    """The module that has run."""
    module = importlib.import_module(name)
    return _run(module) if _is_held(module) else module


def _is_compile_supported(device: Any) -> Any:
    """For torchvision, whose `roi_align` asks each time it runs."""
    return _real(QUESTIONS).is_compile_supported(device)


def _disable(function: Callable[..., Any] | None = None, *how: Any, **more: Any) -> Callable[..., Any]:
    """For timm, which marks a method that must not be compiled: marked at its first call, as torch marks its own."""
    if function is None:
        return lambda one: _disable(one, *how, **more)
    marked: list[Callable[..., Any]] = []

    @wraps(function)
    def late(*args: Any, **kwargs: Any) -> Any:
        if not marked:
            marked.append(_real(COMPILER).disable(function, *how, **more))
        return marked[0](*args, **kwargs)

    return late
