"""What the test files share: the two published networks, loaded once, and the marker
``real`` for the tests that use them."""

import pytest

NETWORKS = ("vgg16", "xception")


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "real: runs VGG16 or Xception; set by the fixtures vgg16, xception and clf",
    )


def pytest_collection_modifyitems(items):
    """``pytest -m "not real and not network"`` runs toys only."""
    for item in items:
        if _uses_a_published_network(item):
            item.add_marker(pytest.mark.real)


def _uses_a_published_network(item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & {*NETWORKS, "network_name"}:  # clf uses network_name
        return True
    # parametrised by name, for request.getfixturevalue(name)
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    return "request" in fixtures and any(
        value in NETWORKS for value in parameters if isinstance(value, str)
    )


@pytest.fixture(scope="session")
def xception():
    from xai_helpers import load_classifier

    return load_classifier("xception", verbose=False)


@pytest.fixture(scope="session")
def vgg16():
    from xai_helpers import load_classifier

    return load_classifier("vgg16", verbose=False)


@pytest.fixture(params=NETWORKS)
def network_name(request):
    """Each of the two published networks, by name."""
    return request.param


@pytest.fixture
def clf(network_name, request):
    """Each of the two published networks."""
    return request.getfixturevalue(network_name)


@pytest.fixture(scope="session")
def cat():
    from xai_helpers import sample_image

    return sample_image("cat")


@pytest.fixture
def noise():
    """A photo-like array of the given size, different for each seed."""
    from toys import photo  # here, for it loads TensorFlow

    return lambda height=40, width=50, seed=0: photo((height, width), seed)


@pytest.fixture
def trace_count(monkeypatch):
    """How often TensorFlow has compiled the functions of the classifiers so far.

    Counted for the functions that are used while the test runs.
    """
    from xai_helpers import Classifier

    functions, cached_function = {}, Classifier.cached_function

    def recorded(self, key, *arguments, **options):
        function = cached_function(self, key, *arguments, **options)
        functions[id(function)] = function
        return function

    monkeypatch.setattr(Classifier, "cached_function", recorded)
    return lambda: sum(
        function.experimental_get_tracing_count() for function in functions.values()
    )


@pytest.fixture(scope="session")
def browser():
    """Chromium, for the tests marked with ``browsers.MARKS``."""
    import browsers

    with browsers.chromium() as chromium:
        yield chromium
