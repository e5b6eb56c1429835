"""The page of `dvc plots show` and `dvc plots diff` with its drawing library inside: DVC's own loads it from a CDN."""

import vl_convert

from pipeline import paths
from pipeline.progress import console

# DVC's plot templates are written for Vega-Lite 5.
VEGA_LITE = "5.21"
NAME = "plots-page.html"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>Plots</title>
<link rel="icon" href="data:,">
<script>
(function () {
%s
})();
</script>
<style>
body { font-family: sans-serif; margin: 2rem; }
table { border-spacing: 15px; }
</style>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def run() -> None:
    """Write `.dvc/plots-page.html` in the checkout, the template that DVC's `plots.html_template` names."""
    target = paths.home_root() / ".dvc" / NAME
    paths.write_atomically(target, page().encode())
    console.print(f"wrote {target.relative_to(paths.home_root())}")


def page() -> str:
    """The template: DVC puts the plots in place of `{plot_divs}`; without `{scripts}` it adds none of its own."""
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    # A closing tag inside a string of the library would end the script element.
    return _PAGE % library.replace("</script", r"<\/script")
