// What the lineage shows: a focus with depths, types, tags and folders; and its colours.

/** `2+name+1` as focus and depths; no number means all the way. */
function parseFocus(text) {
  var found = /^\s*(?:(\d*)(\+))?\s*([^+\s]*)\s*(?:(\+)(\d*))?\s*$/.exec(text || "");
  if (!found || !found[3]) return null;
  return {
    name: found[3],
    up: found[2] ? (found[1] ? Number(found[1]) : Infinity) : found[4] ? 0 : Infinity,
    down: found[4] ? (found[5] ? Number(found[5]) : Infinity) : found[2] ? 0 : Infinity,
  };
}

function focusText(name, up, down) {
  function depth(number) {
    return number === Infinity ? "" : String(number);
  }
  return (up > 0 ? depth(up) + "+" : "") + name + (down > 0 ? "+" + depth(down) : "");
}

function pageNamed(name) {
  var wanted = name.toLowerCase();
  return (
    byId.get(name) ||
    pages.find(function (page) {
      return kindOf(page).graph && page.name.toLowerCase() === wanted;
    }) ||
    null
  );
}

/** What a page is called in the focus: its name, or its id where another page has the name too. */
function focusName(page) {
  return pageNamed(page.name) === page ? page.name : page.id;
}

/** The pages and edges that a filter leaves. */
function lineageOf(filter) {
  var chosen = pages.filter(function (page) {
    if (!kindOf(page).graph || filter.hidden.has(page.type)) return false;
    if (filter.tag && page.tags.indexOf(filter.tag) < 0) return false;
    if (filter.folder && folderOf(page).indexOf(filter.folder) !== 0) return false;
    return true;
  });
  if (filter.focus) {
    var keep = new Set([filter.focus.place]);
    [
      [filter.up, "reads"],
      [filter.down, "readers"],
    ].forEach(function (way) {
      var edge = [filter.focus.place];
      for (var step = 0; step < way[0] && edge.length; step += 1) {
        var further = [];
        edge.forEach(function (place) {
          pages[place][way[1]].forEach(function (other) {
            if (keep.has(other) && way[1] === "reads") return;
            if (!keep.has(other)) {
              keep.add(other);
              further.push(other);
            }
          });
        });
        edge = further;
      }
    });
    chosen = chosen.filter(function (page) {
      return keep.has(page.place);
    });
  }
  var numbers = new Map();
  chosen.forEach(function (page, number) {
    numbers.set(page.place, number);
  });
  var edges = [];
  chosen.forEach(function (page) {
    page.reads.forEach(function (read) {
      if (numbers.has(read)) edges.push([numbers.get(read), numbers.get(page.place)]);
    });
  });
  return { pages: chosen, edges: edges };
}

/** `staging/nyc` of a page in models/staging/nyc; with the package where it is another's. */
function folderOf(page) {
  var parts = page.folder || [];
  return (page.package === project.name || page.type === "source" ? parts : [page.package].concat(parts)).join("/") + "/";
}

function colours() {
  var style = getComputedStyle(document.documentElement);
  var found = { kind: {} };
  ["panel", "ink", "muted", "line", "accent", "edge", "bad", "warn", "good", "skip", "bg"].forEach(function (name) {
    found[name] = style.getPropertyValue("--" + name).trim();
  });
  Object.keys(KINDS).forEach(function (kind) {
    found.kind[kind] = style.getPropertyValue("--kind-" + kind).trim() || found.muted;
  });
  return found;
}

/** Colours for folders: hues far from each other, light enough in both themes. */
function folderColour(name, names) {
  var place = names.indexOf(name);
  var dark = document.documentElement.dataset.theme === "dark";
  return "hsl(" + Math.round((place * 137.5 + 205) % 360) + " " + (dark ? "60% 66%" : "62% 40%") + ")";
}

