"""The documentation site, built with ``make docs``: warnings are errors, and nothing is loaded from elsewhere."""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from kd_plugin import __version__

project = "kd_plugin"
version = release = __version__
copyright = "the kd_plugin authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nitpicky = True
nitpick_ignore_regex = [  # types in signatures that no page describes
    ("py:class", r"(argparse|collections|os|pathlib|torch)\..*"),
    ("py:class", r"kd_plugin\..*\.(A|_B|T|Discriminator|Limit)"),
    ("py:class", r"kd_plugin\..*\.(GradientShares|Objective|Phase|Step|TeacherPass)"),
    ("py:obj", r"typing\.Literal\['\w+'"),  # of dataclasses' fields, which are split at commas
]
myst_heading_anchors = 3
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
maximum_signature_line_length = 88
napoleon_attr_annotations = False
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = "kd_plugin"
html_math_renderer = "mathml"


def _inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _math(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Render equations as MathML, which browsers show without a script."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_math, None))
