"""The masthead and the About tab as HTML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vtr_demo.config import LimitConfig
from vtr_demo.errors import LibraryError
from vtr_demo.results import ClipView, IndexReport, Measurement, Recall, Status
from vtr_demo.structures import TERMS
from vtr_demo.ui.html import TERM_NAMES, clock, esc, poster, size

TERM_LESSONS = {
    "global": "The whole sentence against the whole clip.",
    "entity": "The things named (noun phrases) against patches within single frames.",
    "action": "The verbs against what changes between frames, and what a motion tower takes that for.",
    "relationship": "Who does what to whom, and where: triples such as “dog – left of – ball”.",
    "concepts": "Words and patches sorted into the same shared concept, compared concept by concept.",
}


def masthead() -> str:
    """Title, one line, and the switch between light and dark."""
    return (
        '<header class="masthead"><div><h1>Find the clip. See why.</h1>'
        "<p>Search videos by sentence and sentences by video. Every score is taken apart into the words, "
        "moments and patches of picture that made it.</p></div>"
        '<button class="theme" data-theme-switch type="button">Light / dark</button></header>'
    )


def about(status: Status) -> str:
    """How to read the page, what it cannot tell, what runs it."""
    lessons = "".join(
        f'<dt><i class="dot {name}"></i>{TERM_NAMES[name]}</dt><dd>{TERM_LESSONS[name]}</dd>'
        for name in TERMS
    )
    state = (
        "trained heads"
        if status.trained
        else "untrained heads: it ranks exactly as its backbone does, by the global part alone, "
        "until you raise other weights"
    )
    return f"""<div class="prose">
<section><h2>How to read a score</h2>
<p>A score is a sum, and the coloured bar shows its five parts. Each part is itself a sum over words,
frames and patches, so the numbers on word chips, under frames and in the concept grid add up to the same
score. Nothing is computed afterwards to explain it: what you see is what ranked.</p>
<dl>{lessons}</dl>
<p>The sentence decides how much each level weighs (g in the panel); a sentence without a verb gives the
action level nothing. The sliders multiply these weights. Striped segments count against the clip.</p>
</section><section><h2>Strike out a word, mute a concept</h2>
<p>Click a word chip, or a concept above its grid: the search runs again without it. If the order hardly
moves, it hardly mattered. A word gone makes another sentence; a muted concept takes away just what it
added.</p>
</section><section><h2>Why is one clip above another?</h2>
<p>Open a clip and choose a second one under “Against another clip”: the difference of the two scores is a
sum of the same parts and words.</p>
</section><section><h2>Shared concepts</h2>
<p>The Concepts tab shows what the concepts have come to hold in this library: their words, the frames
that they fill, and how far both agree in a caption’s own clip and in others. Their names are drawn by rule
from what they held in training; some hold little that a person would put together. On a page of your own
you can write better names over them.</p>
</section><section><h2>Confidence</h2>
<p>“Stronger than 98 % of unrelated texts” compares the score with those of three hundred everyday
sentences. Some clips score high with anything, so each clip is held to what those sentences score
with it; a clip further down may therefore be the surer one. Where no clip stands out more than for
many of those sentences, the page says so instead of pretending. It errs both ways: some sentences about
nothing here pass, and some that fit a clip do not.</p>
</section><section><h2>What the heat does not say</h2>
<p>It is <em>token attribution</em>. The split is exact for the tokens that the towers
hand over, but a tower has already mixed neighbouring patches, words and (for motion) frames before that.
A hot patch means “this token added that much”, not “only these pixels were looked at”.</p>
</section><section><h2>Your clips</h2>
<p>Clips are decoded in a separate process with limits on time and memory and stay on this machine. On a
shared page, everybody who visits can see a clip that you add until you delete it.</p>
</section><section><h2>What runs here</h2>
<p>{esc(status.model)}, with {state}; on {esc(status.device)}. The same functions are an API and, where
the MCP extra is installed, tools for agents: search_videos, rank_captions, explain_match,
library_status.</p>
<p>The levels follow MCSAN, the concepts follow S2CA; this is an independent implementation, not the
authors’. The bundled image tower is EfficientNet-Lite2, the motion tower I3D, the text tower
all-MiniLM-L6-v2 (all Apache-2.0). The sample clips are drawn with Microsoft’s Fluent emoji (MIT):
github.com/microsoft/fluentui-emoji.</p>
</section></div>"""


# --------------------------------------------------------------------------- the Library tab as HTML: nu
SHOWN_CAPTIONS = 3


def invitation(limits: LimitConfig) -> str:
    """The label of the drop area, with what it takes."""
    return f"Add videos, up to {size(limits.max_bytes)} and {limits.max_duration_s / 60:.0f} minutes each"


def uploaded(files: Sequence[str] | None, folder: str) -> list[Path]:
    """The paths of an upload, refused unless they lie in the upload ``folder``."""
    paths = [Path(file).resolve() for file in files or []]
    for path in paths:
        if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
            raise LibraryError(f"{path.name} was not uploaded through this page; upload it again.")
    return paths


def library_state(status: Status) -> str:
    """One line of numbers and the list of problems."""
    trained = "trained" if status.trained else "untrained heads (ranks as the backbone does)"
    facts = [
        (f"{status.clips}", "clip" if status.clips == 1 else "clips"),
        (f"{status.moments}", "moment" if status.moments == 1 else "moments in longer clips"),
        (size(status.stored_bytes), "stored"),
        (esc(status.model), f"model, {trained}, on {esc(status.device)}"),
    ]
    cells = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label in facts)
    problems = "".join(f"<li>{esc(problem)}</li>" for problem in status.problems)
    warned = f'<div class="banner"><strong>Problems</strong><ul>{problems}</ul></div>' if problems else ""
    return f'<dl class="numbers">{cells}</dl>{warned}'


def library(clips: Sequence[ClipView], deletable: Collection[str]) -> str:
    """Every clip with its facts; those in ``deletable`` can be removed after a second question."""
    if not clips:
        return '<p class="empty">Nothing here yet. Drop video files above to index them.</p>'
    return (
        f'<div class="shelf">{"".join(_shelf_card(clip, clip.clip_id in deletable) for clip in clips)}</div>'
    )


def _shelf_card(clip: ClipView, can_delete: bool) -> str:
    cuts = "".join(
        f'<i style="left:{start / max(clip.duration_s, 1e-6) * 100:.2f}%;'
        f'width:{(end - start) / max(clip.duration_s, 1e-6) * 100:.2f}%"></i>'
        for start, end in clip.moments
    )
    known = "".join(f"<li>{esc(text)}</li>" for text in clip.captions[:SHOWN_CAPTIONS])
    more = len(clip.captions) - SHOWN_CAPTIONS
    known += f'<li class="soft">and {more} more</li>' if more > 0 else ""
    delete = (
        '<details class="delete"><summary>Delete</summary>'
        f'<button data-do="delete" data-clip="{esc(clip.clip_id)}">'
        f"Yes, delete {esc(clip.name)}</button></details>"
        if can_delete
        else ""
    )
    count = f"{len(clip.moments)} moment{'' if len(clip.moments) == 1 else 's'}"
    strip = f'<span class="cuts" role="img" aria-label="{count}">{cuts}</span>' if cuts else ""
    return (
        f'<article class="item"><span class="frame">{poster(clip.clip_id, clip.name)}{strip}</span>'
        f"<h4>{esc(clip.name)}</h4>"
        f'<p class="soft">{clock(clip.duration_s)} · {clip.width}×{clip.height} · {size(clip.stored_bytes)}'
        f"{f' · {count}' if cuts else ''}</p><ul>{known}</ul>{delete}</article>"
    )


def report(found: IndexReport, names: Mapping[str, str]) -> str:
    """What became of an upload, a sentence for each outcome."""
    lines = []
    if found.added:
        listed = ", ".join(esc(names.get(clip_id, clip_id)) for clip_id in found.added)
        lines.append(f'<p class="good">Added {listed}.</p>')
    if found.known:
        listed = ", ".join(esc(name) for name in found.known)
        lines.append(f"<p>Already in the library, so left as it is: {listed}.</p>")
    lines += [f'<p class="bad">Not added: {esc(reason)}</p>' for _, reason in found.failed]
    return f'<div class="report" role="status">{"".join(lines)}</div>' if lines else ""


def good_news(text: str) -> str:
    """One sentence about something that worked."""
    return f'<div class="report" role="status"><p class="good">{esc(text)}</p></div>'


# --------------------------------------------------------------------------- the Measure tab as HTML: ho
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
