"""The page in a real browser: nothing asked for, nothing complained of, sorted by its titles, open to everybody."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from embexp.report import write_report
from tests.report.browser import open_page

pytestmark = pytest.mark.slow
AXE = "axe-core@4.14.1"


@pytest.fixture
def page(runs, tmp_path) -> Path:
    path = tmp_path / "report.html"
    write_report(runs, path, title="A sweep of five runs")
    return path


def with_script(page: Path, script: str) -> Path:
    changed = page.with_name("changed.html")
    changed.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    return changed


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_asks_for_nothing_and_the_console_is_silent(page, dark):
    shown = open_page(page, dark=dark)
    assert "A sweep of five runs" in shown.dom
    assert shown.requests == []
    assert shown.console == []


def test_requests_and_errors_would_be_seen(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<img src='http://elsewhere.invalid/x.png'><script>console.error('oh')</script>")
    shown = open_page(path)
    assert any("elsewhere.invalid" in request for request in shown.requests)
    assert any("oh" in line for line in shown.console)


def test_the_page_may_not_even_ask(page):
    shown = open_page(with_script(page, "fetch('http://elsewhere.invalid/').catch(() => {})"))
    assert shown.requests == []


def test_a_column_sorts_by_its_title_and_says_so(page):
    script = """
      const head = [...document.querySelectorAll("th")].find((th) => th.textContent === "gain");
      const order = () => [...document.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[0].textContent).join("");
      const button = head.querySelector("button");
      button.focus();
      const focused = document.activeElement === button;
      button.click(); const first = order() + head.getAttribute("aria-sort");
      button.click(); const second = order() + head.getAttribute("aria-sort");
      document.title = [focused, first, second].join(" ");
    """
    title = re.search("<title>(.*?)</title>", open_page(with_script(page, script)).dom)
    assert title is not None
    assert title[1] == "true 1234descending 4321ascending"


def test_on_a_phone_nothing_but_tables_is_wider_than_the_screen(page):
    # The browser's window is never narrower than 500, so that a frame has to be the phone.
    frame = page.with_name("phone.html")
    frame.write_text(
        f'<iframe srcdoc="{html.escape(page.read_text())}" style="width:375px;height:800px;border:0"></iframe>'
    )
    inner = "document.title = String(document.querySelector('iframe').contentDocument.documentElement.scrollWidth)"
    script = f"<script>setTimeout(() => {{ {inner} }}, 1000)</script>"
    frame.write_text(frame.read_text() + script)
    title = re.search("<title>(.*?)</title>", open_page(frame).dom)
    assert title is not None
    assert int(title[1]) <= 375


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """The accessibility checker's script, from the npm registry; skipped where it cannot be had."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm is installed here")
    done = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"{AXE} cannot be had from npm")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
    return (folder / "package" / "axe.min.js").read_text()


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 1200), (False, 600), (True, 600)])
def test_the_page_has_no_accessibility_violation(page, axe, dark, width):
    check = """
      document.querySelectorAll("details").forEach((each) => each.open = true);
      axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}).then((found) => {
        const told = found.violations.map((v) => [v.id, v.nodes.map((n) => n.html + n.failureSummary)]);
        document.title = JSON.stringify({passes: found.passes.length, told});
      });
    """
    shown = open_page(with_script(page, axe.replace("</script", "<\\\\/script") + check), dark=dark, width=width)
    title = re.search("<title>(.*?)</title>", shown.dom, re.DOTALL)
    assert title is not None
    found = json.loads(html.unescape(title[1]))
    assert found["passes"] > 20
    assert found["told"] == []
