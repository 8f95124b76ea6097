"""What takes longer than a turn of the event loop may: computed in a thread, where the system gives one."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def computed(function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """What a function returns that only computes: it may be called twice, and waits for nothing.

    A system that gives no thread (``TasksMax=``, the processes of a user) costs the others some of their
    time, and fails nothing.
    """
    try:
        return await asyncio.to_thread(function, *arguments, **named)
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
    return function(*arguments, **named)
