"""A decoder that misbehaves on command. The real process, but for what it does with files that begin with a deed.

Run as a script it is the child; imported it says how to start it. An order is a file's first line: a deed, and a folder
where each try leaves an empty file (others a decoder cannot write). What follows the line is a picture.
"""

import ctypes
import os
import signal
import stat
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from assay.platform import decoder_process, images
from assay.platform.budget import Budget
from assay.platform.faults import Fault
from assay.platform.images import Decoded
from assay.platform.views import Preprocess

PLANTED = (sys.executable, __file__)


def order(deed: str, tries: Path, picture: bytes = b"") -> bytes:
    """A file that makes the planted decoder do `deed`; a folder with "once" in its name: the first time only."""
    return f"{deed} {tries}\n".encode() + picture


# The deeds ------------------------------------------------------------------------------------------------------------


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def leave() -> None:
    os._exit(7)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep() -> None:
    time.sleep(600)


def spin() -> None:
    """Without ever giving the interpreter lock away, as a hanging C decoder does."""
    ctypes.PyDLL(None).sleep(600)


def burn() -> None:
    while True:
        pass


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def gorge() -> None:
    bytearray(8 * 2**30)


def nibble() -> None:
    """Eat memory bit by bit, as a leak does."""
    eaten = []
    while True:
        eaten.append(bytearray(2**24))


def say(told: bytes) -> None:
    [pipe] = _answer_pipes()
    os.write(pipe, told)
    time.sleep(600)


def babble() -> None:
    say(os.urandom(4096))


def shout() -> None:
    """More than any pipe holds, for ever."""
    [pipe] = _answer_pipes()
    while True:
        os.write(pipe, b"\xff" * 2**20)


def promise_much() -> None:
    say(decoder_process.HEADER.pack(2**31, 255))


def break_off() -> None:
    [pipe] = _answer_pipes()
    os.write(pipe, decoder_process.HEADER.pack(300, 1) + b'{"format": "JP')
    os._exit(0)


def invent_a_fault() -> None:
    """One that would make the job fetch the image again, and again."""
    told = b'{"fault": "GONE"}'
    say(decoder_process.HEADER.pack(len(told), 0) + told)


def lie() -> None:
    told = b'{"format": "PNG", "width": 1, "height": 1, "frames": 1, "views": [["whole", 0, 0, 1, 1e400, null]]}'
    say(decoder_process.HEADER.pack(len(told), 1) + told + bytes(10**6))


def nest() -> None:
    """What makes many a JSON parser run out of stack."""
    told = b"[" * 8000
    say(decoder_process.HEADER.pack(len(told), 0) + told)


def shut_up() -> None:
    """Close the pipe, and live on."""
    [pipe] = _answer_pipes()
    os.close(pipe)
    time.sleep(600)


def stumble() -> None:
    raise ZeroDivisionError("what it was reading: secret pixels")


def chatter() -> None:
    """From the next image on, answer rightly and say more than was asked."""
    honest = decoder_process._answer

    def answer(seen: Decoded | Fault, answers: BinaryIO) -> None:
        honest(seen, answers)
        answers.write(b"and furthermore")

    vars(decoder_process)["_answer"] = answer


def _answer_pipes() -> list[int]:
    """The pipe that is neither stdin nor where stdout and stderr lead now."""
    return [fd for fd in range(3, 64) if _is_pipe(fd)]


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


DEEDS: dict[bytes, Callable[[], None]] = {
    deed.__name__.encode(): deed
    for deed in (
        segfault,
        abort,
        leave,
        is_killed,
        sleep,
        spin,
        burn,
        stop,
        gorge,
        nibble,
        babble,
        shout,
        promise_much,
        break_off,
        invent_a_fault,
        lie,
        nest,
        shut_up,
        stumble,
        chatter,
    )
}


def decode(data: bytes, preprocess: Preprocess, budget: Budget) -> Decoded | Fault:
    """As `images.decode`, but first do the deed that is asked for; "once" does it the first time only."""
    order, _, picture = data.partition(b"\n")
    name, _, folder = order.partition(b" ")
    if name not in DEEDS:
        return images.decode(data, preprocess, budget)
    tries = Path(os.fsdecode(folder))
    (tries / uuid.uuid4().hex).touch()
    if "once" not in tries.name or len(list(tries.iterdir())) == 1:
        DEEDS[name]()
    return images.decode(picture, preprocess, budget)


if __name__ == "__main__":
    vars(decoder_process)["decode"] = decode
    decoder_process.main()
