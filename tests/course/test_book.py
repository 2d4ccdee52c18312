"""The book: what `make book` makes of the committed notebooks, and how it behaves."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browsers
import frames
import make_book
import nbformat
import pytest
import render_notebooks as render
from PIL import Image

ROOT = render.ROOT
NOTEBOOKS = [*render.topics(), *render.solutions(), *render.appendices()]
SCREENSHOTS = ROOT / "build" / "screenshots"
CAM = "notebooks/05_grad_cam.html"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The book's folder. No weights, and nothing from the network."""
    folder = tmp_path_factory.mktemp("book")
    places = ["--source", folder / "source", "--book", folder / "book"]
    command = [sys.executable, ROOT / "tools" / "make_book.py", *places]
    nowhere = {"XAI_CACHE": str(folder), "KERAS_HOME": str(folder)}
    nowhere |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env=os.environ | nowhere,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "book"


class Markup(HTMLParser):
    """What a page says of links, anchors, pictures and headings."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.tags, self.open, self.texts = path, [], [], {}
        self.feed(path.read_text("utf-8"))
        self.ids = [
            attributes["id"] for _, attributes in self.tags if "id" in attributes
        ]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.last = self.tags[-1]

    def handle_data(self, text):
        if self.tags:
            key = len(self.tags) - 1
            self.texts[key] = self.texts.get(key, "") + text

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def text_of(self, key: str) -> str:
        """The text directly within the element of that id, or the first of a tag."""
        for place, (tag, attributes) in enumerate(self.tags):
            if key in (tag, attributes.get("id")):
                return self.texts[place]
        raise AssertionError(f"{self.path.name} has no {key}")


@pytest.fixture(scope="module")
def pages(built):
    return {
        path.relative_to(built).as_posix(): Markup(path)
        for path in sorted(built.rglob("*.html"))
    }


def page_of(notebook: Path) -> str:
    return notebook.relative_to(ROOT).with_suffix(".html").as_posix()


def outputs(notebook: Path):
    for cell in nbformat.read(notebook, as_version=4).cells:
        yield from cell.get("outputs", [])


def test_every_notebook_and_document_is_a_page_with_its_title(pages):
    for path in NOTEBOOKS:
        page = pages[page_of(path)]
        assert page.text_of("title").startswith(f"{render.title(path)} - ")
        assert page.text_of("h1") == render.title(path)
        assert len(page.all("h1")) == 1
    for path in (ROOT / "docs").glob("*.md"):
        heading = re.match("# (.+)", path.read_text("utf-8"))[1]
        assert pages[f"docs/{path.stem}.html"].text_of("title").startswith(heading)


def test_the_topics_lead_to_each_other_in_order(pages):
    for before, after in zip(render.topics(), render.topics()[1:], strict=False):
        relations = {
            link["rel"]: link["href"]
            for link in pages[page_of(before)].all("link")
            if link.get("rel") in ("next", "prev")
        }
        assert relations["next"] == after.with_suffix(".html").name
        assert "_".join(before.stem.split("_")[1:]) not in relations["prev"]


def test_every_link_and_anchor_leads_somewhere(built, pages):
    links = 0
    for name, page in pages.items():
        for tag, attributes in page.tags:
            target = attributes.get("href") or attributes.get("src") or ""
            if tag == "use" or urlsplit(target).scheme in ("https", "data"):
                continue
            file, _, anchor = unquote(target).partition("#")
            path = (built / name).parent / file.partition("?")[0]
            path = path.resolve() if file else built / name
            assert path.is_file(), (name, target)
            if anchor:
                ids = pages[path.relative_to(built.resolve()).as_posix()].ids
                assert anchor in ids, (name, target)
                links += 1
    assert links > 500


def test_no_id_is_given_twice(pages):
    for name, page in pages.items():
        twice = {each for each in page.ids if page.ids.count(each) > 1}
        assert not twice, (name, twice)


def test_nothing_is_loaded_from_another_host(pages):
    for name, page in pages.items():
        for tag, attributes in page.tags:
            if tag in ("script", "link", "img", "iframe"):
                address = attributes.get("src") or attributes.get("href") or ""
                assert not urlsplit(address).netloc, (name, address)


def test_every_picture_has_a_short_text_and_a_long_one_where_needed(pages):
    described = 0
    for name, page in pages.items():
        for image in page.all("img"):
            alt = image["alt"]
            assert 10 < len(alt) <= make_book.LONGEST_ALT, (name, alt)
            if "aria-describedby" in image:
                text = page.text_of(image["aria-describedby"])
                assert len(text) > len(alt)
                assert text.startswith(alt[:-1])
                described += 1
    assert described > 40


def test_no_figure_is_lost(pages):
    for path in NOTEBOOKS:
        kinds = [output.get("data", {}).keys() for output in outputs(path)]
        figures = sum(bool({"image/png", "image/jpeg"} & kind) for kind in kinds)
        sliders = sum(make_book.WIDGET in kind for kind in kinds)
        page = pages[page_of(path)]
        shown = [each.get("class") for each in page.all("figure")]
        assert shown.count("picture") == figures
        assert bool(shown.count("frames")) == bool(sliders)


def test_an_alternative_text_is_a_sentence_or_its_beginning():
    short = "Photos: cat, dogs."
    assert make_book.alternative_text(short) == short
    assert make_book.alternative_text(f"{short} More of it.") == short
    assert make_book.alternative_text("VGG16, 0.5 of it. More.") == "VGG16, 0.5 of it."
    lines = make_book.alternative_text("Two\nlines, one sentence")
    assert lines == "Two lines, one sentence"
    long = f"First choices; {', '.join(['cat, Xception: tabby'] * 20)}."
    part = make_book.alternative_text(long)
    assert 50 < len(part) <= make_book.LONGEST_ALT
    assert long.startswith(part[:-1]) and part.endswith(("tabby.", "cat.", "Xception."))


def test_formulas_are_mathml(built):
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", text, re.S)
        page = (built / page_of(path)).read_text("utf-8")
        assert page.count("<math ") == len(formulas), path.name
        assert not re.search(r"</summary>\s*</details>", page), "the box is empty"


def test_the_functions_are_documented(pages):
    ids = {each for page in pages.values() for each in page.ids}
    files = (ROOT / "xai_helpers/core/techniques").glob("[a-z]*.py")
    techniques = {f"explain.{path.stem}" for path in files}
    assert len(techniques) >= 9
    names = {"load_classifier", "load_image", "sample_image", "Classifier"}
    names |= {"Attribution", "widgets.explore", "widgets.panel", "metrics.evidence"}
    assert {f"xai_helpers.{name}" for name in names | techniques} <= ids


# The frames of the sliders


def sliders(number: str) -> list[dict]:
    return json.loads((frames.FOLDER / number / frames.FILE).read_text("utf-8"))


def test_every_explorer_has_frames():
    explored = {
        path.name[:2]
        for path in render.topics()
        if any(make_book.WIDGET in output.get("data", {}) for output in outputs(path))
    }
    assert explored == set(frames.SLIDERS)
    assert {folder.name for folder in frames.FOLDER.iterdir()} == explored


@pytest.mark.parametrize("number", frames.SLIDERS)
def test_frames_are_small_and_each_says_what_it_shows(number):
    folder = frames.FOLDER / number
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 500_000
    listed = [frame for slider in sliders(number) for frame in slider["frames"]]
    files = {path.name for path in folder.iterdir()} - {frames.FILE}
    assert sorted(files) == sorted(frame["file"] for frame in listed)
    for slider in sliders(number):
        assert slider["control"] and slider["caption"].endswith(".")
        labels, texts, _ = zip(
            *((f["label"], f["text"], f["file"]) for f in slider["frames"]), strict=True
        )
        assert len(set(labels)) == len(labels) >= 4
        assert len(set(texts)) > len(texts) // 2
        assert min(map(len, texts)) > 40
        assert 0 <= slider["start"] < len(labels)
        pictures = set()
        for frame in slider["frames"]:
            with Image.open(folder / frame["file"]) as image:
                assert image.size == (slider["width"], slider["height"])
                pictures.add(image.tobytes())
        assert len(pictures) == len(labels)


def test_all_frames_together():
    sizes = [file.stat().st_size for file in frames.FOLDER.rglob("*.*")]
    assert sum(sizes) <= 5_000_000


# In a browser


@contextmanager
def opened(browser, address: str, width=1280, mode="light"):
    """A page that asks no host and writes no error to the console."""
    errors, hosts = [], set()
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=mode)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(address)
    yield page
    context.close()
    assert errors == []
    assert hosts == {""}


KINDS = {  # of pages; and the part that is like no other, if the rest is like another
    "index": ("index.html", None),
    "notebook": (CAM, None),
    "tables": ("notebooks/10_can_you_trust_the_map.html", "article .text_html"),
    "solutions": ("notebooks/solutions/07_integrated_gradients.html", None),
    "glossary": ("docs/glossary.html", None),
    "models": ("docs/models.html", "article"),
    "api": ("api/techniques.html", "article"),
    "search": ("search.html?q=Grad-CAM", None),
}


@browsers.in_browser
@pytest.mark.parametrize(("width", "mode"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(built, browser, width, mode):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    findings = {}
    with opened(browser, (built / "index.html").as_uri(), width, mode) as page:
        for kind, (name, part) in KINDS.items():
            page.goto(f"{built.as_uri()}/{name}")
            findings[kind] = browsers.axe_findings(page, part)
            page.screenshot(path=SCREENSHOTS / f"book-{kind}-{width}-{mode}.png")
    assert findings == {kind: [] for kind in KINDS}


@browsers.in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_scrolls_sideways(built, pages, browser, width):
    wide = []
    with opened(browser, (built / "index.html").as_uri(), width) as page:
        for name in pages:
            page.goto((built / name).as_uri())
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(name)
    assert wide == []


@browsers.in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_shows_other_pictures(built, browser, width):
    frames_of_05 = sliders("05")[0]["frames"]
    with opened(browser, (built / CAM).as_uri(), width) as page:
        figure = page.locator("figure.frames").first
        slider, image = (
            figure.get_by_role("slider", name="layer"),
            figure.locator("img"),
        )

        def shown(frame: dict) -> bytes:
            assert slider.get_attribute("aria-valuetext") == frame["label"]
            assert figure.locator("output").inner_text() == frame["label"]
            assert image.get_attribute("src").endswith(f"/05/{frame['file']}")
            assert image.get_attribute("alt") == make_book.alternative_text(
                frame["text"]
            )
            assert figure.get_by_text(frame["text"]).is_visible()
            page.wait_for_function(
                "image => image.complete", arg=image.element_handle()
            )
            return image.screenshot()

        last = shown(frames_of_05[-1])
        slider.focus()
        page.keyboard.press("ArrowLeft")
        assert shown(frames_of_05[-2]) != last
        page.keyboard.press("Home")
        shown(frames_of_05[0])
        box = slider.bounding_box()
        assert box["height"] >= 24  # for a thumb; WCAG 2.2, 2.5.8
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.click(*middle)
        place = int(slider.input_value())
        assert abs(place - len(frames_of_05) / 2) <= 1
        shown(frames_of_05[place])


@browsers.in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_wide_figure_is_enlarged_by_keyboard_and_by_a_tap(built, browser, width):
    with opened(browser, (built / CAM).as_uri(), width) as page:
        figure = page.locator("figure.picture").nth(2)
        image, button = figure.locator("img").first, figure.get_by_role("button")
        image.scroll_into_view_if_needed()
        before = image.bounding_box()["width"]
        button.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Enlarged figure")
        large = dialog.locator("img")
        assert large.get_attribute("alt") == image.get_attribute("alt")
        assert large.bounding_box()["width"] > 1.1 * before
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert button.evaluate("button => button === document.activeElement")
        image.click()
        assert dialog.is_visible()
        dialog.get_by_role("button", name="Close").click()
        assert not dialog.is_visible()


@browsers.in_browser
def test_the_search_finds_a_notebook_in_a_folder(built, browser):
    with opened(browser, (built / "index.html").as_uri()) as page:
        page.get_by_placeholder("Search").fill("Grad-CAM")
        page.keyboard.press("Enter")
        page.locator("#search-results").get_by_text("05 · Grad-CAM").first.click()
        page.wait_for_url("**/05_grad_cam.html*")


@browsers.in_browser
def test_dark_mode_is_chosen_by_a_button(built, browser):
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, (built / "index.html").as_uri()) as page:
        assert page.evaluate(background) == "rgb(255, 255, 255)"
        page.get_by_role("button", name="Toggle Light / Dark").first.click()
        page.wait_for_function(f"{background} !== 'rgb(255, 255, 255)'")


def test_an_unknown_link_is_an_error(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "book", source)
    for folder in source.rglob("*"):
        if folder.suffix == ".md":
            folder.unlink()
    (source / "index.md").write_text("# Title\n\n[there](none.md)\n")
    options = ["-q", "-W", "-b", "html", str(source), str(tmp_path / "book")]
    command = [sys.executable, "-m", "sphinx", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "none.md" in done.stderr
