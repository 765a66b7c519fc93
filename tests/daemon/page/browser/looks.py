"""What keeps people from using what is shown: findings of axe, targets too small for fingers."""

from functools import cache
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Page

FINGER_PX = 44
FIND = """async () => {
    const { violations } = await axe.run({ resultTypes: ['violations'] });
    return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .flatMap(({ id, nodes }) => nodes.slice(0, 3).map(({ target }) => `${id}: ${target}`));
}"""
SMALL = """(least) => {
    const top = document.querySelector('dialog[open], [role=menu]') ?? document;
    const found = [];
    for (const each of top.querySelectorAll('button, .button, select, input, summary')) {
        const label = each.matches('[type=checkbox], [type=file]') && each.closest('label');
        const [width, height] = ((box) => [box.width, box.height].map(Math.round))(
            (label || each).getBoundingClientRect());
        if (each.checkVisibility() && width && Math.min(width, height) < least) {
            const name = each.ariaLabel || each.textContent.trim() || each.type;
            found.push(`${name.slice(0, 30)}: ${width} x ${height}`);
        }
    }
    return found;
}"""


@cache
def axe() -> str:
    """Return axe-core, which stays in a page until that is loaded anew."""
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def problems(page: Page, *, fingers: bool = False) -> list[str]:
    """Return what is wrong with what is shown now."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(axe())
    found: list[str] = page.evaluate(FIND)
    return [*found, *page.evaluate(SMALL, FINGER_PX)] if fingers else found
