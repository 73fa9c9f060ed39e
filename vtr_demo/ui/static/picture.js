// The picture of an explanation: elements, what is painted on frames, and the stage with film, heat and box.
(() => {
  const PAINTS = [["heat", "Heat"], ["map", "Concepts"], ["plain", "Plain"]];
  const add = (values) => [...values].reduce((a, b) => a + b, 0);

  const UNITS = 1000; // numbers are written in thousandths
  const inUnits = (value) => Math.round(value * UNITS);
  const written = (units) => {
    const text = (Math.abs(units) / UNITS).toFixed(3);
    return units > 0 ? `+${text}` : units < 0 ? `−${text}` : text;
  };

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
  const percent = (value) => `${(100 * value).toFixed(2)}%`;
  const swatch = (colour) => h("i", { class: "swatch", style: { background: colour } });

  // ------------------------------------------------------------------------- painting
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  // Tints keep the brightness of the frame, so its own contrast stays; its colour mostly goes, but for the share
  // ``own``. VTR_PAINT is PAINT of viz/overlays.py, which paints alike.
  const lay = (pixels, i, colour, opacity, own = VTR_PAINT.kept) => {
    const grey = 0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2];
    const shade = VTR_PAINT.darkest + ((1 - VTR_PAINT.darkest) * grey) / 255;
    for (let k = 0; k < 3; k++) pixels[i + k] = (grey + own * (pixels[i + k] - grey)) * (1 - opacity) + colour[k] * shade * opacity;
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
      const [a, b, d, e] = [at(r, c), at(r, c + 1), at(r + 1, c), at(r + 1, c + 1)];
      const value = (a * (1 - dx) + b * dx) * (1 - dy) + (d * (1 - dx) + e * dx) * dy;
      const strength = Math.min(1, Math.abs(value) / limit), colour = value > 0 ? more : less;
      const opacity = VTR_PAINT.strongest * VTR_PAINT.on_frames * strength ** VTR_PAINT.curve;
      lay(image.data, i, colour, opacity, VTR_PAINT.kept + (value > 0 ? VTR_PAINT.lit * strength : 0));
      // What is hot keeps its own colour, so a line runs round it.
      const slope = Math.hypot((((b - a) * (1 - dy) + (e - d) * dy) * columns) / image.width, (((d - a) * (1 - dx) + (e - b) * dx) * rows) / image.height);
      const beside = Math.abs(Math.abs(value) - VTR_PAINT.line_at * limit) / Math.max(slope, 1e-6 * limit);
      const line = VTR_PAINT.line * Math.max(0, Math.min(1, 1.6 - beside));
      for (let k = 0; k < 3; k++) image.data[i + k] += line * (colour[k] - image.data[i + k]);
    });
    return image;
  };
  const patchOf = (image, [rows, columns], x, y) => Math.floor((y * rows) / image.height) * columns + Math.floor((x * columns) / image.width);
  const paintMap = (image, held, grid, colours, only) => {
    eachPixel(image, (x, y, i) => {
      const k = held[patchOf(image, grid, x, y)];
      const edge = (x && held[patchOf(image, grid, x - 1, y)] !== k) || (y && held[patchOf(image, grid, x, y - 1)] !== k);
      if (only !== null && k !== only) for (let j = 0; j < 3; j++) image.data[i + j] *= VTR_PAINT.shade;
      else if (only === null) lay(image.data, i, colours[k] || [0, 0, 0], k < 0 ? 0 : VTR_PAINT.map);
      if (edge && (only === null || k === only)) lay(image.data, i, [255, 255, 255], VTR_PAINT.border);
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

  const pixels = async (uri) => {
    const picture = new Image();
    picture.src = uri;
    await picture.decode();
    const canvas = h("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
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
      this.legend = h("span", { class: "heatlegend", title: `What one patch adds to the score, the same colours in all frames; the line runs round what is past ${100 * VTR_PAINT.line_at} % of the end of the scale` });
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
      video.addEventListener("play", () => {
        this.node.classList.add("playing");
        this.sayPlaying();
      });
      video.addEventListener("error", () => this.node.classList.add("filmless"));
      video.addEventListener("timeupdate", () => { if (!video.paused) this.tell(video.currentTime); });
      video.addEventListener("pause", () => {
        this.sayPlaying();
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
      this.panel.choose({ frame: this.panel.frame, cells: this.cells(from, to) });
    }

    // The cells between two corners, which are kept.
    cells(from, to) {
      this.corners = [from, to];
      const columns = this.panel.data.grid[1], cells = new Set();
      for (let r = Math.min(from[0], to[0]); r <= Math.max(from[0], to[0]); r++)
        for (let c = Math.min(from[1], to[1]); c <= Math.max(from[1], to[1]); c++) cells.add(1 + r * columns + c);
      return cells;
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
      const at = data.times[data.seconds.indexOf(second)] || `${second.toFixed(1)} s`; // a frame as it is called elsewhere
      this.clock.textContent = `${at} of ${data.clip.duration.toFixed(1)} s`;
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
      this.sayPlaying();
    }

    sayPlaying() {
      const { paused } = this.video;
      this.play.textContent = paused ? "▶" : "❚❚";
      this.play.setAttribute("aria-label", paused ? "Play" : "Pause");
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
      return held.map((k) => h("button", { class: "keyed", "data-key": `key-${k}`, "aria-pressed": String(panel.pick.concept === k), onclick: () => panel.choose({ concept: k }) }, swatch(concepts[k].colour), `${k + 1} ${concepts[k].name}`));
    }

    scale(limit) {
      if (limit < 1e-6) return ["no patch adds anything"];
      const [more, less] = this.panel.data.colours.map((colour) => `rgb(${colour.join(" ")})`);
      const end = limit.toFixed(Math.max(3, Math.ceil(-Math.log10(limit)) + 1));
      return [`−${end}`, h("i", { style: { background: `linear-gradient(90deg, ${less}, transparent, ${more})` } }), `+${end}`];
    }
  }

  window.vtrPicture = { UNITS, add, inUnits, written, h, percent, swatch, rgb, copy, put, paintHeat, paintMap, pixels, Stage };
})();
