// The frame: theme, tree, addresses.

function theme(choice) {
  var dark = choice ? choice === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
// Before anything is drawn, so that no light page flashes at night.
theme(remembered("tidemill-theme"));

var current = null;

function startTheme() {
  var button = at("theme");
  var order = [null, "light", "dark"];
  var words = { light: "Light", dark: "Dark" };
  var choice = remembered("tidemill-theme");
  function show() {
    theme(choice);
    button.replaceChildren(icon(choice === "light" ? "sun" : choice === "dark" ? "moon" : "auto"));
    var label = "Theme: " + (words[choice] || "as the system");
    button.setAttribute("aria-label", label);
    button.title = label;
    if (current && current.themed) current.themed();
  }
  button.addEventListener("click", function () {
    choice = order[(order.indexOf(choice) + 1) % order.length];
    remember("tidemill-theme", choice);
    show();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

// The tree.

function branch(name, many, fill, key, open) {
  var list = h("ul", {});
  var filled = false;
  var details = h("details", { "data-key": key }, h("summary", {}, h("span", { class: "branch-name" }, name), h("span", { class: "branch-count" }, count(many))), list);
  details.fill = function () {
    if (filled) return;
    filled = true;
    fill(list);
  };
  details.addEventListener("toggle", function () {
    if (details.open) details.fill();
  });
  if (open) {
    details.fill();
    details.open = true;
  }
  return h("li", {}, details);
}

function leaf(page, name) {
  var state = health(page);
  return h(
    "li",
    {},
    h(
      "a",
      { href: addressOf(page), class: "leaf kind-" + page.type, "data-id": page.id, title: page.name },
      h("i", { class: "dot", "aria-hidden": "true" }),
      h("span", {}, name || page.name),
      state && state.rank < 2 ? h("i", { class: "state " + state.mood, title: state.word }) : null
    )
  );
}

/** Pages by their folders: {folders: name → node, pages: []}. */
function foldersOf(list, path) {
  var root = { folders: new Map(), pages: [], many: 0 };
  list.forEach(function (page) {
    var node = root;
    node.many += 1;
    path(page).forEach(function (name) {
      if (!node.folders.has(name)) node.folders.set(name, { folders: new Map(), pages: [], many: 0 });
      node = node.folders.get(name);
      node.many += 1;
    });
    node.pages.push(page);
  });
  return root;
}

function fillFolder(list, node, key, naming) {
  Array.from(node.folders.keys())
    .sort()
    .forEach(function (name) {
      var inner = node.folders.get(name);
      list.append(
        branch(
          name,
          inner.many,
          function (list) {
            fillFolder(list, inner, key + "/" + name, naming);
          },
          key + "/" + name,
          false
        )
      );
    });
  node.pages
    .sort(function (a, b) {
      return titleOf(a) < titleOf(b) ? -1 : 1;
    })
    .forEach(function (page) {
      list.append(leaf(page, naming(page)));
    });
}

var TREES = {
  folders: function (list) {
    Object.keys(KINDS).forEach(function (kind) {
      var all = ofKind(kind);
      if (!all.length) return;
      var root = foldersOf(all, function (page) {
        var folder = kind === "test" && page.test && page.test.of !== undefined ? ["on " + pages[page.test.of].name] : page.folder || [];
        return page.package === project.name || kind === "source" ? folder : [page.package].concat(folder);
      });
      list.append(
        branch(
          KINDS[kind].many,
          all.length,
          function (list) {
            fillFolder(list, root, kind, function (page) {
              return kind === "source" ? page.name.slice(page.name.indexOf(".") + 1) : titleOf(page);
            });
          },
          kind,
          kind === "model"
        )
      );
    });
  },
  schemas: function (list) {
    var all = pages.filter(function (page) {
      return kindOf(page).table && page.schema;
    });
    fillFolder(
      list,
      foldersOf(all, function (page) {
        return [page.schema];
      }),
      "schema",
      function (page) {
        return page.type === "source" ? page.name.slice(page.name.indexOf(".") + 1) : page.name;
      }
    );
  },
};

/** The branches of the tree in which a page stands. */
function branchesOf(page, form) {
  if (form === "schemas") return page.schema ? ["schema/" + page.schema] : [];
  var folder = page.type === "test" && page.test && page.test.of !== undefined ? ["on " + pages[page.test.of].name] : page.folder || [];
  if (page.package !== project.name && page.type !== "source") folder = [page.package].concat(folder);
  var keys = [page.type];
  folder.forEach(function (name) {
    keys.push(keys[keys.length - 1] + "/" + name);
  });
  return keys;
}

var treeForm = "folders";

function drawTree() {
  var side = at("side");
  var list = h("ul", { class: "tree" });
  var tabs = h("div", { class: "tabs", role: "group", "aria-label": "Order of the tree" });
  [
    ["folders", "Folders"],
    ["schemas", "Schemas"],
  ].forEach(function (form) {
    tabs.append(
      h(
        "button",
        {
          type: "button",
          "aria-pressed": treeForm === form[0] ? "true" : "false",
          onclick: function () {
            treeForm = form[0];
            remember("tidemill-tree", treeForm);
            drawTree();
            markTree();
          },
        },
        form[1]
      )
    );
  });
  TREES[treeForm](list);
  side.replaceChildren(
    h("nav", { class: "side-nav", "aria-label": "Views" }, h("a", { href: "#/lineage", "data-view": "lineage" }, icon("graph"), "Lineage"), h("a", { href: "#/star", "data-view": "star" }, icon("star"), "Star schema")),
    tabs,
    list
  );
}

function markTree() {
  var side = at("side");
  side.querySelectorAll("[aria-current]").forEach(function (link) {
    link.removeAttribute("aria-current");
  });
  if (!current || !current.page) return;
  branchesOf(current.page, treeForm).forEach(function (key) {
    var details = side.querySelector('details[data-key="' + CSS.escape(key) + '"]');
    if (!details) return;
    details.fill();
    details.open = true;
  });
  var link = side.querySelector('a[data-id="' + CSS.escape(current.page.id) + '"]');
  if (!link) return;
  link.setAttribute("aria-current", "page");
  var box = link.getBoundingClientRect();
  var frame = side.getBoundingClientRect();
  if (box.top < frame.top + 40 || box.bottom > frame.bottom - 20) link.scrollIntoView({ block: "center" });
}

function drawer(open) {
  document.body.classList.toggle("drawer", open);
  at("shade").hidden = !open;
  at("menu").setAttribute("aria-expanded", open ? "true" : "false");
}

// Addresses.

function missingPage(what) {
  return {
    title: "Not found",
    element: h("div", { class: "page" }, h("header", { class: "page-head" }, h("h1", {}, "Not found")), h("p", {}, "There is no page ", h("code", {}, what), " here. It may have been renamed; the search finds it by part of its name.")),
  };
}

function pageFor(address) {
  var question = address.indexOf("?");
  var path = question < 0 ? address : address.slice(0, question);
  var query = new URLSearchParams(question < 0 ? "" : address.slice(question + 1));
  var name = path;
  try {
    name = decodeURIComponent(path);
  } catch (_) {
    // A stray percent sign: the name as it stands.
  }
  if (name === "") return homePage();
  if (name === "lineage") return lineagePage(query);
  if (name === "star") return starPage(query);
  if (name.indexOf("list/") === 0) return listPage(name.slice(5));
  var page = byId.get(name);
  return page ? nodePage(page) : missingPage(name);
}

var positions = new Map();
var shownAddress = null;

function show() {
  var hash = location.hash;
  // A link to a place on the page ("#main") is not an address of ours.
  if (hash && hash.indexOf("#/") !== 0 && hash.indexOf("#!/") !== 0 && shownAddress !== null) return;
  if (hash.indexOf("#!/") === 0) {
    // dbt's own addresses: #!/model/model.shop.orders
    var old = hash.slice(3).split(/[?#]/)[0].split("/");
    location.replace("#/" + (old[0] === "overview" ? "" : old[old.length - 1]));
    return;
  }
  if (current && current.stop) current.stop();
  if (shownAddress !== null) positions.set(shownAddress, window.scrollY);
  var began = performance.now();
  var address = hash.indexOf("#/") === 0 ? hash.slice(2) : "";
  // An entry of the history that was shown before is come back to.
  var wentBack = Boolean(history.state && history.state.shown);
  history.replaceState({ shown: true }, "");
  var first = shownAddress === null;
  shownAddress = address;
  current = pageFor(address);
  document.body.classList.toggle("wide", Boolean(current.wide));
  document.title = (current.title ? current.title + " · " : "") + project.name;
  at("main").replaceChildren(current.element);
  if (current.started) current.started();
  drawer(false);
  document.querySelectorAll("[data-view]").forEach(function (link) {
    var here = address.split("?")[0] === link.dataset.view;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  markTree();
  window.scrollTo(0, wentBack ? positions.get(address) || 0 : 0);
  if (!first) {
    at("main").focus({ preventScroll: true });
    announce(current.title || project.name);
  }
  document.documentElement.dataset.shown = (performance.now() - began).toFixed(1);
}

function start() {
  if (!window.TIDEMILL_DOCS) {
    at("main").append(h("div", { class: "page" }, h("h1", {}, "No data"), h("p", {}, "The file data.js is missing beside this page. Run ", h("code", {}, "tidemill docs generate"), " again.")));
    return;
  }
  understand(window.TIDEMILL_DOCS);
  window.TIDEMILL_DOCS = null;
  treeForm = remembered("tidemill-tree") === "schemas" ? "schemas" : "folders";
  at("brand").textContent = project.name;
  at("menu").append(icon("menu"));
  document.querySelector(".main-nav [data-view=lineage]").append(icon("graph"), h("span", {}, "Lineage"));
  document.querySelector(".main-nav [data-view=star]").append(icon("star"), h("span", {}, "Star schema"));
  drawTree();
  startSearch();
  at("menu").addEventListener("click", function () {
    drawer(!document.body.classList.contains("drawer"));
  });
  at("shade").addEventListener("click", function () {
    drawer(false);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape" && document.body.classList.contains("drawer")) drawer(false);
  });
  document.querySelector(".skip-link").addEventListener("click", function (event) {
    event.preventDefault();
    at("main").focus();
  });
  history.scrollRestoration = "manual";
  window.addEventListener("hashchange", show);
  show();
  startTheme();
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
