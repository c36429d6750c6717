"""What arguments may be, by what their annotations say: one check for every constructor, before it looks at values."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")
_CALLABLE: Any = get_origin(Callable[[], None])
_NO_MEMORY = (
    "can't allocate memory",
    "CUDA out of memory",
    "Storage size calculation overflowed",
    "Overflow when unpacking long",
)


def check_types(owner: str, annotated: Callable[..., Any], values: Mapping[str, object]) -> None:
    """Refuse arguments of another type than the annotation of their parameter says.

    Truth values are no numbers, and numbers no truth values; numbers of numpy and tensors are no int. An annotation
    that says nothing at run time, as a type variable, accepts everything. A program that is compiled checks nothing.

    Args:
        owner: whose arguments they are.
        annotated: the function, or the class for the parameters of its `__init__` or the fields of a dataclass.
        values: by name; those of other names are passed over.

    Raises:
        ValueError: naming the owner, the argument and the value.
    """
    if _is_compiling():
        return
    for name, annotation in _annotations(annotated).items():
        if name in values and not _fits(values[name], annotation):
            value = values[name]
            hint = f"; write int({name})" if _is_foreign_int(value) and _fits(0, annotation) else ""
            raise ValueError(f"{owner}: {name} must be {_in_words(annotation)}, got {_told(value, annotation)}{hint}.")


def check_fields(instance: object) -> None:
    """Refuse fields of a dataclass of another type than they are annotated with; see `check_types`."""
    check_types(type(instance).__name__, type(instance), vars(instance))


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of each call by `check_types`; a constructor is called by the name of its class.

    What does not fit into memory is refused as well, see `fits_memory`.
    """
    signature = inspect.signature(function)
    owner, _, method = function.__qualname__.rpartition(".")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        called = owner if method == "__init__" else method
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # Python's own sentence names the function
        check_types(called, function, given)
        with fits_memory(called):
            return function(*args, **kwargs)

    return checked


@contextmanager
def fits_memory(owner: str) -> Iterator[None]:
    """Say in a sentence that there is no memory for what is made inside.

    Raises:
        ValueError: naming the owner and what numpy or torch could not have.
    """
    try:
        yield
    except (MemoryError, RuntimeError, TypeError) as error:
        told = str(error)
        if not isinstance(error, MemoryError) and not any(words in told for words in _NO_MEMORY):
            raise
        reason = (
            re.split('Allocator: |with error "', told)[-1].splitlines()[0].split(". Error code")[0]
            if told
            else "it is full"
        )
        raise ValueError(
            f"{owner}: what it is asked for does not fit into memory ({reason}); choose smaller sizes."
        ) from error


def _is_compiling() -> bool:
    """Whether torch makes a program of this call; nobody who has not imported torch asks it to."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "compiler") and bool(torch.compiler.is_compiling())


@functools.cache
def _annotations(annotated: Callable[..., Any]) -> Mapping[str, object]:
    """Types by parameter; none where a name in them is not known at run time."""
    is_plain_class = isinstance(annotated, type) and not hasattr(annotated, "__dataclass_fields__")
    try:
        found = get_type_hints(annotated.__init__ if is_plain_class else annotated)
    except NameError:
        return {}
    # What must be left out, as nn.Embedding's max_norm, is refused by the constructor, which knows why.
    return {name: each for name, each in found.items() if name != "return" and each is not type(None)}


def _fits(value: object, annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return any(value is each or (type(value) is type(each) and value == each) for each in arguments)
    if isinstance(origin, type):
        return _fits_generic(value, origin, arguments)
    if annotation in (int, float):
        return isinstance(value, int | float if annotation is float else int) and not isinstance(value, bool)
    if annotation is Any or not isinstance(annotation, type) or getattr(annotation, "_is_protocol", False):
        return True
    return isinstance(value, annotation)


def _fits_generic(value: object, origin: type, arguments: Sequence[Any]) -> bool:
    """A list stands for a tuple: that is how it comes back from files."""
    if issubclass(origin, type):
        bound = arguments[0] if arguments and isinstance(arguments[0], type) else object
        return isinstance(value, type) and issubclass(value, bound)
    if issubclass(origin, Mapping) and len(arguments) == 2:
        return isinstance(value, origin) and all(
            _fits(key, arguments[0]) and _fits(each, arguments[1]) for key, each in value.items()
        )
    if not issubclass(origin, Sequence):
        return callable(value) if origin is _CALLABLE else isinstance(value, origin)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    if issubclass(origin, tuple) and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return all(_fits(each, arguments[0]) for each in value)


def _told(value: object, annotation: Any) -> str:
    """A value as a message shows it; of a mapping the entry that does not fit, since a whole one is long."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    for kinds in (get_args(each) for each in members if _is_mapping(each)):
        for key, entry in value.items() if isinstance(value, Mapping) else ():
            if not (_fits(key, kinds[0]) and _fits(entry, kinds[1])):
                return f"{entry!r} at {key!r}"
    return repr(value)


def _is_mapping(annotation: Any) -> bool:
    """Whether an annotation says what is mapped to what."""
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping) and len(get_args(annotation)) == 2


def _is_foreign_int(value: object) -> bool:
    return not isinstance(value, int) and hasattr(value, "__index__")


def _in_words(annotation: Any) -> str:
    """As a user writes it: `int or None`, `a list of int`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, arguments)))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_in_words(arguments[0]).replace('one of', 'some of')}"
    if _is_mapping(annotation):
        return f"a mapping of {_in_words(arguments[0])} to {_in_words(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, type):
        return f"a class, {_in_words(arguments[0])} or one derived from it"
    if annotation is bool:
        return "true or false"
    return "a class or function" if origin is _CALLABLE else getattr(origin or annotation, "__name__", str(annotation))
