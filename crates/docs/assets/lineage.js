// The lineage of the whole project, drawn on a canvas so that a thousand nodes stay fluid.

var NODE_HEIGHT = 30;

function lineagePage(query) {
  var filter = {
    hidden: new Set((query.get("hide") || "").split(",").filter(Boolean)),
    tag: query.get("tag") || "",
    folder: query.get("folder") || "",
    colour: query.get("colour") || remembered("tidemill-colour") || "type",
    focus: null,
    up: Infinity,
    down: Infinity,
  };
  var asked = parseFocus(query.get("focus"));
  if (asked) {
    filter.focus = pageNamed(asked.name);
    filter.up = asked.up;
    filter.down = asked.down;
  }

  var canvas = h("canvas", { "aria-hidden": "true" });
  var tip = h("div", { class: "tip", hidden: true });
  var stage = h("div", {
    class: "stage",
    tabindex: "0",
    role: "application",
    "aria-label":
      "Lineage graph. Arrow keys move between nodes, Enter opens one, F focuses it, plus and minus zoom, 0 shows all, Escape lets go.",
  });
  var legend = h("div", { class: "legend", role: "group", "aria-label": "Legend and types shown" });
  stage.append(canvas, tip);

  var graph = null;
  var plan = null;
  var labels = [];
  var widths = [];
  var chosen = -1;
  var hovered = -1;
  var hoveredEdge = -1;
  var lit = null;
  var font = "13px " + uiFont();
  var palette = colours();
  var paint = [];
  var samples = null;
  var context = canvas.getContext("2d");
  var nexts = [];
  var backs = [];

  function address() {
    var parts = [];
    function add(name, value) {
      if (value) parts.push(name + "=" + encodeURIComponent(value));
    }
    if (filter.focus) add("focus", focusText(focusName(filter.focus), filter.up, filter.down));
    add("tag", filter.tag);
    add("folder", filter.folder);
    add("hide", Array.from(filter.hidden).join(","));
    return "#/lineage" + (parts.length ? "?" + parts.join("&") : "");
  }

  function build(atOnce) {
    var began = performance.now();
    graph = lineageOf(filter);
    var narrow = window.innerWidth < 620;
    var long = narrow ? 130 : graph.pages.length > 400 ? 170 : 220;
    labels = graph.pages.map(function (page) {
      return fitting(page.name, long, font);
    });
    widths = labels.map(function (label) {
      return Math.ceil(width(label, font)) + 34;
    });
    plan = layout(
      widths,
      widths.map(function () {
        return NODE_HEIGHT;
      }),
      graph.edges,
      narrow ? { row: 16, column: 22, form: 0.6 } : { row: 12, column: 60 }
    );
    stage.dataset.layout = (performance.now() - began).toFixed(1);
    nexts = graph.pages.map(function () {
      return [];
    });
    backs = graph.pages.map(function () {
      return [];
    });
    graph.edges.forEach(function (edge, number) {
      nexts[edge[0]].push(number);
      backs[edge[1]].push(number);
    });
    samples = null;
    chosen = hovered = hoveredEdge = -1;
    lit = null;
    tip.hidden = true;
    repaint();
    empty.hidden = graph.pages.length > 0;
    summary.textContent = plural(graph.pages.length, "node") + ", " + plural(graph.edges.length, "edge");
    home(atOnce);
  }

  function repaint() {
    palette = colours();
    var folders = [];
    if (filter.colour === "folder") {
      graph.pages.forEach(function (page) {
        var name = folderOf(page).split("/")[0];
        if (folders.indexOf(name) < 0) folders.push(name);
      });
      folders.sort();
    }
    paint = graph.pages.map(function (page) {
      if (filter.colour === "folder") return folderColour(folderOf(page).split("/")[0], folders);
      if (filter.colour === "run") {
        var state = health(page);
        return state ? palette[state.mood] : palette.line;
      }
      return page.color || palette.kind[page.type];
    });
    fillLegend(legend, filter, folders, apply);
    port.redraw();
  }

  function home(atOnce) {
    if (!graph.pages.length) return;
    port.fit({ x: 0, y: 0, width: plan.width, height: plan.height }, atOnce === true);
  }

  // Drawing.

  function draw(view) {
    var ratio = window.devicePixelRatio || 1;
    var wide = stage.clientWidth;
    var tall = stage.clientHeight;
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, tall);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    var seen = { x: -view.x / view.scale, y: -view.y / view.scale, width: wide / view.scale, height: tall / view.scale };

    function lines(wanted, colour, thickness) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.beginPath();
      plan.routes.forEach(function (route, number) {
        if (!wanted(number)) return;
        var last = route.length - 2;
        if (Math.max(route[0], route[last]) < seen.x || Math.min(route[0], route[last]) > seen.x + seen.width) return;
        trace(
          route,
          function (x, y) { context.moveTo(x, y); },
          function (x, y) { context.lineTo(x, y); },
          function (a, b, c, d, x, y) { context.bezierCurveTo(a, b, c, d, x, y); }
        );
      });
      context.stroke();
    }
    var many = graph.edges.length > 900;
    var thin = many ? Math.max(1, 0.55 / view.scale) : Math.max(1.2, 0.7 / view.scale);
    context.globalAlpha = lit ? 0.2 : many && view.scale < 0.5 ? 0.5 : 0.85;
    lines(function (number) { return !lit || !lit.edges.has(number); }, palette.edge, thin);
    context.globalAlpha = 1;
    if (lit) {
      lines(function (number) { return lit.edges.has(number) && !lit.near.has(number); }, palette.accent, thin);
      lines(function (number) { return lit.near.has(number); }, palette.accent, Math.max(2.4, 1.6 / view.scale));
    }
    var coarse = view.scale < 0.32;
    context.font = font;
    context.textBaseline = "middle";
    graph.pages.forEach(function (page, number) {
      var spot = plan.places[number];
      var w = widths[number];
      if (spot.x + w < seen.x || spot.x > seen.x + seen.width || spot.y + NODE_HEIGHT < seen.y || spot.y > seen.y + seen.height) return;
      var faded = lit && !lit.nodes.has(number);
      context.globalAlpha = faded ? 0.28 : 1;
      var strong = number === hovered || number === chosen || page === filter.focus;
      if (coarse) {
        context.fillStyle = paint[number];
        box(spot.x, spot.y, w, NODE_HEIGHT, 6);
        context.fill();
        if (strong) outline(2 / view.scale);
        return;
      }
      context.fillStyle = palette.panel;
      box(spot.x, spot.y, w, NODE_HEIGHT, 7);
      context.fill();
      context.lineWidth = strong ? 2 : 1;
      context.strokeStyle = strong ? palette.accent : palette.line;
      context.stroke();
      context.fillStyle = paint[number];
      box(spot.x + 7, spot.y + 6, 4, 18, 2);
      context.fill();
      context.fillStyle = palette.ink;
      context.fillText(labels[number], spot.x + 19, spot.y + NODE_HEIGHT / 2 + 1);
      var state = health(page);
      if (state && state.rank < 2 && filter.colour !== "run") {
        context.fillStyle = palette[state.mood];
        context.beginPath();
        context.arc(spot.x + w - 3, spot.y + 3, 5, 0, 7);
        context.fill();
        context.lineWidth = 1.5;
        context.strokeStyle = palette.panel;
        context.stroke();
      }
    });
    context.globalAlpha = 1;
    function outline(thickness) {
      context.lineWidth = thickness;
      context.strokeStyle = palette.accent;
      context.stroke();
    }
  }

  function box(x, y, w, tall, radius) {
    context.beginPath();
    if (context.roundRect) context.roundRect(x, y, w, tall, radius);
    else context.rect(x, y, w, tall);
  }

  // What is under the pointer.

  function nodeAt(spot, slack) {
    for (var number = plan.places.length - 1; number >= 0; number -= 1) {
      var place = plan.places[number];
      if (spot.x >= place.x - slack && spot.x <= place.x + widths[number] + slack && spot.y >= place.y - slack && spot.y <= place.y + NODE_HEIGHT + slack) return number;
    }
    return -1;
  }

  function edgeAt(spot) {
    samples = samples || plan.routes.map(sampled);
    return nearest(samples, spot, 7 / port.view.scale, function (number) {
      return lit && chosen >= 0 && !lit.edges.has(number);
    });
  }

  /** A node with everything before and after it; its own edges are the near ones. */
  function light(number) {
    if (number < 0) {
      lit = null;
      return;
    }
    lit = { nodes: new Set([number]), edges: new Set(), near: new Set(nexts[number].concat(backs[number])) };
    [
      [nexts, 1],
      [backs, 0],
    ].forEach(function (way) {
      var stack = [number];
      var done = new Set(stack);
      while (stack.length) {
        way[0][stack.pop()].forEach(function (edge) {
          lit.edges.add(edge);
          var other = graph.edges[edge][way[1]];
          if (done.has(other)) return;
          done.add(other);
          lit.nodes.add(other);
          stack.push(other);
        });
      }
    });
  }

  function lightEdge(edge) {
    lit = { nodes: new Set(graph.edges[edge]), edges: new Set([edge]), near: new Set([edge]) };
  }

  function showTip(number) {
    if (number < 0) {
      tip.hidden = true;
      return;
    }
    var page = graph.pages[number];
    var words = plain(page.description);
    var state = health(page);
    tip.replaceChildren(
      h("a", { class: "tip-name", href: addressOf(page) }, page.name),
      h(
        "span",
        { class: "tip-kind" },
        [kindOf(page).one, page.materialized, page.statistics && page.statistics.rows !== undefined ? plural(page.statistics.rows, "row") : ""].filter(Boolean).join(" · ")
      ),
      words ? h("span", { class: "tip-words" }, words.length > 160 ? words.slice(0, 157) + "…" : words) : null,
      h("span", { class: "tip-kind" }, "reads " + count(backs[number].length) + ", read by " + count(nexts[number].length)),
      state && state.rank < 2 ? badge(state) : null
    );
    tip.hidden = false;
  }

  function choose(number) {
    chosen = number;
    light(number);
    if (number >= 0) {
      var place = plan.places[number];
      if (port.view.scale < 0.5) port.center(place.x + widths[number] / 2, place.y + NODE_HEIGHT / 2, 0.8);
      else port.reveal({ x: place.x, y: place.y, width: widths[number], height: NODE_HEIGHT });
      var page = graph.pages[number];
      announce(page.name + ", " + kindOf(page).one + ", reads " + backs[number].length + ", read by " + nexts[number].length);
    }
    tip.hidden = true;
    port.redraw();
  }

  function closest(from, wanted) {
    var best = -1;
    var least = Infinity;
    plan.places.forEach(function (place, number) {
      if (number === from || !wanted(place, number)) return;
      var apart = from < 0 ? place.x + place.y : Math.abs(place.y - plan.places[from].y) + 2 * Math.abs(place.x - plan.places[from].x);
      if (apart < least) {
        least = apart;
        best = number;
      }
    });
    return best;
  }

  function key(event) {
    if (event.target !== stage) return false;
    var arrows = { ArrowLeft: 1, ArrowRight: 1, ArrowUp: 1, ArrowDown: 1 };
    if (event.key === "Escape" && chosen >= 0) {
      choose(-1);
      return true;
    }
    if (event.shiftKey || !graph.pages.length) return false;
    if (arrows[event.key] && chosen < 0) {
      var start = filter.focus ? graph.pages.indexOf(filter.focus) : -1;
      choose(start >= 0 ? start : closest(-1, function () { return true; }));
      return true;
    }
    if (arrows[event.key]) {
      var spot = plan.places[chosen];
      var next = -1;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        var side = event.key === "ArrowLeft" ? 0 : 1;
        var ends = (side ? nexts : backs)[chosen].map(function (edge) {
          return graph.edges[edge][side];
        });
        next = closest(chosen, function (_, number) { return ends.indexOf(number) >= 0; });
      } else {
        var down = event.key === "ArrowDown";
        next = closest(chosen, function (place) { return place.x === spot.x && (down ? place.y > spot.y : place.y < spot.y); });
      }
      if (next >= 0) choose(next);
      return true;
    }
    if (event.key === "Enter" && chosen >= 0) {
      location.hash = addressOf(graph.pages[chosen]);
      return true;
    }
    if (event.key.toLowerCase() === "f" && chosen >= 0) {
      focusOn(graph.pages[chosen]);
      return true;
    }
    return false;
  }

  var port = viewport(stage, {
    draw: draw,
    home: home,
    key: key,
    hover: function (spot) {
      var number = nodeAt(spot, 0);
      var edge = number < 0 ? edgeAt(spot) : -1;
      stage.classList.toggle("pointing", number >= 0 || edge >= 0);
      if (number === hovered && edge === hoveredEdge) return;
      hovered = number;
      hoveredEdge = edge;
      if (edge >= 0) lightEdge(edge);
      else light(number >= 0 ? number : chosen);
      showTip(number);
      port.redraw();
    },
    leave: function () {
      if (hovered < 0 && hoveredEdge < 0) return;
      hovered = hoveredEdge = -1;
      light(chosen);
      tip.hidden = true;
      port.redraw();
    },
    tap: function (spot, event) {
      var number = nodeAt(spot, event.pointerType === "touch" ? 6 : 0);
      if (number >= 0) {
        // A finger has no hover: the first tap shows, the second opens.
        if (event.pointerType === "touch" && number !== chosen) {
          choose(number);
          showTip(number);
        } else if (event.shiftKey) focusOn(graph.pages[number]);
        else location.hash = addressOf(graph.pages[number]);
        return;
      }
      var edge = edgeAt(spot);
      if (edge >= 0) {
        // An edge leads to its further end.
        var ends = graph.edges[edge].map(function (end) {
          var place = plan.places[end];
          return { number: end, apart: Math.hypot(place.x + widths[end] / 2 - spot.x, place.y - spot.y) };
        });
        var far = ends[0].apart > ends[1].apart ? ends[0].number : ends[1].number;
        chosen = far;
        light(far);
        port.center(plan.places[far].x + widths[far] / 2, plan.places[far].y + NODE_HEIGHT / 2, 0.8);
        announce(graph.pages[far].name);
      } else choose(-1);
    },
  });

  // Controls.

  function apply() {
    history.replaceState(history.state, "", address());
    build();
    sync();
  }

  function focusOn(page) {
    filter.focus = page;
    if (filter.up === Infinity && filter.down === Infinity) {
      filter.up = 2;
      filter.down = 2;
    }
    apply();
  }

  var focusInput = h("input", {
    type: "text",
    list: "lineage-names",
    placeholder: "focus: 2+model+1",
    "aria-label": "Focus: a name, with dbt's plus signs for how far up and down",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  focusInput.addEventListener("change", function () {
    var wanted = parseFocus(focusInput.value);
    var page = wanted && pageNamed(wanted.name);
    focusInput.setAttribute("aria-invalid", focusInput.value.trim() && !page ? "true" : "false");
    if (focusInput.value.trim() && !page) return;
    filter.focus = page;
    if (page) {
      filter.up = wanted.up;
      filter.down = wanted.down;
    }
    apply();
  });
  var names = h("datalist", { id: "lineage-names" });
  pages.forEach(function (page) {
    if (kindOf(page).graph) names.append(h("option", { value: page.name }));
  });

  var up = stepper("up", filter, "up", apply);
  var down = stepper("down", filter, "down", apply);

  function recolour() {
    remember("tidemill-colour", filter.colour);
    repaint();
  }
  var tags = new Set();
  var folders = new Set();
  pages.forEach(function (page) {
    if (!kindOf(page).graph) return;
    page.tags.forEach(function (tag) {
      tags.add(tag);
    });
    var parts = folderOf(page).split("/");
    for (var depth = 1; depth < Math.min(parts.length, 4); depth += 1) folders.add(parts.slice(0, depth).join("/") + "/");
  });
  var tagSelect = tags.size ? selector("Tag", filter, "tag", choices("any tag", tags), apply) : null;
  var folderSelect = folders.size ? selector("Folder", filter, "folder", choices("any folder", folders), apply) : null;
  var colourSelect = selector("Colour by", filter, "colour", [["type", "colour: type"], ["folder", "colour: folder"], ["run", "colour: last run"]], recolour);
  var clear = h(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: function () {
        filter.focus = null;
        filter.tag = filter.folder = "";
        filter.hidden.clear();
        filter.up = filter.down = Infinity;
        apply();
      },
    },
    "Show all"
  );
  var summary = h("span", { class: "summary" });
  var empty = h("p", { class: "nothing", hidden: true }, "Nothing is left by these filters.");

  function sync() {
    focusInput.value = filter.focus ? focusText(focusName(filter.focus), filter.up, filter.down) : "";
    [up, down, tagSelect, folderSelect, colourSelect].forEach(function (control) {
      if (control) control.sync();
    });
    clear.hidden = !filter.focus && !filter.tag && !filter.folder && !filter.hidden.size;
  }

  stage.append(empty, summary, legend, zoomButtons(port, home));
  var holder = h(
    "div",
    { class: "graph-page" },
    h(
      "div",
      { class: "graph-bar" },
      h("h1", {}, "Lineage"),
      focusInput,
      names,
      up,
      down,
      folderSelect,
      tagSelect,
      colourSelect,
      clear
    ),
    stage
  );
  return {
    title: "Lineage",
    element: holder,
    wide: true,
    started: function () {
      build(true);
      sync();
    },
    themed: repaint,
    stop: port.stop,
  };
}
