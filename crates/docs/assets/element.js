// Elements, numbers and times.

var SVG = "http://www.w3.org/2000/svg";

function put(element, properties, children) {
  for (var name in properties || {}) {
    var value = properties[name];
    if (value === null || value === undefined || value === false) continue;
    if (name.slice(0, 2) === "on") element.addEventListener(name.slice(2), value);
    // Only what the generator made from Markdown, where everything of the project is escaped.
    else if (name === "html") element.innerHTML = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  children.forEach(function add(child) {
    if (child === null || child === undefined || child === false || child === "") return;
    if (Array.isArray(child)) child.forEach(add);
    else element.append(child);
  });
  return element;
}

function h(name, properties) {
  return put(document.createElement(name), properties, [].slice.call(arguments, 2));
}

function s(name, properties) {
  return put(document.createElementNS(SVG, name), properties, [].slice.call(arguments, 2));
}

function at(id) {
  return document.getElementById(id);
}

var ICONS = {
  menu: "M3 6h18M3 12h18M3 18h18",
  sun: "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6l1.4 1.4M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0z",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.500 10.500z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M4 12.500l5 5L20 6.500",
  graph: "M3 9.500h6v5H3zM15 3.500h6v5h-6zM15 15.500h6v5h-6zM9 12h3M12 6v12M12 6h3M12 18h3",
  star: "M9 9h6v6H9zM3 3h4v4H3zM17 3h4v4h-4zM3 17h4v4H3zM17 17h4v4h-4zM7 7l2 2M17 7l-2 2M7 17l2-2M17 17l-2-2",
  key: "M11 14a4.500 4.500 0 1 1 1.500-3.300L21 10.700v3h-2v2h-3v-2.500h-3.600",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700L12 17",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  arrow: "M5 12h14M13 6l6 6-6 6",
};

function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

function count(number) {
  return Math.round(number).toLocaleString("en-US");
}

function plural(number, one, many) {
  return count(number) + " " + (number === 1 ? one : many || one + "s");
}

/** 1,234,567 as 1.2M, for a small place. */
function brief(number) {
  if (number < 10000) return count(number);
  if (number < 1e6) return (number / 1e3).toFixed(number < 1e5 ? 1 : 0) + "k";
  if (number < 1e9) return (number / 1e6).toFixed(number < 1e8 ? 1 : 0) + "M";
  return (number / 1e9).toFixed(1) + "B";
}

function bytes(number) {
  var units = ["B", "KiB", "MiB", "GiB", "TiB"];
  var unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return (unit ? number.toFixed(1) : count(number)) + " " + units[unit];
}

function seconds(number) {
  if (number < 0.001) return "0 s";
  if (number < 1) return Math.round(number * 1000) + " ms";
  if (number < 60) return number.toFixed(1) + " s";
  if (number < 3600) return Math.floor(number / 60) + " min " + Math.round(number % 60) + " s";
  return Math.floor(number / 3600) + " h " + Math.round((number % 3600) / 60) + " min";
}

function moment(text) {
  var time = new Date(text);
  if (isNaN(time)) return text;
  return h("time", { datetime: text, title: text }, time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
}

/** The text of generated HTML. */
function plain(html) {
  if (!html) return "";
  return html
    .replace(/<[^>]*>/g, " ")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#0?39;/g, "'")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ")
    .trim();
}

function announce(text) {
  at("live").textContent = text;
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch (_) {
    return null;
  }
}

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch (_) {
    // A page from disk may not be allowed to; then it is only not remembered.
  }
}

/** A button that copies a text. Pages from disk have no clipboard of their own. */
function copier(text, label) {
  var button = h("button", { class: "copy", type: "button", "aria-label": label, title: label }, icon("copy"));
  button.addEventListener("click", function () {
    function done() {
      button.replaceChildren(icon("done"));
      announce("Copied");
      setTimeout(function () {
        button.replaceChildren(icon("copy"));
      }, 1400);
    }
    function byHand() {
      var area = h("textarea", { class: "unseen", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
      done();
    }
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand);
    else byHand();
  });
  return button;
}

var measurer = null;
var measured = {};

/** The width of a text in a font, in pixels. */
function width(text, font) {
  var known = measured[font] || (measured[font] = new Map());
  var found = known.get(text);
  if (found === undefined) {
    measurer = measurer || document.createElement("canvas").getContext("2d");
    measurer.font = font;
    found = measurer.measureText(text).width;
    known.set(text, found);
  }
  return found;
}

/** A text that fits, with an ellipsis where it was cut. */
function fitting(text, room, font) {
  if (width(text, font) <= room) return text;
  var low = 1;
  var high = text.length;
  while (low < high) {
    var middle = (low + high + 1) >> 1;
    if (width(text.slice(0, middle) + "…", font) <= room) low = middle;
    else high = middle - 1;
  }
  return text.slice(0, low) + "…";
}
