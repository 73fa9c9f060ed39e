// An explanation: draws the JSON of ui/explanation.py and sums its parts over whatever is picked. A pick is a
// part, a word, a concept, and a region (cells of one frame or of all; cell 0 is the whole frame). Every view
// shows the sums along its own axis, within what is picked on the others, so it adds up to the total beside it.
(() => {
  const CONCEPTS = 4;
  const DIGITS = 3;
  const NOTHING = { term: null, word: null, concept: null, frame: null, cells: null };
  const TABS = [["parts", "Parts"], ["where", "Where"], ["concepts", "Concepts"]];
  const PAINTS = [["heat", "Heat"], ["map", "Concepts"], ["plain", "Plain"]];

  // ------------------------------------------------------------------------- numbers
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const add = (values) => [...values].reduce((a, b) => a + b, 0);
  const inUnits = (value) => Math.round(value * 10 ** DIGITS);
  const written = (units) => {
    const text = (Math.abs(units) / 10 ** DIGITS).toFixed(DIGITS);
    return units > 0 ? `+${text}` : units < 0 ? `−${text}` : text;
  };
  // Numbers in units of the last digit that add up to `total` as it is written (largest remainders).
  const apportion = (values, total) => {
    const exact = [...values].map((value) => value * 10 ** DIGITS);
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

  // ------------------------------------------------------------------------- elements
  const h = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style") Object.entries(value).forEach(([k, v]) => node.style.setProperty(k, v));
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };
  const quoted = (word, row) => (row === 0 ? "the whole sentence" : `“${word}”`);
  const percent = (value) => `${(100 * value).toFixed(2)}%`;
  const short = (name) => name.split(";")[0];
  const swatch = (colour) => h("i", { class: "swatch", style: { background: colour } });
  const dot = (name) => h("i", { class: `dot ${name}` });

  // ------------------------------------------------------------------------- painting
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  // Tints keep the brightness of the frame, so its own contrast stays; its colour mostly goes, so that hue tells
  // the contribution. As viz/overlays.py does.
  const lay = (pixels, i, colour, opacity) => {
    const grey = 0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2];
    const shade = 0.35 + (0.65 * grey) / 255;
    for (let k = 0; k < 3; k++) pixels[i + k] = (grey + 0.25 * (pixels[i + k] - grey)) * (1 - opacity) + colour[k] * shade * opacity;
  };
  const eachPixel = (image, visit) => {
    for (let y = 0, i = 0; y < image.height; y++) for (let x = 0; x < image.width; x++, i += 4) visit(x, y, i);
  };
  const copy = (image) => new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);
  const put = (canvas, image) => {
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  };

  const paintHeat = (image, values, [rows, columns], limit, [more, less]) => {
    const at = (r, c) => values[Math.min(rows - 1, Math.max(0, r)) * columns + Math.min(columns - 1, Math.max(0, c))];
    eachPixel(image, (x, y, i) => {
      const v = ((y + 0.5) * rows) / image.height - 0.5, u = ((x + 0.5) * columns) / image.width - 0.5;
      const r = Math.floor(v), c = Math.floor(u), dy = v - r, dx = u - c;
      const value = (at(r, c) * (1 - dx) + at(r, c + 1) * dx) * (1 - dy) + (at(r + 1, c) * (1 - dx) + at(r + 1, c + 1) * dx) * dy;
      const strength = Math.min(1, Math.abs(value) / limit);
      lay(image.data, i, value > 0 ? more : less, 0.82 * strength ** 0.8);
    });
    return image;
  };
  const patchOf = (image, [rows, columns], x, y) => Math.floor((y * rows) / image.height) * columns + Math.floor((x * columns) / image.width);
  const paintMap = (image, held, grid, colours, only) => {
    eachPixel(image, (x, y, i) => {
      const k = held[patchOf(image, grid, x, y)];
      const edge = (x && held[patchOf(image, grid, x - 1, y)] !== k) || (y && held[patchOf(image, grid, x, y - 1)] !== k);
      if (only !== null && k !== only) for (let j = 0; j < 3; j++) image.data[i + j] *= 0.3;
      else if (only === null) lay(image.data, i, colours[k] || [0, 0, 0], k < 0 ? 0 : 0.62);
      if (edge && (only === null || k === only)) lay(image.data, i, [255, 255, 255], 0.75);
    });
    return image;
  };
  // The middle of each connected region of a concept: [concept, row, column].
  const regions = (held, [rows, columns]) => {
    const seen = new Set(), middles = [];
    held.forEach((k, start) => {
      if (k < 0 || seen.has(start)) return;
      const region = [start];
      seen.add(start);
      for (const cell of region) {
        const column = cell % columns;
        const near = [cell - columns, cell + columns, ...(column ? [cell - 1] : []), ...(column < columns - 1 ? [cell + 1] : [])];
        for (const other of near) if (held[other] === k && !seen.has(other)) seen.add(other), region.push(other);
      }
      const r = add(region.map((cell) => Math.floor(cell / columns))) / region.length, c = add(region.map((cell) => cell % columns)) / region.length;
      const far = (cell) => (Math.floor(cell / columns) - r) ** 2 + ((cell % columns) - c) ** 2;
      const middle = region.reduce((a, b) => (far(b) < far(a) ? b : a));
      middles.push([k, Math.floor(middle / columns), middle % columns]);
    });
    return middles;
  };

  // ------------------------------------------------------------------------- the panel
  class Explanation {
    constructor(root) {
      this.root = root;
      this.pick = NOTHING;
      this.tab = "parts";
      this.paint = "heat";
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
      this.tab = window.vtrTab || this.tab;
      const same = before && before.clip.id === data.clip.id && before.moment === data.moment;
      if (!same || before.words.join() !== data.words.join()) this.pick = NOTHING;
      const all = this.sums.heat(NOTHING);
      const frames = Array.from({ length: this.sums.frames }, (_, t) => add(all.subarray(t * this.sums.cells, (t + 1) * this.sums.cells)));
      if (!same) this.frame = frames.indexOf(Math.max(...frames));
      this.images = null;
      if (!same || !this.stage) this.stage = new Stage(this);
      this.draw();
      const images = await Promise.all(data.frames.map(pixels));
      if (this.data !== data) return;
      this.images = images;
      this.stage.load();
      this.draw();
    }

    choose(change) {
      const pick = { ...this.pick, ...change };
      const same = Object.keys(change).every((key) => String(change[key] && [...[change[key]].flat()]) === String(this.pick[key] && [...[this.pick[key]].flat()]));
      this.pick = same ? { ...this.pick, ...Object.fromEntries(Object.keys(change).map((key) => [key, null])) } : pick;
      if (this.pick.concept !== null && this.pick.term !== null && this.pick.term !== CONCEPTS) this.pick = { ...this.pick, [("concept" in change) ? "term" : "concept"]: null };
      this.draw();
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

    draw() {
      const { data } = this;
      const focus = this.root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      const open = this.root.querySelector(".conf")?.open;
      const { node, top, side, rest } = this.frameWork();
      node.dataset.tab = this.tab;
      top.replaceChildren(this.head(), h("p", { class: "verdict" }, emphasised(data.verdict)));
      side.replaceChildren(...this.figures(open));
      rest.replaceChildren(this.sentence(), this.readout(), ...this.tabs());
      this.stage.draw();
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
      const { clip, take } = this.data;
      return h("div", { class: "line head" },
        h("h2", null, clip.name),
        h("span", { class: "tools" },
          h("details", { class: "take" }, h("summary", { class: "quiet", "data-key": "take" }, "Take away"),
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
        h("div", { class: "total" }, h("span", { class: "figure" }, written(inUnits(data.score))), this.confidence(open)),
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
      const chip = (row, text, denied) => h("button", {
        class: `word heat${row === 0 || data.extras.includes(row) ? " wholeword" : ""}${denied ? " denied" : ""}`, style: this.tint(shown[row], limit), "data-key": `word-${row}`, "data-row": row,
        "aria-pressed": String(pick.word === row), "aria-label": `${quoted(text, row)} adds ${written(units[row])}`,
        onclick: () => this.choose({ word: row }),
      }, text, h("small", null, written(units[row])));
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
        data.extras.filter((row) => whole[row]).map((row) => h("span", { class: "cellword" }, chip(row, data.words[row]))),
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
      return { "--tint": `rgb(${colour.join(" ")})`, "--opacity": (0.82 * Math.min(1, Math.abs(value) / limit) ** 0.8).toFixed(3) };
    }

    // What is picked, in words, and what can be said of it alone.
    readout() {
      const { data, pick } = this;
      const names = [
        pick.term !== null && data.terms[pick.term].label,
        pick.word !== null && quoted(data.words[pick.word], pick.word),
        pick.concept !== null && `concept ${pick.concept + 1} (${short(data.concepts[pick.concept].name)})`,
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
      this.tab = window.vtrTab = tab;
      this.draw();
      if (focus) this.root.querySelector(`[data-key="tab-${tab}"]`).focus();
      this.root.dispatchEvent(new CustomEvent("vtr-look", { bubbles: true, detail: { tab } }));
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
          h("span", { class: "soft weight", title: term === CONCEPTS ? "On top of the four levels, whose weights make 100 %" : "What the sentence and the sliders give this level; the four make 100 %" }, `weight ${Math.round(100 * weight)} %`),
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
          h("button", { class: "pick", "data-do": "rival", "data-clip": id, "data-key": `rival-${id}`, "aria-pressed": String(id === selected) }, h("small", null, rank), name))),
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
        class: "shot", "data-key": `shot-${t}`, "data-frame": t, "aria-pressed": String(t === this.frame), "aria-label": `Frame at ${data.times[t]}: its patches add ${written(units[t])}`,
        onclick: () => this.look(t),
      }, this.canvas(t, heat, limit), h("span", null, h("span", null, data.times[t]), h("b", null, written(units[t])))));
      const whole = h("button", {
        class: "shot wholeframes", "data-key": "shot-whole", "aria-pressed": String(Boolean(pick.cells?.has(0))),
        onclick: () => this.choose({ frame: null, cells: new Set([0]) }),
      }, h("em", null, "Whole frames"), h("small", null, "what the frames add as wholes, which lies nowhere in the picture"), h("span", null, h("span", null, "all"), h("b", null, written(units[frames.length]))));
      return [h("div", { class: "shots" }, tiles, whole),
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
        this.spot(k), h("span", null, h("span", { class: "soft" }, swatch(data.concepts[k].colour), k + 1), h("br"), short(data.concepts[k].name)));
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
      const counts = this.data.seconds.map((_, t) => this.heldIn(t).reduce((n, other) => n + (other === k), 0));
      const t = counts.indexOf(Math.max(...counts));
      if (this.images && counts[t]) put(canvas, paintMap(copy(this.images[t]), this.heldIn(t), this.data.grid, this.colours, k));
      return canvas;
    }
  }

  const pixels = async (uri) => {
    const picture = new Image();
    picture.src = uri;
    await picture.decode();
    const canvas = h("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
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
          h("td", { class: "lean" }, h("i", { class: a >= b ? "more" : "less", style: { left: `${a >= b ? 50 : 50 - width}%`, width: `${width}%` } })),
          h("td", { class: "score" }, written(sides[0][i] - sides[1][i])));
      }));
    };
    return [h("p", { class: "reason" }, says), h("div", { class: "gridwrap" }, h("table", { class: "versus" },
      h("thead", null, h("tr", null, h("th"), names.map((name) => h("th", { scope: "col" }, name)), h("th", { class: "lean" }), h("th", { scope: "col" }, "difference"))),
      body(terms), body(words),
      h("tbody", null, h("tr", null, h("th", { scope: "row" }, "score"), both.map((units) => h("td", { class: "score" }, written(units))), h("td"), h("td", { class: "score" }, written(both[0] - both[1])))))),
      h("p", { class: "soft hint" }, "The parts add up to the difference of the scores, and so do the words.")];
  };

  // ------------------------------------------------------------------------- the picture
  // The film, and over it, where the model looked, the frame that it saw under its heat. Drawing a box picks cells.
  class Stage {
    constructor(panel) {
      this.panel = panel;
      const { clip, moment, crop, ratio } = panel.data;
      const start = clip.moments[moment]?.[0] || 0;
      this.video = h("video", { muted: true, playsinline: true, preload: "metadata", src: `${clip.url}/media`, tabindex: -1, "aria-label": clip.name });
      this.video.muted = true;
      this.canvas = h("canvas", { role: "img" });
      this.box = h("i", { class: "box", hidden: true });
      this.labels = h("span", { class: "labels", "aria-hidden": "true" });
      this.view = h("div", {
        class: `view${Math.min(crop[2], crop[3]) < 0.98 ? " cropped" : ""}`, tabindex: 0, role: "application", "data-key": "view",
        "aria-label": "The frame in patches. Arrow keys move a box, with Shift they stretch it, Escape clears it.",
        style: Object.fromEntries(["left", "top", "width", "height"].map((side, i) => [side, percent(crop[i])])),
      }, this.canvas, this.labels, this.box);
      this.play = h("button", { class: "play", "data-key": "play", "aria-label": "Play", onclick: () => this.toggle() }, "▶");
      this.slider = h("input", { type: "range", min: 0, max: Math.max(clip.duration, 0.01), step: 0.01, value: start, "data-key": "time", "aria-label": "Time in the clip" });
      this.clock = h("span", { class: "soft clock" });
      const marks = h("span", { class: "marks", "aria-hidden": "true" },
        clip.moments.map(([from, to], i) => h("i", { class: i === moment ? "open" : null, style: { left: percent(from / clip.duration), width: percent((to - from) / clip.duration) } })));
      this.timeline = h("div", { class: "momentline" });
      this.paints = h("span", { class: "paints", role: "group", "aria-label": "What is painted on the frames" });
      this.legend = h("span", { class: "heatlegend", title: "What one patch adds to the score; the same colours in all frames" });
      this.keys = h("div", { class: "mapkey", role: "group", "aria-label": "Concepts of this frame" });
      this.node = h("figure", { class: "stage" },
        h("div", { class: "screen", style: { "aspect-ratio": ratio } }, this.video, this.view),
        h("div", { class: "transport" }, this.timeline, this.play, h("span", { class: "scrub" }, marks, this.slider), this.clock),
        h("div", { class: "line paintline" }, this.paints, this.legend));
      this.listen();
    }

    load() {
      this.seek(this.panel.data.seconds[this.panel.frame]);
    }

    listen() {
      const { video, slider, view, panel } = this;
      const nearest = (second) => {
        const far = panel.data.seconds.map((other) => Math.abs(other - second));
        return far.indexOf(Math.min(...far));
      };
      video.addEventListener("play", () => this.node.classList.add("playing"));
      video.addEventListener("error", () => this.node.classList.add("filmless"));
      video.addEventListener("timeupdate", () => { if (!video.paused) this.tell(video.currentTime); });
      video.addEventListener("pause", () => {
        if (!this.node.classList.contains("playing")) return;
        this.node.classList.remove("playing");
        if (this.node.isConnected) panel.look(nearest(video.currentTime));
      });
      slider.addEventListener("input", () => {
        const t = nearest(Number(slider.value));
        if (t !== panel.frame) panel.look(t);
        else this.tell(panel.data.seconds[t]);
      });
      let start = null;
      const cellAt = ({ clientX, clientY }) => {
        const box = view.getBoundingClientRect(), [rows, columns] = panel.data.grid;
        const inside = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
        return [inside((clientY - box.top) / box.height, rows), inside((clientX - box.left) / box.width, columns)];
      };
      view.addEventListener("pointerdown", (event) => {
        if (this.node.classList.contains("playing")) return this.video.pause();
        start = cellAt(event);
        view.setPointerCapture(event.pointerId);
        this.frameBox(start, start);
      });
      view.addEventListener("pointermove", (event) => start && this.frameBox(start, cellAt(event)));
      view.addEventListener("pointerup", (event) => {
        if (!start) return;
        const [from, to] = [start, cellAt(event)];
        start = null;
        this.select(from, to);
      });
      view.addEventListener("pointercancel", () => { start = null; this.draw(); });
      view.addEventListener("keydown", (event) => {
        const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        const [rows, columns] = panel.data.grid;
        const moved = ([r, c]) => [Math.min(rows - 1, Math.max(0, r + step[0])), Math.min(columns - 1, Math.max(0, c + step[1]))];
        const [from, to] = this.corners || [[(rows >> 1) - step[0], (columns >> 1) - step[1]], [(rows >> 1) - step[0], (columns >> 1) - step[1]]];
        this.select(event.shiftKey ? from : moved(to), moved(to));
      });
    }

    select(from, to) {
      this.corners = [from, to];
      const columns = this.panel.data.grid[1], cells = new Set();
      for (let r = Math.min(from[0], to[0]); r <= Math.max(from[0], to[0]); r++)
        for (let c = Math.min(from[1], to[1]); c <= Math.max(from[1], to[1]); c++) cells.add(1 + r * columns + c);
      this.panel.choose({ frame: this.panel.frame, cells });
    }

    frameBox(from, to) {
      const [rows, columns] = this.panel.data.grid;
      this.box.hidden = false;
      const [top, left] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
      Object.assign(this.box.style, {
        top: percent(top / rows), left: percent(left / columns),
        height: percent((Math.abs(from[0] - to[0]) + 1) / rows), width: percent((Math.abs(from[1] - to[1]) + 1) / columns),
      });
    }

    tell(second) {
      this.slider.value = second;
      const { data } = this.panel;
      this.clock.textContent = `${second.toFixed(1)} / ${data.clip.duration.toFixed(1)} s`;
    }

    toggle() {
      if (this.video.paused) this.video.play().catch(() => this.node.classList.add("filmless"));
      else this.video.pause();
    }

    pause() {
      this.node.classList.remove("playing");
      this.video.pause();
    }

    seek(second) {
      const go = () => { this.video.currentTime = second; };
      if (this.video.readyState >= 1) go();
      else this.video.addEventListener("loadedmetadata", go, { once: true });
      this.tell(second);
    }

    draw() {
      const { panel } = this, { data, pick, frame } = panel;
      const heat = panel.sums.heat(pick), limit = panel.limit(heat);
      if (panel.images) panel.fill(this.canvas, frame, heat, limit);
      this.canvas.setAttribute("aria-label", `Frame at ${data.times[frame]}, ${PAINTS.find(([key]) => key === panel.paint)[1].toLowerCase()}`);
      const boxed = pick.cells && pick.frame === frame && this.corners;
      if (boxed) this.frameBox(...this.corners);
      else [this.box.hidden, this.corners] = [true, pick.cells ? this.corners : null];
      this.labels.replaceChildren(...(panel.paint !== "map" ? [] : regions(panel.heldIn(frame), data.grid)
        .filter(([k]) => pick.concept === null || k === pick.concept)
        .map(([k, r, c]) => h("i", { style: { top: percent((r + 0.5) / data.grid[0]), left: percent((c + 0.5) / data.grid[1]) } }, k + 1))));
      this.paints.replaceChildren(...PAINTS.map(([key, label]) => h("button", { "data-key": `paint-${key}`, "data-paint": key, "aria-pressed": String(panel.paint === key), onclick: () => { panel.paint = key; panel.draw(); } }, label)));
      this.legend.replaceChildren(...(panel.paint === "heat" ? this.scale(limit) : []));
      this.keys.replaceChildren(...(panel.paint === "map" ? this.key() : []));
      this.timeline.replaceChildren(...this.moments());
      if (this.video.paused) this.tell(data.seconds[frame]);
      this.play.textContent = this.video.paused ? "▶" : "❚❚";
    }

    // Every moment of a long clip, as high as its score; a click explains it.
    moments() {
      const { clip, moment, moment_scores: scores } = this.panel.data;
      if (scores.length < 2) return [];
      const low = Math.min(0, ...scores), span = Math.max(...scores) - low || 1;
      const bar = ([from, to], i) => {
        const label = `${from.toFixed(1)} – ${to.toFixed(1)} s, score ${written(inUnits(scores[i]))}`;
        return h("button", {
          class: "momentbar", "data-do": "moment", "data-clip": clip.id, "data-moment": i, "data-key": `moment-${i}`, "aria-pressed": String(i === moment), title: label, "aria-label": label,
          style: { left: percent(from / clip.duration), width: percent((to - from) / clip.duration) },
        }, h("i", { style: { height: percent((scores[i] - low) / span) } }));
      };
      return [h("div", { class: "bars", role: "group", "aria-label": "Moments and their scores" }, clip.moments.map(bar)),
        h("span", { class: "soft" }, "Each moment as high as its score; the yellow one is explained. Click another to explain it.")];
    }

    // The concepts of this frame, the largest first, each a button.
    key() {
      const { panel } = this, { concepts } = panel.data;
      const held = [...new Set(panel.heldIn(panel.frame))].filter((k) => k >= 0).sort((a, b) => panel.count(b, panel.frame) - panel.count(a, panel.frame));
      return held.map((k) => h("button", { class: "keyed", "data-key": `key-${k}`, "aria-pressed": String(panel.pick.concept === k), onclick: () => panel.choose({ concept: k }) }, swatch(concepts[k].colour), `${k + 1} ${short(concepts[k].name)}`));
    }

    scale(limit) {
      if (limit < 1e-6) return ["no patch adds anything"];
      const [more, less] = this.panel.data.colours.map((colour) => `rgb(${colour.join(" ")})`);
      const end = limit.toFixed(Math.max(3, Math.ceil(-Math.log10(limit)) + 1));
      return [`−${end}`, h("i", { style: { background: `linear-gradient(90deg, ${less}, transparent, ${more})` } }), `+${end}`];
    }
  }

  window.vtrExplanation = (element, props, watch) => {
    const panel = new Explanation(element.querySelector("section") || element);
    watch("value", () => panel.show(props.value));
    panel.show(props.value);
  };
})();
