// What needs no server: the theme, Escape. Clicks that need one go through gr.HTML.
(() => {
  window.vtrShowPanel = () =>
    requestAnimationFrame(() => {
      const shown = (selector) => [...document.querySelectorAll(selector)].find((node) => node.offsetParent);
      const panel = shown(".explained") || shown("#ranking");
      const top = panel ? panel.getBoundingClientRect().top : 0;
      if (top < 0 || top > innerHeight * 0.5) panel.scrollIntoView({ block: "start", behavior: "smooth" });
    });

  const near = (node, selector) => (node instanceof Element ? node.closest(selector) : null);
  document.addEventListener("click", (event) => {
    const asked = near(event.target, "[data-do]");
    if (asked) {
      asked.classList.add("waiting");
      setTimeout(() => asked.classList.remove("waiting"), 8000);
    }
    if (near(event.target, "[data-theme-switch]")) {
      const dark = document.body.classList.toggle("dark");
      document.documentElement.classList.toggle("dark", dark);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const shown = [...document.querySelectorAll('[data-do="close"]')].find((button) => button.offsetParent);
    if (shown) shown.click();
  });
})();
