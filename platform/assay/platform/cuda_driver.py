"""Whether there is a GPU that torch would use, asked of its driver: importing torch takes seconds.

Knows NVIDIA's driver library by name, and sees no other maker's GPU. Imports no torch, starts nothing on a GPU.
"""

import ctypes
import os

_DRIVER = "libcuda.so.1"


def sees_gpu() -> bool:
    """Whether the driver has a GPU for this process. It obeys CUDA_VISIBLE_DEVICES, as it does for torch.

    Where torch sees none although the driver does (a driver too old for it), torch is asked again by whoever loads it.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    count = ctypes.c_int(0)
    # Both answer 0 when they could do what was asked: with a library but no GPU the first one does not.
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def note_of_gpu(asked: str, device: str) -> tuple[str, ...]:
    """What to tell if `auto` was asked for and took the CPU, though this process was given a GPU."""
    given = os.environ.get(
        "CUDA_VISIBLE_DEVICES", ""
    )  # the driver obeys it; whoever gives us a GPU sets it, as Ray does
    if asked != "auto" or device == "cuda" or given in ("", "-1", "NoDevFiles"):
        return ()
    return (f"GPU {given} was given, but no CUDA device is seen (its driver?): encoding on the CPU",)
