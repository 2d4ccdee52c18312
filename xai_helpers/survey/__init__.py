"""Surveys: one technique, one network, and a whole data set.

    from xai_helpers.survey import open_survey, run_survey

    survey = run_survey("photos", "OUT", classifier, "grad_cam")
    survey.photos  # a table with a row for each photo

==================  ==================================================================
``run_survey``      explain every photo of a folder; go on where it stopped
``open_survey``     read what a survey left
``write_report``    its report, as pages of HTML
``CHANGES``         named changes of pictures, ``effect_of_change`` what they do
``fit_head``        a new last layer for photos of one's own
==================  ==================================================================
"""

from importlib import import_module

_HOME_OF = {
    "run_survey": "engine",
    "open_survey": "store",
    "Survey": "store",
    "SurveyError": "store",
    "write_report": "report",
    "CHANGES": "changes",
    "Change": "changes",
    "effect_of_change": "changes",
    "fit_head": "heads",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
