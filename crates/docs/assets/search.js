// Search over names, columns, descriptions, tags, folders and SQL.

var index = null;

/** Kinds that people look for come first. */
var WEIGHTS = { test: 0.35, unit_test: 0.4, macro: 0.6, analysis: 0.8, source: 0.97 };

function buildIndex() {
  index = pages.map(function (page) {
    var name = page.name.toLowerCase();
    return {
      page: page,
      name: name,
      initials: name
        .split(/[_.\s-]+/)
        .map(function (word) {
          return word[0] || "";
        })
        .join(""),
      label: (page.label || "").toLowerCase(),
      columns: page.columns.map(function (column) {
        return column.name.toLowerCase();
      }),
      tags: page.tags.map(function (tag) {
        return tag.toLowerCase();
      }),
      place: [page.schema, page.path, page.package, page.owner, page.group, page.materialized].join(" ").toLowerCase(),
      words: plain(page.description).toLowerCase(),
      columnWords: page.columns
        .map(function (column) {
          return plain(column.description);
        })
        .join(" \u00b7 ")
        .toLowerCase(),
      code: ((page.raw || "") + "\n" + (page.compiled || "")).toLowerCase(),
      weight: WEIGHTS[page.type] || 1,
    };
  });
}

function atWordStart(text, term) {
  var place = text.indexOf(term);
  while (place >= 0) {
    if (place === 0 || /[^a-z0-9]/.test(text[place - 1])) return true;
    place = text.indexOf(term, place + 1);
  }
  return false;
}

/** How well one word fits one page, and where: [score, what was found in]. */
function fit(entry, term) {
  if (entry.name === term || entry.name.slice(entry.name.indexOf(".") + 1) === term) return [1000, ""];
  if (entry.name.startsWith(term)) return [600, ""];
  if (atWordStart(entry.name, term)) return [400, ""];
  if (entry.name.includes(term)) return [260, ""];
  if (entry.tags.includes(term)) return [220, "tag"];
  var best = 0;
  var found = "";
  entry.columns.forEach(function (column, place) {
    var score = column === term ? 190 : column.startsWith(term) ? 130 : column.includes(term) ? 85 : 0;
    if (score > best) {
      best = score;
      found = "column:" + place;
    }
  });
  if (best) return [best, found];
  if (term.length > 1 && entry.initials.startsWith(term)) return [120, ""];
  if (entry.label.includes(term)) return [90, ""];
  if (entry.place.includes(term)) return [60, "place"];
  if (atWordStart(entry.words, term)) return [50, "words"];
  if (entry.words.includes(term)) return [30, "words"];
  if (entry.columnWords.includes(term)) return [25, "columnWords"];
  if (entry.code.includes(term)) return [10, "code"];
  return null;
}

/** The best pages for a text; `tag:`, `type:`, `schema:` and `column:` narrow it. */
function find(text, limit) {
  if (!index) buildIndex();
  var terms = text.toLowerCase().split(/\s+/).filter(Boolean);
  var results = [];
  index.forEach(function (entry) {
    var total = 0;
    var where = "";
    var whereTerm = "";
    var lowest = Infinity;
    for (var i = 0; i < terms.length; i += 1) {
      var term = terms[i];
      var only = /^(tag|type|schema|column):(.+)$/.exec(term);
      var hit;
      if (only) {
        var value = only[2];
        var holds =
          only[1] === "tag"
            ? entry.tags.includes(value)
            : only[1] === "type"
              ? entry.page.type === value || kindOf(entry.page).many === value
              : only[1] === "schema"
                ? (entry.page.schema || "").toLowerCase() === value
                : entry.columns.some(function (column) {
                    return column.includes(value);
                  });
        hit = holds ? [100, ""] : null;
      } else hit = fit(entry, term);
      if (!hit) return;
      total += hit[0];
      if (hit[0] < lowest) {
        lowest = hit[0];
        where = hit[1];
        whereTerm = term;
      }
    }
    results.push({ entry: entry, page: entry.page, score: total * entry.weight - entry.name.length / 10, where: where, term: whereTerm });
  });
  results.sort(function (a, b) {
    return b.score - a.score || (a.entry.name < b.entry.name ? -1 : 1);
  });
  return { total: results.length, best: results.slice(0, limit) };
}

/** The text with the terms marked. */
function marked(text, terms) {
  var holder = h("span", {});
  var low = text.toLowerCase();
  var place = 0;
  while (place < text.length) {
    var next = -1;
    var length = 0;
    terms.forEach(function (term) {
      var found = low.indexOf(term, place);
      if (found >= 0 && (next < 0 || found < next || (found === next && term.length > length))) {
        next = found;
        length = term.length;
      }
    });
    if (next < 0) break;
    holder.append(text.slice(place, next), h("mark", {}, text.slice(next, next + length)));
    place = next + length;
  }
  holder.append(text.slice(place));
  return holder;
}

/** The surroundings of a term, on one line. */
function around(text, term) {
  var place = text.toLowerCase().indexOf(term);
  var from = Math.max(0, place - 30);
  var line = text.slice(from, place + 90).replace(/\s+/g, " ");
  return (from > 0 ? "…" : "") + line;
}

function reason(result) {
  var page = result.page;
  if (result.where.startsWith("column:")) {
    var column = page.columns[Number(result.where.slice(7))];
    return ["column ", column.name];
  }
  if (result.where === "tag") return ["tag ", result.term];
  if (result.where === "code") {
    var code = (page.raw || "").toLowerCase().includes(result.term) ? page.raw : page.compiled;
    return ["SQL ", around(code, result.term)];
  }
  if (result.where === "columnWords") {
    var words = page.columns
      .map(function (column) {
        return plain(column.description);
      })
      .join(" · ");
    return ["", around(words, result.term)];
  }
  var description = plain(page.description);
  if (result.where === "words") return ["", around(description, result.term)];
  var on = page.test && page.test.of !== undefined ? pages[page.test.of].name : "";
  return [on ? "on " : "", on || description.slice(0, 120) || page.relation || page.path || ""];
}

function startSearch() {
  var box = at("search");
  var input = at("query");
  var list = at("results");
  var chosen = -1;
  var shown = [];

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    box.classList.remove("open");
  }

  function choose(place) {
    var options = list.querySelectorAll("[role=option]");
    if (options[chosen]) options[chosen].setAttribute("aria-selected", "false");
    chosen = place;
    if (!options[chosen]) return;
    options[chosen].setAttribute("aria-selected", "true");
    options[chosen].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[chosen].id);
  }

  function update() {
    var text = input.value.trim();
    if (!text) {
      close();
      return;
    }
    var found = find(text, 40);
    var terms = text
      .toLowerCase()
      .split(/\s+/)
      .map(function (term) {
        return term.replace(/^(tag|type|schema|column):/, "");
      })
      .filter(Boolean);
    shown = found.best;
    list.replaceChildren();
    shown.forEach(function (result, place) {
      var page = result.page;
      var why = reason(result);
      list.append(
        h(
          "a",
          { role: "option", id: "result-" + place, class: "result kind-" + page.type, href: addressOf(page), "aria-selected": "false", tabindex: "-1", onclick: leave },
          h("i", { class: "dot", "aria-hidden": "true" }),
          h("span", { class: "result-name" }, marked(titleOf(page), terms)),
          h("span", { class: "result-kind" }, kindOf(page).one),
          h("span", { class: "result-why" }, why[0], marked(why[1], terms))
        )
      );
    });
    if (!shown.length) list.append(h("p", { class: "result-none" }, "Nothing has “" + text + "”."));
    else if (found.total > shown.length) list.append(h("p", { class: "result-none" }, "and " + count(found.total - shown.length) + " more"));
    list.hidden = false;
    list.scrollTop = 0;
    box.classList.add("open");
    input.setAttribute("aria-expanded", "true");
    announce(plural(found.total, "result"));
    choose(shown.length ? 0 : -1);
  }

  function leave() {
    close();
    input.value = "";
    input.blur();
  }

  input.addEventListener("input", update);
  input.addEventListener("focus", function () {
    if (input.value.trim()) update();
  });
  input.addEventListener("keydown", function (event) {
    if (event.key === "Escape") {
      if (list.hidden) input.blur();
      input.value = "";
      close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) update();
      else if (shown.length) choose((chosen + (event.key === "ArrowDown" ? 1 : shown.length - 1)) % shown.length);
    } else if (event.key === "Home" && !list.hidden && event.ctrlKey) choose(0);
    else if (event.key === "Enter" && shown[chosen]) {
      event.preventDefault();
      location.hash = addressOf(shown[chosen].page);
      leave();
    }
  });
  document.addEventListener("pointerdown", function (event) {
    if (!box.contains(event.target)) close();
  });
  document.addEventListener("keydown", function (event) {
    var target = event.target;
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable;
    var wanted = (event.key === "/" && !typing) || (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey));
    if (!wanted || (event.key === "/" && (event.ctrlKey || event.metaKey || event.altKey))) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
  // Ready before the first key is typed.
  (window.requestIdleCallback || setTimeout)(function () {
    if (!index) buildIndex();
  });
}
