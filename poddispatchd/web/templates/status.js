(function () {
  "use strict";
  var every = 10000, main = document.getElementById("content"), lost = document.getElementById("lost");
  function opened() {
    return Array.prototype.map.call(main.querySelectorAll("details[open]"), function (item) { return item.id; });
  }
  function busy() {
    var chosen = window.getSelection();
    return document.hidden || (chosen && !chosen.isCollapsed);
  }
  function show(text) {
    var fresh = new DOMParser().parseFromString(text, "text/html"), content = fresh.getElementById("content");
    if (!content) { return; }
    var open = opened(), focused = document.activeElement && document.activeElement.id;
    main.replaceChildren.apply(main, Array.from(content.childNodes));
    open.forEach(function (id) {
      var item = id && document.getElementById(id);
      if (item) { item.open = true; }
    });
    if (focused && document.getElementById(focused)) { document.getElementById(focused).focus(); }
    document.title = fresh.title;
    lost.hidden = true;
  }
  function look() {
    if (busy()) { return; }
    fetch("/status", { cache: "no-store" }).then(function (answer) {
      return answer.text();
    }).then(show).catch(function () {
      if (lost.hidden) {
        lost.textContent = "The daemon has not answered since " + new Date().toLocaleTimeString() + ". What is shown is older.";
        lost.hidden = false;
      }
    });
  }
  window.setInterval(look, every);
  document.addEventListener("visibilitychange", look);
})();
