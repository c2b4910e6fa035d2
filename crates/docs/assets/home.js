// The first page, and lists of all pages of a kind.

function tile(number, word, address) {
  return h("a", { class: "tile", href: address }, h("strong", {}, count(number)), h("span", {}, word));
}

/** A bar of outcomes by number. */
function outcomeBar(list) {
  var numbers = { bad: 0, warn: 0, skip: 0, good: 0 };
  list.forEach(function (page) {
    numbers[outcome(page).mood] += 1;
  });
  var words = { bad: "failed", warn: "warned", skip: "skipped", good: "fine" };
  var bar = s("svg", { class: "bar", viewBox: "0 0 100 3", preserveAspectRatio: "none", role: "img", "aria-label": Object.keys(words).map(function (mood) { return numbers[mood] + " " + words[mood]; }).join(", ") });
  var legend = h("div", { class: "bar-legend" });
  var x = 0;
  ["good", "warn", "skip", "bad"].forEach(function (mood) {
    if (!numbers[mood]) return;
    var part = (numbers[mood] / list.length) * 100;
    bar.append(s("rect", { class: mood, x: x, y: 0, width: part, height: 3 }));
    x += part;
    legend.append(h("span", { class: "legend-item" }, h("i", { class: "dot " + mood }), count(numbers[mood]) + " " + words[mood]));
  });
  return h("div", {}, bar, legend);
}

function runPanel() {
  if (!run) {
    return h("section", { class: "panel" }, h("h2", {}, "Last run"), h("p", { class: "muted" }, "There is no run_results.json in the target folder: after a build this shows what failed, what warned and what took long."));
  }
  var ran = pages.filter(outcome);
  var tests = ran.filter(function (page) {
    return page.type === "test" || page.type === "unit_test";
  });
  var nodes = ran.filter(function (page) {
    return tests.indexOf(page) < 0;
  });
  var trouble = ran
    .filter(function (page) {
      return outcome(page).rank < 3;
    })
    .sort(function (a, b) {
      return outcome(a).rank - outcome(b).rank || (a.type === "test") - (b.type === "test");
    });
  var section = h(
    "section",
    { class: "panel" },
    h("div", { class: "panel-head" }, h("h2", {}, "Last run"), h("span", { class: "muted" }, run.command ? h("code", {}, run.command) : null, " ", moment(run.generated_at), " · " + seconds(run.elapsed)))
  );
  if (nodes.length) section.append(h("div", { class: "bar-row" }, h("span", {}, plural(nodes.length, "node")), outcomeBar(nodes)));
  if (tests.length) section.append(h("div", { class: "bar-row" }, h("span", {}, plural(tests.length, "test")), outcomeBar(tests)));
  if (trouble.length) {
    section.append(
      h(
        "ul",
        { class: "trouble" },
        trouble.slice(0, 12).map(function (page) {
          var of = page.test && page.test.of !== undefined ? pages[page.test.of] : null;
          return h(
            "li",
            {},
            badge(outcome(page)),
            h("div", {}, of ? h("span", { class: "of" }, linkTo(of), " ") : null, linkTo(page), page.run.message ? h("p", { class: "message" }, page.run.message) : null)
          );
        })
      )
    );
    if (trouble.length > 12) section.append(h("p", {}, h("a", { href: "#/list/test" }, "and " + count(trouble.length - 12) + " more")));
  } else section.append(h("p", { class: "all-good" }, icon("done"), "Nothing failed, nothing warned."));
  return section;
}

function slowPanel() {
  var slow = pages
    .filter(function (page) {
      return page.run && page.run.time >= 0.05 && !page.test;
    })
    .sort(function (a, b) {
      return b.run.time - a.run.time;
    })
    .slice(0, 6);
  if (slow.length < 2) return null;
  var most = slow[0].run.time;
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "What took longest"),
    h(
      "ol",
      { class: "bars" },
      slow.map(function (page) {
        return h(
          "li",
          {},
          linkTo(page),
          s("svg", { class: "bar thin", viewBox: "0 0 100 3", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "accent", width: (page.run.time / most) * 100, height: 3 })),
          h("span", { class: "number" }, seconds(page.run.time))
        );
      })
    )
  );
}

function coveragePanel() {
  var tables = pages.filter(function (page) {
    return kindOf(page).table && page.package === project.name;
  });
  if (!tables.length) return null;
  var columns = 0;
  var described = 0;
  tables.forEach(function (page) {
    columns += page.columns.length;
    page.columns.forEach(function (column) {
      if (column.description) described += 1;
    });
  });
  function part(word, number, of) {
    var share = of ? Math.floor((number / of) * 100) : 0;
    return h(
      "li",
      {},
      h("span", {}, word),
      s("svg", { class: "bar thin", viewBox: "0 0 100 3", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "track", width: 100, height: 3 }), s("rect", { class: "accent", width: share, height: 3 })),
      h("span", { class: "number", title: count(number) + " of " + count(of) }, share + "%")
    );
  }
  function having(wanted) {
    return tables.filter(wanted).length;
  }
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Coverage"),
    h(
      "ul",
      { class: "bars" },
      part("tables described", having(function (page) { return page.description; }), tables.length),
      part("tables tested", having(function (page) { return page.tests.length; }), tables.length),
      part("tables with a key", having(function (page) { return page.key.length; }), tables.length),
      columns ? part("columns described", described, columns) : null
    )
  );
}

function previewPanel() {
  var graph = lineageOf({ hidden: new Set() });
  if (graph.edges.length < 2) return null;
  var wide = 40;
  var plan = layout(
    graph.pages.map(function () { return wide; }),
    graph.pages.map(function () { return 14; }),
    graph.edges,
    { row: 6, bend: 3, column: 34, part: 24 }
  );
  var pad = 8;
  var drawing = s("svg", { class: "preview", viewBox: [-pad, -pad, plan.width + 2 * pad, plan.height + 2 * pad].join(" "), "aria-hidden": "true", preserveAspectRatio: "xMidYMid meet" });
  var path = plan.routes.map(routePath).join("");
  drawing.append(s("path", { class: "edges", d: path }));
  graph.pages.forEach(function (page, number) {
    var state = health(page);
    drawing.append(s("rect", { class: "kind-" + page.type + (state && state.rank < 1 ? " bad" : ""), x: plan.places[number].x, y: plan.places[number].y, width: wide, height: 14, rx: 4 }));
  });
  return h(
    "a",
    { class: "panel preview-panel", href: "#/lineage", "aria-label": "Open the lineage of the project" },
    h("div", { class: "panel-head" }, h("h2", {}, "Lineage"), h("span", { class: "muted" }, plural(graph.pages.length, "node") + ", " + plural(graph.edges.length, "edge"))),
    drawing
  );
}

function homePage() {
  var tiles = h("div", { class: "tiles" });
  Object.keys(KINDS).forEach(function (kind) {
    var many = ofKind(kind).length;
    if (many) tiles.append(tile(many, many === 1 ? KINDS[kind].one : KINDS[kind].many, "#/list/" + kind));
  });
  var small = pages.length < 4000 ? previewPanel() : null;
  return {
    title: "",
    element: h(
      "div",
      { class: "page home" },
      h(
        "header",
        { class: "page-head" },
        h("h1", {}, project.name),
        h("p", { class: "muted" }, "Documentation of ", moment(project.generated_at), project.has_catalog ? "" : " · without a catalog: types and rows are not shown")
      ),
      tiles,
      h("div", { class: "columns" }, h("div", {}, runPanel()), h("div", {}, small, coveragePanel(), slowPanel())),
      project.overview ? h("section", { class: "panel prose overview", html: project.overview }) : null,
      h("footer", { class: "foot" }, "Made by Tidemill " + project.tidemill_version + (project.dbt_version ? ", dbt language " + project.dbt_version : "") + ".")
    ),
  };
}

function listPage(kind) {
  var known = KINDS[kind];
  var all = known ? ofKind(kind) : [];
  var isTest = kind === "test" || kind === "unit_test";
  var columns = [
    ["Name", function (page) { return titleOf(page).toLowerCase(); }, function (page) { return linkTo(page); }],
    isTest
      ? ["On", function (page) { return testedName(page); }, function (page) { return page.test && page.test.of !== undefined ? linkTo(pages[page.test.of]) : ""; }]
      : null,
    kind === "model" || kind === "snapshot" ? ["Kind", function (page) { return page.materialized; }, function (page) { return page.materialized; }] : null,
    known && known.table ? ["Schema", function (page) { return page.schema || ""; }, function (page) { return page.schema || ""; }] : null,
    all.some(function (page) { return page.statistics && page.statistics.rows !== undefined; })
      ? ["Rows", function (page) { return page.statistics && page.statistics.rows !== undefined ? -page.statistics.rows : 1; }, function (page) { return page.statistics && page.statistics.rows !== undefined ? count(page.statistics.rows) : ""; }, "number"]
      : null,
    known && known.table ? ["Tests", function (page) { return -page.tests.length; }, function (page) { return page.tests.length ? count(page.tests.length) : "–"; }, "number"] : null,
    isTest ? null : ["Description", function (page) { return page.description ? plain(page.description).toLowerCase() : "\uffff"; }, function (page) { return h("span", { class: "clamp" }, plain(page.description)); }],
    all.some(outcome) ? ["Last run", function (page) { var state = isTest ? outcome(page) : health(page); return state ? state.rank : 9; }, function (page) { var state = isTest ? outcome(page) : health(page); return state ? badge(state) : ""; }] : null,
  ].filter(Boolean);
  var body = h("tbody", {});
  var heads = h("tr", {});
  var sorted = -1;
  function sort(number) {
    var by = columns[number][1];
    var turned = sorted === number;
    sorted = turned ? -1 : number;
    var keyed = all.map(function (page) {
      return [by(page), page];
    });
    keyed.sort(function (a, b) {
      return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (turned ? -1 : 1);
    });
    all = keyed.map(function (pair) {
      return pair[1];
    });
    [].forEach.call(heads.children, function (head, place) {
      head.setAttribute("aria-sort", place === number ? (turned ? "descending" : "ascending") : "none");
    });
    fill();
  }
  function fill() {
    body.replaceChildren.apply(
      body,
      all.map(function (page) {
        return h(
          "tr",
          {},
          columns.map(function (column) {
            return h("td", { class: column[3], "data-label": column[0] }, column[2](page));
          })
        );
      })
    );
  }
  columns.forEach(function (column, number) {
    heads.append(h("th", { scope: "col", class: column[3], "aria-sort": "none" }, h("button", { type: "button", onclick: function () { sort(number); } }, column[0])));
  });
  if (isTest && all.some(outcome)) sort(columns.length - 1);
  else fill();
  return {
    title: known ? known.many : kind,
    element: h(
      "div",
      { class: "page" },
      h("header", { class: "page-head" }, h("h1", { class: "capital" }, known ? known.many : kind), h("p", { class: "muted" }, count(all.length))),
      all.length ? h("div", { class: "panel table-panel" }, h("table", { class: "list" }, h("thead", {}, heads), body)) : h("p", {}, "There are none.")
    ),
  };
}

function testedName(page) {
  return page.test && page.test.of !== undefined ? pages[page.test.of].name : "";
}
