// An explanation: draws the JSON of ui/explanation.py and sums its parts over whatever is picked. A pick is a
// part, a word, a concept, and a region (cells of one frame or of all; cell 0 is the whole frame). Every view
// shows the sums along its own axis, within what is picked on the others, so it adds up to the total beside it.
(() => {
  const { UNITS, add, inUnits, written, h, percent, swatch, rgb, copy, put, paintHeat, paintMap, pixels, Stage } = window.vtrPicture;
  const CONCEPTS = 4;
  const NOTHING = { term: null, word: null, concept: null, frame: null, cells: null };
  const TABS = [["parts", "Parts"], ["where", "Where"], ["concepts", "Concepts"]];

  // ------------------------------------------------------------------------- numbers
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  // Numbers in units of the last digit that add up to `total` as it is written (largest remainders).
  const apportion = (values, total) => {
    const exact = [...values].map((value) => value * UNITS);
    const units = exact.map((value) => Math.floor(value + 1e-6));
    const order = exact.map((_, i) => i).sort((a, b) => exact[b] - units[b] - (exact[a] - units[a]));
    const missing = Math.max(0, Math.min(order.length, total - add(units)));
    for (const i of order.slice(0, missing)) units[i] += 1;
    return units;
  };

  class Sums {
    constructor(data) {
      this.data = data;
      this.parts = new Float32Array(bytes(data.parts));
      this.frames = data.seconds.length;
      this.cells = 1 + data.grid[0] * data.grid[1];
    }
    // Sums of the parts within `pick`, by `key(term, word, frame, cell)` below `size`.
    by(size, key, pick) {
      const sums = new Float64Array(size);
      const { term: wanted, word: said, concept, frame, cells } = pick;
      this.data.rows.forEach(([term, word], row) => {
        if ((wanted !== null && term !== wanted) || (said !== null && word !== said)) return;
        if (concept !== null && (term !== CONCEPTS || this.data.word_concept[word] !== concept)) return;
        let at = row * this.frames * this.cells;
        for (let t = 0; t < this.frames; t++)
          for (let c = 0; c < this.cells; c++, at++)
            if ((frame === null || t === frame) && (!cells || cells.has(c))) sums[key(term, word, t, c)] += this.parts[at];
      });
      return sums;
    }
    total(pick) {
      return this.by(1, () => 0, pick)[0];
    }
    terms(pick) {
      return this.by(5, (term) => term, { ...pick, term: null });
    }
    words(pick) {
      return this.by(this.data.words.length, (_, word) => word, { ...pick, word: null });
    }
    heat(pick) {
      return this.by(this.frames * this.cells, (_, __, t, c) => t * this.cells + c, { ...pick, frame: null, cells: null });
    }
  }

  const quoted = (word, row) => (row === 0 ? "the whole sentence" : `“${word}”`);
  const dot = (name) => h("i", { class: `dot ${name}` });

  // ------------------------------------------------------------------------- the panel
  class Explanation {
    constructor(root) {
      this.root = root;
      this.pick = NOTHING;
      this.tab = "parts";
      this.paint = "heat";
      this.name = root.closest("#dpanel") ? "describe" : "search";
      document.addEventListener("vtr-arrive", () => this.data && window.vtrLook(this.name).clip === this.data.clip.id && this.arrive());
      root.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || this.free) return;
        event.stopPropagation();
        this.choose(NOTHING);
      });
    }

    get free() {
      return Object.values(this.pick).every((value) => value === null);
    }

    async show(data) {
      const before = this.data;
      this.data = data;
      this.stage?.pause();
      if (!data) return this.root.replaceChildren();
      this.sums = new Sums(data);
      this.held = new Int16Array(bytes(data.held));
      this.colours = data.concepts.map((concept) => rgb(concept.colour));
      const same = before && before.clip.id === data.clip.id && before.moment === data.moment;
      if (!same || before.words.join() !== data.words.join()) this.pick = NOTHING;
      const all = this.sums.heat(NOTHING);
      const frames = Array.from({ length: this.sums.frames }, (_, t) => add(all.subarray(t * this.sums.cells, (t + 1) * this.sums.cells)));
      this.best = frames.indexOf(Math.max(...frames));
      if (!same) this.frame = this.best;
      this.images = null;
      if (!same || !this.stage) this.stage = new Stage(this);
      const asked = window.vtrLook(this.name);
      if (asked.fresh && asked.clip === data.clip.id) this.arrive();
      else this.draw();
      const images = await Promise.all(data.frames.map(pixels));
      if (this.data !== data) return;
      this.images = images;
      this.stage.load();
      this.draw();
    }

    // Take what the address names; what is not there in this explanation is passed over.
    arrive() {
      const { data } = this, asked = window.vtrLook(this.name);
      const index = (key, count) => (Number(asked[key]) < count ? Number(asked[key]) : null);
      const term = data.terms.findIndex(({ name }) => name === asked.term);
      const corners = (asked.box || "").split(",").map(Number), inside = corners.length === 4 && corners.every((at, i) => at < data.grid[i % 2]);
      this.pick = { term: term < 0 ? null : term, word: index("word", data.words.length), concept: index("concept", data.concepts.length), frame: index("only", data.seconds.length), cells: null };
      if (asked.box === "whole") this.pick.cells = new Set([0]);
      else if (inside && this.pick.frame !== null) this.pick.cells = this.stage.cells(corners.slice(0, 2), corners.slice(2));
      this.tab = asked.look || "parts";
      this.paint = asked.paint || "heat";
      this.look(index("frame", data.seconds.length) ?? this.best);
    }

    // Put what is picked in the address; ``entry`` where one can go back to what was before.
    tell(entry) {
      const { data, pick, stage } = this, number = (value) => (value === null ? undefined : String(value));
      const box = pick.cells && (pick.cells.has(0) ? "whole" : stage.corners?.flat().join());
      window.vtrLook(this.name, {
        clip: data.clip.id, look: this.tab === "parts" ? undefined : this.tab, paint: this.paint === "heat" ? undefined : this.paint,
        frame: this.frame === this.best ? undefined : number(this.frame), term: pick.term === null ? undefined : data.terms[pick.term].name,
        word: number(pick.word), concept: number(pick.concept), only: number(pick.frame), box: box || undefined,
      }, entry);
    }

    choose(change) {
      const pick = { ...this.pick, ...change };
      const said = (value) => (value instanceof Set ? [...value].join() : String(value));
      const same = Object.keys(change).every((key) => said(change[key]) === said(this.pick[key]));
      this.pick = same ? { ...this.pick, ...Object.fromEntries(Object.keys(change).map((key) => [key, null])) } : pick;
      if (this.pick.concept !== null && this.pick.term !== null && this.pick.term !== CONCEPTS) this.pick = { ...this.pick, [("concept" in change) ? "term" : "concept"]: null };
      this.draw(true);
    }

    look(frame) {
      this.frame = frame;
      this.stage.seek(this.data.seconds[frame]);
      this.draw();
    }

    // What the total of `pick` is written as: a single part or word as it stands in its list.
    units(pick) {
      const picked = Object.entries(pick).filter(([, value]) => value !== null);
      const score = inUnits(this.data.score);
      if (!picked.length) return score;
      const [axis, index] = picked[0];
      if (picked.length === 1 && axis === "term") return apportion(this.sums.terms(NOTHING), score)[index];
      if (picked.length === 1 && axis === "word") return apportion(this.sums.words(NOTHING), score)[index];
      return inUnits(this.sums.total(pick));
    }

    draw(entry = false) {
      const { data } = this;
      const focus = this.root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      const open = this.root.querySelector(".conf")?.open;
      const { node, top, side, rest } = this.frameWork();
      node.dataset.tab = this.tab;
      top.replaceChildren(this.head(), h("p", { class: "verdict" }, emphasised(data.verdict)));
      side.replaceChildren(...this.figures(open));
      rest.replaceChildren(this.sentence(), this.readout(), ...this.tabs());
      this.stage.draw();
      this.tell(entry);
      if (focus) this.root.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    }

    // The stage stays where it is while everything around it is drawn anew: a film plays on, a slider is held.
    frameWork() {
      if (this.frames?.stage === this.stage && this.root.contains(this.frames.node)) return this.frames;
      const [top, side, rest] = ["top", "figures", "rest"].map((name) => h("div", { class: name }));
      const node = h("div", { class: "why" }, top, h("div", { class: "lead" }, this.stage.node, side, this.stage.keys), rest);
      this.root.replaceChildren(node);
      return (this.frames = { stage: this.stage, node, top, side, rest });
    }

    head() {
      const { clip, moment, take } = this.data;
      return h("div", { class: "line head" },
        h("h2", null, clip.name),
        h("span", { class: "tools" },
          this.name === "search" && h("button", { class: "quiet", "data-do": "like", "data-clip": clip.id, "data-moment": moment < 0 ? null : moment }, "More like this"),
          h("button", { class: "quiet", "data-copy": true, title: "Copy a link to what is shown" }, "Copy link"),
          h("details", { class: "take" }, h("summary", { class: "quiet", "data-key": "take" }, "Download"),
            h("ul", null, take.map(([label, url]) => h("li", null, h("a", { href: url, download: true }, label))))),
          h("button", { class: "quiet", "data-do": "close", "aria-label": "Close the explanation" }, "Close")));
    }

    figures(open) {
      const { data, pick } = this;
      const total = this.units({ ...pick, term: null });
      const values = this.sums.terms(pick), units = apportion(values, total);
      const whole = this.sums.terms(NOTHING);
      const low = add(whole.map((v) => Math.min(v, 0))), high = Math.max(add(whole.map((v) => Math.max(v, 0))), low + 1e-9);
      let left = -low / (high - low), right = left;
      const segments = [...values].map((value, term) => {
        const width = Math.abs(value) / (high - low);
        const start = value < 0 ? (left -= width) : (right += width) - width;
        const { name, label } = data.terms[term];
        return h("button", {
          class: `seg ${name}${value < 0 ? " minus" : ""}${pick.term !== null && pick.term !== term ? " faint" : ""}`,
          style: { left: percent(start), width: percent(width) }, tabindex: -1, "aria-hidden": "true",
          title: `${label} ${written(units[term])}`, onclick: () => this.choose({ term }),
        });
      });
      return [
        h("div", { class: "total" }, h("span", { class: "figure" }, written(total)), total !== inUnits(data.score) && h("span", { class: "soft" }, `of ${written(inUnits(data.score))}`), this.confidence(open)),
        h("div", { class: "bigbar" }, segments, low < 0 && h("i", { class: "zero", style: { left: percent(-low / (high - low)) } })),
        h("ul", { class: "legend", "aria-label": "Parts of the score" }, data.terms.map(({ name, label, hears }, term) =>
          h("li", null, h("button", {
            "data-key": `term-${term}`, "data-term": term, "aria-pressed": String(pick.term === term), title: hears,
            onclick: () => this.choose({ term }),
          }, dot(name), h("span", null, label), h("b", { class: "score" }, written(units[term])))))),
      ];
    }

    confidence(open) {
      const { confidence } = this.data;
      if (!confidence) return null;
      return h("details", { class: "conf", open }, h("summary", { "data-key": "conf", class: `fit ${confidence.word.replace(" ", "-")}` }, confidence.word),
        h("span", { class: "soft" }, confidence.percentage));
    }

    // The words in their order, the parse drawn below them, each with what it adds.
    sentence() {
      const { data, pick } = this;
      const units = apportion(this.sums.words(pick), this.units({ ...pick, word: null }));
      const shown = this.sums.words(pick);
      const limit = Math.max(...[...shown].map(Math.abs), 1e-9);
      const lanes = layLanes(data.phrases);
      const whole = this.sums.words(NOTHING);
      const part = (row) => { // of an example: its name, then its concepts
        const base = data.extras.find((other) => data.words[row].startsWith(`${data.words[other]}, `));
        return data.words[row].slice(base === undefined ? 0 : data.words[base].length + 2);
      };
      const chip = (row, text, denied) => h("button", {
        class: `word heat${row === 0 || data.extras.includes(row) ? " wholeword" : ""}${denied ? " denied" : ""}`, style: this.tint(shown[row], limit), "data-key": `word-${row}`, "data-row": row,
        "aria-pressed": String(pick.word === row),
        onclick: () => this.choose({ word: row }),
      }, text, " ", h("small", null, written(units[row])));
      const cell = (entry) => h("span", { class: "cellword" },
        entry.row === null
          ? h("button", { class: "word struck", "data-do": "strike", "data-word": entry.index, "data-key": `struck-${entry.index}`, title: "Struck out; click to put it back" }, h("s", null, entry.text), h("small", null, "put back"))
          : chip(entry.row, entry.text, entry.denied),
        h("span", { class: "lanes", "aria-hidden": "true" }, lanes.map((lane) => this.bracket(lane, entry.row))));
      const spoken = data.terms.map(({ label }, term) => [label, data.phrases.filter((phrase) => phrase.term === term)])
        .filter(([, found]) => found.length).map(([label, found]) => `${label}: ${found.map((phrase) => phrase.text).join("; ")}.`);
      return h("div", { class: "sentence-parsed", role: "group", "aria-label": "Words of the sentence and what each adds" },
        data.chips.length > 0 && h("span", { class: "cellword" }, chip(0, "whole sentence")),
        data.chips.map(cell),
        data.extras.filter((row) => inUnits(whole[row]) || units[row]).map((row) => h("span", { class: "cellword" }, chip(row, part(row)))),
        h("span", { class: "sr" }, spoken.join(" ")));
    }

    bracket(lane, row) {
      const phrase = row === null ? null : lane.find(({ rows }) => row >= Math.min(...rows) && row <= Math.max(...rows));
      if (!phrase) return h("i", { class: "lane" });
      const { rows, term, text } = phrase;
      const name = this.data.terms[term].name;
      const kind = `${rows.includes(row) ? "on" : "through"}${row === Math.min(...rows) ? " first" : ""}${row === Math.max(...rows) ? " last" : ""}`;
      const title = `${{ entity: "Noun phrase", action: "Verb", relationship: "Triple" }[name]}: ${text}`;
      return h("i", { class: `lane ${kind} l-${name}${this.pick.term !== null && this.pick.term !== term ? " faint" : ""}`, title, onclick: () => this.choose({ term }) });
    }

    tint(value, limit) {
      const colour = this.data.colours[value < 0 ? 1 : 0];
      const opacity = VTR_PAINT.strongest * Math.min(1, Math.abs(value) / limit) ** VTR_PAINT.curve;
      return { "--tint": `rgb(${colour.join(" ")})`, "--opacity": opacity.toFixed(3) };
    }

    // What is picked, in words, and what can be said of it alone.
    readout() {
      const { data, pick } = this;
      const names = [
        pick.term !== null && data.terms[pick.term].label,
        pick.word !== null && quoted(data.words[pick.word], pick.word),
        pick.concept !== null && `concept ${pick.concept + 1} (${data.concepts[pick.concept].name})`,
        pick.cells && (pick.cells.has(0) ? "whole frames" : `a box at ${data.times[pick.frame]}`),
        !pick.cells && pick.frame !== null && `the frame at ${data.times[pick.frame]}`,
      ].filter(Boolean);
      const body = this.free
        ? [h("span", { class: "soft" }, "Pick a part, a word or a concept, or draw a box on the picture: everything else then shows its share of that.")]
        : [h("span", null, h("b", null, names.join(" × ")), " adds ", h("b", { class: "score" }, written(this.units(pick))), ` of ${written(inUnits(data.score))}`),
          this.aside(),
          h("span", { class: "acts" }, this.strike(), h("button", { class: "quiet", "data-key": "clear", onclick: () => this.choose(NOTHING) }, "Show all"))];
      return h("div", { class: "picked", "aria-live": "polite" }, body);
    }

    aside() {
      const { data, pick } = this;
      if (pick.cells && !pick.cells.has(0) && pick.word === null) {
        const sums = this.sums.words(pick);
        const most = [...sums.keys()].filter((row) => inUnits(sums[row]) > 0).sort((a, b) => sums[b] - sums[a]).slice(0, 3);
        const names = most.map((row) => `${quoted(data.words[row], row)} ${written(inUnits(sums[row]))}`);
        return h("span", { class: "speaks" }, names.length ? `It speaks for ${names.join(", ")}.` : "It speaks for no word.");
      }
      const entry = data.chips.find(({ row }) => row !== null && row === pick.word);
      if (!entry) return null;
      const change = -entry.effect;
      const what = Math.abs(change) < 5e-4 ? "would leave the score as it is" : `would change the score by ${written(inUnits(change))}`;
      return h("span", { class: "effect" }, "That is its share of this score. Striking it out ", h("b", null, what), ": the sentence is then read anew without it.");
    }

    // A sentence keeps at least one word.
    strike() {
      const left = this.data.chips.filter(({ row }) => row !== null);
      const entry = left.length > 1 && left.find(({ row }) => row === this.pick.word);
      return entry && h("button", { class: "quiet", "data-do": "strike", "data-word": entry.index, "data-key": "strike" }, `Strike out “${entry.text}”`);
    }

    // ----------------------------------------------------------------------- tabs
    tabs() {
      const turn = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const at = TABS.findIndex(([key]) => key === this.tab);
        this.turn(TABS[(at + step + TABS.length) % TABS.length][0], true);
      };
      const bar = h("div", { class: "whytabs", role: "tablist", "aria-label": "The explanation in detail", onkeydown: turn }, TABS.map(([key, label]) =>
        h("button", {
          role: "tab", "data-key": `tab-${key}`, "data-tab": key, "aria-selected": String(key === this.tab), tabindex: key === this.tab ? 0 : -1,
          onclick: () => this.turn(key),
        }, label)));
      return [bar, h("div", { class: "tabbody", role: "tabpanel", "aria-label": TABS.find(([key]) => key === this.tab)[1] }, this[this.tab]())];
    }

    turn(tab, focus) {
      this.tab = tab;
      this.draw(true);
      if (focus) this.root.querySelector(`[data-key="tab-${tab}"]`).focus();
    }

    parts() {
      const { data, pick } = this;
      const values = this.sums.terms(pick), units = apportion(values, this.units({ ...pick, term: null }));
      const whole = this.sums.terms(NOTHING);
      const low = Math.min(0, ...whole), high = Math.max(1e-9, ...whole);
      const rows = data.terms.map(({ name, label, hears, weight, tags }, term) => {
        const said = data.phrases.filter((phrase) => phrase.term === term).map((phrase) => `“${phrase.text}”`).join(", ");
        const seen = tags.slice(0, 3).map(([tag, chance]) => `${tag} ${Math.round(100 * chance)} %`).join(", ");
        const bar = { left: percent((Math.min(values[term], 0) - low) / (high - low)), width: percent(Math.abs(values[term]) / (high - low)) };
        return h("li", null, h("button", { class: "level", "data-key": `level-${term}`, "data-term": term, "aria-pressed": String(pick.term === term), onclick: () => this.choose({ term }) },
          h("span", { class: "level-name" }, dot(name), label),
          h("span", { class: "level-bar" }, h("i", { class: `${name}${values[term] < 0 ? " minus" : ""}`, style: bar })),
          h("b", { class: "score" }, written(units[term])),
          h("span", { class: "soft weight", title: term === CONCEPTS ? "On top of the four levels, whose weights make 100 %" : "What the sentence and the sliders give this level; the four make 100 %" }, `${term === CONCEPTS ? "plus " : "weight "}${Math.round(100 * weight)} %`),
          h("span", { class: "soft hears" }, hears, said && ` Here: ${said}.`, seen && [h("br"), `Seen in the clip, whatever is asked: ${seen}.`])));
      });
      return [h("ul", { class: "levels" }, rows), this.versus()];
    }

    versus() {
      const { comparison } = this.data;
      if (!comparison || !comparison.others.length) return null;
      const { others, selected, versus } = comparison;
      return h("section", { class: "rivals" }, h("h3", null, "Why this clip and not another?"),
        h("div", { class: "picks" }, others.map(({ rank, id, name }) =>
          h("button", { class: "rival", "data-do": "rival", "data-clip": id, "data-key": `rival-${id}`, "aria-pressed": String(id === selected) }, h("small", null, rank), name))),
        versus && difference(versus));
    }

    where() {
      const { data, pick, sums } = this;
      const heat = sums.heat(pick), limit = this.limit(heat);
      const cells = sums.cells;
      const frames = data.seconds.map((_, t) => add(heat.subarray(t * cells + 1, (t + 1) * cells)));
      const wholes = data.seconds.map((_, t) => heat[t * cells]);
      const units = apportion([...frames, add(wholes)], this.units({ ...pick, frame: null, cells: null }));
      const tiles = data.seconds.map((_, t) => h("button", {
        class: "shot", "data-key": `shot-${t}`, "data-frame": t, "aria-pressed": String(t === this.frame),
        onclick: () => this.look(t),
      }, this.canvas(t, heat, limit), h("span", null, h("span", null, data.times[t]), " ", h("b", null, written(units[t])))));
      const whole = h("button", {
        class: "shot wholeframes", "data-key": "shot-whole", "aria-pressed": String(Boolean(pick.cells?.has(0))),
        onclick: () => this.choose({ frame: null, cells: new Set([0]) }),
      }, h("em", null, "Whole frames"), h("small", null, "what the frames add as wholes, which lies nowhere in the picture"), h("span", null, h("span", null, "all"), h("b", null, written(units[frames.length]))));
      return [h("div", { class: "shots", role: "group", "aria-label": "Frames and what their patches add" }, tiles, whole),
        h("p", { class: "soft hint" }, "A frame opens above; there, draw a box to ask which words it speaks for. The tiles add up to ", h("b", null, written(add(units))), ".")];
    }

    limit(heat) {
      return Math.max(1e-9, ...heat.filter((_, i) => i % this.sums.cells).map(Math.abs));
    }

    canvas(t, heat, limit) {
      const canvas = h("canvas", { width: 4, height: 3 });
      return this.images ? this.fill(canvas, t, heat, limit) : canvas;
    }

    fill(canvas, t, heat, limit) {
      const { data, sums } = this, image = copy(this.images[t]);
      if (this.paint === "plain") return put(canvas, image);
      if (this.paint === "heat") return put(canvas, paintHeat(image, heat.subarray(t * sums.cells + 1, (t + 1) * sums.cells), data.grid, limit, data.colours));
      put(canvas, paintMap(image, this.heldIn(t), data.grid, this.colours, this.pick.concept));
      return canvas;
    }

    heldIn(t) {
      return this.held.subarray(t * this.sums.cells + 1, (t + 1) * this.sums.cells);
    }

    // A row a concept: its picture here, its words, what each frame adds in it. Words, cells and rows add up.
    concepts() {
      const { data, pick, sums } = this;
      const count = data.concepts.length, within = { ...pick, term: CONCEPTS, concept: null };
      const of = (word) => Math.max(0, data.word_concept[word]);
      const byFrame = sums.by(count * sums.frames, (_, word, t) => of(word) * sums.frames + t, { ...within, frame: null, cells: null });
      const byWord = sums.by(data.words.length, (_, word) => word, { ...within, word: null, frame: null, cells: null });
      const used = data.concepts.map((_, k) => k).filter((k) => data.word_concept.includes(k) || this.held.includes(k));
      const row = (k) => byFrame.subarray(k * sums.frames, (k + 1) * sums.frames);
      const totals = used.map((k) => add(row(k)));
      const units = apportion(totals, this.units({ ...within, frame: null, cells: null }));
      const limit = Math.max(1e-9, ...byFrame.map(Math.abs));
      const order = used.map((_, i) => i).filter((i) => data.word_concept.includes(used[i])).sort((a, b) => Math.abs(totals[b]) - Math.abs(totals[a]) || this.count(used[b]) - this.count(used[a]));
      const name = (k) => h("button", { class: "concept-row", "data-key": `concept-${k}`, "data-concept": k, title: data.concepts[k].name, "aria-pressed": String(pick.concept === k), onclick: () => this.choose({ concept: k }) },
        this.spot(k), h("span", null, h("span", { class: "soft" }, swatch(data.concepts[k].colour), k + 1), h("br"), data.concepts[k].name));
      const silent = used.filter((k) => !data.word_concept.includes(k)).sort((a, b) => this.count(b) - this.count(a));
      const body = order.map((i) => {
        const k = used[i], concept = data.concepts[k];
        const said = data.words.map((_, w) => w).filter((w) => data.word_concept[w] === k);
        const wordUnits = pick.word === null ? apportion(said.map((w) => byWord[w]), units[i]) : said.map((w) => inUnits(byWord[w]));
        const cells = apportion(row(k), units[i]);
        return h("tr", { class: concept.muted ? "muted" : null },
          h("th", { scope: "row" }, name(k)),
          h("td", { class: "said" }, said.map((w, n) => h("button", { class: "chip", "data-key": `cw-${w}`, "aria-pressed": String(pick.word === w), onclick: () => this.choose({ word: w }) }, data.words[w], h("small", null, written(wordUnits[n]))))),
          h("td", { class: "score" }, written(units[i])),
          h("td", null, h("button", { class: "quiet", "data-do": "mute", "data-concept": k, "data-key": `mute-${k}`, "aria-pressed": String(concept.muted) }, concept.muted ? "Muted" : "Mute")),
          cells.map((value, t) => h("td", { class: "cell" }, h("button", {
            class: "heat", style: this.tint(row(k)[t], limit), "data-key": `cell-${k}-${t}`, "aria-pressed": String(pick.concept === k && pick.frame === t),
            title: `${Math.round((100 * this.count(k, t)) / (sums.cells - 1))} % of the frame at ${data.times[t]}`,
            onclick: () => { this.frame = t; this.stage.seek(data.seconds[t]); this.choose({ concept: k, frame: t, cells: null }); },
          }, value ? written(value).replace("0.", ".") : "0"))));
      });
      const off = data.terms[CONCEPTS].weight === 0;
      return [
        h("p", { class: "soft hint" }, off ? "Concepts weigh 0 now, so they add nothing; raise their weight to use them. " : "", "Words and patches are sorted into the same concepts, one each; a word meets the patches of its own concept only. Pick one to see where it lies; mute one to search without it."),
        h("div", { class: "gridwrap", tabindex: 0, role: "region", "aria-label": "Concepts by words and frames" }, h("table", { class: "ctable" },
          h("thead", null, h("tr", null, h("th", { scope: "col" }, "concept"), h("th", { scope: "col" }, "words"), h("th", { scope: "col" }, "adds"), h("td"),
            data.times.map((time, t) => h("th", { scope: "col", class: t === this.frame ? "now" : null }, time)))),
          h("tbody", null, body),
          h("tfoot", null, h("tr", null, h("th", { scope: "row", colspan: 2 }, "all concepts"), h("td", { class: "score" }, written(add(units))), h("td", { colspan: 1 + sums.frames }))))),
        silent.length > 0 && h("details", { class: "others", open: silent.includes(pick.concept) }, h("summary", { "data-key": "others" }, `${silent.length} more hold parts of the picture but no word of the sentence, so they add nothing`), h("div", null, silent.map(name)))];
    }

    count(k, t = null) {
      const held = t === null ? this.held : this.heldIn(t);
      return held.reduce((n, other) => n + (other === k), 0);
    }

    // The frame that a concept fills most, everything else in the dark.
    spot(k) {
      const canvas = h("canvas", { class: "spot", width: 4, height: 4 });
      const counts = this.data.seconds.map((_, t) => this.count(k, t));
      const t = counts.indexOf(Math.max(...counts));
      if (this.images && counts[t]) put(canvas, paintMap(copy(this.images[t]), this.heldIn(t), this.data.grid, this.colours, k));
      return canvas;
    }
  }

  const emphasised = (text) => text.split(/(“[^”]*”|^[^,;(.]+)/).map((piece, i) => (i % 2 ? h("b", null, piece) : piece));

  // Phrases that do not overlap share a line of brackets.
  const layLanes = (phrases) => {
    const lanes = [];
    for (const phrase of phrases) {
      const from = Math.min(...phrase.rows), to = Math.max(...phrase.rows);
      const free = lanes.find((lane) => lane.every(({ rows }) => from > Math.max(...rows) || to < Math.min(...rows)));
      if (free) free.push(phrase);
      else lanes.push([phrase]);
    }
    return lanes;
  };

  const difference = ({ says, names, terms, words, scores }) => {
    const limit = Math.max(1e-9, ...[...terms, ...words].map(([, a, b]) => Math.abs(a - b)));
    const both = scores.map(inUnits);
    const body = (rows) => {
      const sides = [0, 1].map((side) => apportion(rows.map((row) => row[1 + side]), both[side]));
      return h("tbody", null, rows.map(([label, a, b], i) => {
        const width = (50 * Math.abs(a - b)) / limit;
        return h("tr", null, h("th", { scope: "row" }, label), h("td", { class: "score" }, written(sides[0][i])), h("td", { class: "score" }, written(sides[1][i])),
          h("td", { class: "lean" }, h("i", { class: a >= b ? "ahead" : "behind", style: { left: `${a >= b ? 50 : 50 - width}%`, width: `${width}%` } })),
          h("td", { class: "score" }, written(sides[0][i] - sides[1][i])));
      }));
    };
    return [h("p", { class: "reason" }, says), h("div", { class: "gridwrap" }, h("table", { class: "versus" },
      h("thead", null, h("tr", null, h("td"), names.map((name) => h("th", { scope: "col" }, name)), h("td", { class: "lean" }), h("th", { scope: "col" }, "difference"))),
      body(terms), body(words),
      h("tbody", null, h("tr", null, h("th", { scope: "row" }, "score"), both.map((units) => h("td", { class: "score" }, written(units))), h("td", { class: "lean" }), h("td", { class: "score" }, written(both[0] - both[1])))))),
      h("p", { class: "soft hint" }, "The parts add up to the difference of the scores, and so do the words.")];
  };

  window.vtrExplanation = (element, props, watch) => {
    const panel = new Explanation(element.querySelector("section") || element);
    watch("value", () => panel.show(props.value));
    panel.show(props.value);
  };
})();
