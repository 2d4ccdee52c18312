import pytest
import toys
from survey_toys import LABELS, write_photos


@pytest.fixture
def photo_folder(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def toy():
    return toys.pooled_toy(labels=LABELS)
