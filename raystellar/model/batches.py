"""Rows of arrays as batches of one size, on the device of a network.

Matrix products of another shape sum in another order. Every batch is therefore filled up to one size, so that the
result of a row is the same to the last bit whatever the other rows of its batch are. On a GPU the next batch is copied
during the computation on the current batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

CPU_BATCH = 256
"""Number of rows in a batch on a CPU: 4 MB of spectra. Twice as many rows are a quarter faster, but waste more time in
a small job, whose last batch is filled up."""

GPU_BATCH = 4096
"""Number of rows in a batch on a GPU: 65 MB of spectra, enough to keep a GPU busy with a small network."""


def batch_size(device: torch.device | str) -> int:
    """Return the number of rows of a batch on ``device``."""
    return CPU_BATCH if torch.device(device).type == "cpu" else GPU_BATCH


def batches(arrays: Sequence[np.ndarray], device: torch.device | str) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield the number of the first row of each batch, and the batch of each array as a tensor on ``device``.

    The tensors are reused: a batch is valid until the next batch is requested. The last batch is filled up with
    earlier rows or zeros.

    Parameters
    ----------
    arrays : (n, ...) float32 each
    """
    device = torch.device(device)
    size = batch_size(device)
    yield from (_batches if device.type == "cpu" else _batches_ahead)(arrays, device, size)


def _batches(arrays: Sequence[np.ndarray], device: torch.device, size: int) -> Iterator[tuple[int, list[Tensor]]]:
    tensors = [torch.zeros(size, *array.shape[1:]) for array in arrays]
    for start in range(0, len(arrays[0]), size):
        _fill(tensors, arrays, start)
        yield start, tensors


def _batches_ahead(arrays: Sequence[np.ndarray], device: torch.device, size: int) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield batches on a GPU.

    Two sets of buffers take turns, so that the copy of a batch and the computation on another overlap.
    """
    host = [[torch.zeros(size, *array.shape[1:], pin_memory=True) for array in arrays] for _ in range(2)]
    gpu = [[tensor.to(device) for tensor in tensors] for tensors in host]
    copied, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
    compute, copy = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    copy.wait_stream(compute)  # the compute stream still writes zeros to the buffers

    def send(number: int) -> None:
        turn = number % 2
        copied[turn].synchronize()  # the copy from this buffer is complete
        _fill(host[turn], arrays, number * size)
        copy.wait_event(used[turn])
        with torch.cuda.stream(copy):
            for source, target in zip(host[turn], gpu[turn], strict=True):
                target.copy_(source, non_blocking=True)
        copied[turn].record(copy)

    count = -(-len(arrays[0]) // size)
    if count:
        send(0)
    for number in range(count):
        if number + 1 < count:
            send(number + 1)
        turn = number % 2
        compute.wait_event(copied[turn])
        yield number * size, gpu[turn]
        used[turn].record(compute)


def _fill(tensors: Sequence[Tensor], arrays: Sequence[np.ndarray], start: int) -> None:
    """Copy the rows from ``start`` on to the tensors, which lie in the memory of the CPU."""
    for tensor, array in zip(tensors, arrays, strict=True):
        rows = array[start : start + len(tensor)]
        tensor.numpy()[: len(rows)] = rows
