// The project as the pages know it: the generated data, linked in both directions.

var project = null;
var run = null;
var pages = [];
var byId = new Map();

/** What can be shown, in the order of lists and legends. */
var KINDS = {
  source: { one: "source", many: "sources", graph: true, table: true },
  seed: { one: "seed", many: "seeds", graph: true, table: true },
  model: { one: "model", many: "models", graph: true, table: true },
  snapshot: { one: "snapshot", many: "snapshots", graph: true, table: true },
  semantic_model: { one: "semantic model", many: "semantic models", graph: true },
  metric: { one: "metric", many: "metrics", graph: true },
  saved_query: { one: "saved query", many: "saved queries", graph: true },
  exposure: { one: "exposure", many: "exposures", graph: true },
  analysis: { one: "analysis", many: "analyses", graph: true },
  function: { one: "function", many: "functions", graph: true },
  test: { one: "test", many: "tests" },
  unit_test: { one: "unit test", many: "unit tests" },
  macro: { one: "macro", many: "macros" },
};

/** How bad an outcome is, its words and its mood. */
var OUTCOMES = {
  error: { rank: 0, mood: "bad", word: "error" },
  "runtime error": { rank: 0, mood: "bad", word: "error" },
  fail: { rank: 0, mood: "bad", word: "failed" },
  warn: { rank: 1, mood: "warn", word: "warned" },
  skipped: { rank: 2, mood: "skip", word: "skipped" },
  "partial success": { rank: 1, mood: "warn", word: "partly done" },
  success: { rank: 3, mood: "good", word: "built" },
  pass: { rank: 3, mood: "good", word: "passed" },
  reused: { rank: 4, mood: "good", word: "up to date" },
  "no-op": { rank: 4, mood: "good", word: "nothing to do" },
};

function outcome(page) {
  if (!page.run) return null;
  return OUTCOMES[page.run.status] || { rank: 2, mood: "skip", word: page.run.status };
}

/** The worst of a page's own outcome and its tests'. */
function health(page) {
  var worst = outcome(page);
  (page.tests || []).forEach(function (place) {
    var other = outcome(pages[place]);
    if (other && (!worst || other.rank < worst.rank)) worst = other;
  });
  return worst;
}

function kindOf(page) {
  return KINDS[page.type] || { one: page.type, many: page.type };
}

function titleOf(page) {
  return page.label || page.name;
}

function addressOf(page) {
  return "#/" + encodeURIComponent(page.id);
}

function understand(data) {
  project = data.project;
  project.overview = data.overview || "";
  project.relationships = data.relationships || [];
  run = data.run || null;
  pages = data.pages;
  pages.forEach(function (page, place) {
    page.place = place;
    page.reads = page.reads || [];
    page.columns = page.columns || [];
    page.tests = page.tests || [];
    page.tags = page.tags || [];
    page.key = page.key || [];
    page.readers = [];
    page.callers = [];
    byId.set(page.id, page);
  });
  pages.forEach(function (page) {
    page.reads.forEach(function (place) {
      if (page.type !== "test" && page.type !== "unit_test") pages[place].readers.push(page.place);
    });
    (page.macros || []).forEach(function (place) {
      pages[place].callers.push(page.place);
    });
  });
}

/** Pages of a kind, by name. */
function ofKind(kind) {
  return pages
    .filter(function (page) {
      return page.type === kind;
    })
    .sort(function (a, b) {
      return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
    });
}

/** A link to a page with the mark of its kind. */
function linkTo(page, text) {
  return h(
    "a",
    { href: addressOf(page), class: "to kind-" + page.type },
    h("i", { class: "dot", "aria-hidden": "true" }),
    h("span", {}, text || titleOf(page))
  );
}

function badge(state, text) {
  return h("span", { class: "badge " + state.mood }, text || state.word);
}
