import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assay.platform.cuda_driver import note_of_gpu, sees_gpu

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE: a driver library, and nothing to drive."""


def plant_driver(monkeypatch: pytest.MonkeyPatch, started: int, counted: int, count: int) -> None:
    def count_devices(found: Any) -> int:  # what `byref` makes
        ctypes.cast(found, ctypes.POINTER(ctypes.c_int))[0] = count
        return counted

    driver = SimpleNamespace(cuInit=lambda _flags: started, cuDeviceGetCount=count_devices)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)


def test_the_driver_says_what_torch_says() -> None:
    assert sees_gpu() == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("started", "counted", "count", "seen"),
    [(0, 0, 1, True), (0, 0, 0, False), (NO_DEVICE, 0, 1, False), (0, NO_DEVICE, 1, False)],
)
def test_answers_of_a_driver(
    monkeypatch: pytest.MonkeyPatch, started: int, counted: int, count: int, seen: bool
) -> None:
    plant_driver(monkeypatch, started, counted, count)
    assert sees_gpu() is seen


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not sees_gpu()


@pytest.mark.parametrize(
    ("given", "asked", "device", "told"),
    [
        ("0", "auto", "cpu", 1),
        ("0", "auto", "cuda", 0),
        ("0", "cpu", "cpu", 0),
        ("", "auto", "cpu", 0),
        ("-1", "auto", "cpu", 0),
    ],
)
def test_a_gpu_that_was_given_and_is_not_seen_is_noted(
    monkeypatch: pytest.MonkeyPatch, given: str, asked: str, device: str, told: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    notes = note_of_gpu(asked, device)
    assert len(notes) == told
    assert all("encoding on the CPU" in note for note in notes)
