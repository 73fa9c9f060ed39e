// What needs no server: seeking, the play head, the theme, Escape. Clicks that need one go through gr.HTML.
(() => {
  window.vtrShowPanel = () =>
    requestAnimationFrame(() => {
      const shown = (selector) => [...document.querySelectorAll(selector)].find((node) => node.offsetParent);
      const panel = shown(".explained") || shown("#ranking");
      const top = panel ? panel.getBoundingClientRect().top : 0;
      if (top < 0 || top > innerHeight * 0.5) panel.scrollIntoView({ block: "start", behavior: "smooth" });
    });

  const near = (node, selector) => (node instanceof Element ? node.closest(selector) : null);
  const seek = (video, second, play) => {
    const go = () => {
      video.currentTime = second;
      if (play) video.play().catch(() => {});
    };
    if (video.readyState >= 1) go();
    else video.addEventListener("loadedmetadata", go, { once: true });
    if (video.readyState < 1) video.load();
  };

  document.addEventListener("click", (event) => {
    const jump = near(event.target, "[data-seek]");
    const video = jump && near(jump, ".explained")?.querySelector("video");
    if (video) {
      seek(video, Number(jump.dataset.seek), true);
      video.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }
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

  document.addEventListener(
    "timeupdate",
    ({ target }) => {
      const head = near(target, ".player")?.querySelector(".head");
      if (head) head.style.left = `${(100 * target.currentTime) / Math.max(target.duration || 0, 1e-6)}%`;
    },
    true,
  );

  document.addEventListener(
    "loadedmetadata",
    ({ target }) => {
      const start = Number(target.dataset?.start || 0);
      if (start > 0) target.currentTime = start;
    },
    true,
  );
})();
