"""Pieces of the page written as HTML: its head line, its notice, and the cards of similar cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

NOTICE = "For research only: not a medical device. Answers can be wrong; do not use them for diagnosis or treatment."
NO_CASES = '<p class="eosin-none">Similar cases of the archive appear here with the answer.</p>'
NO_INDEX = '<p class="eosin-none">This server has no index of cases.</p>'

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#e6a4c4"/>'
    '<circle cx="9" cy="7" r="3" fill="#5b3a8c"/></svg>'
)

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.eosin-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1rem; }
.eosin-head h1 { font-size: 1.9rem; font-weight: 700; margin: 0; color: #7a2e5d; }
.eosin-head .eosin-model { color: var(--body-text-color-subdued); }
.eosin-notice {
  border-left: 4px solid #b4487f; background: #fbeff5; color: #4d1c38; padding: .45rem .8rem; border-radius: 4px; margin: .5rem 0 0;
}
.dark .eosin-head h1 { color: #f0b6d2; }
.dark .eosin-notice { background: #3a2030; color: #f7dbe8; }
.eosin-title h2 { font-size: 1.05rem; font-weight: 600; margin: 0; }
.eosin-none { color: var(--body-text-color-subdued); margin: 0; }
#examples .grid-wrap { height: auto; min-height: 0; max-height: none; }
#examples { min-height: 0; }
#log .icon-button-wrapper:has(a[download]) { display: none; }
#log .message img { max-height: 120px; width: auto; }
.eosin-cards {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: .75rem; list-style: none; padding: 0; margin: 0;
}
.eosin-cards li {
  border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden; background: var(--block-background-fill); margin: 0;
}
.eosin-cards img, .eosin-cards .eosin-blank { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; margin: 0; }
.eosin-cards .eosin-blank { background: var(--border-color-primary); }
.eosin-cards .eosin-text { padding: .45rem .6rem .55rem; font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.eosin-cards .eosin-label { font-weight: 600; font-size: .95rem; }
.eosin-cards .eosin-source { color: var(--body-text-color-subdued); font-size: .78rem; }
"""


def head(model: str) -> str:
    """The head line and the notice."""
    title = f'<div class="eosin-head"><h1>Eosin</h1><span class="eosin-model">pathology assistant · model {escape(model)}</span></div>'
    return f'{title}<p class="eosin-notice" role="note">{escape(NOTICE)}</p>'


def title(words: str) -> str:
    """A heading within the page."""
    return f'<div class="eosin-title"><h2>{escape(words)}</h2></div>'


def cases(citations: Sequence[Mapping[str, Any]]) -> str:
    """The cards, numbered as the model was shown them."""
    if not citations:
        return NO_CASES
    return f'<ol class="eosin-cards">{"".join(_card(number, case) for number, case in enumerate(citations, 1))}</ol>'


def _card(number: int, case: Mapping[str, Any]) -> str:
    label, caption = str(case.get("label") or "no label"), str(case.get("caption") or "")
    thumbnail = str(case.get("thumbnail") or "")
    # Only pictures that came with the answer: any other address would be a request to elsewhere.
    if thumbnail.startswith("data:image/"):
        picture = f'<img src="{escape(thumbnail)}" alt="similar case {number}: {escape(label)}">'
    else:
        picture = '<div class="eosin-blank" role="img" aria-label="no picture"></div>'
    source = f"{case.get('source')} · {case.get('group')} · {case.get('licence')}"
    text = f'<div class="eosin-label">{number}. {escape(label)}</div><div>similarity {float(case.get("score", 0.0)):.3f}</div>'
    described = f"<div>{escape(caption)}</div>" if caption and caption != label else ""
    return f'<li>{picture}<div class="eosin-text">{text}{described}<div class="eosin-source">{escape(source)}</div></div></li>'
