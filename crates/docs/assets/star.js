// The star schema: tables with their keys, references with crow's feet.

/** The line of a reference with its ends: many or one where it starts, one where it leads. */
function starLine(relationship, tables, spread) {
  var from = tables.get(relationship.from);
  var to = tables.get(relationship.to);
  var fy = from.y + portOf(from, relationship.columns);
  var ty = to.y + portOf(to, relationship.to_columns) + spread;
  var fromRight;
  var toRight;
  if (from === to) fromRight = toRight = true;
  else if (from.x + from.width + 30 < to.x) {
    fromRight = true;
    toRight = false;
  } else if (to.x + to.width + 30 < from.x) {
    fromRight = false;
    toRight = true;
  } else fromRight = toRight = (from.level || 0) > 0 || (from.level === 0 && to.level === 0);
  var fx = from.x + (fromRight ? from.width : 0);
  var tx = to.x + (toRight ? to.width : 0);
  var fs = fromRight ? 1 : -1;
  var ts = toRight ? 1 : -1;
  var stub = 20;
  var path;
  if (fromRight === toRight) {
    var out = fs > 0 ? Math.max(fx, tx) + 54 : Math.min(fx, tx) - 54;
    path = "M" + fx + " " + fy + "H" + (fx + fs * stub) + "C" + out + " " + fy + " " + out + " " + ty + " " + (tx + ts * stub) + " " + ty + "H" + tx;
  } else {
    var a = fx + fs * stub;
    var b = tx + ts * stub;
    var bow = Math.max(24, Math.abs(b - a) * 0.5);
    path = "M" + fx + " " + fy + "H" + a + "C" + (a + fs * bow) + " " + fy + " " + (b + ts * bow) + " " + ty + " " + b + " " + ty + "H" + tx;
  }
  var ends = "";
  // Many: three toes on the table's side. None is allowed, so a circle stands behind them.
  if (relationship.one) ends += "M" + (fx + fs * 8) + " " + (fy - 6) + "v12";
  else ends += "M" + fx + " " + (fy - 6) + "L" + (fx + fs * 11) + " " + fy + "L" + fx + " " + (fy + 6);
  ends += "M" + (tx + ts * 7) + " " + (ty - 6) + "v12";
  if (!relationship.optional) ends += "M" + (tx + ts * 12) + " " + (ty - 6) + "v12";
  var words =
    from.page.name + "." + relationship.columns.join(", ") + " refers to " + to.page.name + "." + relationship.to_columns.join(", ") + ": " +
    (relationship.one ? "at most one" : "any number of rows") + " to " + (relationship.optional ? "one or none" : "exactly one");
  var test = relationship.test === undefined ? null : pages[relationship.test];
  var state = test && outcome(test);
  if (state) words += " (tested: " + state.word + ")";
  else if (!test) words += " (declared)";
  return s(
    "g",
    { class: "reference" + (state && state.rank < 2 ? " " + state.mood : "") },
    s("title", {}, words),
    s("path", { class: "reach", d: path }),
    s("path", { class: "line", d: path }),
    s("path", { class: "line", d: ends }),
    s("circle", { cx: fx + fs * 15, cy: fy, r: 4 }),
    relationship.optional ? s("circle", { cx: tx + ts * 15, cy: ty, r: 4 }) : null
  );
}

function drawStars(tables, relationships, size, self) {
  var lines = s("g", { class: "references" });
  var boxes = s("g", {});
  var group = s("g", { class: "stars" }, lines, boxes);
  var elements = [];
  // Lines that reach one row stand a little apart, in the order they come from.
  var reaching = new Map();
  relationships.forEach(function (relationship) {
    var to = tables.get(relationship.to);
    var from = tables.get(relationship.from);
    var key = relationship.to + "/" + relationship.to_columns[0] + "/" + (from.x < to.x);
    if (!reaching.has(key)) reaching.set(key, []);
    reaching.get(key).push(relationship);
  });
  var spreads = new Map();
  reaching.forEach(function (list) {
    list.sort(function (a, b) {
      var ay = tables.get(a.from).y + portOf(tables.get(a.from), a.columns);
      var by = tables.get(b.from).y + portOf(tables.get(b.from), b.columns);
      return ay - by;
    });
    var step = Math.min(8, 18 / list.length);
    list.forEach(function (relationship, number) {
      spreads.set(relationship, (number - (list.length - 1) / 2) * step);
    });
  });
  relationships.forEach(function (relationship) {
    var element = starLine(relationship, tables, spreads.get(relationship));
    elements.push(element);
    lines.append(element);
  });
  tables.forEach(function (table, place) {
    var page = table.page;
    var rows = page.statistics && page.statistics.rows;
    var box = s(
      "a",
      {
        href: addressOf(page),
        class: "table kind-" + page.type + (table.fact ? " fact" : "") + (page === self ? " self" : ""),
        transform: "translate(" + table.x + " " + table.y + ")",
        "aria-label": page.name + (table.fact ? ", fact" : "") + ", key " + (page.key.join(", ") || "not known") + ", refers to " + table.outs.length + ", referred to by " + table.ins.length,
      },
      s("rect", { class: "box", width: table.width, height: table.height, rx: 8 }),
      s("path", { class: "head", d: "M0 8a8 8 0 0 1 8-8H" + (table.width - 8) + "a8 8 0 0 1 8 8V" + HEAD + "H0z" }),
      s("rect", { class: "mark", x: 10, y: 10, width: 4, height: 16, rx: 2 }),
      s("text", { class: "title", x: 22, y: 23 }, table.title),
      s("title", {}, page.name + (rows !== undefined ? ": " + plural(rows, "row") : ""))
    );
    table.rows.forEach(function (row, number) {
      var y = HEAD + number * ROW;
      var tag = row.primary ? "PK" : row.foreign ? "FK" : "";
      box.append(
        s(
          "g",
          { class: "row" + (row.primary ? " primary" : row.foreign ? " foreign" : "") },
          number ? s("path", { class: "rule", d: "M8 " + y + "H" + (table.width - 8) }) : null,
          tag ? s("text", { class: "tag", x: 12, y: y + 16.500 }, tag) : null,
          s("text", { x: 38, y: y + 16.500 }, row.label),
          row.typeLabel ? s("text", { class: "type", x: table.width - 12, y: y + 16.500, "text-anchor": "end" }, row.typeLabel) : null
        )
      );
    });
    function light(on) {
      return function () {
        group.classList.toggle("lit", on);
        relationships.forEach(function (relationship, number) {
          elements[number].classList.toggle("on", on && (relationship.from === place || relationship.to === place));
        });
      };
    }
    box.addEventListener("pointerenter", light(true));
    box.addEventListener("pointerleave", light(false));
    box.addEventListener("focus", light(true));
    box.addEventListener("blur", light(false));
    boxes.append(box);
  });
  return group;
}

/** The star around one table, for its page. */
function ownStar(page) {
  var own = project.relationships.filter(function (r) {
    return r.from === page.place || r.to === page.place;
  });
  if (!own.length || own.length > 40) return null;
  var tables = starTables(own, false);
  var size = placeStars(tables);
  var pad = 16;
  own.forEach(function (r) {
    if (tables.get(r.from).level === tables.get(r.to).level) pad = 60;
  });
  return h(
    "div",
    { class: "small-graph-holder", tabindex: "-1" },
    s(
      "svg",
      {
        class: "small-graph small-star",
        width: size.width + 2 * pad,
        height: size.height + 2 * pad,
        viewBox: [-pad, -pad, size.width + 2 * pad, size.height + 2 * pad].join(" "),
        role: "group",
        "aria-label": "Tables that " + page.name + " refers to or that refer to it",
      },
      drawStars(tables, own, size, page)
    )
  );
}

function starPage(query) {
  var schemas = new Set();
  project.relationships.forEach(function (r) {
    [r.from, r.to].forEach(function (place) {
      if (pages[place].schema) schemas.add(pages[place].schema);
    });
  });
  var state = {
    schema: schemas.has(query.get("schema")) ? query.get("schema") : "",
    everything: query.get("columns") === "all",
    table: byId.get(query.get("table")) || null,
  };
  var drawing = s("svg", { class: "star-drawing", role: "group", "aria-label": "Star schema" });
  var stage = h("div", {
    class: "stage",
    tabindex: "0",
    role: "group",
    "aria-label": "Star schema. Tab moves between tables, Enter opens one, arrow keys move the drawing, plus and minus zoom, 0 shows all.",
  });
  stage.append(drawing);
  var moving = null;
  var size = { width: 0, height: 0 };

  function home(atOnce) {
    // Lines between tables of one column run around its outside.
    port.fit({ x: -50, y: 0, width: size.width + 100, height: size.height }, atOnce === true, 1.25);
  }
  var port = viewport(stage, {
    draw: function (view) {
      if (moving) moving.setAttribute("transform", "translate(" + view.x + " " + view.y + ") scale(" + view.scale + ")");
    },
    home: home,
  });

  var summary = h("span", { class: "summary" });
  function build(atOnce) {
    var began = performance.now();
    var shown = project.relationships.filter(function (r) {
      if (state.table && r.from !== state.table.place && r.to !== state.table.place) return false;
      return !state.schema || (pages[r.from].schema === state.schema && pages[r.to].schema === state.schema);
    });
    var tables = starTables(shown, state.everything);
    size = tables.size ? placeStars(tables) : { width: 0, height: 0 };
    moving = drawStars(tables, shown, size, state.table);
    drawing.replaceChildren(moving);
    stage.dataset.layout = (performance.now() - began).toFixed(1);
    summary.textContent = plural(tables.size, "table") + ", " + plural(shown.length, "reference");
    home(atOnce);
    var parts = [];
    if (state.table) parts.push("table=" + encodeURIComponent(state.table.id));
    if (state.schema) parts.push("schema=" + encodeURIComponent(state.schema));
    if (state.everything) parts.push("columns=all");
    if (!atOnce) history.replaceState(history.state, "", "#/star" + (parts.length ? "?" + parts.join("&") : ""));
  }
  // A table that is reached by keyboard comes into view.
  drawing.addEventListener("focusin", function (event) {
    var link = event.target.closest("a.table");
    if (!link || !link.matches(":focus-visible")) return;
    var place = /translate\(([-\d.]+) ([-\d.]+)\)/.exec(link.getAttribute("transform"));
    var box = link.querySelector(".box");
    port.reveal({ x: Number(place[1]), y: Number(place[2]), width: Number(box.getAttribute("width")), height: Number(box.getAttribute("height")) });
  });

  var schemaSelect =
    schemas.size > 1
      ? h(
          "select",
          {
            "aria-label": "Schema",
            onchange: function (event) {
              state.schema = event.target.value;
              build();
            },
          },
          [""].concat(Array.from(schemas).sort()).map(function (name) {
            return h("option", { value: name, selected: name === state.schema }, name || "any schema");
          })
        )
      : null;
  var all = h(
    "label",
    { class: "check" },
    h("input", {
      type: "checkbox",
      checked: state.everything,
      onchange: function (event) {
        state.everything = event.target.checked;
        build();
      },
    }),
    "all columns"
  );
  var one = state.table
    ? h("a", { class: "quiet", href: "#/star" }, "Show all")
    : null;
  var key = h(
    "div",
    { class: "legend star-key" },
    h("span", { class: "legend-item" }, s("svg", { viewBox: "0 0 34 16", class: "key-mark" }, s("path", { d: "M4 2L15 8L4 14M4 8H34" }), s("circle", { cx: 19, cy: 8, r: 4 })), "any number"),
    h("span", { class: "legend-item" }, s("svg", { viewBox: "0 0 34 16", class: "key-mark" }, s("path", { d: "M0 8H34M27 2v12M22 2v12" })), "exactly one"),
    h("span", { class: "legend-item" }, s("svg", { viewBox: "0 0 34 16", class: "key-mark" }, s("path", { d: "M0 8H34M27 2v12" }), s("circle", { cx: 19, cy: 8, r: 4 })), "one or none")
  );
  var none = h(
    "div",
    { class: "nothing prose" },
    h("p", {}, "No references between tables are known yet."),
    h("p", {}, "They come from ", h("code", {}, "relationships"), " tests and ", h("code", {}, "foreign_key"), " constraints in the project's YAML.")
  );
  if (!project.relationships.length) stage.append(none);
  else stage.append(summary, key, zoomButtons(port, home));
  return {
    title: "Star schema",
    wide: true,
    element: h(
      "div",
      { class: "graph-page" },
      h("div", { class: "graph-bar" }, h("h1", {}, "Star schema"), project.relationships.length ? [schemaSelect, all, one] : null),
      stage
    ),
    started: function () {
      build(true);
    },
    stop: port.stop,
  };
}
