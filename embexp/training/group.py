"""The members that train one run together, one a device, as one of them sees them: what is gathered and added up.

The groups are torch's own, but not made its default group: transformers, accelerate and sentence-transformers go on
believing that each process is alone, and share out nothing themselves.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

# Whose types torch tells only in part.
distributed: Any = torch.distributed
HOST = "127.0.0.1"
# For all to be there; afterwards, while one scores the model, the others wait: that a member is gone is noticed otherwise.
MEETING = timedelta(minutes=10)
PATIENCE = timedelta(days=7)
# Another member is looked for at every fiftieth of the time waited, but within these bounds.
SOON, LOOK_EVERY = 2e-5, 0.05  # seconds
# Elements that are added up at a time: few large messages, little memory beside the gradients.
BUCKET = 2**23


class GroupBroken(RuntimeError):
    """A member is gone: nothing can be gathered any more."""


class Group:
    """The members' way to each other; all of them must call the same, in the same order.

    Where it is made all members meet, and torch heeds no signal until they have, or MEETING is over. Later waits heed them.

    Attributes:
        rank: which member this is; 0 leads.
        size: how many there are.
    """

    def __init__(self, store: Any, *, rank: int, size: int, device: str) -> None:
        self.rank = rank
        self.size = size
        self.device = torch.device(device)
        self._aborted = False
        try:
            self._members = _nccl(store, rank, size) if device == "cuda" else _gloo(store, rank, size)
        except RuntimeError as error:
            raise self._broken(error) from error
        # NCCL's members connect only now; what may wait for another without heeding signals is behind them.
        self.add_up(torch.zeros(1, device=self.device))
        self._members._set_default_timeout(PATIENCE)

    def gather(self, own: Tensor) -> list[Tensor]:
        """Every member's tensor, by rank; all are of one shape."""
        found = [torch.empty_like(own) for _ in range(self.size)]
        self._wait(lambda: self._members.allgather([found], [own.contiguous()]))
        return found

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all members, in place: the same bits in each."""
        self._wait(lambda: self._members.allreduce([values]))
        return values

    def add_up_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Gives every parameter the sum of all members' gradients; one that has none anywhere is left without."""
        present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
        somewhere = self.add_up(present.to(self.device)).tolist()
        trained = [parameter for parameter, count in zip(parameters, somewhere, strict=True) if count]
        for bucket in _buckets(trained):
            gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in bucket]
            total = self.add_up(torch.cat([gradient.reshape(-1) for gradient in gradients]))
            for one, part in zip(bucket, total.split([one.numel() for one in bucket]), strict=True):
                one.grad = part.view_as(one)

    def abort(self) -> None:
        """Makes whatever waits for a member fail; called by another thread."""
        # First: what ends from now on may have ended by this.
        self._aborted = True
        self._members.abort()

    def _wait(self, begin: Callable[[], Any]) -> None:
        try:
            work = begin()
            # Not in torch, which would keep Python from hearing a signal.
            _look_until(self._finished(work))
            work.wait()
        except RuntimeError as error:
            raise self._broken(error) from error
        # gloo fails then. NCCL ends as if all were well, and would leave numbers of no meaning to be trained on and saved.
        if self._aborted:
            raise self._broken("it is gone")

    def _finished(self, work: Any) -> Callable[[], bool]:
        if self.device.type != "cuda":
            return work.is_completed
        # NCCL waits on the GPU alone; what it has brought is known when that has come so far.
        work.wait()
        event = torch.cuda.Event()
        event.record()
        return event.query

    def _broken(self, why: object) -> GroupBroken:
        return GroupBroken(f"device {self.rank} of {self.size} waited for another in vain: {why}")


def meeting_place(port: int = 0) -> Any:
    """Where the members find each other: the leader opens it, at a free port; the others give its port."""
    if port:
        return distributed.TCPStore(HOST, port, None, False, MEETING, wait_for_workers=False)
    # torch's own would listen to the whole network, whatever host it is given, and asks nobody who they are.
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    return distributed.TCPStore(
        HOST, port, None, True, MEETING, wait_for_workers=False, master_listen_fd=listening.detach()
    )


def _gloo(store: Any, rank: int, size: int) -> Any:
    options = distributed.ProcessGroupGloo._Options()
    # Not by the host's name, which need not lead back to this machine.
    options._devices = [distributed.ProcessGroupGloo.create_device(hostname=HOST)]
    options._timeout = MEETING
    return distributed.ProcessGroupGloo(store, rank, size, options)


def _nccl(store: Any, rank: int, size: int) -> Any:
    options = distributed.ProcessGroupNCCL.Options()
    options._timeout = PATIENCE
    # torch would end this process, and the run's record with it, where another's end is noticed (torch's default, 3). See
    # https://pytorch.org/docs/stable/torch_nccl_environment_variables.html.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    # All are on this machine: by default NCCL would listen to the network for them. See
    # https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html.
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "=lo")
    # Every member sees its own GPU alone, or uses the first.
    torch.cuda.set_device(0)
    return distributed.ProcessGroupNCCL(store, rank, size, options)


def _look_until(done: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not done():
        # Never without a pause: looking on would take the core from gloo's own thread, which does the work.
        time.sleep(min(max((time.monotonic() - began) / 50, SOON), LOOK_EVERY))


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    buckets: list[list[torch.nn.Parameter]] = []
    room = 0
    for parameter in parameters:
        if not buckets or parameter.numel() > room:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(parameter)
        room -= parameter.numel()
    return buckets
