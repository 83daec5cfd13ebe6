"""Steps of a GPU launched as CUDA graphs: the encoder's kernels, forward and backward, are recorded once and then replayed.

An encoder of six layers launches a thousand kernels a step, each in less time than the CPU needs to say so: over short texts a
GPU is idle for most of a step. A graph is launched as one. It holds for one number of texts and of tokens, so rows are filled
up to few lengths with texts that nothing is asked of. Loss, clipping and optimiser are as ever: the loss sees embeddings,
whatever it is, and what comes back from it is carried through the recorded backward pass.

Source: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs, of which `make_graphed_callables` is the public face;
it keeps gradients of its own for every shape, which here are added to the parameters' within the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.func import functional_call
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embexp.config import ConfigError
from embexp.config.errors import first_line
from embexp.encoding.packed import OnGpu, Row, by_column, features_of, others_of, sent
from embexp.encoding.unpadded import first_position

# A row is filled up to a multiple of an eighth of the power of two below it, a short one to a multiple of LEAST tokens.
PARTS, LEAST = 8, 64
# Kernels are launched for texts of so many tokens, of the first of these that is enough, or of as many as the model reads.
LONGEST = (512, 2048)
# Of a model that reads fewer, filling would take a text for nearly every token.
FEWEST = 8
# Elements that a parameter's gradient begins at a multiple of: kernels read four at a time.
ALIGNED = 64
# How each text is pooled without the GPU being asked how long it is.
POOLINGS = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens")


def can_be_recorded(model: SentenceTransformer) -> bool:
    """Whether nothing in the model, which `can_be_packed`, waits for the GPU."""
    if longest_text(model) < FEWEST:
        return False
    pooling: Any = model[1]
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else pooling.pooling_mode
    return set(modes) <= set(POOLINGS) and bool(pooling.include_prompt)


def longest_text(model: SentenceTransformer) -> int:
    """How many tokens of a text the model reads, and has positions for."""
    positions = model.transformers_model.config.max_position_embeddings - first_position(model)
    return min(model.max_seq_length or positions, positions)


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
        steps: begun.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters: list[nn.Parameter] = []
        self.gradients: list[Tensor] = []
        self.steps = 0
        self._whole = torch.empty(0)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """What has a gradient after the first step will have one after each; where nothing has, nothing is kept."""
        found = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if self.parameters or not found:
            return
        self.parameters = found
        sizes = [-(-parameter.numel() // ALIGNED) * ALIGNED for parameter in self.parameters]
        self._whole = torch.zeros(sum(sizes), device=self.parameters[0].device)
        parts = self._whole.split(sizes)
        self.gradients = [part[: p.numel()].view_as(p) for p, part in zip(self.parameters, parts, strict=True)]

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The library takes the gradients away after every step; here they come back, as zeros."""
        self.steps += 1
        self._whole.zero_()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient

    def add(self, found: Sequence[Tensor | None]) -> None:
        """Of each parameter what has been found; None: nothing, as of one that the loss alone reaches."""
        both = [(kept, more) for kept, more in zip(self.gradients, found, strict=True) if more is not None]
        if both:
            torch._foreach_add_([kept for kept, _ in both], [more for _, more in both])


class Recorded:
    """The encoder's forward and backward pass over rows of one shape.

    Args:
        model: is given `features()`, which are recorded too.
        kept: gets its gradients.
        stream: to record on; the same for all shapes, or they share no memory.
        pool: of memory that all shapes share: one is replayed at a time, forward and backward.

    Attributes:
        embeddings: that a forward replay leaves behind, (texts, dimension).
        gradient: that a backward replay goes by, of the same size.
        open_since: the step of a forward replay whose backward has not come; None: there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        kept: KeptGradients,
        features: Callable[[], dict[str, Any]],
        *,
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self.open_since: int | None = None
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        here = torch.cuda.current_stream()
        stream.wait_stream(here)
        # Weights that an autocast around this has cast would be recorded as they are now; and what is cast in here is no one else's.
        torch.clear_autocast_cache()
        leaves = leaves_of(model, kept.parameters)
        with torch.cuda.stream(stream):
            with _recording(self.forward, pool):
                embeddings = functional_call(model, leaves, (features(),))["sentence_embedding"]
            torch.clear_autocast_cache()
            self.embeddings = embeddings.detach()
            self.gradient = torch.zeros_like(self.embeddings)
            with _recording(self.backward, pool):
                kept.add(torch.autograd.grad(embeddings, list(leaves.values()), self.gradient, allow_unused=True))
        here.wait_stream(stream)


def leaves_of(model: nn.Module, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """The same weights as leaves of their own, in the same order, by the name that the model has for each.

    Those of the model belong to another stream where an earlier step's graph, which someone still holds, has met them: a backward
    pass to them would wait for that stream, which cannot be recorded.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: nn.Parameter(parameter.detach()) for parameter in parameters}


@cache
def _stream_to_record_on(device: torch.device) -> torch.cuda.Stream:
    # One for all runs of a process: cuBLAS keeps a workspace, 65 MiB on an H100, for every stream that it has computed on.
    return torch.cuda.Stream(device)


@contextmanager
def _recording(graph: torch.cuda.CUDAGraph, pool: Any) -> Iterator[None]:
    # torch.cuda.graph does the same, after it has collected garbage and given back the memory that the next step asks for.
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        yield
    except BaseException:
        # Its own error would say only that there was one.
        with suppress(RuntimeError):
            graph.capture_end()
        raise
    graph.capture_end()


class _Replay(torch.autograd.Function):
    """Embeddings of a graph, and what comes back for them through it; the gradients of parameters are added by the graph."""

    @staticmethod
    def forward(ctx: Any, asked: Tensor, recorded: Recorded, step: int) -> Tensor:
        ctx.recorded = recorded
        recorded.forward.replay()
        recorded.open_since = step
        return recorded.embeddings.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        ctx.recorded.gradient.copy_(gradients[0])
        ctx.recorded.backward.replay()
        ctx.recorded.open_since = None
        return None, None, None


class Graphs(OnGpu):
    """Encodes by a graph, recorded when a shape comes a second time; the first is computed as it comes.

    Every row of a training step is filled up, also where no graph is replayed: the same dropout is drawn either way, so that a
    resumed run, which records anew, goes on as it would have.

    Args:
        model: `can_be_recorded`, and is on the GPU.
        kept: its gradients; among the trainer's callbacks.
    """

    def __init__(self, model: SentenceTransformer, kept: KeptGradients) -> None:
        super().__init__(model)
        self.kept = kept
        self.longest = longest_text(model)
        self.recorded: dict[tuple[int, int, int], tuple[Tensor, Recorded]] = {}
        self._seen: Counter[tuple[int, int, int]] = Counter()
        self._stream, self._pool = _stream_to_record_on(self.device), torch.cuda.graph_pool_handle()
        self._asked = torch.zeros(1, device=self.device, requires_grad=True)

    def encode_row(self, model: SentenceTransformer, row: Row, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        """The same embeddings, by a graph where there is one."""
        enough = int(row.lengths.max())
        if not torch.is_grad_enabled() or enough > self.longest:
            return self.computed(model, row, columns, longest=enough)
        longest = min(self.longest, next((each for each in LONGEST if each >= enough), self.longest))
        size, added = filled_size(row.size, longest=longest)
        row = row.filled(size, len(row.lengths) + added)
        shape = size, len(row.lengths), longest
        self._seen[shape] += 1
        if not self.kept.parameters or self._seen[shape] == 1 or self._awaits_a_backward():
            return self.computed(model, row, columns, longest=longest)
        if shape not in self.recorded:
            self.recorded[shape] = self._record(model, row, longest=longest, others=others_of(columns[0]))
        piece, recorded = self.recorded[shape]
        piece.copy_(sent(row.in_one_piece(), self.device))
        embeddings: Tensor = _Replay.apply(self._asked, recorded, self.kept.steps)
        return by_column(embeddings, columns)

    def _awaits_a_backward(self) -> bool:
        # All shapes share their memory: what a second replay writes over, the first one's backward would read.
        return any(recorded.open_since == self.kept.steps for _, recorded in self.recorded.values())

    def _record(
        self, model: SentenceTransformer, row: Row, *, longest: int, others: dict[str, Any]
    ) -> tuple[Tensor, Recorded]:
        piece = sent(row.in_one_piece(), self.device)
        # What is made of the piece is recorded with the rest: in every replay it is made anew, of what was then copied into it.
        features = partial(features_of, piece, row, longest=longest, others=others)
        try:
            return piece, Recorded(model, self.kept, features, stream=self._stream, pool=self._pool)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                [
                    f"trainer.cuda_graphs: there is no memory to record a step of {row.size} tokens; use trainer.cuda_graphs=false, which "
                    "takes less, or a smaller batch_size."
                ]
            ) from error
        except RuntimeError as error:
            # What torch was about to record cannot be taken back: the run cannot go on without, but others of this process can.
            for draws in torch.cuda.default_generators:
                draws.graphsafe_set_state(draws.clone_state())
            raise ConfigError(
                [
                    f"trainer.cuda_graphs: a step of this model cannot be recorded ({first_line(error)}); use "
                    "trainer.cuda_graphs=false."
                ]
            ) from error
