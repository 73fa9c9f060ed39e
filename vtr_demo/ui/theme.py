"""The look of the page: style, script, Gradio's theme in the page's colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradio import themes

from vtr_demo.viz.overlays import PAINT, TERM_COLOURS

STATIC = Path(__file__).with_name("static")
STYLES = ("page.css", "explanation.css", "library.css", "tour.css")
SCRIPTS = ("page.js", "picture.js", "explanation.js", "library.js", "tour.js")
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' "
    "height='32' rx='8' fill='%2317595c'/%3E%3Cg fill='%23fff'%3E"
    "%3Crect x='7' y='8' width='18' height='4' rx='2'/%3E"
    "%3Crect x='7' y='14' width='12' height='4' rx='2' opacity='.75'/%3E"
    "%3Crect x='7' y='20' width='7' height='4' rx='2' opacity='.5'/%3E%3C/g%3E%3C/svg%3E"
)
CLICK = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (!button || !element.contains(button)) return;
  if (button.href && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  if (button.href) event.preventDefault();
  trigger('click', {...button.dataset});
});
element.addEventListener('change', ({target}) => {
  const {change} = target.dataset, value = target.type === 'checkbox' ? String(target.checked) : target.value;
  if (change) trigger('click', {do: change, value});
});
watch('value', () => window.vtrRefocus(element));
element.addEventListener('focusin', ({target}) => {
  if (target.dataset.edit) target.dataset.before = target.textContent;
});
element.addEventListener('keydown', (event) => {
  const field = event.target;
  if (!field.dataset.edit || !['Enter', 'Escape'].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  if (event.key === 'Escape') field.textContent = field.dataset.before;
  field.blur();
});
element.addEventListener('focusout', ({target}) => {
  const {edit, before, first, longest, ...data} = target.dataset;
  if (!edit) return;
  const text = target.textContent = (target.textContent.trim() || first).slice(0, Number(longest));
  if (text !== before) trigger('click', {...data, do: edit, text});
});"""
"""Runs once for each piece of HTML: a button or link reports its data-* attributes as the event's data, a field its
value, and a text that can be written over what it became. A link still opens beside with Ctrl."""
ADDRESS = """const go = () => {
  const address = window.vtrArrive();
  if (address !== null) trigger('click', {do: 'go', address});
};
addEventListener('popstate', go);
watch('value', () => window.vtrAddress(element.querySelector('[data-address]')));"""
ARRIVE = "(address, ...others) => [window.vtrArrive(), ...others]"
EXPLAIN = "window.vtrExplanation(element, props, watch);"
SHELF = "watch('value', window.vtrShelf);"
TO_NEW = "() => window.vtrShowNew()"
SHOW_ADDRESS = "() => document.querySelectorAll('[data-address]').forEach(window.vtrAddress)"
"""For an address that leads to what is shown already: nothing changes then that would correct it."""
TO_PANEL = "() => window.vtrShowPanel()"
TO_TILE = "() => document.querySelector('.tile.open')?.scrollIntoView({ block: 'nearest' })"
THEME = {
    "body_background_fill": "--paper",
    "background_fill_primary": "--sheet",
    "background_fill_secondary": "--paper",
    "block_background_fill": "--sheet",
    "block_border_color": "--line",
    "border_color_primary": "--line",
    "body_text_color": "--ink",
    "body_text_color_subdued": "--soft",
    "block_label_text_color": "--soft",
    "block_label_background_fill": "--sheet",
    "block_title_text_color": "--ink",
    "input_background_fill": "--sheet",
    "input_border_color": "--line",
    "input_placeholder_color": "--soft",
    "slider_color": "--accent",
    "button_primary_background_fill": "--accent",
    "button_primary_background_fill_hover": "--accent",
    "button_primary_text_color": "--accent-ink",
    "button_secondary_background_fill": "--sheet",
    "button_secondary_background_fill_hover": "--wash",
    "button_secondary_text_color": "--ink",
    "button_secondary_border_color": "--line",
    "color_accent": "--accent",
    "color_accent_soft": "--wash",
    "link_text_color": "--accent",
    "loader_color": "--accent",
}
"""Gradio's theme variables by the token of page.css that each takes; light and dark follow the token."""


def theme() -> Any:
    """Gradio's theme in the page's fonts and colours."""
    values = {key: f"var({token})" for key, token in THEME.items()}
    font = themes.LocalFont  # bundled with Gradio, complete in these two weights only
    return themes.Base(
        font=[font("IBM Plex Sans", (400, 700)), themes.Font("sans-serif")],
        font_mono=[font("IBM Plex Mono", (400, 700)), themes.Font("monospace")],
    ).set(**values, **{f"{key}_dark": value for key, value in values.items() if key != "color_accent"})


def head() -> str:
    """Icon, style and script for the document's head; nothing is fetched from elsewhere."""
    style, script = (
        "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names) for names in (STYLES, SCRIPTS)
    )
    colours = "".join(f"--{name}:{colour};" for name, colour in TERM_COLOURS.items())  # those of the pictures
    paint = f"const VTR_PAINT = {json.dumps(PAINT._asdict())};"
    return f'<link rel="icon" href="{ICON}"><style>:root{{{colours}}}{style}</style><script>{paint}{script}</script>'
