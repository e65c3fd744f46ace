/* Runs before the first paint: puts the remembered theme and language on <html>, so that nothing flashes. */
(function () {
  var root = document.documentElement;
  var stored = {};
  try {
    stored = JSON.parse(localStorage.getItem("sonde.settings") || "{}") || {};
  } catch (e) {
    stored = {};
  }
  var dark = stored.theme === "dark" || (stored.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  var russian = stored.lang === "ru" || (stored.lang !== "en" && /^ru\b/i.test(navigator.language || ""));
  root.dataset.theme = dark ? "dark" : "light";
  root.lang = russian ? "ru" : "en";
})();
