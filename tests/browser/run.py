"""Pages of plans and sweeps in a headless Chromium, network off: no error, no request, charts drawn, all reacts.

Usage: python tests/browser/run.py [REPORT.html ...] [-o FOLDER]
Without a page, one is made from a plan solved on the spot. Screenshots (1280 and 400 px, light and dark, paper) are
left in FOLDER (default: browser-artefacts).
"""

import argparse
import base64
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from chromium import Browser, find  # noqa: E402 (beside the other builders of the tests)

VIEWS = ((1280, 900, "light"), (1280, 900, "dark"), (400, 800, "light"), (400, 800, "dark"))


def solved(folder: Path) -> Path:
    """Return a report of a plan that is solved here."""
    tpopt = [sys.executable, "-m", "optimizer"]
    plan, html = folder / "plan.json", folder / "report.html"
    subprocess.run(
        [*tpopt, "solve", "hgx-h200-x2", "llama-3.1-70b", "-o", plan], cwd=ROOT, check=True, stdout=sys.stderr
    )
    subprocess.run([*tpopt, "report", plan, "-o", html], cwd=ROOT, check=True, stdout=sys.stderr)
    return html


def checked(browser: Browser, html: Path, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a page; leave its screenshots in ``folder``."""
    browser("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    for width, height, scheme in VIEWS:
        browser.events.clear()
        browser(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser("Page.navigate", url=html.as_uri())
        browser.wait("document.readyState === 'complete' && document.querySelectorAll('.chart').length > 0")
        browser.wait("[...document.querySelectorAll('.chart')].every(c => c.dataset.drawn === 'yes')")
        where = f"{html.name} at {width} px, {scheme}"
        shoot(browser, folder / f"{html.stem}-{width}-{scheme}.png")
        yield from (f"{where}: {line}" for line in (*empty_charts(browser), *wide(browser), *behaviour(browser)))
        yield from (f"{where}: {line}" for line in told(browser.events, html))
    paper = browser("Page.printToPDF", printBackground=True)["data"]
    (folder / f"{html.stem}.pdf").write_bytes(base64.b64decode(paper))


def told(events: list[dict[str, Any]], html: Path) -> Iterator[str]:
    """Yield console errors and requests for anything but the page."""
    for event in events:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                yield f"exception: {parameters['exceptionDetails'].get('exception', {}).get('description')}"
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                yield f"console: {[argument.get('value') for argument in parameters['args']]}"
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                yield f"log: {parameters['entry']['text']}"
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if url != html.as_uri() and not url.startswith(("data:", "blob:")):
                    yield f"request: {url[:200]}"


def empty_charts(browser: Browser) -> Iterator[str]:
    """Yield charts without marks."""
    marks = "c.querySelectorAll('.point, .points path, .lines path, .bars path').length"
    script = f"[...document.querySelectorAll('.chart')].map(c => [c.id, c.data.length, {marks}])"
    for key, traces, drawn in browser.evaluate(script):
        if not traces or not drawn:
            yield f"chart {key}: {traces} traces, {drawn} marks"


def wide(browser: Browser) -> Iterator[str]:
    """Yield by how much the page is wider than its window."""
    over = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if over > 0:
        yield f"wider than the window by {over} px"


def behaviour(browser: Browser) -> Iterator[str]:
    """Yield what does not react: sorting, the tip of a GPU by keyboard, the hover of a chart."""
    yield from sorting(browser)
    if browser.evaluate("document.querySelector('.tp-topology g[data-tip]') !== null"):
        yield from keyboard(browser)
    chart = "(document.getElementById('pareto') || document.querySelector('.chart'))"
    key, trace = browser.evaluate(f"(c => [c.id, c.data.findIndex(t => t.hoverinfo !== 'skip')]){chart}")
    browser.evaluate(f"Plotly.Fx.hover('{key}', [{{curveNumber: {trace}, pointNumber: 0}}])")
    browser.wait(f"document.querySelectorAll('#{key} .hovertext').length > 0")
    browser.evaluate(f"Plotly.Fx.unhover('{key}')")


def sorting(browser: Browser) -> Iterator[str]:
    """Yield whether figures are out of order after a click on their column's head, and after a second."""
    table = "document.querySelector('table.sortable')"
    column = browser.evaluate(
        f"[...{table}.tBodies[0].rows[0].cells].findLastIndex(c => c.dataset.value !== undefined)"
    )
    figures = f"[...{table}.tBodies[0].rows].map(r => parseFloat(r.cells[{column}].dataset.value))"
    for times in (1, 2):
        browser.evaluate(f"{table}.querySelectorAll('thead button')[{column}].click()")
        values = [value for value in browser.evaluate(figures) if value is not None]
        if values != sorted(values, reverse=times == 2):
            yield f"sorting by column {column} does not sort ({times})"
        if browser.evaluate(f"{table}.querySelector('th[aria-sort]') === null"):
            yield "the sorted column is not announced"


def keyboard(browser: Browser) -> Iterator[str]:
    """Yield whether a GPU with the focus tells nothing, or the arrow key does not move to the next."""
    tip = "document.getElementById('tip').textContent"
    browser.evaluate("document.querySelector('.tp-topology g[tabindex=\"0\"]').focus({preventScroll: true})")
    before = browser.evaluate(tip)
    if "GPU" not in before:
        yield "a GPU with the focus tells nothing"
    press = "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true})"
    browser.evaluate(f"document.activeElement.dispatchEvent({press})")
    several = browser.evaluate("document.querySelectorAll('.tp-topology g[data-tip]').length") > 1
    if several and browser.evaluate(tip) == before:
        yield "the arrow key does not move to the next GPU"
    browser.evaluate("document.activeElement.blur()")


def shoot(browser: Browser, path: Path) -> None:
    """Leave a picture of the whole page."""
    size = browser("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    data = browser("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    path.write_bytes(base64.b64decode(data))


def main(arguments: list[str]) -> int:
    """Check pages; return 0 when nothing is wrong, 3 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="*", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("browser-artefacts"))
    given = parser.parse_args(arguments)
    path = find()
    if path is None:
        sys.stderr.write("no Chromium found; install one: sudo apt-get install -y chromium\n")
        return 3
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        pages = given.page or [solved(Path(scratch))]
        browser = Browser(path, Path(scratch) / "profile")
        try:
            wrong = [line for html in pages for line in checked(browser, html.resolve(), given.output)]
        finally:
            browser.close()
    sys.stdout.write("".join(f"{line}\n" for line in wrong) or f"{len(pages)} pages without fault\n")
    sys.stdout.write(f"screenshots: {given.output}\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
