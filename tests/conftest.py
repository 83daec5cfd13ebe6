"""What all tests share: where the real data lies, and a machine that is the same for everybody."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# Tests run side by side: more threads than cores would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)

# Where tests are started in the background of a script, Ctrl-C is ignored by them and by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """A GPU is for the tests of one: all others compute on the processor, as they do where there is none."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The tests' imports, without the garbage collector: it would go through what they make again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Of those that take tens of seconds none is to be the last, beside which the other worker has nothing left to do.
LONGEST = (
    "test_main.py",
    "test_submission.py",
    "test_search.py",
    "training/test_devices.py",
    "training/test_levers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.relative_to(CHECKOUT / "tests").as_posix() not in LONGEST)


def pytest_runtest_teardown() -> None:
    """Every run in the tests collects, and would go through all that was imported and kept on the way to it."""
    if len(gc.get_objects(generation=2)) > 50_000:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data, the folder of real data, is not here")
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one: runs write their folders and stores into it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, as embexp makes it, to be copied: making one takes a second."""
    from embexp.tracking.store import DATABASE, SQLITE, _make_database

    folder = tmp_path_factory.mktemp("empty_store")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        _make_database(f"{SQLITE}{folder / DATABASE}")
    return folder / DATABASE


@pytest.fixture
def with_store(workplace: Path, empty_store: Path) -> Path:
    """An empty folder but for a store, as the current one."""
    shutil.copy(empty_store, workplace)
    return workplace
