"""Steps of a GPU launched as CUDA graphs: the encoder's kernels, forward and backward, are recorded once and then replayed.

An encoder of six layers launches a thousand kernels a step, each in less time than the CPU needs to say so: over short texts a
GPU is idle for most of a step. A graph is launched as one. It holds for one number of texts and of tokens, so rows are filled
up to few lengths with texts that nothing is asked of. Loss, clipping and optimiser are as ever: the loss sees embeddings,
whatever it is, and what comes back from it is carried through the recorded backward pass.

Source: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs, of which `make_graphed_callables` is the public face;
it keeps gradients of its own for every shape, which here are added to the parameters' within the graph.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embexp.encoding.packed import OnGpu, Row, by_column, features_of, others_of, sent

log = logging.getLogger(__name__)

# A row is filled up by an eighth at most, a short one to a multiple of LEAST tokens.
PARTS, LEAST = 8, 64
# Elements that a parameter's gradient begins at a multiple of: kernels read four at a time.
ALIGNED = 64
# How each text is pooled without the GPU being asked how long it is.
POOLINGS = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens")


def can_be_recorded(model: SentenceTransformer) -> bool:
    """Whether nothing in the model, which `can_be_packed`, waits for the GPU."""
    pooling: Any = model[1]
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else pooling.pooling_mode
    return set(modes) <= set(POOLINGS) and bool(pooling.include_prompt)


def filled_size(tokens: int, *, longest: int) -> tuple[int, int]:
    """(tokens, texts to add): to what a row of so many tokens is filled up, with texts of 1 to `longest` tokens."""
    step = max(LEAST, 2 ** ((tokens - 1).bit_length() - 1) // PARTS)
    texts = -(-step // (longest - 1))
    return -(-(tokens + texts) // step) * step, texts


class KeptGradients(TrainerCallback):
    """The encoder's gradients, in one piece of memory that stays where it is: graphs add to it, every step begins with zeros.

    Attributes:
        parameters: those that get a gradient; empty until the first step has shown which do.
        gradients: of each, a view.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters: list[nn.Parameter] = []
        self.gradients: list[Tensor] = []
        self._whole = torch.empty(0)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """What has a gradient after the first step will have one after each."""
        if self.parameters:
            return
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        sizes = [-(-parameter.numel() // ALIGNED) * ALIGNED for parameter in self.parameters]
        self._whole = torch.zeros(sum(sizes), device=self.parameters[0].device)
        parts = self._whole.split(sizes)
        self.gradients = [part[: p.numel()].view_as(p) for p, part in zip(self.parameters, parts, strict=True)]

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The library takes the gradients away after every step; here they come back, as zeros."""
        self._whole.zero_()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient

    def add(self, found: Sequence[Tensor | None]) -> None:
        """Of each parameter what has been found; None: nothing, as of one that the loss alone reaches."""
        both = [(kept, more) for kept, more in zip(self.gradients, found, strict=True) if more is not None]
        torch._foreach_add_([kept for kept, _ in both], [more for _, more in both])


class _Recorded:
    """The encoder's forward and backward pass over rows of one shape."""

    def __init__(
        self,
        model: nn.Module,
        kept: KeptGradients,
        features: Callable[[], dict[str, Any]],
        *,
        pool: Any,
    ) -> None:
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            with _recording(self.forward, pool):
                embeddings = model(features())["sentence_embedding"]
            self.embeddings = embeddings.detach()
            self.gradient = torch.zeros_like(self.embeddings)
            with _recording(self.backward, pool):
                kept.add(torch.autograd.grad(embeddings, kept.parameters, self.gradient, allow_unused=True))
        here.wait_stream(side)


@contextmanager
def _recording(graph: torch.cuda.CUDAGraph, pool: Any) -> Iterator[None]:
    # torch.cuda.graph does the same, after it has collected garbage and given back the memory that the next step asks for.
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        yield
    finally:
        graph.capture_end()


class _Replay(torch.autograd.Function):
    """Embeddings of a graph, and what comes back for them through it; the gradients of parameters are added by the graph."""

    @staticmethod
    def forward(ctx: Any, asked: Tensor, recorded: _Recorded) -> Tensor:
        ctx.recorded = recorded
        recorded.forward.replay()
        return recorded.embeddings.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        ctx.recorded.gradient.copy_(gradients[0])
        ctx.recorded.backward.replay()
        return None, None


class Graphs(OnGpu):
    """Encodes by a graph, recorded when a shape comes a second time; the first is computed as it comes.

    Args:
        model: `can_be_recorded`, and is on the GPU.
        kept: its gradients; among the trainer's callbacks.
    """

    def __init__(self, model: SentenceTransformer, kept: KeptGradients) -> None:
        super().__init__(model)
        self.kept = kept
        self.longest: int = model.max_seq_length or model.transformers_model.config.max_position_embeddings
        self.recorded: dict[tuple[int, int], tuple[Tensor, _Recorded]] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self._pool = torch.cuda.graph_pool_handle()
        self._asked = torch.zeros(1, device=self.device, requires_grad=True)
        self._refused = False

    def encode_row(self, model: SentenceTransformer, row: Row, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        """The same embeddings, by a graph where there is one."""
        size, added = filled_size(row.size, longest=self.longest)
        shape = size, len(row.lengths) + added
        self._seen[shape] += 1
        if self._refused or not self.kept.parameters or not torch.is_grad_enabled() or self._seen[shape] == 1:
            return super().encode_row(model, row, columns)
        filled = row.filled(*shape)
        if shape not in self.recorded:
            try:
                self.recorded[shape] = self._record(model, filled, others=others_of(columns[0]))
            except RuntimeError as error:
                log.warning("trainer.cuda_graphs: this model cannot be recorded, and is trained without: %s", error)
                self._refused = True
                return super().encode_row(model, row, columns)
        piece, recorded = self.recorded[shape]
        piece.copy_(sent(filled.in_one_piece(), self.device))
        embeddings: Tensor = _Replay.apply(self._asked, recorded)
        return by_column(embeddings, columns)

    def _record(self, model: SentenceTransformer, row: Row, *, others: dict[str, Any]) -> tuple[Tensor, _Recorded]:
        piece = sent(row.in_one_piece(), self.device)
        # What is made of the piece is recorded with the rest: in every replay it is made anew, of what was then copied into it.
        features = partial(features_of, piece, row, longest=self.longest, others=others)
        return piece, _Recorded(model, self.kept, features, pool=self._pool)
