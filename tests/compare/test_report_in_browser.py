"""The report as a reader meets it, in headless Chromium: sorting, filtering, opening, widths, both themes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knight.compare.comparison import Cause, Comparison, Layer
from knight.compare.report import write_report
from tests.compare._samples import sample_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ORDER = "[...document.querySelectorAll('#rows tr')].map(row => Number(row.dataset.place))"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = "no Chromium is installed to open the report in"
        if request.config.getoption("--require-kit"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(sample_comparison(), tmp_path_factory.mktemp("report"))


def written(comparison: Comparison, folder: Path) -> str:
    path = folder / "report.html"
    path.write_text(write_report(comparison), encoding="utf-8")
    return path.as_uri()


class Watched:
    """A page that fails its test for an error in the console or a request beyond its own file."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = url

    def __enter__(self) -> Page:
        self.page.goto(self.url)
        return self.page

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.errors == []
            fetched = {url for url in self.requests if not url.startswith("data:")}
            assert fetched == {self.url.partition("#")[0]}


def opened(page: Page) -> str | None:
    return page.locator("#layer .eyebrow").inner_text() if page.locator("#layer").is_visible() else None


def in_order(values: list[float | None], downwards: bool) -> list[int]:
    """Places by value, those without one last, equals in graph order."""
    known = [place for place, value in enumerate(values) if value is not None]
    known.sort(key=lambda place: (-values[place] if downwards else values[place], place))  # type: ignore[operator]
    return known + [place for place, value in enumerate(values) if value is None]


@pytest.mark.parametrize(
    "column, first_downwards", [("own", False), ("accumulated", False), ("mre", True), ("clipped", True)]
)
def test_click_on_a_head_sorts_and_turns(
    browser: Browser, report: str, column: str, first_downwards: bool
) -> None:
    layers = sample_comparison().layers
    values = {
        "own": [layer.own_sqnr for layer in layers],
        "accumulated": [layer.sqnr for layer in layers],
        "mre": [layer.figures["mre"] for layer in layers],
        "clipped": [layer.clipped for layer in layers],
    }[column]
    with Watched(browser, report) as page:
        for downwards in (first_downwards, not first_downwards):
            page.click(f"[data-sort={column}]")
            shown = page.evaluate(ORDER)
            wanted = in_order(values, downwards)
            # the page has four digits of the values: those that are the same there may change places
            assert [short(values[place]) for place in shown] == [short(values[place]) for place in wanted]
            state = page.locator(f"th.c-{column}").get_attribute("aria-sort")
            assert state == ("descending" if downwards else "ascending")
            assert page.locator("th[aria-sort]").count() == 1
        assert page.evaluate("document.activeElement.dataset.sort") == column


def short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def test_layers_without_a_value_are_last_both_ways(browser: Browser, report: str) -> None:
    nones = [place for place, layer in enumerate(sample_comparison().layers) if layer.own_sqnr is None]
    assert nones
    with Watched(browser, report) as page:
        for _ in range(2):
            page.click("[data-sort=own]")
            assert page.evaluate(ORDER)[-len(nones) :] == nones


def test_text_operator_and_cause_filter(browser: Browser, report: str) -> None:
    layers = sample_comparison().layers
    with Watched(browser, report) as page:
        page.fill("#find", "GEMM_")
        assert page.evaluate(ORDER) == [
            place for place, layer in enumerate(layers) if layer.op_type == "Gemm"
        ]
        page.fill("#find", "")
        page.select_option("#operator", "Conv")
        convs = [place for place, layer in enumerate(layers) if layer.op_type == "Conv"]
        assert page.evaluate(ORDER) == convs
        page.check("#caused")
        assert page.evaluate(ORDER) == [12, 22, 32, 42]
        assert page.inner_text("#count") == "4 of 60 layers"
        page.fill("#find", "nowhere")
        assert page.inner_text("#rows") == "No layer fits the filter."
        page.fill("#find", "conv_22_quantized")  # the name in the other model
        assert page.evaluate(ORDER) == [22]


def test_row_opens_by_click_and_closes_by_escape(browser: Browser, report: str) -> None:
    with Watched(browser, report) as page:
        page.click("#rows tr[data-place='12'] .c-mre")
        page.wait_for_selector("#layer[open]")
        assert opened(page) == "#12 · Conv"
        assert page.url.endswith("#layer-12")
        page.keyboard.press("Escape")
        page.wait_for_url(report)  # the address is cleared after the dialog is closed
        assert opened(page) is None
        assert page.evaluate("document.activeElement.dataset.place") == "12"


def test_rows_work_with_the_keyboard_alone(browser: Browser, report: str) -> None:
    with Watched(browser, report) as page:
        page.focus("#rows tr[tabindex='0']")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_selector("#layer[open]")
        assert opened(page) == "#2 · Conv"
        assert page.locator("#rows tr[tabindex='0']").count() == 1


def test_deep_link_opens_its_layer(browser: Browser, report: str) -> None:
    with Watched(browser, report + "#layer-22") as page:
        assert opened(page) == "#22 · Conv"
        text = page.inner_text("#layer")
        assert "One outlier channel (7): it reaches 41.3" in text
        assert "Outliers: channel 7" in text
        assert "conv_22.weight" in text
        assert page.locator("#layer .chart svg").count() == 4


def test_deep_link_to_no_layer_opens_none(browser: Browser, report: str) -> None:
    with Watched(browser, report + "#layer-9999") as page:
        assert opened(page) is None
        assert page.locator("#rows tr").count() == 60


def test_neighbours_follow_the_order_of_the_table_and_back_leads_back(browser: Browser, report: str) -> None:
    with Watched(browser, report) as page:
        page.check("#caused")
        page.click("#rows tr[data-place='12']")
        page.wait_for_selector("#layer[open]")
        assert page.locator("[data-step='-1']").is_disabled()
        page.click("[data-step='1']")
        page.wait_for_function("document.querySelector('#layer .eyebrow').textContent.startsWith('#22')")
        page.go_back()
        page.wait_for_function("document.querySelector('#layer .eyebrow').textContent.startsWith('#12')")
        page.go_back()
        page.wait_for_selector("#layer", state="hidden")


def test_detail_shows_every_figure_and_the_clipping_range(browser: Browser, report: str) -> None:
    layer = sample_comparison().layers[12]
    with Watched(browser, report + "#layer-12") as page:
        text = page.inner_text("#layer")
        for shown in (
            f"{layer.figures['mre'] * 100:.4f}",  # type: ignore[operator]
            f"{layer.figures['band_10_50'] * 100:.2f} %",  # type: ignore[operator]
            f"{layer.figures['accumulated_sqnr']:.2f}",
            "1 \N{MULTIPLICATION SIGN} 32 \N{MULTIPLICATION SIGN} 28 \N{MULTIPLICATION SIGN} 28",
        ):
            assert shown in text
        chart = page.locator("[data-chart='values']")
        assert chart.locator("line.limit").count() == 2
        assert "2.41" in chart.inner_text()
        assert chart.locator("rect.outside").count() == 1  # nothing lies below the range


def test_point_of_the_graph_says_and_opens_its_layer(browser: Browser, report: str) -> None:
    with Watched(browser, report) as page:
        point = page.locator("#along path[data-layer='12']")
        point.scroll_into_view_if_needed()
        point.hover()
        assert "#12 Conv" in page.inner_text("#tip")
        point.click()
        page.wait_for_selector("#layer[open]")
        assert opened(page) == "#12 · Conv"
        assert page.locator("#along path[data-layer]").count() == sum(
            layer.own_sqnr is not None for layer in sample_comparison().layers
        )


def test_graph_works_with_the_keyboard(browser: Browser, report: str) -> None:
    with Watched(browser, report) as page:
        page.focus("#along")
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
            page.keyboard.press(key)
        page.wait_for_selector("#layer[open]")
        assert opened(page) == "#1 · Relu"


def test_guilty_layers_lead_to_their_layer(browser: Browser, report: str) -> None:
    worst = sample_comparison().guilty()[0]
    with Watched(browser, report) as page:
        assert page.locator("#worst li").count() == 10
        page.click("#worst li:first-child a")
        page.wait_for_selector("#layer[open]")
        assert opened(page) == f"#{worst.index} · {worst.op_type}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900, 390])
def test_nothing_is_wider_than_the_page(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    url = written(with_long_names(sample_comparison()), tmp_path)
    size = {"width": width, "height": 844}
    with Watched(browser, url, viewport=size, color_scheme=scheme) as page:
        assert page.evaluate(OVERFLOW) == 0
        page.click("#rows tr[data-place='22'] .c-output")
        page.wait_for_selector("#layer[open]")
        assert page.evaluate(OVERFLOW) == 0
        assert page.evaluate("(d => d.scrollWidth - d.clientWidth)(document.querySelector('#layer'))") == 0
        assert page.locator("[data-close]").bounding_box()["x"] < width - 30  # type: ignore[index]


def with_long_names(comparison: Comparison) -> Comparison:
    long = "module_without_a_break_" * 12

    def lengthened(layer: Layer) -> Layer:
        cause = Cause("wide_range", long, long, 1.0) if layer.cause else None
        return replace(layer, name=long, output=f"{layer.output}{long}", quantized_output=long, cause=cause)

    return replace(
        comparison,
        layers=[lengthened(layer) for layer in comparison.layers],
        reference=f"{long}.onnx",
        result=f"{long}_quantize.onnx",
        warnings=[long],
        arguments={long: long},
    )


def test_theme_follows_the_system_and_the_button_turns_it(browser: Browser, report: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with Watched(browser, report, color_scheme="dark") as page:
        dark = page.evaluate(colour)
        assert page.inner_text("#theme") == "Light"
        page.click("#theme")
        assert page.inner_text("#theme") == "Dark"
        light = page.evaluate(colour)
        assert dark != light
        page.click("#theme")
        assert page.evaluate(colour) == dark
    with Watched(browser, report, color_scheme="light") as page:
        assert page.evaluate(colour) == light


CONTRAST = """scheme => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => parts(text).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
  };
  const texts = 'h1, .verdict a, dt, dd, .hint, small, td, .gain, th button, .name, .why, nav a';
  return [...document.querySelectorAll(texts)]
    .map(node => [light(getComputedStyle(node).color), light(behind(node)), node.className || node.tagName])
    .map(([a, b, name]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), name])
    .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Browser, report: str, scheme: str) -> None:
    with Watched(browser, report, color_scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []


def test_1000_layers_sort_filter_and_open(browser: Browser, tmp_path: Path) -> None:
    with Watched(browser, written(sample_comparison(1000, 64), tmp_path)) as page:
        assert page.locator("#rows tr").count() == 1000
        assert page.evaluate(OVERFLOW) == 0
        page.click("[data-sort=own]")
        assert set(page.evaluate(ORDER)[:4]) == {12, 22, 32, 42}
        page.fill("#find", "conv_990")
        assert page.evaluate(ORDER) == [990]
        page.click("#rows tr")
        page.wait_for_selector("#layer[open]")
        assert opened(page) == "#990 · Conv"


def test_names_are_shown_as_they_are_and_run_nothing(browser: Browser, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=\"document.title='run'\"><b>&amp;'\"`${1}"
    layer = replace(
        sample_comparison(3).layers[2],
        op_type=name,
        name=name,
        output=name,
        quantized_output=name,
        cause=Cause(name, name, name),
        own_sqnr=3.0,
    )
    comparison = replace(
        sample_comparison(3),
        reference=name,
        result=name,
        layers=[layer],
        warnings=[name],
        arguments={name: name},
    )
    with Watched(browser, written(comparison, tmp_path)) as page:
        assert page.inner_text("#rows .c-op") == name
        assert page.text_content("#rows .c-output .cut") == name
        page.click("#rows tr .c-own")
        page.wait_for_selector("#layer[open]")
        assert page.inner_text("#layer-title") == name
        assert page.locator("img").count() == 0
        assert page.title() != "run"


def test_page_without_layers_says_so(browser: Browser, tmp_path: Path) -> None:
    with Watched(browser, written(Comparison("a.onnx", "b.onnx", []), tmp_path)) as page:
        assert "No layer could be compared." in page.inner_text("#summary")
        assert page.inner_text("#rows") == "No layer fits the filter."


def test_bare_layers_open_without_figures(browser: Browser, tmp_path: Path) -> None:
    bare = Layer(3, "Reshape", "", "y", "y", (), {})
    with Watched(browser, written(Comparison("a.onnx", "b.onnx", [bare]), tmp_path)) as page:
        page.click("#rows tr .c-op")
        page.wait_for_selector("#layer[open]")
        assert "scalar" in page.inner_text("#layer")


def test_print_shows_the_whole_table_on_white(browser: Browser, report: str) -> None:
    with Watched(browser, report, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert (
            page.evaluate("(b => b.scrollHeight - b.clientHeight)(document.querySelector('#table-box'))") <= 1
        )
