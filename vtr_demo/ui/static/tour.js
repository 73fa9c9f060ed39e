// The tour is offered until it was skipped or begun once in this browser.
(() => {
  const seen = (write) => {
    try {
      if (write) localStorage.setItem("vtr-tour", "done");
      return localStorage.getItem("vtr-tour");
    } catch {
      return null; // a browser without storage
    }
  };
  if (seen(false)) document.documentElement.classList.add("toured");
  document.addEventListener("click", ({ target }) => {
    if (near(target, "[data-tour-end], [data-do=tour]")) seen(true);
    if (near(target, "[data-tour-end]")) {
      document.documentElement.classList.add("toured");
      document.querySelector("#query input")?.focus();
    }
  });
})();
