"""One run on several devices: the loss and the gradients of one, over batches that do not divide, and its own dropout."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import nn

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.encoding import StepEncoder
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
from embexp.training import (
    TrainingDiverged,
    choose_hardware,
    group,
    members,
    refuse_what_cannot_be_shared,
    shares_in_words,
)
from embexp.training.group import Group, meeting_place
from embexp.training.shared import ROWS, SharedCollator, SharedSteps
from tests.test_losses import LOSSES
from tests.test_losses import rows_for as corpus_for
from tests.training.test_trainer import SMALL, run, weights

TWO = ["trainer.device=cpu", "devices=2"]
LABELLED = tuple(loss for loss in LOSSES if loss.startswith("batch_"))
SHARED = ("angle", *LABELLED, "cached_mnr", "cosent", "cosine", "mnr", "softmax", "triplet", "tsdae")
THINGS = ("account", "bill", "card", "door", "file", "gate", "house", "invoice", "letter", "market", "office", "shop")
IN_ONE_GO = StepEncoder(chunk_tokens=64)


class Alone:
    """A group as a member sees it that has nothing to say to the others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.device = rank, size, torch.device("cpu")


class Head(nn.Module):
    """A loss that owns parameters and uses them on all embeddings, as a classifier does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(32, 1)

    def compute_loss_from_embeddings(self, embeddings: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return (self.head((embeddings[0] - embeddings[1]).abs()).squeeze(1) - labels).square().mean()


def in_step(part: Callable[[Group], Any], *, size: int = 2) -> list[Any]:
    """What each member of a group gives, the members being threads."""
    place = meeting_place()

    def member(rank: int) -> Any:
        store = place if rank == 0 else meeting_place(place.port)
        return part(Group(store, rank=rank, size=size, device="cpu"))

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(member, range(size)))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    # Where one member of a test fails, the other is not to wait for days.
    monkeypatch.setattr(group, "PATIENCE", timedelta(seconds=60))


def rows_for(loss: str, count: int) -> list[dict[str, Any]]:
    draw = random.Random(count)

    def text() -> str:
        return " ".join(
            draw.choices(["late", "order", "refund", "why", "my", "account", "parcel"], k=draw.randint(1, 9))
        )

    names = {"mnr": 3, "cached_mnr": 3, "triplet": 3}.get(loss.partition(" ")[0], 2)
    rows: list[dict[str, Any]] = [{f"text{n}": text() for n in range(names)} for _ in range(count)]
    if loss in ("angle", "cosent", "cosine", "head"):
        rows = [{**row, "label": draw.random()} for row in rows]
    if loss in LABELLED:
        rows = [{"text": row["text0"], "label": number % 3} for number, row in enumerate(rows)]
    if loss == "softmax":
        rows = [{**row, "label": draw.randrange(3)} for row in rows]
    return rows


def built(loss: str) -> tuple[Any, nn.Module]:
    name, _, cut = loss.partition(" ")
    # In parts that do not divide either.
    parts = ["loss.mini_batch_size=2"] if name == "cached_mnr" else []
    config = compose(
        [f"loss={'cosine' if name == 'head' else name}", *parts, "model=tiny", "model.dropout=0.0", *corpus_for(name)]
    )
    model = load_encoder(config.model).model
    torch.manual_seed(1)  # of what a decoder or a head has beside the encoder
    dims = [32, 8] if cut else None
    return model, Head(model) if name == "head" else build_loss(config.loss, model, seed=1, dims=dims).module


def columns_of(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    prefixes = [name.removesuffix("input_ids") for name in inputs if name.endswith("input_ids")]
    return [
        {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}
        for prefix in prefixes
    ]


def loss_and_gradients(
    model: Any,
    module: Any,
    rows: list[dict[str, Any]],
    members: Group | None = None,
    encoder: StepEncoder | None = None,
) -> list[torch.Tensor | None]:
    collator = SentenceTransformerDataCollator(model.preprocess)
    if members is None:
        inputs = collator(rows)
        columns = columns_of(inputs)
        if hasattr(module, "compute_sorted_loss"):
            value = module.compute_sorted_loss(columns, IN_ONE_GO)
        elif hasattr(module, "put_together"):
            value = module(columns, None)
        else:
            embeddings = [model(column)["sentence_embedding"] for column in columns]
            value = module.compute_loss_from_embeddings(embeddings, inputs.get("label"))
        value.backward()
    else:
        steps = SharedSteps(members, seed=1)
        inputs = steps.collator(collator)(rows)
        value = steps.loss(module, model, columns_of(inputs), inputs.get("label"), rows=inputs[ROWS], encoder=encoder)
        value.backward()
        steps.add_up_gradients(module, model)
    return [value.detach(), *(parameter.grad for parameter in module.parameters())]


def test_two_processes_have_the_losses_of_one(tmp_path):
    config = [*SMALL, "model.dropout=0.0", "trainer.logging_steps=1", "evaluation.times=1"]
    _, one, alone = run(compose(config), tmp_path / "one")
    model, two, together = run(compose([*config, *TWO]), tmp_path / "two")
    for name in ("train/loss", "train/grad_norm"):
        found, expected = ([value for _, value in record.history[name]] for record in (together, alone))
        assert len(found) == 8
        assert found == pytest.approx(expected, abs=1e-4)
    assert two.texts_per_second * two.seconds == pytest.approx(one.texts_per_second * one.seconds)
    assert all(torch.isfinite(value).all() for value in weights(model) if value.is_floating_point())


def are_those_of_one_device(loss: str, rows: list[dict[str, Any]], encoder: StepEncoder | None, *, size: int) -> None:
    alone = loss_and_gradients(*built(loss), rows)
    # Not built by the members: transformers does not load in several threads.
    parts = [built(loss) for _ in range(size)]
    for member in in_step(lambda found: loss_and_gradients(*parts[found.rank], rows, found, encoder), size=size):
        assert [value is None for value in member] == [value is None for value in alone]
        for found, expected in zip(member, alone, strict=True):
            if found is not None:
                torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("loss", [*SHARED, "head", "mnr cut", "cached_mnr cut"])
def test_a_batch_that_does_not_divide_has_the_loss_and_the_gradients_of_one_device(loss):
    are_those_of_one_device(loss, rows_for(loss, 7), IN_ONE_GO, size=3)


@pytest.mark.parametrize("loss", ["mnr", "cosine"])
def test_so_it_has_where_texts_are_encoded_column_by_column(loss):
    are_those_of_one_device(loss, rows_for(loss, 7), None, size=2)


@pytest.mark.parametrize("loss", ["cached_mnr", "cosine", "tsdae"])
def test_a_member_that_no_row_is_left_for_changes_nothing(loss):
    are_those_of_one_device(loss, rows_for(loss, 2), IN_ONE_GO, size=3)


def test_all_members_have_the_same_bits_of_every_gradient():
    rows, parts = rows_for("mnr", 7), [built("mnr") for _ in range(2)]
    one, other = in_step(lambda found: loss_and_gradients(*parts[found.rank], rows, found, IN_ONE_GO))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_gradient_that_one_member_alone_has_reaches_the_others_and_one_that_none_has_stays_none():
    def part(members: Group) -> list[torch.Tensor | None]:
        parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
        parameters[0].grad = torch.full((2,), 1.0 + members.rank)
        if members.rank == 1:
            parameters[1].grad = torch.tensor([5.0, 6.0])
        members.add_up_gradients(parameters)
        return [parameter.grad for parameter in parameters]

    for both, one, none in in_step(part):
        assert both.tolist() == [3.0, 3.0]
        assert one.tolist() == [5.0, 6.0]
        assert none is None


def test_gradients_are_added_up_whatever_the_size_of_a_message(monkeypatch):
    monkeypatch.setattr(group, "BUCKET", 5)

    def part(members: Group) -> list[list[float]]:
        parameters = [nn.Parameter(torch.zeros(size)) for size in (3, 2, 9, 1)]
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, float(number + members.rank))
        members.add_up_gradients(parameters)
        return [parameter.grad.tolist() for parameter in parameters]

    assert in_step(part) == [[[1.0] * 3, [3.0] * 2, [5.0] * 9, [7.0]]] * 2


def test_the_members_listen_to_this_machine_alone():
    def listening(member: Group | None = None) -> set[tuple[str, int]]:
        return {tuple(one.laddr) for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN}

    before = listening()
    found = set.union(*in_step(listening)) - before
    # Where they meet, and the two themselves.
    assert len(found) >= 3
    assert {host for host, _ in found} == {"127.0.0.1"}


def test_members_collate_their_own_rows_and_the_labels_of_all():
    def collate(rows):
        found = {"label": torch.tensor([row["label"] for row in rows])} if "label" in rows[0] else {}
        return {**found, "texts": [row["text"] for row in rows if "text" in row]}

    collate.valid_label_columns = ["label"]
    rows = [{"text": letter, "label": number} for number, letter in enumerate("abcde")]
    found = [SharedCollator(collate, Alone(rank, 2))(rows) for rank in range(2)]
    assert [inputs["texts"] for inputs in found] == [["a", "c", "e"], ["b", "d"]]
    assert [inputs["label"].tolist() for inputs in found] == [[0, 1, 2, 3, 4]] * 2
    assert [inputs[ROWS] for inputs in found] == [5, 5]


def test_dropout_is_each_members_own_and_comes_again_after_a_resume():
    def draws(rank: int, *steps: int) -> list[float]:
        found, shared = [], SharedSteps(Alone(rank, 2), seed=1)
        for step in steps:
            with shared.own_noise(step):
                found.append(torch.rand(()).item())
        return found

    first, second = draws(0, 3, 3, 4), draws(1, 3, 3, 4)
    assert len({*first, *second}) == 6
    assert draws(0, 4) == first[2:]
    assert draws(0, 3, 3, 4) == first


def test_a_loss_that_draws_is_the_same_function_in_every_member_and_dropout_is_not():
    class Draws(nn.Module):
        def compute_loss_from_embeddings(self, embeddings: list[torch.Tensor], labels: None) -> torch.Tensor:
            self.drawn = torch.rand(()).item()
            return embeddings[0].sum()

    class Apart(Alone):
        def gather(self, own: torch.Tensor) -> list[torch.Tensor]:
            return [own] * self.size

    def draws(rank: int, *steps: int) -> list[tuple[float, float, float]]:
        shared, found = SharedSteps(Apart(rank, 2), seed=1), []

        def model(column: dict[str, Any]) -> dict[str, torch.Tensor]:
            return {"sentence_embedding": torch.rand(2, 3)}

        for step in steps:
            loss = Draws()
            with shared.own_noise(step):
                value = shared.loss(loss, model, [{}], None, rows=4, encoder=None)
                # What draws after the loss, as a layer that is computed once more in the backward pass.
                found.append((loss.drawn, value.item(), torch.rand(()).item()))
        return found

    one, other = draws(0, 3, 3, 4), draws(1, 3, 3, 4)
    assert [drawn for drawn, _, _ in one] == [drawn for drawn, _, _ in other]
    assert len({drawn for drawn, _, _ in one}) == 3
    assert len({*(value for _, value, _ in (*one, *other)), *(last for _, _, last in (*one, *other))}) == 12
    assert draws(1, 4) == other[2:]


def test_dropout_leaves_the_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(2).tolist()
    torch.manual_seed(5)
    with SharedSteps(Alone(1, 2), seed=1).own_noise(0):
        torch.rand(7)
    assert torch.rand(2).tolist() == expected


def test_a_loss_that_cannot_be_shared_is_refused_with_those_that_can():
    class Own(nn.Module):
        pass

    refuse_what_cannot_be_shared(Own(), devices=1, name="own")
    with pytest.raises(ConfigError, match=r"devices=2: loss=own \(Own\) cannot be computed over several"):
        refuse_what_cannot_be_shared(Own(), devices=2, name="own")


# simcse is mnr, fed with twins, which without dropout say nothing.
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"simcse"}))
def test_every_shipped_loss_can_be_shared(loss):
    assert loss in SHARED
    refuse_what_cannot_be_shared(built(loss)[1], devices=2, name=loss)


def test_a_follower_sees_its_own_gpu_and_no_other_launchers_ranks():
    hardware = copy.copy(choose_hardware(compose(["trainer.device=cpu", "trainer.threads=3"]).trainer))
    mine = {"PATH": "/bin", "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "1", "CUDA_VISIBLE_DEVICES": "3, GPU-5f,7"}
    on_cpu = members.environment(mine, rank=1, hardware=hardware)
    assert on_cpu == {"PATH": "/bin", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "3, GPU-5f,7"}
    object.__setattr__(hardware, "device", "cuda")
    assert members.environment(mine, rank=1, hardware=hardware)["CUDA_VISIBLE_DEVICES"] == "GPU-5f"
    assert members.environment({}, rank=2, hardware=hardware)["CUDA_VISIBLE_DEVICES"] == "2"


@pytest.mark.parametrize(
    ("devices", "rows", "said"), [(2, 32, "16 of 32 rows each"), (3, 32, "10 or 11 of 32 rows each")]
)
def test_what_a_device_gets_is_told(monkeypatch, devices, rows, said):
    monkeypatch.setattr("embexp.training.hardware.usable_cores", lambda: 3)
    hardware = choose_hardware(compose(["trainer.device=cpu", "trainer.threads=1"]).trainer, devices=devices)
    told = shares_in_words(hardware, devices=devices, rows=rows)
    assert told == f"devices: {devices} CPU processes, {said}, 1 thread each"
    too_many = shares_in_words(hardware, devices=4, rows=rows)
    assert too_many.endswith(
        "; more than the 3 cores that this process may use, so that they wait for each other: devices=3 is faster"
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mnr", "cosine", "tsdae"])
def test_a_run_of_two_processes_goes_on_bit_for_bit_like_an_undisturbed_one(tmp_path, loss):
    # With dropout, and over more than one epoch, so that the order of the rows is drawn anew.
    config = compose([f"loss={loss}", *SMALL, *TWO, "data.limit=60", "evaluation.times=4", "trainer.logging_steps=3"])
    straight, _, undisturbed = run(config, tmp_path / "straight")
    with pytest.raises(Broken):
        run(config, tmp_path / "broken", scores=_breaks_after(4))
    resumed, trained, record = run(config, tmp_path / "broken")
    assert trained.steps == 8
    assert all(torch.equal(one, other) for one, other in zip(weights(straight), weights(resumed), strict=True))
    assert record.history == undisturbed.history


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_a_run_of_two_processes_with_its_step(tmp_path):
    config = compose([*SMALL, *TWO, "learning_rate=1e30", "evaluation.times=1"])
    with pytest.raises(TrainingDiverged, match=r"is nan at step \d"):
        run(config, tmp_path)
    assert not [child for child in psutil.Process().children() if "follower" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_run_of_two_processes_stops_early_and_its_processes_are_gone(tmp_path):
    config = compose([*SMALL, *TWO, "evaluation.times=8", "trainer.early_stopping=2"])
    _, trained, _ = run(config, tmp_path, scores=lambda step: -step)
    assert (trained.steps, trained.best_step) == (3, 1)
    assert not [child for child in psutil.Process().children() if "follower" in " ".join(child.cmdline())]


class Broken(BaseException):
    pass


def _breaks_after(last: int) -> Callable[[int], float]:
    def score(step: int) -> float:
        if step > last:
            raise Broken
        return step / 100

    return score


@pytest.mark.slow
@pytest.mark.parametrize("loss", SHARED)
@pytest.mark.parametrize("way", ["trainer.unpadded=true", "trainer.unpadded=false", "trainer.sort_by_length=false"])
def test_two_processes_have_the_losses_of_one_in_every_way_to_encode_and_over_epochs(tmp_path: Path, loss, way):
    if loss == "tsdae" and way == "trainer.sort_by_length=false":
        pytest.skip("refused")
    config = [f"loss={loss}", *SMALL, way, "model.dropout=0.0", "trainer.logging_steps=1", "evaluation.times=1"]
    config += ["data.limit=100", "max_steps=null", "epochs=3", "batch_size=7"]
    if loss in LABELLED:
        intents = tmp_path / "intents.csv"
        rows = [f"{what} the {thing},{what}" for what in ("close", "find", "open", "pay") for thing in THINGS]
        intents.write_text("\n".join(["text,label", *rows]))
        # Their batches hold labels in twos.
        config = [word for word in config if not word.startswith("data.")]
        config += ["data=files", f"data.train={intents}", "batch_size=6"]
    _, _, alone = run(compose(config), tmp_path / "one")
    _, _, together = run(compose([*config, *TWO]), tmp_path / "two")
    found, expected = ([value for _, value in record.history["train/loss"]] for record in (together, alone))
    assert len(found) > 10
    assert found == pytest.approx(expected, abs=1e-4)
