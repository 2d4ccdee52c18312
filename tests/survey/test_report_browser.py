"""The report in a real browser: axe, a phone's width, no request to any other place."""

import browsers
import pytest
from survey_toys import write_photos

from xai_helpers.survey import run_survey
from xai_helpers.survey.report import write_report

pytestmark = browsers.MARKS
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def report(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    photos = write_photos(folder / "photos")
    (photos / "broken.png").write_text("no picture")
    survey = run_survey(
        photos, folder / "OUT", toy, changes=["turned 30°", "grey"], progress=False
    )
    return write_report(survey).parent


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(report, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    files = sorted(report.glob("*.html"))
    assert len(files) > 1
    for file in files:
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
        page.evaluate(  # an error if there is one that cannot be shown
            "Promise.all([...document.images].map("
            "image => { image.loading = 'eager'; return image.decode(); }))"
        )
        assert not (findings := browsers.axe_findings(page)), (file.name, findings)
    assert not errors
    assert all(url.startswith((report.as_uri(), "data:")) for url in requests)
    page.close()
