// The Library tab: what is chosen stays chosen over pages, one form edits any clip. Clicks with data-do go to the server.
(() => {
  const chosen = new Set();
  let last = null, back = "", saving = false, leaving = [];
  const shelf = () => document.querySelector("#shelf");
  const boxes = () => [...(shelf()?.querySelectorAll("[data-pick]") ?? [])];

  const paint = () => {
    const all = shelf()?.querySelector("[data-pick-all]");
    if (!all) return;
    for (const box of boxes()) {
      box.checked = chosen.has(box.dataset.pick);
      near(box, ".item").classList.toggle("chosen", box.checked);
    }
    const here = boxes().filter((box) => box.checked).length;
    all.checked = here > 0 && here === boxes().length;
    all.indeterminate = here > 0 && !all.checked;
    const bar = near(all, ".choice");
    bar.querySelector("[data-picked]").textContent = chosen.size ? `${chosen.size} chosen` : "";
    const remove = bar.querySelector("[data-delete-picked]");
    remove.dataset.clips = [...chosen].join(" ");
    remove.textContent = `Delete ${chosen.size}`;
    for (const button of [remove, bar.querySelector("[data-unpick]")]) button.hidden = !chosen.size;
  };
  const pick = (box, on) => (on ? chosen.add(box.dataset.pick) : chosen.delete(box.dataset.pick));

  document.addEventListener("click", (event) => {
    const box = near(event.target, "[data-pick]");
    if (box) {
      const row = boxes(), from = row.indexOf(last), to = row.indexOf(box);
      for (const one of event.shiftKey && from >= 0 ? row.slice(Math.min(from, to), Math.max(from, to) + 1) : [box]) pick(one, box.checked);
      last = box;
      paint();
    }
    const all = near(event.target, "[data-pick-all]");
    if (all) for (const one of boxes()) pick(one, all.checked);
    if (near(event.target, "[data-unpick]")) chosen.clear();
    if (all || near(event.target, "[data-unpick]")) paint();
    const removed = near(event.target, "#shelf [data-do=delete]");
    if (removed) leaving = removed.dataset.clips.split(" ");
    if (near(event.target, ".editor [data-do=edit]")) saving = true;
    const opener = near(event.target, "[data-editor]");
    if (opener) edit(opener);
    if (near(event.target, "[data-editor-close]")) near(event.target, "dialog").close();
  });

  const edit = ({ dataset }) => {
    const dialog = document.querySelector("dialog.editor"), save = dialog.querySelector("[data-do=edit]");
    [back, saving] = [dataset.editor, false];
    save.dataset.clip = dataset.editor;
    for (const field of dialog.querySelectorAll("[data-field]")) {
      field.value = save.dataset[field.dataset.field] = dataset[field.dataset.field];
      field.oninput = () => { save.dataset[field.dataset.field] = field.value; };
    }
    const film = dialog.querySelector("video");
    film.src = dataset.media;
    dialog.onclose = () => { film.removeAttribute("src"); };
    dialog.showModal();
    dialog.querySelector("[data-field=captions]").focus();
  };
  document.addEventListener("keydown", (event) => {
    const dialog = near(event.target, "dialog.editor");
    if (dialog && event.key === "Enter" && (event.ctrlKey || event.metaKey || event.target.dataset.field === "name")) {
      event.preventDefault();
      dialog.querySelector("[data-do=edit]").click();
    }
  });

  // After the server has drawn the shelf anew, which keeps its elements: what is chosen, the form.
  window.vtrShelf = () => setTimeout(() => {
    const there = new Set(boxes().map((box) => box.dataset.pick));
    for (const id of leaving) if (!there.has(id)) chosen.delete(id);
    leaving = [];
    paint();
    if (!saving) return;
    const opener = [...shelf().querySelectorAll("[data-editor]")].find((one) => one.dataset.editor === back);
    saving = false;
    document.querySelector("dialog.editor").close();
    opener?.focus();
  });
  window.vtrShowNew = () => requestAnimationFrame(() => document.querySelector(".item.new")?.scrollIntoView({ block: "nearest", behavior: "smooth" }));
})();
