// The neighbourhood of one page as a small drawing.

/** What leads to and from a page, so many steps up and down. */
function surroundings(page, up, down, most) {
  var found = new Map([[page.place, 0]]);
  function walk(next, steps, sign) {
    var edge = [page.place];
    for (var step = 1; step <= steps && edge.length; step += 1) {
      var further = [];
      edge.forEach(function (place) {
        next(pages[place]).forEach(function (other) {
          if (found.has(other) || !kindOf(pages[other]).graph) return;
          found.set(other, sign * step);
          further.push(other);
        });
      });
      if (found.size > most) {
        if (step > 1) further.forEach(function (place) { found.delete(place); });
        return;
      }
      edge = further;
    }
  }
  walk(function (page) { return page.reads; }, up, -1);
  walk(function (page) { return page.readers; }, down, 1);
  return found;
}

function neighbourhood(page) {
  var found = surroundings(page, 2, 2, 34);
  if (found.size < 2) return null;
  var list = Array.from(found.keys());
  var font = "13px " + uiFont();
  var numbers = new Map();
  list.forEach(function (place, number) {
    numbers.set(place, number);
  });
  var labels = list.map(function (place) {
    return fitting(pages[place].name, 190, font);
  });
  var widths = labels.map(function (label, number) {
    return Math.ceil(width(label, (list[number] === page.place ? "600 " : "") + font)) + 34;
  });
  var heights = list.map(function () {
    return 30;
  });
  var edges = [];
  list.forEach(function (place) {
    pages[place].reads.forEach(function (read) {
      if (numbers.has(read)) edges.push([numbers.get(read), numbers.get(place)]);
    });
  });
  var plan = layout(widths, heights, edges, { row: 12, column: 44 });
  var pad = 14;
  var drawing = s("svg", {
    class: "small-graph",
    width: plan.width + 2 * pad,
    height: plan.height + 2 * pad,
    viewBox: [-pad, -pad, plan.width + 2 * pad, plan.height + 2 * pad].join(" "),
    role: "group",
    "aria-label": "What " + page.name + " reads and what reads it",
  });
  var lines = s("g", { class: "edges" });
  var boxes = s("g", {});
  drawing.append(lines, boxes);
  edges.forEach(function (edge, number) {
    var own = list[edge[0]] === page.place || list[edge[1]] === page.place;
    lines.append(s("path", { d: routePath(plan.routes[number]), class: own ? "own" : null, "data-edge": number }));
  });
  list.forEach(function (place, number) {
    var other = pages[place];
    var spot = plan.places[number];
    var state = health(other);
    var link = s(
      "a",
      {
        href: addressOf(other),
        class: "node kind-" + other.type + (other === page ? " self" : ""),
        transform: "translate(" + spot.x + " " + spot.y + ")",
        "aria-label": other.name + ", " + kindOf(other).one,
        "aria-current": other === page ? "page" : null,
      },
      s("rect", { class: "box", width: widths[number], height: 30, rx: 7 }),
      s("rect", { class: "mark", width: 4, height: 18, x: 7, y: 6, rx: 2 }),
      s("text", { x: 19, y: 19.5 }, labels[number]),
      state && state.rank < 2 ? s("circle", { class: "state " + state.mood, cx: widths[number] - 3, cy: 3, r: 5 }) : null,
      s("title", {}, other.name)
    );
    function light(on) {
      return function () {
        drawing.classList.toggle("lit", on);
        edges.forEach(function (edge, line) {
          lines.children[line].classList.toggle("on", on && (edge[0] === number || edge[1] === number));
        });
      };
    }
    link.addEventListener("pointerenter", light(true));
    link.addEventListener("pointerleave", light(false));
    link.addEventListener("focus", light(true));
    link.addEventListener("blur", light(false));
    boxes.append(link);
  });
  var holder = h("div", { class: "small-graph-holder", tabindex: "-1" }, drawing);
  var self = plan.places[numbers.get(page.place)];
  // The page itself in the middle, when there is more than fits.
  requestAnimationFrame(function () {
    holder.scrollLeft = self.x + pad + widths[numbers.get(page.place)] / 2 - holder.clientWidth / 2;
    holder.scrollTop = self.y + pad + 15 - holder.clientHeight / 2;
  });
  return holder;
}

var uiFontName = "";
function uiFont() {
  uiFontName = uiFontName || getComputedStyle(document.body).fontFamily;
  return uiFontName;
}
