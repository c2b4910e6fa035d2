// The page of one node.

function fact(name, value) {
  return value === null || value === undefined || value === "" || value === false ? null : h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}

function statusFact(page) {
  var state = outcome(page);
  if (!state) return null;
  var more = [];
  if (page.run.time >= 0.001) more.push(seconds(page.run.time));
  if (page.run.rows !== undefined && page.run.rows !== null) more.push(plural(page.run.rows, "row"));
  if (page.run.failures) more.push(plural(page.run.failures, "failing row"));
  return [badge(state), more.length ? h("span", { class: "muted" }, " " + more.join(", ")) : null];
}

function section(id, title, aside) {
  var children = [].slice.call(arguments, 3);
  if (!children.some(Boolean)) return null;
  return h("section", { id: id, class: "part", "aria-labelledby": id + "-title" }, h("div", { class: "part-head" }, h("h2", { id: id + "-title" }, title), aside), children);
}

/** A test on the page of what it tests: its outcome and few words. */
function testChip(place, column) {
  var test = pages[place];
  var state = outcome(test);
  var words = test.label && test.test.name === "relationships" ? "is in " + titleOf(test).split(" is in ").pop().replace(/\.[^.]*$/, "") : titleOf(test);
  if (column && words.toLowerCase().indexOf(column.toLowerCase() + " ") === 0) words = words.slice(column.length + 1).replace(/^is /, "");
  return h(
    "a",
    { class: "chip" + (state ? " " + state.mood : ""), href: addressOf(test), title: test.name + (state ? ": " + state.word : "") },
    state ? h("i", { class: "dot " + state.mood, "aria-hidden": "true" }) : null,
    h("span", {}, words),
    state && state.rank < 3 ? h("span", { class: "unseen" }, " (" + state.word + ")") : null
  );
}

function columnTable(page) {
  if (!page.columns.length) return null;
  var references = new Map();
  project.relationships.forEach(function (r) {
    if (r.from !== page.place) return;
    r.columns.forEach(function (name) {
      references.set(name.toLowerCase(), r);
    });
  });
  var keys = page.key.map(function (name) {
    return name.toLowerCase();
  });
  var typed = page.columns.some(function (column) {
    return column.type;
  });
  return h(
    "div",
    { class: "panel table-panel" },
    h(
      "table",
      { class: "list columns-list" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, page.type === "macro" ? "Argument" : "Column"), typed ? h("th", { scope: "col" }, "Type") : null, h("th", { scope: "col" }, "Description"), page.type === "macro" ? null : h("th", { scope: "col" }, "Tests"))),
      h(
        "tbody",
        {},
        page.columns.map(function (column) {
          var low = column.name.toLowerCase();
          var reference = references.get(low);
          var tests = (column.tests || []).filter(function (place) {
            return !(reference && reference.test === place);
          });
          return h(
            "tr",
            { id: "column-" + low, class: column.missing ? "missing" : null },
            h(
              "th",
              { scope: "row" },
              h("span", { class: column.name.length > 34 ? "column-name long" : "column-name" }, column.name),
              keys.indexOf(low) >= 0 ? h("span", { class: "key-tag", title: keys.length > 1 ? "part of the primary key" : "primary key" }, icon("key"), h("span", { class: "unseen" }, "primary key")) : null,
              column.missing ? h("span", { class: "muted" }, " not in the table") : null
            ),
            typed ? h("td", { class: "type" }, column.type || "") : null,
            h(
              "td",
              {},
              column.description ? h("div", { class: "prose", html: column.description }) : null,
              reference
                ? h("div", { class: "refers" }, icon("link"), h("a", { href: addressOf(pages[reference.to]) }, pages[reference.to].name + "." + (reference.to_columns[reference.columns.map(function (name) { return name.toLowerCase(); }).indexOf(low)] || reference.to_columns[0] || "")))
                : null,
              (column.tags || []).map(function (tag) {
                return h("span", { class: "tag" }, tag);
              }),
              (column.fields || []).map(function (field) {
                return h("span", { class: "tag" }, field.name + ": " + field.value);
              })
            ),
            page.type === "macro"
              ? null
              : h(
                  "td",
                  { class: "chips" },
                  (column.constraints || []).map(function (text) {
                    return h("span", { class: "chip plain", title: "constraint" }, text);
                  }),
                  reference && reference.test !== undefined ? testChip(reference.test, column.name) : null,
                  tests.map(function (place) {
                    return testChip(place, column.name);
                  })
                )
          );
        })
      )
    )
  );
}

function linkList(places) {
  var sorted = places.slice().sort(function (a, b) {
    return pages[a].name < pages[b].name ? -1 : 1;
  });
  return h(
    "ul",
    { class: "links" },
    sorted.map(function (place) {
      var words = plain(pages[place].description);
      return h("li", {}, linkTo(pages[place]), words ? h("span", { class: "muted clamp" }, words) : null);
    })
  );
}

function crumbs(page) {
  var parts = [h("a", { href: "#/list/" + page.type }, kindOf(page).many)];
  if (page.package !== project.name) parts.push(h("span", {}, page.package));
  (page.folder || []).forEach(function (folder) {
    parts.push(h("span", {}, folder));
  });
  var list = h("nav", { class: "crumbs", "aria-label": "Where this is" });
  parts.forEach(function (part, number) {
    if (number) list.append(h("span", { "aria-hidden": "true" }, "/"));
    list.append(part);
  });
  return list;
}

function nodePage(page) {
  var kind = kindOf(page);
  var statistics = page.statistics || {};
  var state = outcome(page);
  var worst = health(page);
  var ofTable = page.test && page.test.of !== undefined ? pages[page.test.of] : null;
  // Tests that stand on the whole table, or on columns that nobody documented.
  var shown = new Set();
  page.columns.forEach(function (column) {
    (column.tests || []).forEach(function (place) {
      shown.add(place);
    });
  });
  var tableTests = page.tests.filter(function (place) {
    return !shown.has(place);
  });
  var tests = page.tests.map(function (place) {
    return pages[place];
  });
  var bad = tests.filter(function (test) {
    var state = outcome(test);
    return state && state.rank < 3;
  });
  bad.sort(function (a, b) {
    return outcome(a).rank - outcome(b).rank;
  });

  var head = h(
    "header",
    { class: "page-head" },
    crumbs(page),
    h("div", { class: "title-row" }, h("h1", { class: page.label ? "sentence" : null }, titleOf(page)), h("span", { class: "kind-chip kind-" + page.type }, h("i", { class: "dot", "aria-hidden": "true" }), kind.one), worst && worst.rank < 3 ? badge(worst) : null),
    page.relation || page.label
      ? h("p", { class: "relation" }, h("code", {}, page.relation || page.name), copier(page.relation || page.name, "Copy the name"))
      : null
  );
  var facts = h(
    "dl",
    { class: "facts" },
    fact("Tests", ofTable ? linkTo(ofTable) : null),
    fact("Column", page.test && page.test.column ? h("code", {}, page.test.column) : null),
    fact("Severity", page.test && page.test.severity),
    fact("Built as", page.materialized),
    fact("Rows", statistics.rows !== undefined ? count(statistics.rows) : null),
    fact("Size", statistics.bytes !== undefined ? bytes(statistics.bytes) : null),
    (statistics.more || []).map(function (field) {
      return fact(field.name, field.value);
    }),
    fact("Last run", statusFact(page)),
    fact("Owner", page.owner),
    fact("Group", page.group),
    fact("Access", page.access),
    fact("Version", page.version),
    page.tags.length
      ? fact(
          "Tags",
          page.tags.map(function (tag) {
            return h("a", { class: "tag", href: "#/lineage?tag=" + encodeURIComponent(tag) }, tag);
          })
        )
      : null,
    (page.fields || []).map(function (field) {
      if (field.value.length > 120) return null;
      return fact(field.name.replace(/_/g, " "), field.link ? h("a", { href: field.link, rel: "noopener noreferrer" }, field.value) : field.value);
    }),
    fact("File", page.path ? h("code", {}, page.path) : null),
    fact("Package", page.package !== project.name ? page.package : null)
  );
  var long = (page.fields || []).filter(function (field) {
    return field.value.length > 120;
  });
  var graph = kind.graph ? neighbourhood(page) : null;
  var star = kind.table ? ownStar(page) : null;
  var uses = (page.macros || []).length ? page.macros : null;
  var parts = [
    section(
      "columns",
      page.type === "macro" ? "Arguments" : "Columns",
      page.columns.length ? h("span", { class: "muted" }, count(page.columns.length)) : null,
      columnTable(page),
      !page.columns.length && kind.table ? h("p", { class: "muted" }, "No columns are documented" + (project.has_catalog ? "." : ", and there is no catalog.")) : null
    ),
    section(
      "lineage",
      "Lineage",
      graph ? h("a", { class: "quiet", href: "#/lineage?focus=" + encodeURIComponent("2+" + focusName(page) + "+2") }, "Open in the graph", icon("arrow")) : null,
      graph,
      !graph && kind.graph ? h("p", { class: "muted" }, "It reads nothing and nothing reads it.") : null
    ),
    section("star", "Keys and references", star ? h("a", { class: "quiet", href: "#/star?table=" + encodeURIComponent(page.id) }, "Open in the star schema", icon("arrow")) : null, star),
    section("code", page.type === "macro" ? "Macro" : "Code", null, codeBlock(page)),
    section(
      "tests",
      "Tests",
      tests.length ? h("span", { class: "muted" }, count(tests.length)) : null,
      bad.length
        ? h(
            "ul",
            { class: "trouble panel" },
            bad.map(function (test) {
              return h("li", {}, badge(outcome(test)), h("div", {}, linkTo(test), test.run.message ? h("p", { class: "message" }, test.run.message) : null));
            })
          )
        : null,
      tableTests.length
        ? h(
            "div",
            { class: "chips" },
            tableTests.map(function (place) {
              return testChip(place);
            })
          )
        : null,
      tests.length && !tableTests.length && !bad.length ? h("p", { class: "muted" }, "All of them stand beside their columns above.") : null
    ),
    section("reads", "Reads", h("span", { class: "muted" }, count(page.reads.length)), page.reads.length ? linkList(page.reads) : null),
    section("readers", "Read by", h("span", { class: "muted" }, count(page.readers.length)), page.readers.length ? linkList(page.readers) : null),
    section("macros", "Calls", null, uses ? linkList(uses) : null),
    section("callers", "Called by", null, page.callers.length ? linkList(page.callers) : null),
    section(
      "details",
      "Details",
      null,
      long.length
        ? h(
            "dl",
            { class: "panel details" },
            long.map(function (field) {
              return [h("dt", {}, field.name), h("dd", {}, h("pre", {}, field.value))];
            })
          )
        : null
    ),
  ].filter(Boolean);
  var jump = h(
    "nav",
    { class: "jump", "aria-label": "On this page" },
    parts.map(function (part) {
      return h(
        "button",
        {
          type: "button",
          onclick: function () {
            part.scrollIntoView({ behavior: window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
          },
        },
        part.querySelector("h2").textContent
      );
    })
  );
  return {
    title: titleOf(page),
    page: page,
    element: h(
      "article",
      { class: "page" },
      head,
      state && page.run.message && state.rank < 3 ? h("p", { class: "message panel " + state.mood }, page.run.message) : null,
      page.description ? h("div", { class: "prose lead", html: page.description }) : null,
      facts,
      parts.length > 2 ? jump : null,
      parts
    ),
  };
}
