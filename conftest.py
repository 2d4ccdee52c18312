"""Says at the end how many notebook cells nbval ran and how many it compared."""

import pytest

ran, compared = [], []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and type(item).__name__ == "IPyNbCell" and report.passed:
        ran.append(item.nodeid)
        if item.options["check"] and item.cell.get("outputs"):
            compared.append(item.nodeid)


def pytest_terminal_summary(terminalreporter):
    if ran:
        terminalreporter.write_line(
            f"notebook cells: {len(ran)} executed, {len(compared)} of them with "
            "outputs, compared with the committed ones"
        )
