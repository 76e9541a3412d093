"""Pictures of every page of a recorded trail, in both languages and themes, and three of them on a phone: `python docs/screenshots.py [FOLDER]`.

Those that docs/screenshots.md shows are kept in the repository.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from browser_lab import Tab, chromium, filled_trail, pages_of  # noqa: E402 - the tests' own browser
from web_lab import serve_page  # noqa: E402

TALLEST = 2400
MAIN = ("overview", "environment", "operation")
VARIANTS = [(language, theme, width) for language in ("en", "zh") for theme in ("light", "dark") for width in (1280, 390)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE / "screenshots")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, chromium() as browser:
        trail = filled_trail(Path(work))
        with serve_page(trail) as served:
            served.enter()
            for language, theme, width in VARIANTS:
                tab = Tab(browser, served, width=width, language=language, theme=theme)
                for name, path in pages_of(trail).items():
                    if width == VARIANTS[0][2] or name in MAIN:
                        page = tab.open(path)
                        page.wait_for_timeout(700)
                        size = "" if width == VARIANTS[0][2] else f"-{width}"
                        height = min(TALLEST, page.evaluate("document.scrollingElement.scrollHeight"))
                        page.screenshot(
                            path=given.folder / f"{name}-{language}-{theme}{size}.jpg",
                            type="jpeg",
                            quality=60,
                            full_page=True,
                            clip={"x": 0, "y": 0, "width": width, "height": height},
                        )
                        print(f"{name}-{language}-{theme}{size}", flush=True)
                tab.close()


if __name__ == "__main__":
    main()
