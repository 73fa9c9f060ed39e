"""The Measure tab as HTML: how well a library's clips and captions find each other, and what that costs."""

from __future__ import annotations

from vtr_demo.page import TERM_NAMES, size
from vtr_demo.records import TERMS
from vtr_demo.results import Measurement, Recall

LESSON = (
    '<p class="lesson">Does search work on these clips? Every caption looks for its clip, and every clip for '
    "its captions. Give a file of captions, or measure with those that the library has.</p>"
)
INVITATION = "Captions: .csv (columns clip, caption) or .jsonl"
SHOWN = ("R@1", "R@5", "R@10")


def measured(found: Measurement) -> str:
    """Recall of both directions, what each part of the score adds, and costs."""
    few = (
        '<p class="banner">With so few captions an interval is wide and every clip is easy to find among so '
        "few: read these numbers as a check, not as a benchmark.</p>"
        if found.captioned < 100
        else ""
    )
    return (
        f'{few}<div class="gauges">'
        f"{_direction('A sentence finds its clip', found.text_to_video, found.clips)}"
        f"{_direction('A clip finds a caption', found.video_to_text, found.texts)}</div>"
        f'<div class="gauges"><section><h3>What each part of the score is worth</h3>{_parts(found)}</section>'
        f"<section><h3>What it costs</h3>{_costs(found)}</section></div>"
        f'<p class="soft hint">{found.texts} captions of {found.captioned} clips, searched among all '
        f"{found.clips}, each clip by its best moment. R@k: percent of queries whose answer is among the "
        "first k; a clip counts by the best-placed of its captions; ties get their mean rank. The thin line "
        "is the 95 % bootstrap interval over the clips. Weights: where the sliders start.</p>"
    )


def _direction(name: str, recall: Recall, rivals: int) -> str:
    rows = "".join(_gauge(metric, recall) for metric in SHOWN)
    middle, mean = recall.values["MdR"], recall.values["MnR"]
    return (
        f'<section class="direction"><h3>{name}</h3><dl>{rows}</dl>'
        f'<p class="soft">{recall.queries} queries among {rivals}; median rank {middle:g}, mean rank '
        f"{mean:.1f}</p></section>"
    )


def _gauge(metric: str, recall: Recall) -> str:
    value, (low, high) = recall.values[metric], recall.interval_95[metric]
    told = f"{metric} {value:.1f} percent, interval {low:.0f} to {high:.0f}"
    return (
        f'<dt>{metric}</dt><dd class="gauge" role="img" aria-label="{told}">'
        f'<i style="width:{value:.2f}%"></i><b style="left:{low:.2f}%;width:{high - low:.2f}%"></b></dd>'
        f'<dd class="score">{value:.1f} <small>[{low:.0f}–{high:.0f}]</small></dd>'
    )


def _parts(found: Measurement) -> str:
    rows = "".join(
        f'<tr><th scope="row"><i class="dot {name}"></i>{TERM_NAMES[name]}</th>'
        f"{_pair(found, f'only {name}')}{_pair(found, f'without {name}')}</tr>"
        for name in TERMS
        if f"only {name}" in found.ablations
    )
    return (
        '<table class="plain"><thead><tr><th></th><th colspan="2">alone</th>'
        '<th colspan="2">left out</th></tr>'
        "<tr><th>R@1</th><th>clip</th><th>caption</th><th>clip</th><th>caption</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _pair(found: Measurement, row: str) -> str:
    if row not in found.ablations:
        return "<td>–</td><td>–</td>"
    return "".join(f'<td class="score">{value:.1f}</td>' for value in found.ablations[row])


def _costs(found: Measurement) -> str:
    facts = (
        (f"{found.query_ms:.0f} ms", "to read, encode and search for one sentence"),
        (size(round(found.vector_bytes)), "held in memory for a clip"),
        (size(round(found.stored_bytes)), "on disk for a clip, its pixels and tokens included"),
    )
    cells = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label in facts)
    return f'<dl class="numbers">{cells}</dl>'
