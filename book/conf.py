"""How Sphinx makes the book; tools/make_book.py, of `make book`, gathers the pages."""

import re

from latex2mathml.converter import convert

import xai_helpers

project = "What does a convolutional network really see?"
author = "the authors of the course"
copyright = "the authors of the course, MIT License"
version = release = xai_helpers.__version__
language = "en"
smartquotes_action = "D"  # dashes only: titles and texts are as they were written

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # they would come from the web; the sliders are our own
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4  # as on GitHub; a link to one that is missing is a warning
napoleon_use_param = napoleon_use_rtype = False  # one list, also for a module
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them, with shapes and ranges
add_module_names = False
suppress_warnings = []

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [("book.js", {"defer": "defer"})]
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def visit_formula(self, node, display="inline"):
    """MathML: browsers draw it and screen readers read it, with no script."""
    from docutils.nodes import SkipNode

    self.body.append(convert(node.astext(), display=display))
    raise SkipNode


def visit_displayed_formula(self, node):
    visit_formula(self, node, "block")


def formulas_for_sphinx(app, what, name, subject, options, lines):
    """Docstrings write a formula as the notebooks do, between dollars."""
    text = re.sub(r"\$([^$]+)\$", formula_role, "\n".join(lines))
    lines[:] = text.split("\n")


def formula_role(match: re.Match) -> str:
    return f":math:`{' '.join(match[1].split())}`"


def level_of_captions(app, pagename, templatename, context, doctree):
    """A heading has a level, for screen readers; Sphinx leaves it out of captions."""
    for part in {"body", "furo_navigation_tree"} & context.keys():
        heading = 'class="caption" role="heading"'
        context[part] = context[part].replace(heading, f'{heading} aria-level="2"')


def setup(app):
    formula = visit_formula, None
    app.add_html_math_renderer("mathml", formula, (visit_displayed_formula, None))
    app.connect("autodoc-process-docstring", formulas_for_sphinx)
    app.connect("html-page-context", level_of_captions, priority=900)  # after Furo
