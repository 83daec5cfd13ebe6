"""README.md and docs/: their links lead somewhere, and what they tell people to type is accepted."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from embexp.config.composition import check_command, is_sweep

HERE = Path(__file__).parent.parent
PAGES = [HERE / "README.md", *sorted((HERE / "docs").glob("*.md")), HERE / "benchmarks" / "README.md"]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
ROWS = range(24)
FILES = {
    "pairs.csv": ["sentence1,sentence2,score", *(f"how {n},so {n},{n % 2}" for n in ROWS)],
    "nli.tsv": ["p\th\tgold", *(f"how {n}\tso {n}\t{('entailment', 'neutral', 'contradiction')[n % 3]}" for n in ROWS)],
    "intents.csv": ["text,label", *(f"how {n},{n % 3}" for n in ROWS)],
    "notes.txt": [f"how {n}" for n in ROWS],
    "dev.csv": ["anchor,positive", *(f"why {n},therefore {n}" for n in ROWS)],
    "test.csv": ["anchor,positive", *(f"when {n},then {n}" for n in ROWS)],
    "faq.csv": ["question,answer", *(f"how {n},so {n}" for n in ROWS)],
    "fragen.csv": ["frage,antwort", *(f"how {n},so {n}" for n in ROWS)],
    "faq.jsonl": [f'{{"question": "how {n}", "answer": "so {n}"}}' for n in ROWS],
}


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The module and the words of each command of embexp in a page's blocks."""
    for _, text in BLOCK.findall(page.read_text()):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("python -m embexp"):
                words = shlex.split(line, comments=True)
                yield words[2], words[3:]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in filter(None, (found for pair in LINK.findall(page.read_text()) for found in pair)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_all_pages_are_linked_from_the_readme() -> None:
    readme = (HERE / "README.md").read_text()
    assert [page.name for page in (HERE / "docs").glob("*.md") if f"](docs/{page.name}" not in readme] == []


def test_the_page_of_the_architecture_says_where_each_module_is() -> None:
    page = (HERE / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`(?:embexp/)?(\w+\.py)`", page)) | set(re.findall(r"`embexp/(\w+)/`", page))
    there = {
        path.name for path in (HERE / "embexp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - named - {"__init__.py"} == set()


@pytest.fixture
def as_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of, those of one's own as they are printed there."""
    monkeypatch.chdir(tmp_path)
    for name, lines in FILES.items():
        (tmp_path / name).write_text("\n".join(lines))
    for folder in ("FOLDER", "DIR", "mine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "FOLDER" / "config.json").touch()
    (tmp_path / "DIR" / "train.parquet").touch()
    for name in ("q.csv", "c.csv", "r.csv"):
        (tmp_path / name).touch()
    for page in PAGES:
        for name, text in re.findall(r"`(mine/\w+/\w+\.yaml)`.*?```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    for name, text in re.findall(
        r"here in `(\w+\.py)`.*?```python\n(.*?)```", (HERE / "docs" / "extending.md").read_text(), re.DOTALL
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    # As where Slurm is.
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


# What two pages tell to be typed stands here once.
TYPED = dict.fromkeys(tuple(words) for page in PAGES for module, words in commands(page) if module == "embexp")


@pytest.mark.parametrize("words", TYPED, ids=[" ".join(words) or "defaults" for words in TYPED])
def test_what_is_told_to_be_typed_is_accepted(as_a_reader: Path, words: tuple[str, ...]) -> None:
    if words == ("--help",):
        return
    own = words.index("--config-dir") if "--config-dir" in words else None
    config_dir = words[own + 1] if own is not None else None
    overrides = [word for at, word in enumerate(words) if word != "-m" and own not in (at, at - 1)]
    multirun = "-m" in words or is_sweep(overrides, config_dir=config_dir)
    jobs = check_command(overrides, multirun=multirun, config_dir=config_dir).jobs
    assert multirun == (len(jobs) > 1 or "hydra/sweeper=optuna" in words)
