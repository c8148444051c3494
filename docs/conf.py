"""Builds the documentation with Sphinx (``make docs``): the pages of this folder and the API from the docstrings."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from field_tables import write_pages

project = "GliomaSeg"
author = "GliomaSeg contributors"
release = version = installed_version("GliomaSeg")

extensions = ["autoapi.extension", "myst_parser", "sphinx.ext.napoleon"]
suppress_warnings = [
    "autoapi.python_import_resolution",  # of constants that are assigned several at once
    "ref.python",  # names that several classes have
    "toc.not_included",  # the API is no part of every page's navigation, which would double the time to build
]

# The pages in Markdown; files of the repository that a page links to are copied beside it.
myst_heading_anchors = 3

# The API from the source, without importing it: neither torch nor Slicer is needed here.
autoapi_dirs = ["../GliomaSegLib"]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_python_class_content = "both"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "GliomaSeg"
html_theme_options = {
    "announcement": "Not a medical device. For research use; every contour must be reviewed by a clinician.",
}

write_pages(Path(__file__).parent)
