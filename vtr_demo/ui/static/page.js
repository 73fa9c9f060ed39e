// What needs no server: the address, the theme, previews, Escape. Clicks that need one go through gr.HTML.
// Of all scripts, which are served as one: the closest ancestor of an event's target.
const near = (node, selector) => (node instanceof Element ? node.closest(selector) : null);
(() => {
  // ------------------------------------------------------------------------- the address
  // Behind # stands what the tab in front shows: what the server says of it, and what is picked in its explanation.
  // A change is a new entry, unless it is one of many small ones.
  const SMALL = ["weights", "share", "count", "theme", "frame", "paint"];
  const LOOK = ["look", "paint", "frame", "term", "word", "concept", "only", "box"];
  const addresses = {}, looks = {};
  let theme = "";
  const inFront = () => document.querySelector('[role="tab"][aria-selected="true"]')?.textContent.trim().toLowerCase() || "search";
  const read = () => new URLSearchParams(location.hash.slice(1));
  const write = (entry = true) => {
    const tab = inFront(), before = read(), look = looks[tab];
    const after = new URLSearchParams(addresses[tab] ?? (tab === "search" ? "" : `tab=${tab}`));
    if (look && look.clip === after.get("clip")) for (const key of LOOK) if (look[key] !== undefined) after.set(key, look[key]);
    if (theme) after.set("theme", theme);
    if (`${after}` === `${before}`) return;
    const step = entry && [...after.keys(), ...before.keys()].some((key) => !SMALL.includes(key) && `${after.getAll(key)}` !== `${before.getAll(key)}`);
    history[step ? "pushState" : "replaceState"](null, "", `${after}` ? `#${after}` : location.pathname + location.search);
  };
  const paint = (name) => {
    theme = name;
    for (const node of [document.body, document.documentElement]) node.classList.toggle("dark", name === "dark");
  };
  // What the address asks of the server, null where only the browser's part of it has changed.
  window.vtrArrive = () => {
    const asked = read(), tab = asked.get("tab") || "search", wanted = asked.get("theme");
    if (["light", "dark"].includes(wanted)) paint(wanted);
    looks[tab] = { clip: asked.get("clip"), fresh: true };
    for (const key of LOOK) if (asked.has(key)) looks[tab][key] = asked.get(key);
    for (const key of [...LOOK, "theme"]) asked.delete(key);
    const known = addresses[tab] === `${asked}` && inFront() === tab;
    addresses[tab] = `${asked}`;
    document.dispatchEvent(new Event("vtr-arrive"));
    return known ? null : location.hash;
  };
  window.vtrAddress = (node) => {
    if (!node) return;
    const asked = new URLSearchParams(node.dataset.address);
    asked.delete("theme");
    addresses[node.dataset.tab] = `${asked}`;
    write();
  };
  // What is picked in the explanation of a tab, which reads it where it is ``fresh`` from the address.
  window.vtrLook = (tab, look, entry) => {
    if (look) {
      looks[tab] = look;
      write(entry);
    }
    return looks[tab] || {};
  };
  // Gradio's label hides what stands on the button; without it the text is the name.
  const unlabel = () => document.querySelectorAll(".upload-container[aria-label]").forEach((node) => node.removeAttribute("aria-label"));
  const watchTabs = () => new MutationObserver(() => (write(), setTimeout(unlabel, 500))).observe(document.body, { subtree: true, attributeFilter: ["aria-selected"] });
  if (document.body) watchTabs();
  else addEventListener("DOMContentLoaded", watchTabs);

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
      button.classList.add("done");
    } catch {
      prompt("The link to what is shown:", location.href);
    }
    setTimeout(() => {
      button.textContent = "Copy link";
      button.classList.remove("done");
    }, 2000);
  };

  // ------------------------------------------------------------------------- focus and previews
  let held = null;
  document.addEventListener("focusin", ({ target }) => { held = target; });
  window.vtrRefocus = (element) => {
    element.classList.remove("waiting");
    // Gradio patches what is there, and a field that was used keeps its own state whatever its attributes say.
    for (const field of element.querySelectorAll("[data-change]")) {
      if (field.type === "checkbox") field.checked = field.defaultChecked;
      else if (field.matches("select")) field.value = (field.querySelector("[selected]") || field.options[0]).value;
      else if (field !== document.activeElement || field.matches(".leaveout")) field.value = field.defaultValue;
    }
    const alone = !document.activeElement || document.activeElement === document.body;
    if (!alone || !held || held.isConnected || !held.dataset) return;
    const same = (node) => JSON.stringify({ ...node.dataset }) === JSON.stringify({ ...held.dataset });
    [...element.querySelectorAll("[data-do], [data-change]")].find(same)?.focus({ preventScroll: true });
  };

  let film = null, over = null, waiting = 0;
  const preview = (card) => {
    const { play, from, to } = card.dataset;
    film = Object.assign(document.createElement("video"), { muted: true, playsInline: true, src: play, className: "preview" });
    const own = film, start = () => { own.currentTime = Number(from); };
    film.addEventListener("loadedmetadata", start, { once: true });
    film.addEventListener("timeupdate", () => { if (own.currentTime >= Number(to)) start(); });
    film.addEventListener("ended", () => { start(); own.play().catch(() => {}); });
    film.play().catch(() => {});
    card.querySelector(".frame").append(film);
  };
  document.addEventListener("pointerover", (event) => {
    const card = event.pointerType === "mouse" ? near(event.target, "[data-play]") : null;
    if (card === over) return;
    over = card;
    clearTimeout(waiting);
    film?.remove();
    film = null;
    if (card) waiting = setTimeout(preview, 180, card);
  });

  window.vtrShowPanel = () =>
    requestAnimationFrame(() => {
      const shown = (selector) => [...document.querySelectorAll(selector)].find((node) => node.offsetParent);
      const panel = shown(".explained") || shown("#ranking");
      const top = panel ? panel.getBoundingClientRect().top : 0;
      if (top < 0 || top > innerHeight * 0.5) panel.scrollIntoView({ block: "start", behavior: "smooth" });
    });

  document.addEventListener("click", (event) => {
    const asked = near(event.target, "[data-do]");
    if (asked) {
      asked.classList.add("waiting");
      setTimeout(() => asked.classList.remove("waiting"), 8000);
      // Focus goes back to what opened the explanation.
      if (asked.dataset.do === "close") [...document.querySelectorAll('[aria-current="true"]')].find(visible)?.focus({ preventScroll: true });
    }
    if (near(event.target, "[data-theme-switch]")) {
      paint(document.body.classList.contains("dark") ? "light" : "dark");
      write();
    }
    if (near(event.target, "#go")) asking(event.target);
    const rail = near(event.target, "[data-rail]");
    if (rail) rail.setAttribute("aria-expanded", near(rail, "#rail").classList.toggle("unfolded"));
    if (near(event.target, "[data-copy]")) copy(near(event.target, "[data-copy]"));
  });

  const asking = (node) => near(node, "#go, #query") && document.querySelector("#results")?.firstElementChild?.classList.add("waiting");
  // ------------------------------------------------------------------------- the keyboard
  const visible = (node) => node.offsetParent && getComputedStyle(node).visibility !== "hidden";
  document.addEventListener("keydown", (event) => {
    const tab = near(event.target, ".tab-container [role=tab]");
    if (!tab || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    const row = [...near(tab, ".tab-container").querySelectorAll("[role=tab]")].filter(visible), at = row.indexOf(tab);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: row.length - 1 }[event.key];
    const next = row[(to + row.length) % row.length];
    event.preventDefault();
    next.click();
    next.focus();
  });
  document.addEventListener("click", (event) => {
    if (!near(event.target, "[data-skip]")) return;
    const panel = [...document.querySelectorAll("[role=tabpanel]")].find(visible);
    [...panel.querySelectorAll("input, textarea, button, a[href], select, [tabindex='0']")].find(visible)?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") asking(event.target);
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    const menu = [...document.querySelectorAll("details[open]")].find((one) => one.contains(event.target));
    if (menu) return void (menu.open = false);
    const shown = [...document.querySelectorAll('[data-do="close"]')].find((button) => button.offsetParent);
    if (shown) shown.click();
  });
})();
