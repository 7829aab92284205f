"""A real browser for the tests of `/docs`: Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium; fails with the way to install it where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path is not None, (
        f"no browser found (looked for {', '.join(NAMES)}); install one with scripts/"
        "ensure_package.sh, or: apt-get install --no-install-recommends chromium"
    )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield running
        finally:
            running.close()
