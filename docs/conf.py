"""Sphinx's settings: the guide's pages are Markdown, and the public names come from docstrings."""

from importlib.metadata import version as version_of

project = "pytest-ablation"
author = "The pytest-ablation founders"
version = release = version_of("pytest-ablation")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # what docstrings have between single backticks

myst_heading_anchors = 3  # so that links are those that GitHub has, too
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what a thing is; types are in the source
autodoc_preserve_defaults = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"pytest-ablation {version}"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
