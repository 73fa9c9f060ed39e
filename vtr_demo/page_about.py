"""The masthead and the About tab as HTML."""

from __future__ import annotations

from vtr_demo.page import TERM_NAMES, esc
from vtr_demo.records import TERMS
from vtr_demo.results import Status

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
